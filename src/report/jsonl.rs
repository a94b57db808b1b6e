//! A JSON object a line: the rows, and the head of the report as the last line.

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::event::Event;
use super::json::{Document, Line, numbers};
use super::{Look, Part, Report};
use crate::tally::fare::{Columns, Fare};
use crate::tally::order::Picked;
use crate::tally::table::Entry;
use crate::{Connection, Moment};

/// A JSON object a line.
pub struct Format {
    intervals: bool,
}

impl Format {
    /// A new output.
    pub fn new(look: Look) -> Format {
        Format { intervals: look.intervals }
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn interval(&mut self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        let picked = part.pick();
        let interval = Some((part.start, part.end));
        if part.total() == 0 {
            let (entry, fare) = Default::default();
            let columns = part.order.columns;
            line(&Rest { interval, others: None, entry, fare, columns }, out)?;
        }
        rows(interval, part, &picked, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.intervals {
            let part = &report.whole;
            let picked = part.pick();
            rows(None, part, &picked, out)?;
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
    part: &Part<'_>,
    picked: &Picked,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (keys, columns) = (part.keys.list(), part.order.columns);
    for row in part.rows(picked) {
        line(&Line { interval, keys, columns, row }, out)?;
    }
    if picked.others.count > 0 {
        let (entry, fare) = (picked.others, picked.other_fares);
        line(&Rest { interval, others: Some(picked.other_keys), entry, fare, columns }, out)?;
    }
    Ok(())
}

type Interval = Option<(Option<Moment>, Option<Moment>)>;

/// The rows that are not shown, or an interval in which nothing came.
struct Rest {
    interval: Interval,
    others: Option<Option<u64>>,
    entry: Entry,
    fare: Fare,
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
        numbers(&mut map, &self.entry, &self.fare, self.columns)?;
        map.end()
    }
}
