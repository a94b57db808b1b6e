//! The csv format: comma-separated values with a header line.

use std::io::{self, Write};

use super::event::Event;
use super::tcp_stats::fields;
use super::{RenderOptions, Report, ReportSection};
use crate::count::table::Entry;
use crate::count::tcp_stats::TcpStats;
use crate::count::value::Value;
use crate::model::connection::EVENT_FIELDS;
use crate::model::text::escape_cell;
use crate::{Connection, RecordTime};

/// Comma-separated values. With intervals there are only their rows, so that the sum of the column
/// `count` is the total. The column `kind` is `row`, or `others` for the sum of the rows that are
/// not shown.
pub(super) struct Format {
    intervals: bool,
    headings: bool,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { intervals: options.intervals, headings: options.headings }
    }

    fn rows(
        &mut self,
        section: &ReportSection<'_>,
        out: &mut dyn Write,
    ) -> Result<(), ::csv::Error> {
        let mut out = ::csv::Writer::from_writer(out);
        let intervals = self.intervals;
        if std::mem::take(&mut self.headings) {
            let interval =
                if intervals { &["kind", "start", "end", "partial"][..] } else { &["kind"] };
            let keys = section.keys.list().iter().map(|k| k.name());
            let values = ["count", "first", "last"].into_iter();
            let statistics = fields(section.order.columns).map(|field| field.name);
            let all = interval.iter().copied().chain(keys).chain(values).chain(statistics);
            out.write_record(all)?;
        }
        let mut line = |kind: &str, keys: Vec<String>, entry: &Entry, stats: &TcpStats| {
            out.write_field(kind)?;
            if intervals {
                out.write_field(time(section.start))?;
                out.write_field(time(section.end))?;
                out.write_field(section.is_partial.to_string())?;
            }
            for key in keys {
                out.write_field(key)?;
            }
            out.write_field(entry.count.to_string())?;
            out.write_field(time(entry.first))?;
            out.write_field(time(entry.last))?;
            for field in fields(section.order.columns) {
                out.write_field(field.text(stats))?;
            }
            out.write_record(None::<&[u8]>)
        };
        let selection = section.select();
        let blank = || vec![String::new(); section.keys.list().len()];
        for row in section.rows(&selection) {
            let known = |value| match value {
                Value::Unknown => String::new(),
                Value::Text(text) => escape_cell(&text).into_owned(),
                value => value.to_string(),
            };
            line("row", row.values().map(known).collect(), &row.entry, row.stats)?;
        }
        if selection.others.count > 0 {
            line("others", blank(), &selection.others, &selection.other_stats)?;
        } else if selection.rows.is_empty() && intervals {
            line("row", blank(), &Entry::default(), &TcpStats::default())?;
        }
        Ok(out.flush()?)
    }

    fn record(&mut self, connection: &Connection, out: &mut dyn Write) -> Result<(), ::csv::Error> {
        super::Format::event_headings(self, out)?;
        let mut out = ::csv::WriterBuilder::new().has_headers(false).from_writer(out);
        out.serialize(Event::from(connection).in_cells())?;
        Ok(out.flush()?)
    }
}

/// Returns the I/O error inside a csv error, so that a closed pipe is recognised.
fn plain(error: ::csv::Error) -> io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

fn time(time: Option<RecordTime>) -> String {
    time.map(|t| t.to_string()).unwrap_or_default()
}

impl super::Format for Format {
    fn interval(&mut self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(section, out).map_err(plain)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if self.intervals { Ok(()) } else { self.rows(&report.whole, out).map_err(plain) }
    }

    fn event_headings(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.headings) {
            writeln!(out, "{}", EVENT_FIELDS.join(","))?;
        }
        Ok(())
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        self.record(connection, out).map_err(plain)
    }
}
