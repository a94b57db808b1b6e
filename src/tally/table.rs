//! [`Table`]: one count per key, in memory that is bounded where that is asked for.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use smallvec::SmallVec;

use crate::Moment;

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// Connections.
    pub count: u64,
    /// Time of the first, where known.
    pub first: Option<Moment>,
    /// Time of the last, where known.
    pub last: Option<Moment>,
}

impl Entry {
    /// Adds what `other` counted.
    pub fn add(&mut self, other: Entry) {
        self.count += other.count;
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last = self.last.max(other.last);
    }
}

/// A key's values as [`Keys::encode`](super::key::Keys::encode) writes them. Any address fits in
/// without allocation.
type Code = SmallVec<[u8; 24]>;

/// One count per key.
///
/// Rows lie in a vector, and a table of indices finds them: both grow without ever being twice
/// in memory as a map of whole rows would be, and a report sorts four or eight bytes a row.
/// Clients choose their addresses, so the hash is keyed.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(Code, Entry)>,
    index: HashTable<usize>,
    hasher: RandomState,
    max_keys: Option<usize>,
}

impl Table {
    /// An empty table that keeps at most `max_keys` keys.
    pub fn new(max_keys: Option<usize>) -> Table {
        Table { max_keys, ..Table::default() }
    }

    /// The most keys it keeps.
    pub fn max_keys(&self) -> Option<usize> {
        self.max_keys
    }

    /// Distinct keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The key and the count of a row. Rows have the order in which keys came.
    ///
    /// # Panics
    /// When there are fewer rows.
    pub fn row(&self, index: usize) -> (&[u8], &Entry) {
        let (code, entry) = &self.rows[index];
        (code, entry)
    }

    /// Adds to the count of a key.
    pub fn add(&mut self, code: &[u8], entry: Entry) {
        let rows = &mut self.rows;
        let hash = self.hasher.hash_one(code);
        match self.index.entry(
            hash,
            |i| *rows[*i].0 == *code,
            |i| self.hasher.hash_one(&*rows[*i].0),
        ) {
            Slot::Occupied(slot) => rows[*slot.get()].1.add(entry),
            Slot::Vacant(slot) => {
                slot.insert(rows.len());
                rows.push((Code::from_slice(code), entry));
            }
        }
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: Table) {
        if self.is_empty() {
            let max_keys = self.max_keys;
            *self = Table { max_keys, ..other };
            return;
        }
        for (code, entry) in &other.rows {
            self.add(code, *entry);
        }
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|(_, entry)| entry.count).sum()
    }
}
