//! Which programs' samples do not tell all, so that another engine is to watch them.
//!
//! A server that creates a process for nearly each connection is left to its samples: sockets are asked in
//! the new processes, while a tracer would stop each of them, and would find signals blocked in many
//! such servers (PostgreSQL).

use foldhash::HashMap;

use crate::sys::ptrace::Tid;

use super::evidence::Program;

pub(super) const NO_ADDRESS: &str = "it asks accept for no address";
pub(super) const OFF_STACK: &str = "its buffer for addresses is not on the stack";
pub(super) const TOO_SHORT_BUFFER: &str = "its buffer for addresses is too short";
pub(super) const OTHER_PRIVILEGES: &str =
    "it executes programs with other privileges, at which the kernel ends its events";

/// Causes that lie in the program, so that they will be the same in later runs; each with a short name.
pub(in crate::trace) const LASTING_CAUSES: [(&str, &str); 4] = [
    ("null", NO_ADDRESS),
    ("elsewhere", OFF_STACK),
    ("short", TOO_SHORT_BUFFER),
    ("privileges", OTHER_PRIVILEGES),
];

/// One in this many connections may come without a new process.
const MIN_FORKS_PER_OTHER: u64 = 4;

/// The programs, and what is known of processes that may turn out to be like them.
#[derive(Debug, Default)]
pub(super) struct Insufficient {
    programs: HashMap<Program, &'static str>,
    suspects: HashMap<Tid, Suspect>,
}

/// A process with accepts whose samples did not tell all.
#[derive(Debug, Default)]
struct Suspect {
    /// Accepts that were followed by a new process before the next one.
    forked: u64,
    /// Those that were not.
    others: u64,
    /// Whether the latest has not been followed by a new process yet.
    is_open: bool,
}

impl Insufficient {
    /// Whether it is known of a program.
    pub(super) fn has(&self, program: Program) -> bool {
        self.programs.contains_key(&program)
    }

    /// Why, if it is known of a program.
    pub(super) fn why(&self, program: Program) -> Option<&'static str> {
        self.programs.get(&program).copied()
    }

    /// Whether it is known of no program.
    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// It is known of a program, whatever its processes do.
    pub(super) fn note(&mut self, program: Program, why: &'static str) {
        self.programs.entry(program).or_insert(why);
    }

    /// The sample of an accept of a process does not tell all. Whether it creates a process for each
    /// connection shows at the next one.
    pub(super) fn suspect(&mut self, pid: Tid, program: Program, why: &'static str) {
        let suspect = self.suspects.entry(pid).or_default();
        suspect.others += u64::from(std::mem::replace(&mut suspect.is_open, true));
        if suspect.others * MIN_FORKS_PER_OTHER > suspect.forked {
            self.suspects.remove(&pid);
            self.note(program, why);
        }
    }

    /// A process has created another one.
    pub(super) fn forked(&mut self, parent: Tid) {
        if let Some(suspect) = self.suspects.get_mut(&parent) {
            suspect.forked += u64::from(std::mem::take(&mut suspect.is_open));
        }
    }

    /// A process has ended.
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
        let mut insufficient = Insufficient::default();
        insufficient.suspect(PID, PROGRAM, "why");
        assert!(insufficient.is_empty(), "a process may be created yet");
        insufficient.suspect(PID, PROGRAM, "why");
        assert_eq!(insufficient.why(PROGRAM), Some("why"));
    }

    #[test]
    fn a_process_for_nearly_each_connection_stays() {
        let mut insufficient = Insufficient::default();
        for n in 0..20 {
            insufficient.suspect(PID, PROGRAM, "why");
            // Once it fails. Several events tell of each.
            let told = if n == 10 { 0 } else { 2 };
            (0..told).for_each(|_| insufficient.forked(PID));
        }
        assert!(insufficient.is_empty());
        (0..5).for_each(|_| insufficient.suspect(PID, PROGRAM, "why"));
        assert!(insufficient.has(PROGRAM), "it has stopped doing so");
    }

    #[test]
    fn what_is_certain_needs_no_second_accept() {
        let mut insufficient = Insufficient::default();
        insufficient.note(PROGRAM, "first");
        insufficient.note(PROGRAM, "second");
        assert_eq!(insufficient.why(PROGRAM), Some("first"));
    }
}
