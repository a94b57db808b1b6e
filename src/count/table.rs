//! [`Table`]: one count per key, optionally in bounded memory.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::encoded_key::EncodedKey;
use super::space_saving::SpaceSaving;
use super::tcp_stats::TcpStats;
use crate::RecordTime;

/// The count and the times of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// Number of connections.
    pub count: u64,
    /// Time of the first connection, if known.
    pub first: Option<RecordTime>,
    /// Time of the last connection, if known.
    pub last: Option<RecordTime>,
}

impl Entry {
    /// Adds what `other` counted.
    pub(crate) fn add(&mut self, other: Entry) {
        self.count = self.count.saturating_add(other.count);
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last = self.last.max(other.last);
    }
}

/// One count per key.
///
/// Rows are in a vector, and a hash table has their indices. So growing copies only indices, and a
/// report sorts indices. The hash has a random key, because clients choose their addresses.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(EncodedKey, Entry)>,
    index: HashTable<usize>,
    hasher: RandomState,
    total: u64,
    bounded: Option<SpaceSaving>,
    /// The times of evicted keys.
    evicted: Entry,
    tcp_stats: Option<TcpStatsTable>,
}

/// Statistics of the rows, kept apart because they are rarely needed.
#[derive(Clone, Debug, Default)]
struct TcpStatsTable {
    /// Statistics by row; rows beyond its end have none.
    rows: Vec<TcpStats>,
    /// Statistics of evicted keys.
    evicted: TcpStats,
}

impl TcpStatsTable {
    fn add(&mut self, row: usize, stats: &TcpStats) {
        if self.rows.len() <= row {
            self.rows.resize(row + 1, TcpStats::default());
        }
        if let Some(sum) = self.rows.get_mut(row) {
            sum.add(stats);
        }
    }

    /// Moves the statistics of a row to those of evicted keys.
    fn drop(&mut self, row: usize) {
        if let Some(stats) = self.rows.get_mut(row) {
            self.evicted.add(&std::mem::take(stats));
        }
    }
}

impl Table {
    /// Creates an empty table that keeps at most `max_keys` keys.
    pub(crate) fn new(max_keys: Option<usize>) -> Table {
        Table { bounded: max_keys.map(SpaceSaving::new), ..Table::default() }
    }

    /// Keeps statistics too, if `requested`.
    pub(crate) fn with_stats(self, requested: bool) -> Table {
        Table { tcp_stats: requested.then(TcpStatsTable::default), ..self }
    }

    /// Statistics of the connections in a row's count.
    pub fn stats(&self, index: usize) -> &TcpStats {
        static NONE: LazyLock<TcpStats> = LazyLock::new(TcpStats::default);
        let tcp_stats = self.tcp_stats.as_ref();
        tcp_stats.and_then(|tcp_stats| tcp_stats.rows.get(index)).unwrap_or_else(|| &NONE)
    }

    /// Statistics of evicted keys.
    pub fn evicted_stats(&self) -> TcpStats {
        self.tcp_stats.as_ref().map(|tcp_stats| tcp_stats.evicted).unwrap_or_default()
    }

    /// Statistics of all connections.
    pub fn all_stats(&self) -> TcpStats {
        let mut all = self.evicted_stats();
        self.tcp_stats
            .iter()
            .flat_map(|tcp_stats| &tcp_stats.rows)
            .for_each(|stats| all.add(stats));
        all
    }

    /// Maximum number of keys.
    pub fn max_keys(&self) -> Option<usize> {
        self.bounded.as_ref().map(SpaceSaving::max)
    }

