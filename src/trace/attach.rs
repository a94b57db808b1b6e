//! Seizes the threads of running processes.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::plural;
use crate::sys::ptrace::{self, Tid};

use super::attach_error::{self, AttachError};
use super::error::Error;
use super::procfs;

/// The processes to attach to.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The given processes.
    pub pids: BTreeSet<Tid>,
    /// Whether to attach to their descendants, too: those that run and those that start later.
    pub children: bool,
}

/// The result of [`Targets::seize`].
#[derive(Debug, Default)]
pub(crate) struct Seized {
    /// The seized threads, by process.
    pub threads: BTreeMap<Tid, BTreeSet<Tid>>,
    /// Processes that could not be seized, each with the cause and a remedy.
    pub failed: BTreeMap<Tid, AttachError>,
}

impl Targets {
    fn options(&self) -> i32 {
        let threads = ptrace::PTRACE_O_TRACESYSGOOD
            | ptrace::PTRACE_O_TRACECLONE
            | ptrace::PTRACE_O_TRACEEXEC;
        let children = ptrace::PTRACE_O_TRACEFORK | ptrace::PTRACE_O_TRACEVFORK;
        if self.children { threads | children } else { threads }
    }

    /// Replaces each given thread by its process. Returns notes about threads that were given, and
    /// about children that are not watched.
    pub(crate) fn resolve_threads(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        let resolve = |tid: Tid| {
            let pid = procfs::process_of(tid).unwrap_or(tid);
            if pid != tid {
                notes.push(format!(
                    "{tid} is a thread of process {pid}; all threads of the process are watched"
                ));
            }
            pid
        };
        self.pids = self.pids.iter().copied().map(resolve).collect();
        notes.extend(self.unwatched_children());
        notes
    }

    /// A note about child processes that run now and are not watched.
    fn unwatched_children(&self) -> Option<String> {
        let others = match self.children {
            true => 0,
            false => procfs::with_descendants(&self.pids).difference(&self.pids).count(),
        };
        (others > 0).then(|| {
            format!(
                "not counted: connections that {} of the given {} (workers, for example)",
                plural(others as u64, "child process", "child processes"),
                if self.pids.len() == 1 { "process accepts" } else { "processes accept" }
            )
        })
    }

    /// Whether a traced process is one of the targets.
    pub(crate) fn include(&self, pid: Tid) -> bool {
        self.children || self.pids.contains(&pid)
    }

    /// Seizes every thread, and repeats that until there is no new one. Threads that a seized thread
    /// creates are traced from their start.
    ///
    /// # Errors
    /// [`Error::NothingAttached`] when none of the given processes could be seized.
    pub(crate) fn seize(&self) -> Result<Seized, Error> {
        let mut seized = Seized::default();
        for &pid in &self.pids {
            self.seize_process(pid, &mut seized);
        }
        if seized.threads.is_empty() {
            let causes = seized.failed.into_values().collect();
            return Err(Error::nothing_attached(causes));
        }
        loop {
            let ours = seized.threads.keys().copied().collect();
            let processes = if self.children { procfs::with_descendants(&ours) } else { ours };
            let mut has_new = false;
            for pid in processes {
                // tcptally may be a child of the shell that it watches.
                let is_self = pid == std::process::id() as Tid;
                if !is_self && !seized.failed.contains_key(&pid) {
                    has_new |= self.seize_process(pid, &mut seized);
                }
            }
            if !has_new {
                return Ok(seized);
            }
        }
    }

    /// Seizes the threads of a process. Returns whether one had not been seized before.
    fn seize_process(&self, pid: Tid, seized: &mut Seized) -> bool {
        let mut has_new = false;
        // A process that was seized has been checked, and its end is no error.
        if !seized.threads.contains_key(&pid)
            && let Some(reason) = attach_error::before_attach(pid)
        {
            self.fail(pid, reason, seized);
            return false;
        }
        for tid in procfs::threads(pid) {
            if seized.threads.get(&pid).is_some_and(|t| t.contains(&tid)) {
                continue;
            }
            match ptrace::seize(tid, self.options()) {
                Ok(()) => {}
                // It was created by a seized thread and is therefore traced already.
                Err(_) if procfs::is_traced_by_us(tid) => {}
                // The thread has ended, for which the kernel may return EPERM.
                Err(_) if procfs::has_ended(tid) => continue,
                Err(e) => {
                    self.fail(pid, attach_error::of_process(pid, &e), seized);
                    return has_new;
                }
            }
            seized.threads.entry(pid).or_default().insert(tid);
            has_new = true;
        }
        if !seized.threads.contains_key(&pid) {
            self.fail(pid, attach_error::gone(pid), seized);
        }
        has_new
    }

    /// Records that a process could not be seized, unless it is a descendant that has ended.
    fn fail(&self, pid: Tid, reason: AttachError, seized: &mut Seized) {
        if self.pids.contains(&pid) || !procfs::process_has_ended(pid) {
            seized.failed.insert(pid, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that has ended.
    fn ended() -> Tid {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id() as Tid
    }

    #[test]
    fn the_end_of_a_seized_process_is_no_error() {
        let pid = ended();
        let targets = Targets { pids: [pid].into(), children: true };
        let mut seized = Seized::default();
        seized.threads.insert(pid, [pid].into());
        assert!(!targets.seize_process(pid, &mut seized));
        assert!(seized.failed.is_empty(), "{:?}", seized.failed);
    }

    #[test]
    fn an_ended_process_is_an_error_only_if_it_was_given() {
        let pid = ended();
        for given in [true, false] {
            let pids = if given { [pid].into() } else { BTreeSet::new() };
            let mut seized = Seized::default();
            assert!(!Targets { pids, children: true }.seize_process(pid, &mut seized));
            assert_eq!(seized.failed.contains_key(&pid), given, "{:?}", seized.failed);
        }
    }
}
