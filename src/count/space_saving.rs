//! [`SpaceSaving`]: which key is evicted for a new one, and the error that this causes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The bookkeeping of the Space-Saving algorithm (Metwally, Agrawal, El Abbadi: Efficient
/// Computation of Frequent and Top-k Elements in Data Streams, 2005), with the merge of Agarwal
/// et al., Mergeable Summaries, 2012.
///
/// If the table is full, a new key replaces the key with the smallest count and inherits that
/// count, because the new key may have been evicted before. So a count is too high by at most its
/// error, and a key that is not kept had at most the [`floor`](SpaceSaving::floor).
#[derive(Clone, Debug)]
pub(super) struct SpaceSaving {
    max: usize,
    /// The inherited part of each row's count.
    errors: Vec<u64>,
    floor: u64,
    /// Rows by count, smallest first. A row whose count has grown since is inserted again.
    smallest: BinaryHeap<Reverse<(u64, usize)>>,
    /// Whether more than `max` keys are allowed temporarily.
    open: bool,
}

impl SpaceSaving {
    /// Keeps at most `max` keys, and at least one.
    pub(super) fn new(max: usize) -> SpaceSaving {
        SpaceSaving {
            max: max.max(1),
            errors: Vec::new(),
            floor: 0,
            smallest: BinaryHeap::new(),
            open: false,
        }
    }

    /// Maximum number of keys.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Maximum count of a key that is not kept.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// The error of a row: the inherited part of its count.
    pub(super) fn error(&self, row: usize) -> u64 {
        self.errors.get(row).copied().unwrap_or(0)
    }

    /// Increases the error of a row.
    pub(super) fn add_error(&mut self, row: usize, error: u64) {
        if let Some(sum) = self.errors.get_mut(row) {
            *sum += error;
        }
    }

    /// The row to evict for a new key, if the table is full.
    pub(super) fn replace(&mut self, count: impl Fn(usize) -> u64) -> Option<usize> {
        if self.open || self.errors.len() < self.max {
            return None;
        }
        while let Some(Reverse((then, row))) = self.smallest.pop() {
            let now = count(row);
            if now == then {
                self.floor = self.floor.max(now);
                return Some(row);
            }
            self.smallest.push(Reverse((now, row)));
        }
        None
    }

    /// Records that a row was added, with the floor in its count.
    pub(super) fn push(&mut self, count: u64, error: u64) {
        self.errors.push(0);
        self.set(self.errors.len() - 1, count, error);
    }

    /// Records that a row was replaced by one with the floor in its count.
    pub(super) fn set(&mut self, row: usize, count: u64, error: u64) {
        if let Some(e) = self.errors.get_mut(row) {
            *e = self.floor + error;
        }
        self.smallest.push(Reverse((count, row)));
    }

    /// Allows all keys of another table to be added.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// The rows to evict after a merge, ascending. `floor` is the maximum count of a key that is in
    /// neither table.
    pub(super) fn close(&mut self, counts: &mut [u64], floor: u64) -> Vec<usize> {
        self.open = false;
        self.floor = floor;
        let mut order: Vec<usize> = (0..counts.len()).collect();
        let mut evicted = Vec::new();
        if order.len() > self.max {
            order.select_nth_unstable_by_key(self.max, |row| Reverse((counts[*row], *row)));
            evicted = order.split_off(self.max);
            evicted.sort_unstable();
            self.floor = evicted.iter().map(|row| counts[*row]).fold(floor, u64::max);
            order.sort_unstable();
            self.errors = order.iter().map(|row| self.errors[*row]).collect();
        }
        self.smallest =
            order.iter().enumerate().map(|(new, old)| Reverse((counts[*old], new))).collect();
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Entry, Table};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn count(max: usize, keys: &[u8]) -> Table {
        let mut table = Table::new(Some(max));
        for key in keys {
            table.add((&[*key][..]).into(), Entry { count: 1, ..Entry::default() });
        }
        table
    }

    fn holds(table: &Table, keys: &[u8]) -> Result<(), TestCaseError> {
        let mut truth: HashMap<u8, u64> = HashMap::new();
        keys.iter().for_each(|key| *truth.entry(*key).or_default() += 1);
        prop_assert_eq!(table.total(), keys.len() as u64);
        let error = table.error().unwrap_or(0);
        let mut sum = 0;
        for row in 0..table.len() {
            let (code, entry) = table.row(row);
            let truth = truth.remove(&code[0]).unwrap_or(0);
            prop_assert!(entry.count <= truth, "{} > {}", entry.count, truth);
            prop_assert!(truth <= entry.count + error, "{} > {} + {}", truth, entry.count, error);
            sum += entry.count;
        }
        prop_assert!(sum <= table.total());
        for (key, truth) in truth {
            prop_assert!(truth <= error, "{} had {} > {}", key, truth, error);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bounds_hold(max in 1..12usize, keys in prop::collection::vec(0..40u8, 0..400)) {
            let table = count(max, &keys);
            prop_assert!(table.len() <= max);
            holds(&table, &keys)?;
        }

        #[test]
        fn bounds_hold_of_merged_parts(
            max in 1..12usize,
            parts in prop::collection::vec(prop::collection::vec(0..40u8, 0..120), 1..5),
            later in prop::collection::vec(0..40u8, 0..120),
        ) {
            let mut table = Table::new(Some(max));
            for part in &parts {
                table.merge(count(max, part));
            }
            let mut keys = parts.concat();
            for key in later {
                table.add((&[key][..]).into(), Entry { count: 1, ..Entry::default() });
                keys.push(key);
            }
            prop_assert!(table.len() <= max);
            holds(&table, &keys)?;
        }

        #[test]
        fn few_keys_are_exact(keys in prop::collection::vec(0..10u8, 0..400)) {
            let table = count(10, &keys);
            prop_assert_eq!(table.error(), None);
            holds(&table, &keys)?;
        }
    }

    #[test]
    fn a_frequent_key_is_never_lost_in_a_scan() {
        let keys: Vec<u8> =
            (0..=255u8).flat_map(|scan| [scan, 7, scan.wrapping_add(100)]).collect();
        let table = count(8, &keys);
        let row = (0..table.len()).map(|row| table.row(row)).find(|(code, _)| *code == [7]);
        assert!(row.is_some_and(|(_, entry)| entry.count >= 200), "{row:?}");
    }
}
