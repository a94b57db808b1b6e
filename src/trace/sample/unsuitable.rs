//! [`UnsuitablePrograms`]: programs whose samples lack an address, so that another engine must watch them.
//!
//! A server that creates a process for nearly each connection stays with the sampler. Sockets are queried in
//! the new processes. A tracer would stop each of them, and many such servers (PostgreSQL) block signals.

use foldhash::HashMap;

use crate::sys::ptrace::Tid;

use super::evidence::Program;

pub(super) const NO_ADDRESS: &str = "it does not request the address from accept";
pub(super) const OFF_STACK: &str = "its buffer for addresses is not on the stack";
pub(super) const TOO_SHORT_BUFFER: &str = "its buffer for addresses is too short";
pub(super) const OTHER_PRIVILEGES: &str =
    "it executes programs with other privileges, and then the kernel closes its events";

/// Causes in the program, which will be the same in later runs; each with a short name for the cache.
pub(in crate::trace) const LASTING_CAUSES: [(&str, &str); 4] = [
    ("null", NO_ADDRESS),
    ("elsewhere", OFF_STACK),
    ("short", TOO_SHORT_BUFFER),
    ("privileges", OTHER_PRIVILEGES),
];

/// Minimum number of connections with a new process for each one without.
const MIN_FORKS_PER_OTHER: u64 = 4;

/// Unsuitable programs with the cause, and processes that may turn out to be unsuitable.
#[derive(Debug, Default)]
pub(super) struct UnsuitablePrograms {
    programs: HashMap<Program, &'static str>,
    suspects: HashMap<Tid, Suspect>,
}

/// A process with accepts whose samples lacked an address.
#[derive(Debug, Default)]
struct Suspect {
    /// Number of accepts that were followed by a new process before the next accept.
    forked: u64,
    /// Number of accepts that were not.
    others: u64,
    /// Whether the latest accept has not been followed by a new process yet.
    is_open: bool,
}

impl UnsuitablePrograms {
    /// Whether a program is unsuitable.
    pub(super) fn has(&self, program: Program) -> bool {
        self.programs.contains_key(&program)
    }

    /// Why a program is unsuitable, if it is.
    pub(super) fn why(&self, program: Program) -> Option<&'static str> {
        self.programs.get(&program).copied()
    }

    /// Whether no program is unsuitable.
    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Adds a program, whatever its processes do.
    pub(super) fn note(&mut self, program: Program, why: &'static str) {
        self.programs.entry(program).or_insert(why);
    }

    /// Records an accept of a process whose sample lacks an address. Whether the process creates another one
    /// for each connection is known at the next accept.
    pub(super) fn suspect(&mut self, pid: Tid, program: Program, why: &'static str) {
        let suspect = self.suspects.entry(pid).or_default();
        suspect.others += u64::from(std::mem::replace(&mut suspect.is_open, true));
        if suspect.others * MIN_FORKS_PER_OTHER > suspect.forked {
            self.suspects.remove(&pid);
            self.note(program, why);
        }
    }

    /// Records that a process has created another one.
    pub(super) fn forked(&mut self, parent: Tid) {
        if let Some(suspect) = self.suspects.get_mut(&parent) {
            suspect.forked += u64::from(std::mem::take(&mut suspect.is_open));
        }
    }

    /// Removes a process that has ended.
    pub(super) fn forget(&mut self, pid: Tid) {
        self.suspects.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = (1, 2);
    const PID: Tid = 7;

    #[test]
    fn the_second_accept_without_a_new_process_decides() {
        let mut unsuitable = UnsuitablePrograms::default();
        unsuitable.suspect(PID, PROGRAM, "why");
        assert!(unsuitable.is_empty(), "a process may be created yet");
        unsuitable.suspect(PID, PROGRAM, "why");
        assert_eq!(unsuitable.why(PROGRAM), Some("why"));
    }

    #[test]
    fn a_process_for_nearly_each_connection_stays() {
        let mut unsuitable = UnsuitablePrograms::default();
        for n in 0..20 {
            unsuitable.suspect(PID, PROGRAM, "why");
            // One fork fails. Several events report each fork.
            let reports = if n == 10 { 0 } else { 2 };
            (0..reports).for_each(|_| unsuitable.forked(PID));
        }
        assert!(unsuitable.is_empty());
        (0..5).for_each(|_| unsuitable.suspect(PID, PROGRAM, "why"));
        assert!(unsuitable.has(PROGRAM), "it has stopped doing so");
    }

    #[test]
    fn a_certain_cause_needs_no_second_accept() {
        let mut unsuitable = UnsuitablePrograms::default();
        unsuitable.note(PROGRAM, "first");
        unsuitable.note(PROGRAM, "second");
        assert_eq!(unsuitable.why(PROGRAM), Some("first"));
    }
}
