//! The table for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Look, Part, Report, Row, printable};
use crate::tally::key::{Key, Value};
use crate::tally::table::Entry;
use crate::{Connection, Moment};

/// Columns with count, share, a bar, and the times of the first and the last connection. What
/// does not fit the width is left out: first the bar, then the share, then the times.
pub struct Format {
    look: Look,
}

const HEADING: Style = Style::new().bold();
const BAR: Style = AnsiColor::Green.on_default();
const NOTE: Style = AnsiColor::Yellow.on_default();
const QUIET: Style = Style::new().dimmed();

/// Between two columns.
const GAP: usize = 2;

impl Format {
    /// A new output.
    pub fn new(look: Look) -> Format {
        Format { look }
    }

    fn styled(&self, style: Style, text: impl std::fmt::Display) -> String {
        if self.look.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    fn rows(&self, part: &Part<'_>, indent: usize, out: &mut dyn Write) -> io::Result<()> {
        let picked = part.pick();
        let keys = part.keys.list();
        let mut all = picked.others;
        let mut widths: Vec<usize> = keys.iter().map(|k| heading(*k).len()).collect();
        let mut most = 0;
        for row in part.rows(&picked) {
            all.add(row.entry);
            most = most.max(row.entry.count);
            for (width, text) in widths.iter_mut().zip(texts(&row)) {
                *width = (*width).max(text.chars().count());
            }
        }
        let others = format!("others ({})", picked.other_keys);
        widths[0] = widths[0].max(if picked.other_keys > 0 { others.len() } else { 5 });
        let clock = Clock::new(&self.look, &all);
        let columns = Columns::fit(
            self.look.width.saturating_sub(indent),
            widths.iter().map(|w| w + GAP).sum::<usize>() - GAP,
            all.count,
            clock.width(&all),
        );

        let margin = " ".repeat(indent);
        let mut head = String::new();
        for (key, width) in keys.iter().zip(&widths) {
            let _ = match right(*key) {
                true => write!(head, "{:>width$}  ", heading(*key)),
                false => write!(head, "{:width$}  ", heading(*key)),
            };
        }
        head.push_str(&columns.line("COUNT", "SHARE", "", "FIRST", "LAST"));
        writeln!(out, "{margin}{}", self.styled(HEADING, head.trim_end()))?;
        let mut line = |texts: &mut dyn Iterator<Item = String>, entry: &Entry, bar: bool| {
            let mut text = margin.clone();
            for ((key, width), value) in keys.iter().zip(&widths).zip(texts) {
                let _ = match right(*key) {
                    true => write!(text, "{value:>width$}  "),
                    false => write!(text, "{value:width$}  "),
                };
            }
            let share = format!("{:.1}%", entry.count as f64 * 100.0 / all.count.max(1) as f64);
            let drawn =
                if bar { draw(entry.count, most.max(1), columns.bar) } else { String::new() };
            let drawn = format!("{drawn:width$}", width = columns.bar);
            text.push_str(&columns.line(
                &entry.count.to_string(),
                if bar { &share } else { "" },
                &self.styled(BAR, drawn),
                &clock.show(entry.first),
                &clock.show(entry.last),
            ));
            writeln!(out, "{}", text.trim_end())
        };
        for row in part.rows(&picked) {
            line(&mut texts(&row), &row.entry, true)?;
        }
        if picked.other_keys > 0 {
            let blank = std::iter::repeat_n(String::new(), keys.len() - 1);
            line(&mut std::iter::once(others).chain(blank), &picked.others, true)?;
        }
        if picked.rows.len() as u64 + picked.other_keys > 1 {
            let blank = std::iter::repeat_n(String::new(), keys.len() - 1);
            line(&mut std::iter::once("total".to_string()).chain(blank), &all, false)?;
        }
        Ok(())
    }

    fn caption(&self, report: &Report<'_>) -> String {
        let mut text = plural(report.sums.total, "connection", "connections");
        if let Some(n) = report.addresses().filter(|n| *n > 0) {
            let _ = write!(text, " from {}", plural(n as u64, "address", "addresses"));
        }
        if report.sums.filtered > 0 {
            let _ = write!(text, " ({} others were not asked for)", report.sums.filtered);
        }
        let account = report.account;
        if let Some((started, ended)) = account.started.zip(account.ended) {
            let clock =
                Clock { style: ClockStyle::Full, ..Clock::new(&self.look, &Entry::default()) };
            let _ = write!(text, ", {} to {}", clock.show(Some(started)), clock.show(Some(ended)));
        }
        text
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn interval(&mut self, part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
        let clock = Clock { style: ClockStyle::Full, ..Clock::new(&self.look, &Entry::default()) };
        let total = plural(part.total(), "connection", "connections");
        let heading = format!("{} to {}", clock.show(part.start), clock.show(part.end));
        writeln!(out, "{}  {total}", self.styled(HEADING, heading))?;
        if part.total() > 0 { self.rows(part, 4, out) } else { Ok(()) }
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        if self.look.intervals {
            writeln!(out)?;
        }
        if report.sums.total > 0 {
            self.rows(&report.whole, 0, out)?;
            writeln!(out)?;
        }
        for line in wrap(&self.caption(report), self.look.width) {
            writeln!(out, "{line}")?;
        }
        for note in &report.notes {
            for (i, line) in wrap(note, self.look.width.saturating_sub(6)).iter().enumerate() {
                let prefix = if i == 0 { self.styled(NOTE, "note:") } else { "     ".into() };
                writeln!(out, "{prefix} {}", printable(line))?;
            }
        }
        Ok(())
    }

    fn event(&mut self, c: &Connection, out: &mut dyn Write) -> io::Result<()> {
        let entry = Entry { count: 1, first: c.time, last: c.time };
        let clock = Clock { style: ClockStyle::Micros, ..Clock::new(&self.look, &entry) };
        let end = |ip, port| match (ip, port) {
            (None, None) => "unknown".into(),
            (ip, port) => Value::Local(ip, port).to_string(),
        };
        let mut text = format!("{}  {}", clock.show(c.time), end(c.ip, c.port));
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
        writeln!(out, "{}", text.trim_end())
    }
}

fn heading(key: Key) -> &'static str {
    match key {
        Key::Ip => "ADDRESS",
        Key::Net => "NETWORK",
        Key::Port => "PORT",
        Key::Local => "LOCAL",
        Key::Pid => "PID",
        Key::Comm => "COMMAND",
    }
}

/// Whether a column is aligned to the right.
fn right(key: Key) -> bool {
    matches!(key, Key::Pid)
}

fn texts(row: &Row<'_>) -> impl Iterator<Item = String> {
    row.values().map(|value| match value {
        Value::Text(text) => printable(&text),
        value => value.to_string(),
    })
}

/// The widths of the columns behind the keys; 0 for those that are left out.
struct Columns {
    count: usize,
    share: usize,
    bar: usize,
    time: usize,
}

impl Columns {
    fn fit(width: usize, keys: usize, total: u64, time: usize) -> Columns {
        let count = total.to_string().len().max("COUNT".len());
        let mut columns = Columns { count, share: 6, bar: 0, time };
        let left = |c: &Columns| {
            let gaps = |w: usize, n: usize| if w > 0 { (w + GAP) * n } else { 0 };
            let taken = keys + GAP + c.count + gaps(c.share, 1) + gaps(c.time, 2);
            width.checked_sub(taken)
        };
        if left(&columns).is_none() {
            columns.share = 0;
        }
        if left(&columns).is_none() {
            columns.time = 0;
            columns.share = 6;
        }
        if left(&columns).is_none() {
            columns.share = 0;
        }
        // A bar of less tells nothing, and a longer one no more.
        columns.bar = match left(&columns).unwrap_or(0).checked_sub(GAP) {
            Some(bar) if bar >= 4 && columns.share > 0 => bar.min(24),
            _ => 0,
        };
        columns
    }

