//! [`Order`]: which rows a report shows, and in which order.

use std::cmp::Reverse;

use super::table::{Entry, Table};

/// What rows are sorted by. Those that are equal in it are in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
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
}

/// Which rows are shown, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// What they are sorted by.
    pub sort: Sort,
    /// At most so many: those with the largest counts.
    pub top: Option<usize>,
    /// Only those with at least this count.
    pub min: u64,
}

/// The rows that are shown, in order, and the sum of those that are not.
#[derive(Clone, Debug, Default)]
pub struct Picked {
    /// Indices of rows of the table.
    pub rows: Vec<usize>,
    /// How many rows are not shown.
    pub other_keys: u64,
    /// The sum of those.
    pub others: Entry,
}

impl Order {
    /// Picks and sorts the rows of a table.
    pub fn pick(&self, table: &Table) -> Picked {
        let mut picked = Picked::default();
        let mut rows: Vec<usize> = (0..table.len()).collect();
        let leave = |picked: &mut Picked, row: usize| {
            picked.other_keys += 1;
            picked.others.add(*table.row(row).1);
        };
        rows.retain(|row| {
            let shown = table.row(*row).1.count >= self.min;
            if !shown {
                leave(&mut picked, *row);
            }
            shown
        });
        let by_count = |row: &usize| {
            let (code, entry) = table.row(*row);
            (Reverse(entry.count), code)
        };
        if let Some(top) = self.top.filter(|top| *top < rows.len()) {
            if top > 0 {
                rows.select_nth_unstable_by(top - 1, |a, b| by_count(a).cmp(&by_count(b)));
            }
            for row in rows.drain(top..) {
                leave(&mut picked, row);
            }
        }
        match self.sort {
            Sort::Count => rows.sort_unstable_by(|a, b| by_count(a).cmp(&by_count(b))),
            Sort::Key => rows.sort_unstable_by(|a, b| table.row(*a).0.cmp(table.row(*b).0)),
            Sort::First => rows.sort_unstable_by(|a, b| {
                let key = |row| {
                    let (code, entry): (_, &Entry) = table.row(row);
                    (entry.first.is_none(), entry.first, code)
                };
                key(*a).cmp(&key(*b))
            }),
            Sort::Last => rows.sort_unstable_by(|a, b| {
                let key = |row| {
                    let (code, entry): (_, &Entry) = table.row(row);
                    (Reverse(entry.last), code)
                };
                key(*a).cmp(&key(*b))
            }),
        }
        picked.rows = rows;
        picked
    }
}
