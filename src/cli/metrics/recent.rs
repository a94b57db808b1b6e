//! [`RecentCounts`]: the connections of the last minute, or another window, by key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Connection;
use crate::count::Tally;

/// Number of parts that the window is divided into. A part expires as a whole, so the counts cover the
/// window and at most one part more.
const PARTS: u32 = 60;

/// Counts of a moving window.
pub(super) struct RecentCounts {
    window: Duration,
    /// Complete parts with the time of their end, the oldest first. They are shared with scrapes,
    /// which add them up outside of the lock.
    parts: VecDeque<(Instant, Arc<Tally>)>,
    current: Tally,
    /// When the current part ends.
    until: Instant,
}

impl RecentCounts {
    /// Creates an empty window with the keys of `tally`.
    pub(super) fn new(tally: &Tally, window: Duration, now: Instant) -> RecentCounts {
        let current = tally.part();
        RecentCounts { window, parts: VecDeque::new(), current, until: now + window / PARTS }
    }

    /// The length of the window.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Counts one connection that came now.
    pub(super) fn add(&mut self, c: &Connection, now: Instant) {
        self.advance(now);
        self.current.add(c);
    }

    /// The counts of all parts that are not too old.
    pub(super) fn parts(&mut self, now: Instant) -> Vec<Arc<Tally>> {
        self.advance(now);
        let complete = self.parts.iter().map(|(_, part)| part.clone());
        complete.chain([Arc::new(self.current.clone())]).collect()
    }

    fn advance(&mut self, now: Instant) {
        if self.until <= now {
            let empty = self.current.part();
            let part = std::mem::replace(&mut self.current, empty);
            if part.whole.total() > 0 {
                self.parts.push_back((self.until, Arc::new(part)));
            }
            self.until = now + self.window / PARTS;
        }
        while self.parts.front().is_some_and(|(end, _)| *end + self.window <= now) {
            self.parts.pop_front();
        }
    }
}

/// The sum of several parts.
pub(super) fn sum(empty: Tally, parts: &[Arc<Tally>]) -> Tally {
    parts.iter().fold(empty, |mut sum, part| {
        sum.merge((**part).clone());
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_window_when_they_are_older_than_it() {
        let start = Instant::now();
        let window = Duration::from_secs(60);
        let mut recent = RecentCounts::new(&Tally::default(), window, start);
        let total = |recent: &mut RecentCounts, after: u64| {
            let parts = recent.parts(start + Duration::from_secs(after));
            sum(Tally::default(), &parts).whole.total()
        };
        for second in 0..90 {
            recent.add(&Connection::default(), start + Duration::from_secs(second));
        }
        assert!((60..=62).contains(&total(&mut recent, 90)), "{}", total(&mut recent, 90));
        assert!((28..=32).contains(&total(&mut recent, 120)), "{}", total(&mut recent, 120));
        assert_eq!(total(&mut recent, 152), 0);
        assert!(recent.parts.is_empty());
    }
}
