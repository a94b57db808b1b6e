//! The ids of the tracepoints at the exit from accept, and the cache in which they are stored.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    directory: PathBuf,
    kernel: String,
}

const FILE: &str = "accept-tracepoints";

impl Cache {
    pub(super) fn of_this_user() -> Option<Cache> {
        let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
        let line = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
        let kernel = format!("{} {}", line("osrelease")?.trim(), line("version")?.trim());
        Some(Cache { directory: base.join("tcptally"), kernel })
    }

    pub(super) fn read(&self) -> Option<Ids> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = options.open(self.directory.join(FILE)).ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || !is_mine(&about) {
            return None;
        }
        let mut text = String::new();
        Read::take(&mut file, 4096).read_to_string(&mut text).ok()?;
        let (kernel, ids) = text.split_once('\n')?;
        let mut ids = ids.split_ascii_whitespace().map(str::parse);
        let (accept, accept4) = (ids.next()?.ok()?, ids.next()?.ok()?);
        // 0: there is none.
        let io_uring_setup = Some(ids.next()?.ok()?).filter(|id| *id != 0);
        let ids = Ids { accept, accept4, io_uring_setup };
        (kernel == self.kernel).then_some(ids)
    }

    fn text(&self, ids: Ids) -> String {
        let io_uring_setup = ids.io_uring_setup.unwrap_or(0);
        format!("{}\n{} {} {io_uring_setup}\n", self.kernel, ids.accept, ids.accept4)
    }

    /// Writes a temporary file and renames it, so the file is never incomplete.
    pub(super) fn write(&self, ids: Ids) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let about = fs::symlink_metadata(&self.directory)?;
        if !about.is_dir() || !is_mine(&about) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let beside = self.directory.join(format!("{FILE}.{}", std::process::id()));
        let written = write_new(&beside, &self.text(ids))
            .and_then(|()| fs::rename(&beside, self.directory.join(FILE)));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path)?.write_all(text.as_bytes())
}

/// Whether it belongs to this user and nobody else may write to it.
fn is_mine(about: &fs::Metadata) -> bool {
    about.uid() == nix::unistd::geteuid().as_raw() && about.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn cache(directory: &Path) -> Cache {
        Cache { directory: directory.join("tcptally"), kernel: "6.1 #1 SMP".into() }
    }

    const IDS: Ids = Ids { accept: 2231, accept4: 2233, io_uring_setup: Some(2129) };

    #[test]
    fn cache_remembers_for_one_build_of_the_kernel() {
        let home = tempfile::tempdir().unwrap();
        let mut cache = cache(home.path());
        assert_eq!(cache.read(), None);
        cache.write(IDS).unwrap();
        cache.write(IDS).unwrap();
        assert_eq!(cache.read(), Some(IDS));
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 1);
        cache.kernel = "6.1 #2 SMP".into();
        assert_eq!(cache.read(), None);
    }

    #[test]
    fn cache_trusts_no_file_that_others_may_write() {
        let home = tempfile::tempdir().unwrap();
        let cache = cache(home.path());
        cache.write(IDS).unwrap();
        let file = cache.directory.join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.read(), None);
        fs::rename(&file, home.path().join("elsewhere")).unwrap();
        fs::set_permissions(home.path().join("elsewhere"), fs::Permissions::from_mode(0o600))
            .unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), &file).unwrap();
        assert_eq!(cache.read(), None);
        fs::set_permissions(&cache.directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(cache.write(IDS).is_err());
    }
}
