//! [`Rows`]: one line for each interval, with the largest rows as columns, as vmstat(8) prints its samples.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;

use super::columns::bar;
use crate::RecordTime;
use crate::count::order::{Order, Sort};
use crate::format::chart::name;
use crate::format::clock::{Clock, Detail};
use crate::format::tcp_stats::fields;
use crate::format::text::{BAR, HEADING};
use crate::format::{RenderOptions, ReportSection};

/// Lines after which the headings are repeated.
const HEADING_LINES: usize = 20;

/// Blanks between two columns.
const GAP: usize = 2;

/// Length of a bar.
const BAR_WIDTH: usize = 10;

/// Width of counts.
const COUNT_WIDTH: usize = 7;

/// Maximum number of rows that are columns.
const MAX_COLUMNS: usize = 12;

/// The columns, and what was printed.
#[derive(Default)]
pub(super) struct Rows {
    /// The keys of the columns, and their names.
    columns: Vec<(Vec<u8>, String)>,
    /// The columns that the totals so far suggest.
    suggested: Vec<(Vec<u8>, String)>,
    /// The count that a full bar means.
    scale: u64,
    /// The local date of the line before.
    date: String,
    /// Lines since the headings; `None`: there are no headings yet.
    lines: Option<usize>,
}

impl Rows {
    /// Whether nothing was printed.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_none()
    }

    /// Whether the headings are printed with the next line, whatever it contains.
    pub(super) fn needs_columns(&self) -> bool {
        self.lines.is_none_or(|lines| lines >= HEADING_LINES)
    }

    /// Takes the largest rows of all time so far as the next columns.
    pub(super) fn suggest(&mut self, whole: &ReportSection<'_>) {
        self.suggested = largest(whole);
    }

    /// Writes the line of an interval, and headings if they have changed.
    pub(super) fn write(
        &mut self,
        section: &ReportSection<'_>,
        options: &RenderOptions,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let clock = Clock::new(&options.zone, detail(section));
        let date = match section.start {
            Some(RecordTime::Clock(_)) => {
                Clock::new(&options.zone, Detail::Date).show(section.start)
            }
            _ => "FROM".into(),
        };
        let time = clock.show(section.start);
        let total = section.total();
        if self.needs_columns() {
            self.columns = std::mem::take(&mut self.suggested);
            self.lines = None;
        }
        if self.columns.is_empty() || self.hides_most(section) {
            self.columns = largest(section);
            self.lines = None;
        }
        let has_date = detail(section) != Detail::Date;
        if total > self.scale || has_date && date != self.date {
            self.lines = None;
        }
        self.scale = self.scale.max(round(total));
        if self.lines.is_none() {
            self.heading(if has_date { &date } else { "DATE" }, options, out)?;
            self.lines = Some(0);
        }
        self.date = date;
        self.lines = self.lines.map(|lines| lines + 1);
        self.line(&time, section, options, out)
    }

    /// Whether most connections of an interval would be in no column.
    fn hides_most(&self, section: &ReportSection<'_>) -> bool {
        let Some((code, _)) = largest(section).into_iter().next() else { return false };
        let counts = counts(section, &[(code, String::new())]);
        let is_column = largest(section)
            .first()
            .is_some_and(|(code, _)| self.columns.iter().any(|(column, _)| column == code));
        !is_column && counts.first().is_some_and(|count| count * 2 > section.total())
    }

    /// The columns that fit: their number.
    fn fitting(&self, options: &RenderOptions) -> usize {
        let statistics: usize = fields(options.columns).map(|f| f.heading.len().max(9) + GAP).sum();
        let fixed = 10 + GAP + COUNT_WIDTH + statistics + GAP + BAR_WIDTH + GAP + COUNT_WIDTH;
        let mut left = options.window().0.saturating_sub(fixed);
        let fits = |(_, name): &&(Vec<u8>, String)| {
            let width = width(name) + GAP;
            let fits = left >= width;
            left = left.saturating_sub(width);
            fits
        };
        self.columns.iter().take_while(fits).count()
    }

    fn heading(&self, date: &str, options: &RenderOptions, out: &mut dyn Write) -> io::Result<()> {
        let mut text = format!("{date:<10}{:GAP$}{:>COUNT_WIDTH$}", "", "COUNT");
        for field in fields(options.columns) {
            let _ = write!(
                text,
                "{:GAP$}{:>width$}",
                "",
                field.heading,
                width = field.heading.len().max(9)
            );
        }
        let _ = write!(text, "{:GAP$}{:<BAR_WIDTH$}", "", format!("0..{}", self.scale));
        for (_, name) in self.columns.iter().take(self.fitting(options)) {
            let _ = write!(text, "{:GAP$}{name:>width$}", "", width = width(name));
        }
        let _ = write!(text, "{:GAP$}{:>COUNT_WIDTH$}", "", "others");
        writeln!(out, "{}", styled(options, HEADING, &text))
    }

    fn line(
        &self,
        time: &str,
        section: &ReportSection<'_>,
        options: &RenderOptions,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let total = section.total();
        let mut text = format!("{time:<10}{:GAP$}{total:>COUNT_WIDTH$}", "");
        for field in fields(options.columns) {
            let width = field.heading.len().max(9);
            let _ = write!(text, "{:GAP$}{:>width$}", "", field.show(&section.stats()));
        }
        let (bar, taken) = bar(total, self.scale, BAR_WIDTH, options.ascii);
        let blank = BAR_WIDTH - taken;
        let bar = if taken > 0 { styled(options, BAR, &bar) } else { bar };
        let _ = write!(text, "{:GAP$}{bar}{:blank$}", "", "");
        let columns = &self.columns[..self.fitting(options)];
        let counts = counts(section, columns);
        for (count, (_, name)) in counts.iter().zip(columns) {
            let _ = write!(text, "{:GAP$}{count:>width$}", "", width = width(name));
        }
        let others = total.saturating_sub(counts.iter().sum());
        let _ = write!(text, "{:GAP$}{others:>COUNT_WIDTH$}", "");
        let partial = if section.is_partial { " (partial)" } else { "" };
        writeln!(out, "{text}{partial}")
    }
}

