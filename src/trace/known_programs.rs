//! [`KnownPrograms`]: a cache of programs that the engine `sample` does not suit, from earlier runs of this user.
//!
//! Such a program is handed over to another engine at its second accept, and the peers of the connections
//! until then may be unknown. With the cache, that happens once for each program. A wrong entry causes
//! stops, but no wrong count.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::MetadataExt;

use crate::sys::ptrace::Tid;

use super::sample::LASTING_CAUSES;
use super::user_cache::UserCache;

const FILE: &str = "stopped-programs";
/// Maximum number of programs, the latest ones.
const MAX_PROGRAMS: usize = 64;
const MAX_BYTES: u64 = 16 << 10;

/// The programs.
#[derive(Debug, Default)]
pub(super) struct KnownPrograms {
    cache: Option<UserCache>,
    /// Each with the cause.
    programs: Vec<(Identity, &'static str)>,
}

/// An executed file with its arguments, because an interpreter's script is among them. A file that was
/// modified is another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
    /// A hash, since arguments may be secret.
    arguments: u64,
}

impl KnownPrograms {
    /// Reads them from the cache of this user.
    pub(super) fn of_this_user() -> KnownPrograms {
        let cache = UserCache::of_this_user();
        let programs = cache.as_ref().map(read).unwrap_or_default();
        KnownPrograms { cache, programs }
    }

    /// Why the engine `sample` does not suit a process, if that is known.
    pub(super) fn cause(&self, pid: Tid) -> Option<&'static str> {
        if self.programs.is_empty() {
            return None;
        }
        let identity = Identity::of(pid)?;
        self.programs.iter().find(|(known, _)| *known == identity).map(|(_, cause)| *cause)
    }

    /// Adds the programs of processes that `sample` does not suit, if the cause will be the same in later runs.
    pub(super) fn add(&mut self, pids: impl Iterator<Item = Tid>, cause: &'static str) {
        let Some(cache) = &self.cache else { return };
        if LASTING_CAUSES.iter().all(|(_, lasting)| *lasting != cause) {
            return;
        }
        let mut new: Vec<Identity> = Vec::new();
        for identity in pids.filter_map(Identity::of) {
            if self.programs.iter().all(|(known, _)| *known != identity) && !new.contains(&identity)
            {
                new.push(identity);
            }
        }
        if new.is_empty() {
            return;
        }
        // Another tcptally may have added some.
        let mut all = read(cache);
        all.retain(|(known, _)| !new.contains(known));
        all.extend(new.into_iter().map(|identity| (identity, cause)));
        let surplus = all.len().saturating_sub(MAX_PROGRAMS);
        all.drain(..surplus);
        // Without the cache, later runs find it out again.
        let _ = cache.write(FILE, &to_text(&all));
        self.programs = all;
    }
}

impl Identity {
    fn of(pid: Tid) -> Option<Identity> {
        let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let mut arguments = DefaultHasher::new();
        arguments.write(&fs::read(format!("/proc/{pid}/cmdline")).ok()?);
        Some(Identity {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
            arguments: arguments.finish(),
        })
    }
}

fn read(cache: &UserCache) -> Vec<(Identity, &'static str)> {
    let text = cache.read(FILE, MAX_BYTES).unwrap_or_default();
    text.lines().filter_map(from_line).collect()
}

fn from_line(line: &str) -> Option<(Identity, &'static str)> {
    let (cause, numbers) = line.split_once(' ')?;
    let (_, cause) = LASTING_CAUSES.iter().find(|(name, _)| *name == cause)?;
    let numbers: Option<Vec<u64>> = numbers.split(' ').map(|n| n.parse().ok()).collect();
    let [device, inode, bytes, seconds, nanoseconds, arguments] = numbers?.try_into().ok()?;
    let changed = (seconds as i64, nanoseconds as i64);
    Some((Identity { device, inode, bytes, changed, arguments }, cause))
}

fn to_text(programs: &[(Identity, &'static str)]) -> String {
    let line = |(i, cause): &(Identity, &'static str)| {
        let (name, _) = LASTING_CAUSES.iter().find(|(_, lasting)| lasting == cause)?;
        let (seconds, nanoseconds) = (i.changed.0 as u64, i.changed.1 as u64);
        let Identity { device, inode, bytes, arguments, .. } = i;
        Some(format!("{name} {device} {inode} {bytes} {seconds} {nanoseconds} {arguments}\n"))
    };
    programs.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(home: &tempfile::TempDir) -> KnownPrograms {
        let cache = UserCache::below(home.path());
        let programs = read(&cache);
        KnownPrograms { cache: Some(cache), programs }
    }

    #[test]
    fn a_program_is_known_in_later_runs() {
        let home = tempfile::tempdir().unwrap();
        let me = std::process::id() as Tid;
        let (_, cause) = LASTING_CAUSES[0];
        let mut first = known(&home);
        assert_eq!(first.cause(me), None);
        first.add([me].into_iter(), "for this run alone");
        assert_eq!(known(&home).cause(me), None);
        first.add([me, me].into_iter(), cause);
        assert_eq!((first.cause(me), known(&home).cause(me)), (Some(cause), Some(cause)));
        let parent = std::os::unix::process::parent_id() as Tid;
        assert_eq!(known(&home).cause(parent), None, "another program");
        assert_eq!(known(&home).programs.len(), 1);
    }

    #[test]
    fn the_latest_programs_are_kept_and_damaged_lines_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        let identity =
            |n| Identity { device: n, inode: 2, bytes: 3, changed: (4, 5), arguments: n };
        let all: Vec<_> = (0..70).map(|n| (identity(n), LASTING_CAUSES[0].1)).collect();
        let cache = UserCache::below(home.path());
        let text = format!("x 1\nnull 1 2\nnull 1 2 3 4 5 six\n{}", to_text(&all));
        cache.write(FILE, &text).unwrap();
        let mut programs = known(&home);
        assert_eq!(programs.programs, all);
        programs.add([std::process::id() as Tid].into_iter(), LASTING_CAUSES[1].1);
        let kept = known(&home).programs;
        assert_eq!((kept.len(), kept[0].0), (MAX_PROGRAMS, identity(7)));
    }
}
