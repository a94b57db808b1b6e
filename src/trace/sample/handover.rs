//! Hands threads over from the sampler to a tracer, so that each connection counts once.

use crate::sys::ptrace::Tid;
use crate::trace::tracer::CoverageLog;

use super::sampler::{Sampler, WithheldEvent};

impl Sampler {
    /// Withholds connections until [`release`](Sampler::release), while a tracer attaches to some threads.
    pub(in crate::trace) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Records that a tracer watches these threads as well, and counts their connections from then on.
    pub(in crate::trace) fn cover(&mut self, log: CoverageLog) {
        self.covered.add(log);
    }

    /// Releases the withheld connections, without those that a tracer counts.
    pub(in crate::trace) fn release(&mut self) {
        for held in self.held.take().unwrap_or_default() {
            match held {
                WithheldEvent::Accept(tid, time, connection) => self.give(tid, time, connection),
                WithheldEvent::Exit(tid, time) => self.end(tid, time),
            }
        }
    }

    /// Whether a tracer counts all connections from now on.
    pub(in crate::trace) fn is_covered(&self) -> bool {
        let mut threads = self.threads.processes().flat_map(|pid| self.threads.of_process(pid));
        let is_decided = self.covered.is_decided(self.processed_until);
        is_decided && threads.all(|tid| self.covered.has(tid))
    }

    /// Threads that wait, and that may have stopped for their last accept or not. Once all stops
    /// have been handled, [`decide`](Sampler::decide) knows.
    pub(in crate::trace) fn quiet(&self) -> Vec<Tid> {
        self.covered.quiet()
    }

    /// These threads have not stopped for their last accept unless that is known by now.
    pub(in crate::trace) fn decide(&mut self, quiet: Vec<Tid>) {
        for tid in quiet {
            let connections = self.covered.give_up(tid);
            self.ready.extend(connections);
        }
    }

    /// Called when all stops of threads are known.
    pub(in crate::trace) fn decide_all(&mut self) {
        let connections = self.covered.give_up_all();
        self.ready.extend(connections);
    }
}
