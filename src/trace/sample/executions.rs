//! Processes that execute another program.
//!
//! If that gives a process other privileges, the kernel ends its events: begin_new_exec() in fs/exec.c
//! calls perf_event_exit_task(). It writes the same record as at the end of a thread, some
//! microseconds after that of the exec. /proc may not show the privileges any more when that is
//! read: Dovecot's processes give them up at once.

use std::sync::Arc;

use foldhash::HashMap;

use crate::sys::ptrace::Tid;

/// No program ends so soon after its exec: its memory has not been mapped yet.
const MIN_RUN_NS: u64 = 50_000;

/// The processes, and who has created them.
#[derive(Debug, Default)]
pub(super) struct Executions {
    latest: HashMap<Tid, Execution>,
    creators: HashMap<Tid, Tid>,
}

#[derive(Debug)]
struct Execution {
    /// CLOCK_MONOTONIC.
    time: u64,
    /// The name of the program.
    comm: Arc<str>,
    /// When the process had new events.
    opened_again: Option<u64>,
}

/// What a record of the end of a thread means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The thread has ended.
    End,
    /// Its events have, as it executed this program.
    EndOfEvents(Arc<str>),
    /// Its former events have, and it has new ones.
    Known,
}

impl Executions {
    /// A process was created.
    pub(super) fn created(&mut self, child: Tid, creator: Tid) {
        self.creators.insert(child, creator);
    }

    /// A process has executed a program.
    pub(super) fn executed(&mut self, pid: Tid, time: u64, comm: Arc<str>) {
        self.latest.insert(pid, Execution { time, comm, opened_again: None });
    }

    /// Who has created a process.
    pub(super) fn creator(&self, pid: Tid) -> Option<Tid> {
        self.creators.get(&pid).copied()
    }

    /// A process had new events at this time.
    pub(super) fn opened_again(&mut self, pid: Tid, time: u64) {
        if let Some(execution) = self.latest.get_mut(&pid) {
            execution.opened_again = Some(time);
        }
    }

    /// A thread has ended.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.latest.remove(&tid);
        self.creators.remove(&tid);
    }

    /// What a record of this time means. `is_running` says whether the thread runs now.
    pub(super) fn meaning(&self, tid: Tid, time: u64, is_running: impl Fn() -> bool) -> Meaning {
        let Some(execution) = self.latest.get(&tid) else { return Meaning::End };
        match execution.opened_again {
            // Each of the former events tells of it.
            Some(opened) if time < opened => Meaning::Known,
            Some(_) => Meaning::End,
            None if time.saturating_sub(execution.time) < MIN_RUN_NS || is_running() => {
                Meaning::EndOfEvents(execution.comm.clone())
            }
            None => Meaning::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TID: Tid = 7;

    #[test]
    fn an_end_at_once_after_an_exec_is_that_of_the_events() {
        let mut executions = Executions::default();
        let meaning = |executions: &Executions, time, is_running| {
            executions.meaning(TID, time, || is_running)
        };
        assert_eq!(meaning(&executions, 1_000, true), Meaning::End, "it has executed nothing");
        executions.executed(TID, 1_000, "imap-login".into());
        let of_events = Meaning::EndOfEvents("imap-login".into());
        assert_eq!(meaning(&executions, 7_000, false), of_events, "it has ended since");
        assert_eq!(meaning(&executions, 900_000, true), of_events, "the CPU was taken away");
        assert_eq!(meaning(&executions, 900_000, false), Meaning::End);
        executions.opened_again(TID, 50_000);
        assert_eq!(meaning(&executions, 7_000, true), Meaning::Known, "another event tells of it");
        assert_eq!(meaning(&executions, 60_000, true), Meaning::End);
        executions.executed(TID, 70_000, "imap-login".into());
        assert_eq!(meaning(&executions, 75_000, true), of_events, "another exec");
        executions.forget(TID);
        assert_eq!(meaning(&executions, 75_000, true), Meaning::End);
    }
}