/// The width of a column with this name.
fn width(name: &str) -> usize {
    name.chars().count().max(5)
}

fn styled(options: &RenderOptions, style: Style, text: &str) -> String {
    if options.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// The largest rows of a section: their keys and names.
fn largest(section: &ReportSection<'_>) -> Vec<(Vec<u8>, String)> {
    let top = section.order.top.unwrap_or(MAX_COLUMNS).min(MAX_COLUMNS);
    let order = Order { sort: Sort::Count, top: Some(top), ..section.order };
    let section = ReportSection { order, ..section.clone() };
    let selection = section.select();
    let codes = selection.rows.iter().filter_map(|row| Some(section.table?.row(*row).0.to_vec()));
    codes.zip(section.rows(&selection).map(|row| name(&row))).collect()
}

/// The counts of columns in a section.
fn counts(section: &ReportSection<'_>, columns: &[(Vec<u8>, String)]) -> Vec<u64> {
    let mut counts = vec![0; columns.len()];
    if let Some(table) = section.table {
        for (code, entry) in (0..table.len()).map(|row| table.row(row)) {
            if let Some(at) = columns.iter().position(|(column, _)| column == code) {
                counts[at] += entry.count;
            }
        }
    }
    counts
}

/// The detail in which times are shown: days begin at midnight, short intervals within a second.
fn detail(section: &ReportSection<'_>) -> Detail {
    let (Some(RecordTime::Clock(start)), Some(RecordTime::Clock(end))) =
        (section.start, section.end)
    else {
        return Detail::Time;
    };
    const DAY: i64 = 82_800_000_000_000;
    match end.saturating_sub(start) {
        DAY.. => Detail::Date,
        1_000_000_000.. => Detail::Time,
        _ => Detail::Tenths,
    }
}

/// The smallest number with the digits 1, 2 or 5 and zeros that is at least `n`, and at least 10.
fn round(n: u64) -> u64 {
    let mut scale = 10u64;
    for factor in [2u64, 5, 10].iter().cycle() {
        if scale >= n {
            break;
        }
        scale = 10u64.saturating_pow(scale.ilog10()).saturating_mul(*factor);
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        assert_eq!([0, 10, 11, 21, 51, 101, 4000].map(round), [10, 10, 20, 50, 100, 200, 5000]);
        assert_eq!(round(u64::MAX), u64::MAX);
    }
}