    /// Number of rows: all distinct keys, unless there is an [`error`](Table::error).
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The sum of all counts, evicted keys included.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The key and the entry of a row. Without an [`error`](Table::error), rows are in the order in
    /// which keys came.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> (&[u8], Entry) {
        let entry = self.entry(index);
        let kept = self.bounded.as_ref().map_or(0, |b| b.error(index)) == 0;
        // The key may have been evicted after its first connection.
        let first = entry.first.filter(|_| kept);
        (self.rows[index].0.bytes(), Entry { first, ..entry })
    }

    /// The count and the times of the connections in a row's count.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn entry(&self, index: usize) -> Entry {
        let entry = self.rows[index].1;
        let error = self.bounded.as_ref().map_or(0, |b| b.error(index));
        Entry { count: entry.count - error, ..entry }
    }

    /// Brings rows into the cache, all at the same time: in the order of a report they lie anywhere.
    pub(crate) fn touch(&self, rows: &[usize]) {
        let touch = |sum: u64, row: &usize| {
            self.rows.get(*row).map_or(sum, |(code, entry)| {
                sum ^ entry.count ^ code.bytes().first().copied().map_or(0, u64::from)
            })
        };
        std::hint::black_box(rows.iter().fold(0, touch));
    }

    /// The first and the last time of evicted keys.
    pub fn evicted(&self) -> Entry {
        self.evicted
    }

    /// The error bound: a count may be too low by this, and a key that is not kept had at most this.
    /// `None`: all counts are exact.
    pub fn error(&self) -> Option<u64> {
        self.bounded.as_ref().map(SpaceSaving::floor).filter(|floor| *floor > 0)
    }

    /// The sum of all rows.
    pub fn all(&self) -> Entry {
        let mut all = self.evicted;
        self.rows.iter().for_each(|(_, entry)| all.add(*entry));
        Entry { count: self.total, ..all }
    }

    /// Adds to the count of a key.
    pub(crate) fn add(&mut self, code: EncodedKey, entry: Entry) {
        self.total = self.total.saturating_add(entry.count);
        self.put(code, entry, 0);
    }

    /// Adds to the count and the statistics of a key.
    pub(crate) fn add_with_stats(&mut self, code: EncodedKey, entry: Entry, stats: &TcpStats) {
        self.total = self.total.saturating_add(entry.count);
        let row = self.put(code, entry, 0);
        if let Some(tcp_stats) = &mut self.tcp_stats {
            tcp_stats.add(row, stats);
        }
    }

    /// Adds all counts of `other`.
    pub(crate) fn merge(&mut self, mut other: Table) {
        if self.rows.len() < other.rows.len() {
            std::mem::swap(self, &mut other);
        }
        self.total = self.total.saturating_add(other.total);
        self.evicted.add(other.evicted);
        let floors =
            [&self.bounded, &other.bounded].map(|b| b.as_ref().map_or(0, SpaceSaving::floor));
        if let Some(bounded) = &mut self.bounded {
            bounded.open();
        }
        let kept = self.rows.len();
        let mut known = vec![false; if floors[1] > 0 { kept } else { 0 }];
        for (i, (code, entry)) in other.rows.into_iter().enumerate() {
            let error = other.bounded.as_ref().map_or(0, |b| b.error(i));
            let row = self.put(code, entry, error);
            if let Some(known) = known.get_mut(row) {
                *known = true;
            }
            if let (Some(tcp_stats), Some(others)) = (&mut self.tcp_stats, &other.tcp_stats) {
                tcp_stats.add(row, others.rows.get(i).unwrap_or(&TcpStats::default()));
            }
        }
        if let (Some(tcp_stats), Some(others)) = (&mut self.tcp_stats, &other.tcp_stats) {
            tcp_stats.evicted.add(&others.evicted);
        }
        // A key that only one table has may have been evicted by the other.
        if let Some(bounded) = &mut self.bounded {
            for (row, known) in known.iter().enumerate() {
                if !known {
                    self.rows[row].1.count += floors[1];
                    bounded.add_error(row, floors[1]);
                }
            }
            let mut counts: Vec<_> = self.rows.iter().map(|(_, entry)| entry.count).collect();
            let evicted = bounded.close(&mut counts, floors[0] + floors[1]);
            if !evicted.is_empty() {
                evicted.iter().for_each(|row| self.evicted.add(self.rows[*row].1));
                let mut row = 0;
                self.rows.retain(|_| {
                    row += 1;
                    evicted.binary_search(&(row - 1)).is_err()
                });
                if let Some(tcp_stats) = &mut self.tcp_stats {
                    evicted.iter().for_each(|row| tcp_stats.drop(*row));
                    let mut row = 0;
                    tcp_stats.rows.retain(|_| {
                        row += 1;
                        evicted.binary_search(&(row - 1)).is_err()
                    });
                }
                let hash = |row: &usize| self.hasher.hash_one(&self.rows[*row].0);
                self.index.clear();
                for row in 0..self.rows.len() {
                    self.index.insert_unique(hash(&row), row, hash);
                }
            }
        }
    }

    /// Adds to a row. Creates the row if necessary, and evicts another one for it if the table is
    /// full.
    fn put(&mut self, code: EncodedKey, mut entry: Entry, error: u64) -> usize {
        let Table { rows, index, hasher, bounded, evicted, tcp_stats, .. } = self;
        let hash = hasher.hash_one(&code);
        let found = index.entry(hash, |i| rows[*i].0 == code, |i| hasher.hash_one(&rows[*i].0));
        let slot = match found {
            Slot::Occupied(slot) => {
                let row = *slot.get();
                rows[row].1.add(entry);
                if let Some(bounded) = bounded {
                    bounded.add_error(row, error);
                }
                return row;
            }
            Slot::Vacant(slot) => slot,
        };
        let Some(bounded) = bounded else {
            let row = rows.len();
            slot.insert(row);
            rows.push((code, entry));
            return row;
        };
        match bounded.replace(|row| rows[row].1.count) {
            None => {
                entry.count = entry.count.saturating_add(bounded.floor());
                let row = rows.len();
                slot.insert(row);
                rows.push((code, entry));
                bounded.push(entry.count, error);
                row
            }
            Some(row) => {
                entry.count = entry.count.saturating_add(bounded.floor());
                let old = hasher.hash_one(&rows[row].0);
                if let Ok(slot) = index.find_entry(old, |i| *i == row) {
                    slot.remove();
                }
                evicted.add(std::mem::replace(&mut rows[row], (code, entry)).1);
                if let Some(tcp_stats) = tcp_stats {
                    tcp_stats.drop(row);
                }
                index.insert_unique(hash, row, |i| hasher.hash_one(&rows[*i].0));
                bounded.set(row, entry.count, error);
                row
            }
        }
    }
}
