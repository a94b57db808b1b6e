//! The table format, for people.

mod columns;
mod histogram;
mod intervals;

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;

use self::columns::{Columns, Line};
use self::intervals::Rows;

use super::clock::{Clock, Detail};
use super::tcp_stats::{fields, fields_of_one};
use super::text::{BAR, HEADING, NOTE, QUIET, wrap};
use super::{RenderOptions, Report, ReportSection, Row};
use crate::Connection;
use crate::count::key::Key;
use crate::count::order::Selection;
use crate::count::table::Entry;
use crate::count::tcp_stats::TcpStats;
use crate::count::value::Value;
use crate::model::plural;
use crate::model::text::printable;

/// Maximum width of lines of text.
const MAX_TEXT_WIDTH: usize = 120;

/// Minimum number of rows in a small window.
const MIN_ROWS: usize = 5;

/// A table with count, share, bar and the times of the first and the last connection; below it a
/// summary and the notes.
pub(super) struct Format {
    options: RenderOptions,
    /// The lines of intervals.
    rows: Rows,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { options, rows: Rows::default() }
    }

    fn styled(&self, style: Style, text: impl std::fmt::Display) -> String {
        if self.options.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// The width of lines of text, which are hard to read if they are long.
    fn text_width(&self) -> usize {
        self.options.window().0.min(MAX_TEXT_WIDTH)
    }

    /// The lines of a note.
    fn note(&self, text: &str) -> Vec<String> {
        let lines = wrap(&printable(text), self.text_width().saturating_sub(6));
        let prefix = |i| if i == 0 { self.styled(NOTE, "note:") } else { "     ".into() };
        lines.iter().enumerate().map(|(i, line)| format!("{} {line}", prefix(i))).collect()
    }

    /// As many of the rows as fit the window above `below` lines, and how to get the others.
    fn fit<'a>(
        &self,
        section: &ReportSection<'a>,
        below: usize,
    ) -> (ReportSection<'a>, Option<String>) {
        let mut section = section.clone();
        let lines = self.options.window().1;
        let (Some(hint), Some(lines)) = (self.options.fit_hint, lines) else {
            return (section, None);
        };
        // Headings, the others, the total, an empty line, the hint, and the shell's prompt.
        const AROUND: usize = 7;
        let fitting = lines.saturating_sub(AROUND + below).max(MIN_ROWS);
        let all = section.select().rows.len();
        if section.order.top.is_some() || all <= fitting {
            return (section, None);
        }
        section.order.top = Some(fitting);
        (section, Some(format!("{fitting} of {all} rows are shown; {hint}")))
    }

    fn bars(&self) -> Option<Style> {
        self.options.color.then_some(BAR)
    }

    fn rows(&self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        let selection = section.select();
        let keys = section.keys.list();
        let all = section.all();
        let headings = headings(keys);
        let clock = Clock::between(&self.options.zone, &all);
        let time = clock.show(all.first).len().max(clock.show(all.last).len());
        let (widths, most) =
            measure(section, &selection, headings.iter().map(std::string::String::len).collect());
        let count = all.count.to_string().len();
        let statistics = self.measure_stats(section, &selection);
        let columns =
            Columns::fit(self.options.window().0, widths, count, statistics, time, self.bars())
                .ascii(self.options.ascii);

        let head = columns.line(&Line {
            keys: headings,
            count: "COUNT".into(),
            share: "SHARE".into(),
            bar: None,
            times: ["FIRST", "LAST"].map(String::from),
            statistics: fields(self.options.columns).map(|field| field.heading.into()).collect(),
        });
        writeln!(out, "{}", self.styled(HEADING, head))?;
        let line = |keys: Vec<String>, entry: Entry, stats: &TcpStats| Line {
            keys,
            count: entry.count.to_string(),
            share: share(entry.count, all.count),
            bar: None,
            times: [entry.first, entry.last].map(|t| clock.show(t)),
            statistics: self.statistics(stats),
        };
        for row in section.rows(&selection) {
            let bar = Some((row.entry.count, most));
            let line = Line { bar, ..line(texts(&row).collect(), row.entry, row.stats) };
            writeln!(out, "{}", columns.line(&line))?;
        }
        if selection.others.count > 0 {
            let label = label(&others(&selection), keys);
            let line = line(label, selection.others, &selection.other_stats);
            writeln!(out, "{}", columns.line(&line))?;
        }
        if selection.rows.len() + usize::from(selection.others.count > 0) > 1 {
            let line =
                Line { share: String::new(), ..line(label("total", keys), all, &section.stats()) };
            writeln!(out, "{}", self.styled(HEADING, columns.line(&line)))?;
        }
        Ok(())
    }

    /// The statistics, a text for each column.
    fn statistics(&self, stats: &TcpStats) -> Vec<String> {
        fields(self.options.columns).map(|field| field.show(stats)).collect()
    }

    /// The widths of the columns of statistics, headings included.
    fn measure_stats(&self, section: &ReportSection<'_>, selection: &Selection) -> Vec<usize> {
        let mut widths: Vec<_> =
            fields(self.options.columns).map(|field| field.heading.len()).collect();
        let rows = section.rows(selection).map(|row| row.stats);
        for stats in rows.chain([&selection.other_stats, &section.stats()]) {
            for (width, text) in widths.iter_mut().zip(self.statistics(stats)) {
                *width = (*width).max(text.len());
            }
        }
        widths
    }

    fn caption(&self, report: &Report<'_>) -> String {
        let mut text = plural(report.sums.total, "connection", "connections");
        if let Some(n) = report.addresses().filter(|n| *n > 0) {
            let _ = write!(text, " from {}", plural(n as u64, "address", "addresses"));
        }
        let watched = report.status.started.zip(report.status.ended);
        let all = report.whole.all();
        if let Some((from, to)) = watched.or(all.first.zip(all.last)) {
            let _ = write!(text, ", {}", Clock::span(&self.options.zone, from, to));
        }
        if report.sums.filtered > 0 {
            let others = plural(report.sums.filtered, "other was", "others were");
            let _ = write!(text, "; {others} excluded by your filters");
        }
        text
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn prepare_intervals(&mut self, whole: &ReportSection<'_>) {
        if self.rows.needs_columns() {
            self.rows.suggest(whole);
        }
    }

    fn interval(&mut self, section: &ReportSection<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.rows.write(section, &self.options, out)
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.rows.is_empty() {
            writeln!(out)?;
        }
        if self.options.histogram && report.intervals.is_some() {
            histogram::write(report, &self.options, out)?;
        }
        let mut below = wrap(&self.caption(report), self.text_width());
        for note in &report.notes {
            below.extend(self.note(note));
        }
        if report.sums.total > 0 {
            let (section, hint) = self.fit(&report.whole, below.len());
            self.rows(&section, out)?;
            writeln!(out)?;
            below.extend(hint.iter().flat_map(|hint| self.note(hint)));
        }
        for line in below {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn event(&mut self, c: &Connection, out: &mut dyn Write) -> io::Result<()> {
        let end = |ip, port| match (ip, port) {
            (None, None) => "unknown".into(),
            (ip, port) => Value::Local(ip, port).to_string(),
        };
        let time = Clock::new(&self.options.zone, Detail::Micros).show(c.time);
        let mut text = format!("{time}  {}", end(c.ip, c.port));
        if c.local_ip.is_some() || c.local_port.is_some() {
            let _ = write!(text, " -> {}", end(c.local_ip, c.local_port));
        }
        let who = match (&c.comm, c.pid) {
            (Some(comm), Some(pid)) => format!("{}[{pid}]", printable(comm)),
            (Some(comm), None) => printable(comm),
            (None, Some(pid)) => format!("[{pid}]"),
            (None, None) => String::new(),
        };
        if !who.is_empty() {
            let _ = write!(text, "  {}", self.styled(QUIET, who));
        }
        let stats = TcpStats::of(c, 1);
        for (word, field) in fields_of_one(self.options.columns) {
            let _ = write!(text, "  {word} {}", field.show(&stats));
        }
        writeln!(out, "{}", text.trim())
    }
}

fn headings(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| heading(*key).into()).collect()
}

fn heading(key: Key) -> &'static str {
    match key {
        Key::Ip => "ADDRESS",
        Key::Net => "NETWORK",
        Key::Port => "PORT",
        Key::Local => "LOCAL",
        Key::Pid => "PID",
        Key::Comm => "COMMAND",
        Key::Host => "HOST",
        Key::Container => "CONTAINER",
        Key::Asn => "AS",
        Key::Country => "COUNTRY",
        Key::Name => "NAME",
        Key::Duration => "DURATION",
        Key::Rtt => "RTT",
        Key::Bytes => "BYTES",
    }
}

fn texts(row: &Row<'_>) -> impl Iterator<Item = String> {
    row.values().map(|value| match value {
        Value::Text(text) => printable(&text),
        value => value.to_string(),
    })
}

fn others(selection: &Selection) -> String {
    selection.other_keys.map_or("others".into(), |n| format!("others ({n})"))
}

/// A text in the first key column, the others empty.
fn label(text: &str, keys: &[Key]) -> Vec<String> {
    let mut label = vec![String::new(); keys.len()];
    label[0] = text.into();
    label
}

fn share(n: u64, all: u64) -> String {
    format!("{:.1}%", n as f64 * 100.0 / all.max(1) as f64)
}

/// Widths of the key columns (at least `widths`) and the largest count.
fn measure(
    section: &ReportSection<'_>,
    selection: &Selection,
    mut widths: Vec<usize>,
) -> (Vec<usize>, u64) {
    let mut most = 0;
    for row in section.rows(selection) {
        most = most.max(row.entry.count);
        for (width, text) in widths.iter_mut().zip(texts(&row)) {
            *width = (*width).max(text.chars().count());
        }
    }
    if selection.others.count > 0 {
        widths[0] = widths[0].max(others(selection).len());
    }
    (widths, most)
}
