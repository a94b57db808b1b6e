//! [`Tally`]: counts by key, as a whole and by interval; mergeable.

mod bucket;
pub mod counter;
pub mod encoded_key;
pub mod key;
pub mod order;
mod space_saving;
pub mod table;
pub mod tcp_stats;
pub mod value;

use std::collections::BTreeMap;

use crate::{Connection, RecordTime};
use encoded_key::EncodedKey;
use key::{Key, Keys};
use table::{Entry, Table};
use tcp_stats::{Columns, TcpStats};

use crate::time::interval::Interval;

/// Counts of connections by key, and by interval where that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What is counted by.
    pub keys: Keys,
    /// What of how connections fared is kept.
    pub columns: Columns,
    /// How long an interval is.
    pub interval: Option<Interval>,
    /// The counts of the whole.
    pub whole: Table,
    /// The counts of each interval, by its beginning. Those in which nothing came are not here.
    pub intervals: BTreeMap<RecordTime, Table>,
    /// The interval of the connection before, which is most often that of the next.
    current: Option<(RecordTime, RecordTime)>,
}

impl Tally {
    /// An empty tally that counts by `keys`, and for each interval if one is given. Each table
    /// keeps at most `max_keys` keys.
    pub fn new(keys: Keys, interval: Option<Interval>, max_keys: Option<usize>) -> Tally {
        Tally { keys, interval, whole: Table::new(max_keys), ..Tally::default() }
    }

    /// The same tally, still empty, which keeps how connections fared, too.
    pub fn with(self, columns: Columns) -> Tally {
        Tally { columns, whole: self.whole.with_stats(columns.any()), ..self }
    }

    /// An empty tally that counts by the same keys and intervals.
    pub fn part(&self) -> Tally {
        let (keys, interval) = (self.keys.clone(), self.interval.clone());
        Tally::new(keys, interval, self.whole.max_keys()).with(self.columns)
    }

    /// Counts one connection. Says whether it is in an interval.
    pub fn add(&mut self, c: &Connection) -> bool {
        self.add_many(c, 1, c.time)
    }

    /// Counts many alike that came from the time of `c` to the time of the `last`. Says whether
    /// they are in an interval, which is so if both times are.
    pub fn add_many(&mut self, c: &Connection, count: u64, last: Option<RecordTime>) -> bool {
        // The bytes of many together are of no class.
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
        add(self.intervals.entry(start).or_insert_with(new), code, entry, stats);
        true
    }

    /// Whether only addresses, local ports, and the first and the last time matter. In a table with
    /// a bound, the order matters too.
    pub fn alike(&self) -> bool {
        let ends = |key: &Key| !matches!(key, Key::Pid | Key::Comm);
        self.interval.is_none()
            && self.whole.max_keys().is_none()
            && self.keys.list().iter().all(ends)
    }

    /// Adds the counts of `other`, which was made by [`part`](Tally::part).
    pub fn merge(&mut self, other: Tally) {
        self.whole.merge(other.whole);
        for (start, table) in other.intervals {
            match self.intervals.entry(start) {
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(table);
                }
                std::collections::btree_map::Entry::Occupied(mut e) => e.get_mut().merge(table),
            }
        }
    }
}

fn add(table: &mut Table, code: EncodedKey, entry: Entry, stats: Option<TcpStats>) {
    match stats {
        Some(stats) => table.add_with_stats(code, entry, &stats),
        None => table.add(code, entry),
    }
}
