//! From when on a tracer sees the accepts of each thread, for who watches the same threads
//! otherwise.

use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;

/// What has become known since this was taken last. Times are CLOCK_MONOTONIC.
#[derive(Debug, Default)]
pub(in crate::trace) struct CoverageLog {
    /// Threads, and between which times their accepts began to be seen.
    pub covered: Vec<(Tid, (u64, u64))>,
    /// Threads that stood still at this time where an accept had returned.
    pub stops: Vec<(Tid, u64)>,
}

/// Collects a [`CoverageLog`], if somebody wants one.
#[derive(Debug, Default)]
pub(in crate::trace) struct Coverage(Option<CoverageLog>);

impl Coverage {
    /// Collects from now on.
    pub(super) fn collect(&mut self) {
        self.0.get_or_insert_default();
    }

    /// A thread stands still, and what it accepts from now on is seen.
    pub(super) fn begin(&mut self, tid: Tid) {
        if let Some(log) = &mut self.0 {
            let now = monotonic_now();
            log.covered.push((tid, (now, now)));
        }
    }

    /// What threads accept has been seen since some moment within these times.
    pub(super) fn add(&mut self, covered: impl IntoIterator<Item = (Tid, (u64, u64))>) {
        if let Some(log) = &mut self.0 {
            log.covered.extend(covered);
        }
    }

    /// A thread stands still where an accept has returned.
    pub(super) fn stop(&mut self, tid: Tid) {
        if let Some(log) = &mut self.0 {
            log.stops.push((tid, monotonic_now()));
        }
    }

    /// Takes what has been collected.
    pub(super) fn take(&mut self) -> CoverageLog {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
