//! [`Report`]: what a format is given to write, and [`Format`], the interface of formats.

use std::collections::HashSet;
use std::io::{self, Write};

use jiff::tz::TimeZone;

use crate::count::counter::Sums;
use crate::count::key::{Key, Keys};
use crate::count::order::{Order, Selection};
use crate::count::table::{Entry, Table};
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::Value;
use crate::{Connection, RecordTime, SourceStatus};

/// What formats for people need to know of the reader.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Whether to colour.
    pub color: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Whose clocks the times are shown by.
    pub zone: TimeZone,
    /// Whether there are intervals, so that the whole is not all.
    pub intervals: bool,
    /// Whether the output begins here, so that headings are due.
    pub headings: bool,
    /// What of how connections fared is shown.
    pub columns: Columns,
}

/// A way to write counts and connections. It is told of every interval before the whole.
pub trait Format: Send {
    /// Whether all intervals belong in one document with the whole.
    fn one_document(&self) -> bool {
        false
    }

    /// Writes one interval.
    fn interval(&mut self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// Writes the whole.
    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// Writes what comes before all events, unless the output does not begin here.
    fn event_headings(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes one connection.
    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()>;

    /// Whether the report itself tells its notes; else they have to be said elsewhere.
    fn tells_notes(&self) -> bool {
        false
    }
}

/// All that is to be reported.
pub struct Report<'a> {
    /// How the source fared.
    pub status: &'a SourceStatus,
    /// How many connections of each sort there were.
    pub sums: Sums,
    /// The counts of the whole.
    pub whole: ReportSection<'a>,
    /// The counts of each interval, for formats that are [one document](Format::one_document).
    pub intervals: Option<Vec<ReportSection<'a>>>,
    /// The counts by local port, where somebody keeps them besides.
    pub ports: Option<ReportSection<'a>>,
    /// What else the reader must know, a sentence each.
    pub notes: Vec<String>,
}

impl Report<'_> {
    /// Whether the rows are known to hold every connection that was asked for: the source has
    /// missed nothing, and every connection could be decided.
    pub fn is_complete(&self) -> bool {
        self.status.is_complete() && self.sums.undecided() == 0
    }

    /// Distinct client addresses, where they were counted by and all were kept.
    pub fn addresses(&self) -> Option<usize> {
        let keys = self.whole.keys;
        let at = keys.list().iter().position(|k| *k == Key::Ip)?;
        let Some(table) = self.whole.table else { return Some(0) };
        if table.error().is_some() {
            return None;
        }
        let ip = |row| match keys.decode(table.row(row).0).nth(at) {
            Some(Value::Ip(ip)) => Some(ip),
            _ => None,
        };
        let rows = 0..table.len();
        if keys.list().len() == 1 {
            return Some(rows.filter_map(ip).count());
        }
        Some(rows.filter_map(ip).collect::<HashSet<_>>().len())
    }
}

/// Counts by key: those of an interval, or of the whole.
#[derive(Clone)]
pub struct ReportSection<'a> {
    /// The beginning of the interval.
    pub start: Option<RecordTime>,
    /// Its end.
    pub end: Option<RecordTime>,
    /// What is counted by.
    pub keys: &'a Keys,
    /// The counts, if there are any.
    pub table: Option<&'a Table>,
    /// Which rows are shown.
    pub order: Order,
}

/// One row of a report.
pub struct Row<'a> {
    keys: &'a Keys,
    code: &'a [u8],
    /// The count, and the times of the first and the last.
    pub entry: Entry,
    /// How its connections fared, if that is kept.
    pub stats: TcpStats,
}

impl Row<'_> {
    /// The values of the keys, in order.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        self.keys.decode(self.code)
    }
}

impl<'a> ReportSection<'a> {
    /// All connections in it.
    pub fn total(&self) -> u64 {
        self.table.map_or(0, Table::total)
    }

    /// All connections in it, with the times of the first and the last.
    pub fn all(&self) -> Entry {
        self.table.map(Table::all).unwrap_or_default()
    }

    /// How all connections in it fared, if that is kept.
    pub fn stats(&self) -> TcpStats {
        self.table.map(Table::all_stats).unwrap_or_default()
    }

    /// Picks the rows that are shown.
    pub fn select(&self) -> Selection {
        self.table.map(|table| self.order.select(table)).unwrap_or_default()
    }

    /// The rows that were picked, in order.
    pub fn rows(&self, selection: &Selection) -> impl Iterator<Item = Row<'a>> {
        self.table.into_iter().flat_map(move |table| {
            selection.rows.iter().map(move |row| {
                let (code, entry) = table.row(*row);
                Row { keys: self.keys, code, entry, stats: table.stats(*row) }
            })
        })
    }
}
