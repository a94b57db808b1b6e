//! Becomes the tracer of processes that run already.

use std::collections::{BTreeMap, BTreeSet};

use crate::sys::ptrace::{self, Tid};

use super::error::Error;
use super::procfs;
use super::refusal;
use super::target;

/// Which processes are attached to.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The given processes.
    pub pids: BTreeSet<Tid>,
    /// Their descendants too, those that live and those that are yet to come.
    pub children: bool,
}

/// What came of seizing.
#[derive(Debug, Default)]
pub struct Seized {
    /// The threads, by process.
    pub threads: BTreeMap<Tid, BTreeSet<Tid>>,
    /// Processes that could not be seized, each with cause and remedy.
    pub refused: BTreeMap<Tid, String>,
}

impl Targets {
    fn options(&self) -> i32 {
        let own = ptrace::PTRACE_O_TRACESYSGOOD
            | ptrace::PTRACE_O_TRACECLONE
            | ptrace::PTRACE_O_TRACEEXEC;
        let pending_threads = ptrace::PTRACE_O_TRACEFORK | ptrace::PTRACE_O_TRACEVFORK;
        if self.children { own | pending_threads } else { own }
    }

    /// Puts the process in the place of each thread that was given instead of one. Gives a
    /// sentence for each.
    pub fn resolve_threads(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        let resolve = |tid: Tid| {
            let pid = procfs::process_of(tid).unwrap_or(tid);
            if pid != tid {
                notes.push(format!(
                    "{tid} is a thread of process {pid}, which is watched with all its threads"
                ));
            }
            pid
        };
        self.pids = self.pids.iter().copied().map(resolve).collect();
        notes
    }

    /// Whether a process belongs to what is watched, given that it is a tracee.
    pub fn include(&self, pid: Tid) -> bool {
        self.children || self.pids.contains(&pid)
    }

    /// Seizes every thread, and looks again until no new one shows up: threads that a seized one
    /// makes are tracees from birth.
    ///
    /// # Errors
    /// [`Error::NothingAttached`] when none of the given processes could be seized.
    pub fn seize(&self) -> Result<Seized, Error> {
        let mut seized = Seized::default();
        for &pid in &self.pids {
            self.seize_process(pid, &mut seized);
        }
        if seized.threads.is_empty() {
            let causes = seized.refused.into_values().collect();
            return Err(Error::NothingAttached { causes });
        }
        loop {
            let ours = seized.threads.keys().copied().collect();
            let processes = if self.children { target::with_descendants(&ours) } else { ours };
            let mut news = false;
            for pid in processes {
                // Started by what it watches: a shell, for one.
                let is_self = pid == std::process::id() as Tid;
                if !is_self && !seized.refused.contains_key(&pid) {
                    news |= self.seize_process(pid, &mut seized);
                }
            }
            if !news {
                return Ok(seized);
            }
        }
    }

    /// Whether there was a thread that had not been seized.
    fn seize_process(&self, pid: Tid, seized: &mut Seized) -> bool {
        let mut news = false;
        // One that is ours already was looked at, and its end is no refusal.
        if !seized.threads.contains_key(&pid)
            && let Some(why) = refusal::beforehand(pid)
        {
            self.refuse(pid, why, seized);
            return false;
        }
        for tid in procfs::threads(pid) {
            if seized.threads.get(&pid).is_some_and(|t| t.contains(&tid)) {
                continue;
            }
            match ptrace::seize(tid, self.options()) {
                Ok(()) => {}
                // Its creator, seized before it, has made it a tracee of ours.
                Err(_) if procfs::is_traced_by_us(tid) => {}
                // The end of a thread is no refusal, though the kernel may say EPERM to it.
                Err(_) if procfs::has_ended(tid) => continue,
                Err(e) => {
                    self.refuse(pid, refusal::of_process(pid, &e), seized);
                    return news;
                }
            }
            seized.threads.entry(pid).or_default().insert(tid);
            news = true;
        }
        if !seized.threads.contains_key(&pid) {
            self.refuse(pid, refusal::gone(pid), seized);
        }
        news
    }

    fn refuse(&self, pid: Tid, why: String, seized: &mut Seized) {
        // Nobody asked for a descendant by its number: nothing is missed where it has ended.
        if self.pids.contains(&pid) || !procfs::process_has_ended(pid) {
            seized.refused.insert(pid, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is no more.
    fn ended() -> Tid {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id() as Tid
    }

    #[test]
    fn the_end_of_one_that_is_ours_is_no_refusal() {
        let pid = ended();
        let targets = Targets { pids: [pid].into(), children: true };
        let mut seized = Seized::default();
        seized.threads.insert(pid, [pid].into());
        assert!(!targets.seize_process(pid, &mut seized));
        assert!(seized.refused.is_empty(), "{:?}", seized.refused);
    }

    #[test]
    fn only_of_a_given_process_the_end_is_a_refusal() {
        let pid = ended();
        for given in [true, false] {
            let pids = if given { [pid].into() } else { BTreeSet::new() };
            let mut seized = Seized::default();
            assert!(!Targets { pids, children: true }.seize_process(pid, &mut seized));
            assert_eq!(seized.refused.contains_key(&pid), given, "{:?}", seized.refused);
        }
    }
}
