//! [`Timeline`]: chooses the length of intervals automatically, so that a report without `--interval` can show
//! connections over time. The length grows with the period.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::Table;
use crate::RecordTime;
use crate::time::interval::{Interval, IntervalLength};

/// Maximum number of intervals.
const MAX_INTERVALS: usize = 240;

/// Maximum number of rows of all intervals together.
const MAX_ROWS: usize = 1 << 20;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// The lengths. Each is a multiple of the one before, so intervals merge without a remainder.
pub(crate) const LENGTHS: [IntervalLength; 19] = [
    IntervalLength::Time(SECOND / 1000),
    IntervalLength::Time(SECOND / 100),
    IntervalLength::Time(SECOND / 10),
    IntervalLength::Time(SECOND),
    IntervalLength::Time(5 * SECOND),
    IntervalLength::Time(10 * SECOND),
    IntervalLength::Time(30 * SECOND),
    IntervalLength::Time(60 * SECOND),
    IntervalLength::Time(300 * SECOND),
    IntervalLength::Time(600 * SECOND),
    IntervalLength::Time(1800 * SECOND),
    IntervalLength::Time(3600 * SECOND),
    IntervalLength::Time(3 * 3600 * SECOND),
    IntervalLength::Time(6 * 3600 * SECOND),
    IntervalLength::Time(12 * 3600 * SECOND),
    IntervalLength::Days(1),
    IntervalLength::Days(7),
    IntervalLength::Days(28),
    IntervalLength::Days(364),
];

/// The length of the intervals, which grows when there are too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// The position in [`LENGTHS`].
    step: usize,
    /// Number of rows of all intervals.
    rows: usize,
}

impl Timeline {
    /// Creates the shortest intervals.
    pub(crate) fn new() -> Timeline {
        Timeline { step: 0, rows: 0 }
    }

    /// Returns an empty timeline with the same length, for a part of the input.
    pub(super) fn part(&self) -> Timeline {
        Timeline { step: self.step, rows: 0 }
    }

    /// The intervals now.
    pub(crate) fn interval(&self, zone: TimeZone) -> Interval {
        Interval { length: LENGTHS[self.step], zone }
    }

    /// Takes note of a new row.
    pub(super) fn add_row(&mut self) {
        self.rows += 1;
    }

    /// Counts the rows again, after a merge.
    pub(super) fn count_rows(&mut self, intervals: &BTreeMap<RecordTime, Table>) {
        self.rows = intervals.values().map(Table::len).sum();
    }

    /// Whether there is too much for intervals of this length.
    pub(super) fn is_full(&self, intervals: &BTreeMap<RecordTime, Table>) -> bool {
        let ends = intervals.keys().next().zip(intervals.keys().next_back());
        let too_many = intervals.len() > MAX_INTERVALS
            || ends.is_some_and(|(first, last)| self.is_too_short(*first, *last));
        (too_many || self.rows > MAX_ROWS) && self.step + 1 < LENGTHS.len()
    }

    /// Whether there would be too many intervals between two times.
    fn is_too_short(&self, first: RecordTime, last: RecordTime) -> bool {
        let ns = match (first, last) {
            (RecordTime::Clock(a), RecordTime::Clock(b))
            | (RecordTime::Elapsed(a), RecordTime::Elapsed(b)) => i128::from(b) - i128::from(a),
            _ => 0,
        };
        let length = match LENGTHS[self.step] {
            IntervalLength::Time(ns) => i128::from(ns),
            IntervalLength::Days(days) => i128::from(days) * 86_400 * i128::from(SECOND),
        };
        ns >= length * MAX_INTERVALS as i128
    }

    /// The same, or longer intervals, for a period from the first to the last of `times`.
    pub(super) fn covering(&self, times: impl Iterator<Item = RecordTime>) -> Timeline {
        let mut longer = self.clone();
        let (mut first, mut last) = (None, None);
        for time in times {
            first = Some(first.map_or(time, |t: RecordTime| t.min(time)));
            last = last.max(Some(time));
        }
        if let (Some(first), Some(last)) = (first, last) {
            while longer.is_too_short(first, last) && longer.step + 1 < LENGTHS.len() {
                longer.step += 1;
            }
        }
        longer
    }

    /// Merges intervals until few enough are left, and they are at least as long as those of `other`.
    pub(super) fn coarsen(
        &mut self,
        interval: &mut Interval,
        intervals: &mut BTreeMap<RecordTime, Table>,
        other: &Timeline,
    ) {
        while self.step < other.step || self.is_full(intervals) {
            self.step += 1;
            *interval = self.interval(interval.zone.clone());
            let mut merged = BTreeMap::<RecordTime, Table>::new();
            for (start, table) in std::mem::take(intervals) {
                match merged.entry(interval.around(start).0) {
                    std::collections::btree_map::Entry::Vacant(e) => drop(e.insert(table)),
                    std::collections::btree_map::Entry::Occupied(mut e) => e.get_mut().merge(table),
                }
            }
            *intervals = merged;
            self.count_rows(intervals);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use crate::count::{Keys, Tally};
    use crate::{Connection, RecordTime};

    use super::*;

    fn tally() -> Tally {
        Tally::new(Keys::default(), None, None).with_timeline(TimeZone::UTC)
    }

    fn add(tally: &mut Tally, seconds: f64, last: u8) {
        let start = RecordTime::Clock(1_795_347_000 * SECOND);
        tally.add(&Connection {
            time: Some(start.shifted(SignedDuration::from_secs_f64(seconds))),
            ip: Some([192, 0, 2, last].into()),
            ..Connection::default()
        });
    }

    fn sum(tally: &Tally) -> u64 {
        tally.intervals.values().map(Table::total).sum()
    }

    #[test]
    fn intervals_grow_with_the_period_and_lose_nothing() {
        for (seconds, length) in
            [(0.2, LENGTHS[0]), (20.0, LENGTHS[2]), (3600.0, LENGTHS[6]), (1e7, LENGTHS[14])]
        {
            let mut tally = tally();
            for i in 0..2000u32 {
                add(&mut tally, seconds * f64::from(i) / 2000.0, (i % 7) as u8);
            }
            assert_eq!(tally.interval.as_ref().unwrap().length, length, "{seconds}");
            assert!(tally.intervals.len() <= MAX_INTERVALS, "{}", tally.intervals.len());
            assert_eq!(sum(&tally), 2000);
        }
    }

    #[test]
    fn a_part_with_other_intervals_is_merged() {
        let whole = tally();
        let (mut short, mut long) = (whole.part(), whole.part());
        for i in 0..100u32 {
            add(&mut short, f64::from(i) / 1000.0, 1);
            add(&mut long, f64::from(i) * 100.0, 2);
        }
        for order in [[&short, &long], [&long, &short]] {
            let mut whole = whole.clone();
            order.into_iter().for_each(|part| whole.merge(part.clone()));
            let interval = whole.interval.clone().unwrap();
            assert!(whole.intervals.keys().all(|start| interval.around(*start).0 == *start));
            assert_eq!(sum(&whole), 200);
            assert_eq!(whole.intervals.values().next().unwrap().total(), 101);
        }
    }

    #[test]
    fn many_addresses_make_longer_intervals() {
        let mut timeline = Timeline { step: 3, rows: MAX_ROWS + 1 };
        let mut interval = timeline.interval(TimeZone::UTC);
        timeline.coarsen(&mut interval, &mut BTreeMap::new(), &Timeline::new());
        assert_eq!((timeline.step, interval.length), (4, LENGTHS[4]));
    }
}
