//! Comma-separated values, with a line of headings.

use std::io::{self, Write};

use super::event::Event;
use super::fared::fields;
use super::{Look, Part, Report};
use crate::tally::fare::Fare;
use crate::tally::table::Entry;
use crate::tally::value::Value;
use crate::{Connection, Moment};

/// Comma-separated values. Where there are intervals, their rows are all: a sum over the column
/// `count` is the total.
pub struct Format {
    intervals: bool,
    headings: bool,
}

impl Format {
    /// A new output.
    pub fn new(look: Look) -> Format {
        Format { intervals: look.intervals, headings: look.headings }
    }

    fn rows(&mut self, part: &Part<'_>, out: &mut dyn Write) -> Result<(), ::csv::Error> {
        let mut out = ::csv::Writer::from_writer(out);
        let intervals = self.intervals;
        if std::mem::take(&mut self.headings) {
            let interval = if intervals { &["start", "end"][..] } else { &[] };
            let keys = part.keys.list().iter().map(|k| k.name());
            let values = ["count", "first", "last"].into_iter();
            let fared = fields(part.order.columns).map(|field| field.name);
            let all = interval.iter().copied().chain(keys).chain(values).chain(fared);
            out.write_record(all)?;
        }
        let mut line = |keys: &mut dyn Iterator<Item = String>, entry: &Entry, fare: &Fare| {
            if intervals {
                out.write_field(time(part.start))?;
                out.write_field(time(part.end))?;
            }
            for key in keys {
                out.write_field(key)?;
            }
            out.write_field(entry.count.to_string())?;
            out.write_field(time(entry.first))?;
            out.write_field(time(entry.last))?;
            for field in fields(part.order.columns) {
                out.write_field(field.text(fare))?;
            }
            out.write_record(None::<&[u8]>)
        };
        let picked = part.pick();
        let columns = part.keys.list().len();
        let blank = || std::iter::repeat_n(String::new(), columns - 1);
        for row in part.rows(&picked) {
            let known = |value| match value {
                Value::Unknown => String::new(),
                value => value.to_string(),
            };
            line(&mut row.values().map(known), &row.entry, &row.fare)?;
        }
        if picked.others.count > 0 {
            let mut keys = std::iter::once("others".to_string()).chain(blank());
            line(&mut keys, &picked.others, &picked.other_fares)?;
        } else if picked.rows.is_empty() && intervals {
            let mut keys = std::iter::once(String::new()).chain(blank());
            line(&mut keys, &Entry::default(), &Fare::default())?;
        }
        Ok(out.flush()?)
    }

    fn record(&mut self, connection: &Connection, out: &mut dyn Write) -> Result<(), ::csv::Error> {
        let headings = std::mem::take(&mut self.headings);
        let mut out = ::csv::WriterBuilder::new().has_headers(headings).from_writer(out);
        out.serialize(Event::from(connection))?;
        Ok(out.flush()?)
    }
}

/// The error of the output as it was: a closed pipe is no failure.
fn plain(error: ::csv::Error) -> io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

fn time(time: Option<Moment>) -> String {
    time.map(|t| t.to_string()).unwrap_or_default()
}

impl super::Format for Format {
    fn interval(&mut self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(part, out).map_err(plain)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if self.intervals { Ok(()) } else { self.rows(&report.whole, out).map_err(plain) }
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        self.record(connection, out).map_err(plain)
    }
}
