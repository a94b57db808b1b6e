//! A JSON object a line: the rows, and the head of the report as the last line.

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::event::Event;
use super::json::{Document, Line, numbers};
use super::{RenderOptions, Report, ReportSection};
use crate::count::order::Selection;
use crate::count::table::Entry;
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::{Connection, RecordTime};

/// A JSON object a line.
pub struct Format {
    intervals: bool,
}

impl Format {
    /// A new output.
    pub fn new(look: RenderOptions) -> Format {
        Format { intervals: look.intervals }
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn interval(&mut self, part: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        let selection = part.pick();
        let interval = Some((part.start, part.end));
        if part.total() == 0 {
            let (entry, stats) = Default::default();
            let columns = part.order.columns;
            line(&Rest { interval, others: None, entry, stats, columns }, out)?;
        }
        rows(interval, part, &selection, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.intervals {
            let part = &report.whole;
            let selection = part.pick();
            rows(None, part, &selection, out)?;
        }
        line(&Document(report, false), out)
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        line(&Event::from(connection), out)
    }
}

fn line(object: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

fn rows(
    interval: Interval,
    part: &ReportSection<'_>,
    selection: &Selection,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (keys, columns) = (part.keys.list(), part.order.columns);
    for row in part.rows(selection) {
        line(&Line { interval, keys, columns, row }, out)?;
    }
    if selection.others.count > 0 {
        let (entry, stats) = (selection.others, selection.other_fares);
        line(&Rest { interval, others: Some(selection.other_keys), entry, stats, columns }, out)?;
    }
    Ok(())
}

type Interval = Option<(Option<RecordTime>, Option<RecordTime>)>;

/// The rows that are not shown, or an interval in which nothing came.
struct Rest {
    interval: Interval,
    others: Option<Option<u64>>,
    entry: Entry,
    stats: TcpStats,
    columns: Columns,
}

impl Serialize for Rest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some((start, end)) = self.interval {
            map.serialize_entry("start", &start)?;
            map.serialize_entry("end", &end)?;
        }
        if let Some(keys) = self.others {
            map.serialize_entry("others", &keys)?;
        }
        numbers(&mut map, &self.entry, &self.stats, self.columns)?;
        map.end()
    }
}
