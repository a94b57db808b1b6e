//! The ids of the tracepoints at the exit from accept, and the cache in which they are stored.

use std::fs;
use std::io;

use crate::trace::user_cache::UserCache;

/// The ids of `syscalls:sys_exit_accept`, `syscalls:sys_exit_accept4` and
/// `syscalls:sys_exit_io_uring_setup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// accept(2)
    pub accept: u16,
    /// accept4(2)
    pub accept4: u16,
    /// `syscalls:sys_exit_io_uring_setup`; `None` if the kernel lacks it.
    pub io_uring_setup: Option<u16>,
}

/// The file that stores the ids, for one kernel build.
#[derive(Debug)]
pub(super) struct Cache {
    files: UserCache,
    kernel: String,
}

const FILE: &str = "accept-tracepoints";
const MAX_BYTES: u64 = 4096;

impl Cache {
    pub(super) fn of_this_user() -> Option<Cache> {
        let line = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
        let kernel = format!("{} {}", line("osrelease")?.trim(), line("version")?.trim());
        Some(Cache { files: UserCache::of_this_user()?, kernel })
    }

    pub(super) fn read(&self) -> Option<Ids> {
        let text = self.files.read(FILE, MAX_BYTES)?;
        let (kernel, ids) = text.split_once('\n')?;
        let mut ids = ids.split_ascii_whitespace().map(str::parse);
        let (accept, accept4) = (ids.next()?.ok()?, ids.next()?.ok()?);
        // 0: there is none.
        let io_uring_setup = Some(ids.next()?.ok()?).filter(|id| *id != 0);
        let ids = Ids { accept, accept4, io_uring_setup };
        (kernel == self.kernel).then_some(ids)
    }

    pub(super) fn write(&self, ids: Ids) -> io::Result<()> {
        let io_uring_setup = ids.io_uring_setup.unwrap_or(0);
        let text = format!("{}\n{} {} {io_uring_setup}\n", self.kernel, ids.accept, ids.accept4);
        self.files.write(FILE, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids { accept: 2231, accept4: 2233, io_uring_setup: Some(2129) };

    #[test]
    fn cache_remembers_for_one_build_of_the_kernel() {
        let home = tempfile::tempdir().unwrap();
        let files = UserCache::below(home.path());
        let mut cache = Cache { files, kernel: "6.1 #1 SMP".into() };
        assert_eq!(cache.read(), None);
        cache.write(IDS).unwrap();
        assert_eq!(cache.read(), Some(IDS));
        cache.kernel = "6.1 #2 SMP".into();
        assert_eq!(cache.read(), None);
    }
}
