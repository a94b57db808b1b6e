//! JSON objects, one per line: the rows, and in the last line the report without rows. The field
//! `kind` is `row`, `others` or `report`.

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::event::Event;
use super::json::{Document, Interval, Line, numbers, start_line, write_line};
use super::{RenderOptions, Report, ReportSection};
use crate::Connection;
use crate::count::order::Selection;
use crate::count::table::Entry;
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::Value;

/// JSON objects, one per line.
pub(super) struct Format {
    intervals: bool,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { intervals: options.intervals }
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn interval(&mut self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        let selection = section.select();
        let interval = Some((section.start, section.end, section.is_partial));
        if section.total() == 0 {
            write_line(&EmptyInterval { interval, section }, out)?;
        }
        rows(interval, section, &selection, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.intervals {
            let section = &report.whole;
            let selection = section.select();
            rows(None, section, &selection, out)?;
        }
        write_line(&Document { report, kind: Some("report"), rows: false }, out)
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        write_line(&Event::from(connection), out)
    }
}

fn rows(
    interval: Interval,
    section: &ReportSection<'_>,
    selection: &Selection,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (keys, columns) = (section.keys.list(), section.order.columns);
    for row in section.rows(selection) {
        write_line(&Line { kind: Some("row"), interval, keys, columns, row }, out)?;
    }
    if selection.others.count > 0 {
        let (entry, stats) = (selection.others, selection.other_stats);
        write_line(&Others { interval, keys: selection.other_keys, entry, stats, columns }, out)?;
    }
    Ok(())
}

/// An interval without connections: a row with the count 0.
struct EmptyInterval<'a> {
    interval: Interval,
    section: &'a ReportSection<'a>,
}

impl Serialize for EmptyInterval<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        start_line(&mut map, "row", self.interval)?;
        for key in self.section.keys.list() {
            map.serialize_entry(key.name(), &Value::Unknown)?;
        }
        let columns = self.section.order.columns;
        numbers(&mut map, &Entry::default(), &TcpStats::default(), columns)?;
        map.end()
    }
}

/// The sum of the rows that are not shown, and their number.
struct Others {
    interval: Interval,
    keys: Option<u64>,
    entry: Entry,
    stats: TcpStats,
    columns: Columns,
}

impl Serialize for Others {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        start_line(&mut map, "others", self.interval)?;
        map.serialize_entry("keys", &self.keys)?;
        numbers(&mut map, &self.entry, &self.stats, self.columns)?;
        map.end()
    }
}
