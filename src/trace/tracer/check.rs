//! When to compare the accepts that were seen with those that the kernel counted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::sys::ptrace::Tid;

const INTERVAL: Duration = Duration::from_secs(1);
/// The interval while there are new threads: some block all signals at their start.
const INTERVAL_NEW_THREADS: Duration = Duration::from_millis(100);
/// The most new threads that are checked at a time. A server that creates a thread per connection
/// creates more, but those are alike.
const MAX_NEW_THREADS: usize = 64;
/// When and what to compare.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// When to compare next; `None` if nothing is to be compared.
    pub next: Option<Instant>,
    /// New threads since the last comparison.
    pub new_threads: Vec<Tid>,
    processes: HashSet<Tid>,
    /// Whether a process has ended since the last comparison. If one thread ends the process, the
    /// accepts that its other threads were returning from are missing.
    pub has_process_ended: bool,
    /// Accepts of traced threads that are known to have been missed.
    pub lost: u64,
    /// Accepts of other descendants of traced threads.
    pub untraced: u64,
    /// Whether a use of io_uring has been recorded.
    pub has_seen_io_uring: bool,
    /// Whether a thread was found to block the signal when accepts were missing.
    pub has_seen_blocked: bool,
    /// How many times accepts were missing.
    pub shortfalls: u32,
}

impl Check {
    /// Sets the time of the next comparison to one interval from now.
    pub(super) fn postpone(&mut self) {
        self.next = Some(Instant::now() + INTERVAL);
    }

    /// Whether a comparison is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|t| t <= now)
    }

    /// Adds a process that uses the engine `perf`.
    pub(super) fn add_process(&mut self, pid: Tid) {
        if self.next.is_some() {
            self.processes.insert(pid);
        }
    }

    /// Notes that a thread has ended. The first thread of a process is reported last.
    pub(super) fn note_end(&mut self, tid: Tid) {
        self.has_process_ended |= self.processes.remove(&tid);
    }

    /// Adds a new thread that uses the engine `perf`.
    pub(super) fn add_thread(&mut self, tid: Tid) {
        if self.next.is_some() && self.new_threads.len() < MAX_NEW_THREADS {
            self.new_threads.push(tid);
            let soon = Instant::now() + INTERVAL_NEW_THREADS;
            self.next = self.next.map(|t| t.min(soon));
        }
    }
}
