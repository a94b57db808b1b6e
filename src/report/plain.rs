//! `IP: COUNT` a line.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::fared::{Field, fields, fields_of_one};
use super::text::printable;
use super::{Look, Part, Report};
use crate::tally::fare::{Columns, Fare};
use crate::{Connection, Moment};

/// `IP: COUNT` a line, behind the beginning of the interval where there is one.
///
/// Behind the count, or behind the address of an event, columns with a blank before each.
pub struct Format {
    zone: TimeZone,
    columns: Columns,
}

impl Format {
    /// A new output.
    pub fn new(look: Look) -> Format {
        Format { zone: look.zone, columns: look.columns }
    }

    fn rows(&self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        let start = part.start.map(|start| format!("{} ", self.local(start))).unwrap_or_default();
        let picked = part.pick();
        for row in part.rows(&picked) {
            let values: Vec<_> = row.values().map(|v| printable(&v.to_string())).collect();
            let fared = self.fared(&row.fare);
            writeln!(out, "{start}{}: {}{fared}", values.join(" "), row.entry.count)?;
        }
        if picked.others.count > 0 {
            let fared = self.fared(&picked.other_fares);
            writeln!(out, "{start}others: {}{fared}", picked.others.count)?;
        } else if picked.rows.is_empty() && part.start.is_some() {
            writeln!(out, "{start}none: 0{}", self.fared(&Fare::default()))?;
        }
        Ok(())
    }

    fn fared(&self, fare: &Fare) -> String {
        fields(self.columns).map(|field| word(field, fare)).collect()
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
        let fare = Fare::of(connection, 1);
        let fields = fields_of_one(self.columns).map(|(_, field)| field);
        let fared: String = fields.map(|field| word(field, &fare)).collect();
        match connection.ip {
            Some(ip) => writeln!(out, "{ip}{fared}"),
            None => writeln!(out, "unknown{fared}"),
        }
    }
}

/// What is not known is a `-`, so that every line has as many words.
fn word(field: &Field, fare: &Fare) -> String {
    match field.text(fare) {
        unknown if unknown.is_empty() => " -".into(),
        known => format!(" {known}"),
    }
}
