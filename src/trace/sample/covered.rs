//! [`Covered`]: threads that a tracer watches as well, each from a certain time. The sampler counts the
//! accepts before that time, and the tracer counts those after it.
//!
//! The time is that of opening the tracer's events on the thread, which takes some microseconds (the
//! window). The tracer counts an accept within the window if the thread stopped for it. So the first
//! stop of the thread decides: the latest sample before that stop is of the same accept, and all earlier
//! ones are of accepts that the tracer does not see.

use foldhash::HashMap;

use crate::model::connection::Connection;
use crate::sys::ptrace::Tid;
use crate::trace::procfs;
use crate::trace::tracer::CoverageLog;

/// The threads that a tracer watches as well.
#[derive(Debug, Default)]
pub(super) struct Covered {
    threads: HashMap<Tid, Vec<Window>>,
    undecided: HashMap<Tid, Undecided>,
    /// The latest end of a window that is longer than a moment.
    latest: u64,
}

/// When the tracer began to see the accepts of a thread: CLOCK_MONOTONIC.
#[derive(Debug)]
struct Window {
    begin: u64,
    end: u64,
    /// The first stop for an accept after that.
    first_stop: Option<u64>,
}

/// Accepts of a thread within its window.
#[derive(Debug, Default)]
struct Undecided {
    /// `None`: not an internet socket.
    accepts: Vec<(u64, Option<Connection>)>,
    /// The first accept after the window.
    later: Option<u64>,
}

/// Which engine counts an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountedBy {
    /// The sampler counts it.
    Sampler,
    /// The tracer counts it.
    Tracer,
    /// Not known yet.
    Undecided,
}

impl Covered {
    /// Whether a tracer watches a thread.
    pub(super) fn has(&self, tid: Tid) -> bool {
        self.threads.contains_key(&tid)
    }

    /// Whether it is known for all accepts which engine counts them, if all samples up to this time have
    /// been seen.
    pub(super) fn is_decided(&self, seen_until: u64) -> bool {
        self.undecided.is_empty() && self.latest < seen_until
    }

    /// Whether any accept is undecided.
    pub(super) fn has_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// Adds threads that a tracer has started to watch, and the times at which threads stopped for an accept.
    pub(super) fn add(&mut self, log: CoverageLog) {
        for (tid, (begin, end)) in log.covered {
            let windows = self.threads.entry(tid).or_default();
            windows.push(Window { begin, end, first_stop: None });
            if begin < end {
                self.latest = self.latest.max(end);
            }
        }
        for (tid, time) in log.stops {
            let windows = self.threads.get_mut(&tid).into_iter().flatten();
            for window in windows.filter(|window| window.begin <= time) {
                window.first_stop.get_or_insert(time);
            }
        }
    }

    /// Returns which engine counts an accept of a thread whose sample has this time.
    pub(super) fn counted_by(&mut self, tid: Tid, time: u64) -> CountedBy {
        let Some(window) = self.threads.get(&tid).and_then(|windows| windows.first()) else {
            return CountedBy::Sampler;
        };
        if time < window.begin {
            return CountedBy::Sampler;
        }
        if time <= window.end {
            return CountedBy::Undecided;
        }
        if let Some(undecided) = self.undecided.get_mut(&tid) {
            undecided.later.get_or_insert(time);
        }
        CountedBy::Tracer
    }

    /// Keeps an undecided accept.
    pub(super) fn keep(&mut self, tid: Tid, time: u64, connection: Option<Connection>) {
        self.undecided.entry(tid).or_default().accepts.push((time, connection));
    }

    /// Returns the undecided accepts that the sampler must count, if all samples up to `horizon` have been
    /// seen.
    pub(super) fn decide(&mut self, horizon: u64) -> Vec<Connection> {
        let mut counted = Vec::new();
        self.undecided.retain(|tid, undecided| {
            let window = self.threads.get(tid).and_then(|windows| windows.first());
            let Some(stop) = window.and_then(|w| w.first_stop).filter(|stop| *stop <= horizon)
            else {
                return true;
            };
            counted.extend(undecided.before(stop));
            false
        });
        counted
    }

    /// Returns the waiting threads with undecided accepts. Once all stops up to now are known, those without a
    /// stop did not stop for their last accept.
    pub(super) fn quiet(&self) -> Vec<Tid> {
        let is_quiet =
            |tid: &Tid| !matches!(procfs::state_and_user_time(*tid), Some(('R' | 'D' | 't', _)));
        self.undecided.keys().copied().filter(is_quiet).collect()
    }

