//! The report as one JSON document.

use std::cell::RefCell;
use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::event::Event;
use super::tcp_stats::fields;
use super::{Report, ReportSection, Row};
use crate::count::key::Key;
use crate::count::order::Selection;
use crate::count::table::{Entry, Table};
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::model::text::is_control;
use crate::{Connection, RecordTime};

/// The version of the fields. It goes up when a field changes its meaning.
pub(super) const SCHEMA: u32 = 2;

/// One JSON document in one line.
pub(super) struct Format;

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        write_line(&Document { report, kind: None, rows: true }, out)
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        write_line(&Event::from(connection), out)
    }
}

/// Writes an object as a line of JSON.
pub(super) fn write_line(object: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    object.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, ForTerminals))?;
    out.write_all(b"\n")
}

/// Compact JSON in which characters that can control a terminal are escaped. JSON asks for that only
/// below U+0020.
struct ForTerminals;

impl serde_json::ser::Formatter for ForTerminals {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        if rest.bytes().all(|b| b < 0x7f) {
            return out.write_all(rest.as_bytes());
        }
        while let Some(at) = rest.find(is_control) {
            out.write_all(&rest.as_bytes()[..at])?;
            let mut chars = rest[at..].chars();
            // All of them have a code of four digits.
            chars.next().map_or(Ok(()), |c| write!(out, "\\u{:04x}", u32::from(c)))?;
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// The whole report.
pub(super) struct Document<'a> {
    pub report: &'a Report<'a>,
    /// Its `kind`, if it is one line of several.
    pub kind: Option<&'static str>,
    /// Whether it contains rows and intervals.
    pub rows: bool,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Document { report, kind, rows } = self;
        let (status, sums) = (report.status, &report.sums);
        let mut s = serializer.serialize_map(None)?;
        if let Some(kind) = kind {
            s.serialize_entry("kind", kind)?;
        }
        s.serialize_entry("schema", &SCHEMA)?;
        s.serialize_entry("source", status.source)?;
        s.serialize_entry("host", &report.whole.keys.host())?;
        s.serialize_entry("engine", &status.engine)?;
        s.serialize_entry("started", &status.started)?;
        s.serialize_entry("ended", &status.ended)?;
        s.serialize_entry("complete", &report.is_complete())?;
        s.serialize_entry("total", &sums.total)?;
        s.serialize_entry("addresses", &report.addresses())?;
        s.serialize_entry("unknown_peer", &(sums.no_peer + sums.undecided_peer))?;
        s.serialize_entry("unknown_port", &sums.unknown_port)?;
        s.serialize_entry("unknown_time", &sums.undecided_time)?;
        s.serialize_entry("lost", &status.lost)?;
        s.serialize_entry("filtered", &sums.filtered)?;
        s.serialize_entry("unreadable_lines", &status.unreadable_lines())?;
        let keys: Vec<_> = report.whole.keys.list().iter().map(|k| k.name()).collect();
        s.serialize_entry("keys", &keys)?;
        let error = report.whole.table.and_then(Table::error);
        s.serialize_entry("approximate", &error.is_some())?;
        if let Some(error) = error {
            s.serialize_entry("error_bound", &error)?;
        }
        if let Some(selection) = rows.then(|| report.whole.select()) {
            s.serialize_entry("rows", &Rows(&report.whole, &selection))?;
            if let Some(others) = Others::of(&report.whole, &selection) {
                s.serialize_entry("others", &others)?;
            }
        }
        if let Some(intervals) = report.intervals.as_ref().filter(|_| *rows) {
            let intervals = intervals.iter().map(Section);
            s.serialize_entry("intervals", &Sequence(RefCell::new(Some(intervals))))?;
        }
        if status.source == "parse" {
            s.serialize_entry("inputs", &status.inputs)?;
        }
        // Last, so that the rows are the first list of a report.
        s.serialize_entry("warnings", &report.notes)?;
        s.end()
    }
}

/// The sum of the rows that are not shown.
struct Others<'a> {
    selection: &'a Selection,
    columns: Columns,
}

impl<'a> Others<'a> {
    fn of(section: &ReportSection<'_>, selection: &'a Selection) -> Option<Others<'a>> {
        (selection.others.count > 0).then_some(Others { selection, columns: section.order.columns })
    }
}

impl Serialize for Others<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("keys", &self.selection.other_keys)?;
        numbers(&mut map, &self.selection.others, &self.selection.other_stats, self.columns)?;
        map.end()
    }
}

struct Section<'a>(&'a ReportSection<'a>);

impl Serialize for Section<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let selection = self.0.select();
        let mut s = serializer.serialize_map(None)?;
        s.serialize_entry("start", &self.0.start)?;
        s.serialize_entry("end", &self.0.end)?;
        s.serialize_entry("partial", &self.0.is_partial)?;
        s.serialize_entry("total", &self.0.total())?;
        s.serialize_entry("rows", &Rows(self.0, &selection))?;
        if let Some(others) = Others::of(self.0, &selection) {
            s.serialize_entry("others", &others)?;
        }
        s.end()
    }
}

/// The rows, written one by one: there may be a million.
struct Rows<'a>(&'a ReportSection<'a>, &'a Selection);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (keys, columns) = (self.0.keys.list(), self.0.order.columns);
        let line = |row| Line { kind: None, interval: None, keys, columns, row };
        serializer.collect_seq(self.0.rows(self.1).map(line))
    }
}

/// One row: keys, count, times and statistics.
pub(super) struct Line<'a> {
    /// Its `kind`, if it is one line of several.
    pub kind: Option<&'static str>,
    /// Its interval, if it is one line of several.
    pub interval: Interval,
    /// The keys, in the order of the values.
    pub keys: &'a [Key],
    /// The statistics that are shown.
    pub columns: Columns,
    /// The row.
    pub row: Row<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(kind) = self.kind {
            start_line(&mut map, kind, self.interval)?;
        }
        for (key, value) in self.keys.iter().zip(self.row.values()) {
            map.serialize_entry(key.name(), &value)?;
        }
        numbers(&mut map, &self.row.entry, self.row.stats, self.columns)?;
        map.end()
    }
}

/// The beginning and the end of an interval, and whether it was observed only in part.
pub(super) type Interval = Option<(Option<RecordTime>, Option<RecordTime>, bool)>;

/// Writes the fields before the keys, in a row that is a line.
pub(super) fn start_line<M: SerializeMap>(
    map: &mut M,
    kind: &str,
    interval: Interval,
) -> Result<(), M::Error> {
    map.serialize_entry("kind", kind)?;
    if let Some((start, end, is_partial)) = interval {
        map.serialize_entry("start", &start)?;
        map.serialize_entry("end", &end)?;
        map.serialize_entry("partial", &is_partial)?;
    }
    Ok(())
}

/// Writes the fields after the keys, in every row.
pub(super) fn numbers<M: SerializeMap>(
    map: &mut M,
    entry: &Entry,
    stats: &TcpStats,
    columns: Columns,
) -> Result<(), M::Error> {
    let Entry { count, first, last } = entry;
    map.serialize_entry("count", count)?;
    map.serialize_entry("first", first)?;
    map.serialize_entry("last", last)?;
    fields(columns).try_for_each(|field| map.serialize_entry(field.name, &field.value(stats)))
}

/// A sequence that is written item by item.
struct Sequence<I>(RefCell<Option<I>>);

impl<I: Iterator<Item: Serialize>> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}
