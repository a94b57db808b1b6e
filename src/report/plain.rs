//! `IP: COUNT` a line.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::text::printable;
use super::{Look, Part, Report};
use crate::{Connection, Moment};

/// `IP: COUNT` a line, behind the beginning of the interval where there is one.
pub struct Format {
    zone: TimeZone,
}

impl Format {
    /// A new output.
    pub fn new(look: Look) -> Format {
        Format { zone: look.zone }
    }

    fn rows(&self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        let start = part.start.map(|start| format!("{} ", self.local(start))).unwrap_or_default();
        let picked = part.pick();
        for row in part.rows(&picked) {
            let values: Vec<_> = row.values().map(|v| printable(&v.to_string())).collect();
            writeln!(out, "{start}{}: {}", values.join(" "), row.entry.count)?;
        }
        if picked.others.count > 0 {
            writeln!(out, "{start}others: {}", picked.others.count)?;
        } else if picked.rows.is_empty() && part.start.is_some() {
            writeln!(out, "{start}none: 0")?;
        }
        Ok(())
    }

    fn local(&self, time: Moment) -> String {
        match time.timestamp() {
            Some(t) => t.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            None => time.to_string(),
        }
    }
}

impl super::Format for Format {
    fn interval(&mut self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(part, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(&report.whole, out)
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        match connection.ip {
            Some(ip) => writeln!(out, "{ip}"),
            None => writeln!(out, "unknown"),
        }
    }
}
