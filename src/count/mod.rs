//! [`Tally`]: counts connections by key, in total and by interval. Tallies can be merged.

pub(crate) mod counter;
mod encoded_key;
pub(crate) mod key;
mod networks;
pub(crate) mod order;
mod space_saving;
pub(crate) mod table;
pub(crate) mod tcp_stats;
pub(crate) mod timeline;
pub(crate) mod value;

pub use counter::{Count, Sums};
pub use key::{Key, Keys, Mask, MaskError};
pub use networks::{Networks, NetworksError};
pub use order::{Order, Selection, Sort};
pub use table::{Entry, Table};
pub use tcp_stats::{Bytes, Column, Columns, Summary, TcpStats};
pub use value::Value;

use std::collections::BTreeMap;

use crate::{Connection, RecordTime};
use encoded_key::EncodedKey;
use jiff::tz::TimeZone;
use timeline::Timeline;

use crate::time::interval::Interval;

/// Counts of connections by key, in total and by interval.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The fields that connections are counted by.
    pub keys: Keys,
    /// The statistics that are kept.
    pub columns: Columns,
    /// The intervals; `None`: only the total is counted.
    pub interval: Option<Interval>,
    /// The counts of the whole time.
    pub whole: Table,
    /// The counts of each interval, by its beginning, without empty intervals.
    pub intervals: BTreeMap<RecordTime, Table>,
    /// The interval of the previous connection, mostly that of the next one too.
    current: Option<(RecordTime, RecordTime)>,
    /// Lengthens the intervals when there are too many, unless a length was requested.
    timeline: Option<Timeline>,
}

impl Tally {
    /// Creates an empty tally that counts by `keys`, and for each interval if given. Each table
    /// keeps at most `max_keys` keys.
    pub fn new(keys: Keys, interval: Option<Interval>, max_keys: Option<usize>) -> Tally {
        Tally { keys, interval, whole: Table::new(max_keys), ..Tally::default() }
    }

    /// Keeps statistics too. The tally must be empty.
    pub fn with(self, columns: Columns) -> Tally {
        Tally { columns, whole: self.whole.with_stats(columns.any()), ..self }
    }

    /// Counts in intervals whose length suits the period, unless it has intervals. The tally must be
    /// empty.
    pub(crate) fn with_timeline(mut self, zone: TimeZone) -> Tally {
        if self.interval.is_none() {
            let timeline = Timeline::new();
            self.interval = Some(timeline.interval(zone));
            self.timeline = Some(timeline);
        }
        self
    }

    /// Whether intervals of this length were requested.
    pub(crate) fn has_intervals(&self) -> bool {
        self.interval.is_some() && self.timeline.is_none()
    }

    /// Creates an empty tally with the same keys and intervals.
    pub fn part(&self) -> Tally {
        let (keys, interval) = (self.keys.clone(), self.interval.clone());
        let timeline = self.timeline.as_ref().map(Timeline::part);
        let part = Tally::new(keys, interval, self.whole.max_keys()).with(self.columns);
        Tally { timeline, ..part }
    }

    /// Counts one connection. Returns whether it is in an interval.
    pub fn add(&mut self, c: &Connection) -> bool {
        self.add_many(c, 1, c.time)
    }

    /// Counts several connections with the same ends, from the time of `c` to `last`. Returns
    /// whether they are in one interval.
    pub(crate) fn add_many(
        &mut self,
        c: &Connection,
        count: u64,
        last: Option<RecordTime>,
    ) -> bool {
        // The bytes of several connections together are in no bucket.
        let code = match count {
            2.. if self.keys.has_stats() => {
                self.keys.code(&Connection { transport: None, ..c.clone() })
            }
            _ => self.keys.code(c),
        };
        let entry = Entry { count, first: c.time, last };
        let stats = self.columns.any().then(|| TcpStats::of(c, count));
        let Some(interval) = &self.interval else {
            add(&mut self.whole, code, entry, stats);
            return false;
        };
        add(&mut self.whole, code.clone(), entry, stats);
        let (Some(time), Some(last)) = (c.time, last) else { return false };
        let (start, end) = match self.current {
            Some((start, end)) if start <= time && time < end => (start, end),
            _ => *self.current.insert(interval.around(time)),
        };
        if last < start || end <= last {
            return false;
        }
        let (max_keys, tcp_stats) = (self.whole.max_keys(), self.columns.any());
        let new = || Table::new(max_keys).with_stats(tcp_stats);
        let table = self.intervals.entry(start).or_insert_with(new);
        let rows = table.len();
        add(table, code, entry, stats);
        if table.len() > rows
            && let Some(timeline) = &mut self.timeline
        {
            timeline.add_row();
            if timeline.is_full(&self.intervals) {
                self.coarsen(&Timeline::new());
            }
        }
        true
    }

    /// Makes the intervals of a timeline long enough for a report that goes to these times.
    pub(crate) fn cover(&mut self, times: impl IntoIterator<Item = RecordTime>) {
        if let Some(timeline) = &mut self.timeline {
            let ends =
                self.intervals.keys().next().into_iter().chain(self.intervals.keys().next_back());
            let longer = timeline.covering(times.into_iter().chain(ends.copied()));
            self.coarsen(&longer);
        }
    }

    /// Makes the intervals of a timeline longer, as far as needed or as those of `other`.
    fn coarsen(&mut self, other: &Timeline) {
        if let (Some(timeline), Some(interval)) = (&mut self.timeline, &mut self.interval) {
            timeline.coarsen(interval, &mut self.intervals, other);
            self.current = None;
        }
    }

    /// Whether only addresses, local ports, and the first and the last time matter. In a bounded
    /// table the order matters too.
    pub(crate) fn alike(&self) -> bool {
        let ends = |key: &Key| !matches!(key, Key::Pid | Key::Comm | Key::Container);
        self.interval.is_none()
            && self.whole.max_keys().is_none()
            && self.keys.list().iter().all(ends)
    }

    /// Adds the counts of `other`, which was made by [`part`](Tally::part).
    pub fn merge(&mut self, mut other: Tally) {
        self.whole.merge(std::mem::take(&mut other.whole));
        if let (Some(own), Some(others)) = (self.timeline.clone(), other.timeline.clone()) {
            other.coarsen(&own);
            self.coarsen(&others);
        }
        for (start, table) in other.intervals {
            match self.intervals.entry(start) {
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(table);
                }
                std::collections::btree_map::Entry::Occupied(mut e) => e.get_mut().merge(table),
            }
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.count_rows(&self.intervals);
            self.coarsen(&Timeline::new());
        }
    }
}

fn add(table: &mut Table, code: EncodedKey, entry: Entry, stats: Option<TcpStats>) {
    match stats {
        Some(stats) => table.add_with_stats(code, entry, &stats),
        None => table.add(code, entry),
    }
}
