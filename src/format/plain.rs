//! The plain format: `IP: COUNT`, one per line.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::tcp_stats::{Field, fields, fields_of_one};
use super::{RenderOptions, Report, ReportSection};
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::Value;
use crate::model::text::{printable, push_decimal};
use crate::{Connection, RecordTime};

/// `IP: COUNT`, one per line, with the beginning of the interval first if there are intervals.
///
/// Statistics follow the count, or the address of an event, each after a blank.
pub(super) struct Format {
    zone: TimeZone,
    columns: Columns,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { zone: options.zone, columns: options.columns }
    }

    fn rows(&self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        let start =
            section.start.map(|start| format!("{} ", self.local(start))).unwrap_or_default();
        let selection = section.select();
        // One buffer for all rows: there may be millions.
        let mut line = Vec::new();
        for row in section.rows(&selection) {
            line.clear();
            line.extend_from_slice(start.as_bytes());
            for (n, value) in row.values().enumerate() {
                if n > 0 {
                    line.push(b' ');
                }
                write_printable(&mut line, &value)?;
            }
            line.extend_from_slice(b": ");
            push_decimal(&mut line, row.entry.count);
            if self.columns.any() {
                line.extend_from_slice(self.statistics(row.stats).as_bytes());
            }
            line.push(b'\n');
            out.write_all(&line)?;
        }
        if selection.others.count > 0 {
            let statistics = self.statistics(&selection.other_stats);
            writeln!(out, "{start}others: {}{statistics}", selection.others.count)?;
        } else if selection.rows.is_empty() && section.start.is_some() {
            writeln!(out, "{start}none: 0{}", self.statistics(&TcpStats::default()))?;
        }
        Ok(())
    }

    fn statistics(&self, stats: &TcpStats) -> String {
        fields(self.columns).map(|field| word(field, stats)).collect()
    }

    fn local(&self, time: RecordTime) -> String {
        match time.timestamp() {
            Some(t) => t.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            None => time.to_string(),
        }
    }
}

impl super::Format for Format {
    fn interval(&mut self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(section, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows(&report.whole, out)
    }

    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        let stats = TcpStats::of(connection, 1);
        let fields = fields_of_one(self.columns).map(|(_, field)| field);
        let statistics: String = fields.map(|field| word(field, &stats)).collect();
        match connection.ip {
            Some(ip) => writeln!(out, "{ip}{statistics}"),
            None => writeln!(out, "unknown{statistics}"),
        }
    }
}

/// Appends a value, with its control characters escaped.
fn write_printable(line: &mut Vec<u8>, value: &Value) -> io::Result<()> {
    let from = line.len();
    value.append_to(line)?;
    if !line[from..].iter().all(|b| (b' '..0x7f).contains(b)) {
        line.truncate(from);
        line.extend_from_slice(printable(&value.to_string()).as_bytes());
    }
    Ok(())
}

/// Unknown values are `-`, so that every line has the same number of words.
fn word(field: &Field, stats: &TcpStats) -> String {
    format!(" {}", field.word(stats))
}
