//! [`Coverage`]: records from which time on a tracer sees the accepts of each thread, for a sampler that
//! watches the same threads.

use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;

/// Coverage since the last call of [`Coverage::take`]. Times are CLOCK_MONOTONIC.
#[derive(Debug, Default)]
pub(in crate::trace) struct CoverageLog {
    /// Threads, with the span within which their accepts began to be seen.
    pub covered: Vec<(Tid, (u64, u64))>,
    /// Threads that were stopped at the exit from an accept, with the time.
    pub stops: Vec<(Tid, u64)>,
}

/// Collects a [`CoverageLog`], if one is requested.
#[derive(Debug, Default)]
pub(in crate::trace) struct Coverage(Option<CoverageLog>);

impl Coverage {
    /// Starts to collect.
    pub(super) fn collect(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Records a stopped thread whose accepts are seen from now on.
    pub(super) fn begin(&mut self, tid: Tid) {
        if let Some(log) = &mut self.0 {
            let now = monotonic_now();
            log.covered.push((tid, (now, now)));
        }
    }

    /// Records threads whose accepts have been seen since some moment within a span.
    pub(super) fn add(&mut self, covered: impl IntoIterator<Item = (Tid, (u64, u64))>) {
        if let Some(log) = &mut self.0 {
            log.covered.extend(covered);
        }
    }

    /// Records a thread that is stopped at the exit from an accept.
    pub(super) fn stop(&mut self, tid: Tid) {
        if let Some(log) = &mut self.0 {
            log.stops.push((tid, monotonic_now()));
        }
    }

    /// Removes and returns the collected log.
    pub(super) fn take(&mut self) -> CoverageLog {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
