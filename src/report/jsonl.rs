//! A JSON object a line: the rows, and the head of the report as the last line.

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::event::Event;
use super::json::{Document, Line};
use super::{Look, Part, Report};
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
            line(
                &Rest { interval, others: None, entry: Entry::default(), bytes: part.order.bytes },
                out,
            )?;
        }
        for row in part.rows(&picked) {
            line(&Line { interval, keys: part.keys.list(), row }, out)?;
        }
        if picked.others.count > 0 {
            line(&Rest::of(interval, &picked, part.order.bytes), out)?;
        }
        Ok(())
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.intervals {
            let part = &report.whole;
            let picked = part.pick();
            for row in part.rows(&picked) {
                line(&Line { interval: None, keys: part.keys.list(), row }, out)?;
            }
            if picked.others.count > 0 {
                line(&Rest::of(None, &picked, part.order.bytes), out)?;
            }
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

type Interval = Option<(Option<Moment>, Option<Moment>)>;

/// The rows that are not shown, or an interval in which nothing came.
struct Rest {
    interval: Interval,
    others: Option<Option<u64>>,
    entry: Entry,
    bytes: bool,
}

impl Rest {
    fn of(interval: Interval, picked: &Picked, bytes: bool) -> Rest {
        Rest { interval, others: Some(picked.other_keys), entry: picked.others, bytes }
    }
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
        let Entry { count, first, last, bytes } = self.entry;
        map.serialize_entry("count", &count)?;
        map.serialize_entry("first", &first)?;
        map.serialize_entry("last", &last)?;
        if self.bytes {
            map.serialize_entry("bytes_in", &bytes[0])?;
            map.serialize_entry("bytes_out", &bytes[1])?;
        }
        map.end()
    }
}
