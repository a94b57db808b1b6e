//! [`Report`]: the content of a report, and [`Format`]: the interface of report formats.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::histograms::TcpHistograms;
use crate::count::counter::Sums;
use crate::count::key::{Key, Keys};
use crate::count::order::{Order, Selection};
use crate::count::table::{Entry, Table};
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::Value;
use crate::{Connection, RecordTime, SourceStatus};

/// Returns the columns and lines of a terminal.
pub(crate) type WindowSize = fn() -> Option<(usize, usize)>;

/// How an output is rendered.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Whether to use colours.
    pub color: bool,
    /// Width in columns, where the output is no terminal.
    pub width: usize,
    /// Returns the current columns and lines of the output terminal.
    pub terminal: Option<WindowSize>,
    /// How the reader gets all rows, if only those that fit the terminal are shown.
    pub fit_hint: Option<&'static str>,
    /// Whether bars are drawn with ASCII characters.
    pub ascii: bool,
    /// The time zone in which times are shown to people.
    pub zone: TimeZone,
    /// Whether there are intervals besides the total.
    pub intervals: bool,
    /// Whether the output is empty so far, so that headings are written.
    pub headings: bool,
    /// The statistics that are shown.
    pub columns: Columns,
    /// Whether a table has a chart of connections over time.
    pub histogram: bool,
}

impl RenderOptions {
    /// The columns of the output now, and the lines of a terminal.
    pub(crate) fn window(&self) -> (usize, Option<usize>) {
        let window = self.terminal.and_then(|size| size());
        window.map_or((self.width, None), |(columns, lines)| (columns.max(MIN_WIDTH), Some(lines)))
    }
}

/// Minimum width of a terminal; a smaller reported width is taken for an error.
const MIN_WIDTH: usize = 40;
/// Rows that are brought into the cache at the same time.
const GROUP: usize = 32;

/// A format of reports and events. All intervals are written before the report.
pub trait Format: Send {
    /// Receives the total counts so far, before intervals are written.
    fn prepare_intervals(&mut self, _whole: &ReportSection<'_>) {}

    /// Writes one interval. One document has them in its report.
    fn interval(&mut self, _: &ReportSection<'_>, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes the report.
    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// Writes the heading of events, if the output starts here.
    fn event_headings(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes one connection.
    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()>;

    /// Ends the output of events.
    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Whether the report contains its notes. If not, they are printed to stderr.
    fn tells_notes(&self) -> bool {
        false
    }
}

/// The content of a report.
pub struct Report<'a> {
    /// The status of the source.
    pub status: &'a SourceStatus,
    /// Numbers of connections by the result of the filter.
    pub sums: Sums,
    /// The counts of the whole time.
    pub whole: ReportSection<'a>,
    /// The counts of each interval, for formats that have them in one document with the report.
    pub intervals: Option<Vec<ReportSection<'a>>>,
    /// Sections that only a metrics server has.
    pub metrics: Option<MetricsSections<'a>>,
    /// Notes for the reader, a sentence each.
    pub notes: Vec<String>,
}

impl Report<'_> {
    /// Whether the rows are known to contain every selected connection: the source missed nothing,
    /// and the filter could decide on every connection.
    pub fn is_complete(&self) -> bool {
        self.status.is_complete() && self.sums.undecided() == 0
    }

    /// Number of distinct client addresses, if they are a key and all are kept.
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

/// Counts by key, of an interval or of the whole time.
#[derive(Clone)]
pub struct ReportSection<'a> {
    /// The beginning of the interval.
    pub start: Option<RecordTime>,
    /// Its end.
    pub end: Option<RecordTime>,
    /// Whether the interval was observed only in part.
    pub is_partial: bool,
    /// The keys.
    pub keys: &'a Keys,
    /// The counts; `None` if there are none.
    pub table: Option<&'a Table>,
    /// Which rows are shown.
    pub order: Order,
}

/// Sections that only a metrics server has.
#[derive(Clone)]
pub struct MetricsSections<'a> {
    /// The counts by local port.
    pub ports: ReportSection<'a>,
    /// The counts of the last [`window`](MetricsSections::window).
    pub recent: ReportSection<'a>,
    /// The time that `recent` covers.
    pub window: Duration,
    /// Number of connections that are open now, if the source can tell.
    pub open_connections: Option<u64>,
    /// Distributions of durations and round-trip times.
    pub histograms: &'a TcpHistograms,
}

/// One row of a report.
pub struct Row<'a> {
    keys: &'a Keys,
    code: &'a [u8],
    /// The count, and the times of the first and the last connection.
    pub entry: Entry,
    /// Statistics of its connections, if they are kept.
    pub stats: &'a TcpStats,
}

impl Row<'_> {
    /// The values of the keys, in order.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        self.keys.decode(self.code)
    }
}

impl<'a> ReportSection<'a> {
    /// Number of connections.
    pub fn total(&self) -> u64 {
        self.table.map_or(0, Table::total)
    }

    /// Number of connections, with the times of the first and the last one.
    pub fn all(&self) -> Entry {
        self.table.map(Table::all).unwrap_or_default()
    }

    /// Statistics of all connections, if they are kept.
    pub fn stats(&self) -> TcpStats {
        self.table.map(Table::all_stats).unwrap_or_default()
    }

    /// Selects the rows that are shown.
    pub fn select(&self) -> Selection {
        self.table.map(|table| self.order.select(table)).unwrap_or_default()
    }

    /// The selected rows, in order.
    pub fn rows(&self, selection: &Selection) -> impl Iterator<Item = Row<'a>> {
        self.table.into_iter().flat_map(move |table| {
            selection.rows.chunks(GROUP).flat_map(move |rows| {
                table.touch(rows);
                rows.iter().map(move |row| {
                    let (code, entry) = table.row(*row);
                    Row { keys: self.keys, code, entry, stats: table.stats(*row) }
                })
            })
        })
    }
}
