//! A JSON object a line: the rows, and the head of the report as the last line.

use std::io::{self, Write};

use serde::Serialize;

use super::event::Event;
use super::json::{Document, Line, others};
use super::{Look, Part, Report};
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
        if part.total() == 0 {
            line(&Empty { start: part.start, end: part.end, count: 0 }, out)?;
        }
        for row in part.rows(&picked) {
            let interval = Some((part.start, part.end));
            line(&Line { interval, keys: part.keys.list(), row }, out)?;
        }
        if let Some(others) = others(&picked) {
            line(&In { start: part.start, end: part.end, others }, out)?;
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
            if let Some(others) = others(&picked) {
                line(&others, out)?;
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

/// An interval in which nothing came.
#[derive(Serialize)]
struct Empty {
    start: Option<Moment>,
    end: Option<Moment>,
    count: u64,
}

/// What is not shown of an interval.
#[derive(Serialize)]
struct In<T> {
    start: Option<Moment>,
    end: Option<Moment>,
    #[serde(flatten)]
    others: T,
}