    fn line(&self, count: &str, share: &str, bar: &str, first: &str, last: &str) -> String {
        let mut line = format!("{count:>width$}", width = self.count);
        if self.share > 0 {
            let _ = write!(line, "  {share:>width$}", width = self.share);
        }
        if self.bar > 0 {
            // Colours have no width of their own, so a bar comes padded.
            let _ = match bar {
                "" => write!(line, "  {:width$}", "", width = self.bar),
                bar => write!(line, "  {bar}"),
            };
        }
        if self.time > 0 {
            let _ = write!(line, "  {first:>width$}  {last:>width$}", width = self.time);
        }
        line
    }
}

/// A bar of `n` in `most`, to an eighth of a column.
fn draw(n: u64, most: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (u128::from(n) * width as u128 * 8).div_ceil(u128::from(most)) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[derive(Clone, Copy, PartialEq)]
enum ClockStyle {
    /// All are of one day.
    Time,
    /// All are of one year.
    Date,
    Year,
    Full,
    Micros,
}

/// Shows times by the reader's clock.
struct Clock<'a> {
    look: &'a Look,
    style: ClockStyle,
}

impl<'a> Clock<'a> {
    /// Shows what is needed to tell the times between first and last from each other.
    fn new(look: &'a Look, all: &Entry) -> Clock<'a> {
        let date = |t: Option<Moment>| Some(look.zone.to_datetime(t?.timestamp()?).date());
        let style = match (date(all.first), date(all.last)) {
            (Some(a), Some(b)) if a == b => ClockStyle::Time,
            (Some(a), Some(b)) if a.year() == b.year() => ClockStyle::Date,
            (Some(_), Some(_)) => ClockStyle::Year,
            _ => ClockStyle::Time,
        };
        Clock { look, style }
    }

    fn width(&self, all: &Entry) -> usize {
        self.show(all.first).len().max(self.show(all.last).len())
    }

    fn show(&self, time: Option<Moment>) -> String {
        let Some(time) = time else { return String::new() };
        let Some(t) = time.timestamp() else {
            return match time {
                Moment::Elapsed(ns) => format!("{:+.1}s", ns as f64 / 1e9),
                time => time.to_string(),
            };
        };
        let format = match self.style {
            ClockStyle::Time => "%H:%M:%S",
            ClockStyle::Date => "%m-%d %H:%M",
            ClockStyle::Year => "%Y-%m-%d",
            ClockStyle::Full => "%Y-%m-%d %H:%M:%S",
            ClockStyle::Micros => "%Y-%m-%d %H:%M:%S%.6f",
        };
        t.to_zoned(self.look.zone.clone()).strftime(format).to_string()
    }
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Breaks a text between words into lines of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |l| l.chars().count());
        match lines.last_mut() {
            Some(last) if line == 0 || line + 1 + word.chars().count() <= width => {
                if line > 0 {
                    last.push(' ');
                }
                last.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