    /// Returns the accepts of a thread that did not stop for them.
    pub(super) fn give_up(&mut self, tid: Tid) -> Vec<Connection> {
        let window = self.threads.get(&tid).and_then(|windows| windows.first());
        if window.is_some_and(|window| window.first_stop.is_some()) {
            return Vec::new();
        }
        self.undecided.remove(&tid).unwrap_or_default().all()
    }

    /// Returns those of all threads.
    pub(super) fn give_up_all(&mut self) -> Vec<Connection> {
        let tids: Vec<Tid> = self.undecided.keys().copied().collect();
        tids.into_iter().flat_map(|tid| self.give_up(tid)).collect()
    }

    /// Removes a thread that ended at this time. Returns the undecided accepts that the sampler must count.
    pub(super) fn forget(&mut self, tid: Tid, time: u64) -> Vec<Connection> {
        let Some(windows) = self.threads.get_mut(&tid) else { return Vec::new() };
        let first_stop = windows.first().and_then(|window| window.first_stop);
        windows.retain(|window| window.begin > time);
        if windows.is_empty() {
            self.threads.remove(&tid);
        }
        let undecided = self.undecided.remove(&tid);
        undecided.map_or_else(Vec::new, |mut undecided| match first_stop {
            Some(stop) => undecided.before(stop),
            // The thread was killed before it stopped.
            None => undecided.all(),
        })
    }
}

impl Undecided {
    fn all(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.accepts).into_iter().filter_map(|(_, c)| c).collect()
    }

    /// Removes and returns the accepts for which the thread did not stop, if its first stop was at this time.
    fn before(&mut self, stop: u64) -> Vec<Connection> {
        let times = self.accepts.iter().map(|(time, _)| *time).chain(self.later);
        let latest = times.filter(|time| *time < stop).max();
        let accepts = std::mem::take(&mut self.accepts).into_iter();
        let before = accepts.filter(|(time, _)| latest.is_some_and(|latest| *time < latest));
        before.filter_map(|(_, connection)| connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TID: Tid = 7;

    fn covered(stops: &[u64]) -> Covered {
        let mut covered = Covered::default();
        let stops = stops.iter().map(|time| (TID, *time)).collect();
        covered.add(CoverageLog { covered: vec![(TID, (100, 110))], stops });
        covered
    }

    fn sampled(covered: &mut Covered, time: u64) -> CountedBy {
        let counted_by = covered.counted_by(TID, time);
        if counted_by == CountedBy::Undecided {
            covered.keep(
                TID,
                time,
                Some(Connection { port: Some(time as u16), ..Default::default() }),
            );
        }
        counted_by
    }

    fn counted(connections: Vec<Connection>) -> Vec<u16> {
        connections.into_iter().filter_map(|c| c.port).collect()
    }

    #[test]
    fn accepts_before_and_after_the_window_are_the_samplers_and_the_tracers() {
        let mut covered = covered(&[]);
        assert_eq!(sampled(&mut covered, 99), CountedBy::Sampler);
        assert_eq!(sampled(&mut covered, 111), CountedBy::Tracer);
        assert_eq!(covered.counted_by(TID + 1, 111), CountedBy::Sampler);
    }

    #[test]
    fn the_first_stop_decides_which_engine_counts_an_accept_within_the_window() {
        // The tracer has seen it.
        let mut seen = covered(&[108]);
        sampled(&mut seen, 105);
        sampled(&mut seen, 120);
        assert!(counted(seen.decide(107)).is_empty() && seen.has_undecided());
        assert!(counted(seen.decide(200)).is_empty() && !seen.has_undecided());
        // It has seen the next one only.
        let mut unseen = covered(&[121]);
        sampled(&mut unseen, 105);
        sampled(&mut unseen, 120);
        assert_eq!(counted(unseen.decide(200)), [105]);
        // It has seen the second one within the window.
        let mut second = covered(&[109]);
        sampled(&mut second, 103);
        sampled(&mut second, 107);
        assert_eq!(counted(second.decide(200)), [103]);
    }

    #[test]
    fn an_accept_for_which_the_thread_did_not_stop_is_the_samplers() {
        let mut covered = covered(&[]);
        sampled(&mut covered, 105);
        assert_eq!(counted(covered.give_up_all()), [105]);
    }

    #[test]
    fn another_thread_with_the_same_id_is_not_covered() {
        let mut covered = covered(&[]);
        covered.add(CoverageLog { covered: vec![(TID, (300, 310))], stops: Vec::new() });
        covered.forget(TID, 200);
        assert_eq!(covered.counted_by(TID, 250), CountedBy::Sampler);
        assert_eq!(covered.counted_by(TID, 311), CountedBy::Tracer);
        covered.forget(TID, 400);
        assert!(!covered.has(TID));
    }
}
