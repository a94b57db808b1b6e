//! [`Order`]: selects and sorts the rows of a report.

use std::cmp::{Ordering, Reverse};

use super::table::{Entry, Table};
use super::tcp_stats::{Columns, TcpStats};

/// What rows are sorted by. Rows that are equal are in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sort {
    /// The largest count first
    #[default]
    Count,
    /// Addresses and numbers upwards, IPv4 before IPv6
    Key,
    /// The earliest first connection first
    First,
    /// The latest last connection first
    Last,
    /// The most bytes in both directions first
    Bytes,
}

/// Which rows a report shows, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// What they are sorted by.
    pub sort: Sort,
    /// Maximum number of rows: those with the largest counts, or with [`Sort::Bytes`] those with the
    /// most bytes.
    pub top: Option<usize>,
    /// Minimum count of a row.
    pub min: u64,
    /// The statistics that are shown beside the count.
    pub columns: Columns,
}

/// The rows that are shown, in order, and the sum of the others.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Indices of rows of the table.
    pub rows: Vec<usize>,
    /// Number of keys that are not shown, if known.
    pub other_keys: Option<u64>,
    /// The sum of rows that are not shown.
    pub others: Entry,
    /// The statistics of rows that are not shown.
    pub other_stats: TcpStats,
}

impl Order {
    /// Selects and sorts the rows of a table.
    pub fn select(&self, table: &Table) -> Selection {
        let largest = if self.sort == Sort::Bytes { Sort::Bytes } else { Sort::Count };
        let mut rows: Vec<usize> = (0..table.len()).collect();
        let mut others = Vec::new();
        if self.min > 0 {
            let small = |row: &mut usize| table.row(*row).1.count < self.min;
            others.extend(rows.extract_if(.., small));
        }
        if let Some(top) = self.top.filter(|top| *top < rows.len()) {
            if top > 0 {
                rows.select_nth_unstable_by(top - 1, |a, b| compare(table, largest, *a, *b));
            }
            others.extend(rows.drain(top..));
        }
        // The count and the beginning of the key stand beside each row, so that few comparisons
        // look into the table.
        let mut shown = 0_u64;
        let mut sorted: Vec<(u64, u64, usize)> = rows
            .into_iter()
            .map(|row| {
                let (code, entry) = table.row(row);
                shown = shown.saturating_add(entry.count);
                let count = if self.sort == Sort::Count { !entry.count } else { 0 };
                let is_first = matches!(self.sort, Sort::Count | Sort::Key);
                (count, if is_first { prefix(code) } else { 0 }, row)
            })
            .collect();
        sorted.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| compare(table, self.sort, a.2, b.2))
        });
        let rows: Vec<usize> = sorted.into_iter().map(|(.., row)| row).collect();

        let mut rest = table.evicted();
        let mut other_stats = table.evicted_stats();
        for row in &others {
            rest.add(table.entry(*row));
            other_stats.add(table.stats(*row));
        }
        Selection {
            rows,
            other_keys: table.error().is_none().then_some(others.len() as u64),
            others: Entry { count: table.total() - shown, ..rest },
            other_stats,
        }
    }
}

/// The order of two rows. Inlined into the sorting functions, it would take 19 KB of code.
#[inline(never)]
fn compare(table: &Table, sort: Sort, row_a: usize, row_b: usize) -> Ordering {
    let bytes = |row: usize| table.stats(row).bytes.both();
    let ((code_a, a), (code_b, b)) = (table.row(row_a), table.row(row_b));
    let by = match sort {
        Sort::Count => b.count.cmp(&a.count),
        Sort::Key => Ordering::Equal,
        Sort::First => (a.first.is_none(), a.first).cmp(&(b.first.is_none(), b.first)),
        Sort::Last => Reverse(a.last).cmp(&Reverse(b.last)),
        Sort::Bytes => bytes(row_b).cmp(&bytes(row_a)),
    };
    by.then_with(|| code_a.cmp(code_b))
}

/// The first bytes of a key, in their order.
fn prefix(code: &[u8]) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(code) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordTime;

    fn table(max_keys: Option<usize>) -> Table {
        let mut table = Table::new(max_keys);
        for (key, count, time) in [(3, 5, 30), (1, 5, 10), (2, 9, 20), (4, 1, 5)] {
            let time = Some(RecordTime::Clock(time));
            table.add((&[key][..]).into(), Entry { count, first: time, last: time });
        }
        table
    }

    fn keys(order: Order) -> (Vec<u8>, u64, Option<u64>) {
        let table = table(None);
        let selection = order.select(&table);
        let keys = selection.rows.iter().map(|row| table.row(*row).0[0]).collect();
        (keys, selection.others.count, selection.other_keys)
    }

    #[test]
    fn rows_are_in_the_order_asked_for() {
        let by = |sort| keys(Order { sort, ..Order::default() });
        assert_eq!(by(Sort::Count), (vec![2, 1, 3, 4], 0, Some(0)));
        assert_eq!(by(Sort::Key), (vec![1, 2, 3, 4], 0, Some(0)));
        assert_eq!(by(Sort::First), (vec![4, 1, 2, 3], 0, Some(0)));
        assert_eq!(by(Sort::Last), (vec![3, 2, 1, 4], 0, Some(0)));
    }

    #[test]
    fn rows_that_are_not_shown_are_in_others() {
        let top = |top, sort| keys(Order { sort, top: Some(top), ..Order::default() });
        assert_eq!(top(2, Sort::Key), (vec![1, 2], 6, Some(2)));
        assert_eq!(top(2, Sort::Last), (vec![2, 1], 6, Some(2)));
        assert_eq!(top(0, Sort::Count), (vec![], 20, Some(4)));
        assert_eq!(top(9, Sort::Count), (vec![2, 1, 3, 4], 0, Some(0)));
        let min = Order { min: 5, ..Order::default() };
        assert_eq!(keys(min), (vec![2, 1, 3], 1, Some(1)));
        assert_eq!(keys(Order { top: Some(1), ..min }), (vec![2], 11, Some(3)));
    }

    #[test]
    fn the_rest_of_a_bounded_table_is_counted_too() {
        let table = table(Some(2));
        let selection = Order::default().select(&table);
        let shown: u64 = selection.rows.iter().map(|row| table.row(*row).1.count).sum();
        assert_eq!(shown + selection.others.count, 20);
        let times = |entry: Entry| (entry.first, entry.last);
        let ends = (Some(RecordTime::Clock(5)), Some(RecordTime::Clock(30)));
        assert_eq!(times(table.all()), ends);
        assert_eq!(times(Order { top: Some(0), ..Order::default() }.select(&table).others), ends);
        assert_eq!(selection.other_keys, None);
    }
}
