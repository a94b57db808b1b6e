//! Tables with a header line, one connection a line.

use std::borrow::Cow;
use std::sync::Arc;

use crate::parse::cursor::Cursor;
use crate::parse::decoration::layers::first_lines;
use crate::parse::digits::number;
use crate::parse::gaps::{self, Gaps};
use crate::parse::host::has_two_addresses;
use crate::parse::input::Input;
use crate::parse::lines;
use crate::parse::reader::Context;
use crate::parse::timestamp::{Calendar, Stamp};
use crate::{RecordTime, ShortfallKind, Sink};

/// The columns of a table, from its header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    names: Vec<Box<[u8]>>,
    /// Where the process name is. It may contain blanks.
    comm: usize,
    /// Whether commas separate the columns, and not blanks.
    commas: bool,
}

/// Finds columns: of a line that is a header, or of the first rows of a text.
type FindColumns = fn(&[u8]) -> Option<Columns>;

impl Columns {
    /// Reads a header line; `None` if `line` is none with a column of names and all `needed` ones.
    pub(super) fn of(line: &[u8], needed: &[&str]) -> Option<Columns> {
        memchr::memmem::find(line, b"COMM")?;
        let commas = line.contains(&b',');
        let names: Vec<Box<[u8]>> = split(line, commas).map(Box::from).collect();
        // tcpstates calls it the name of the process that was current.
        let comm = names.iter().position(|name| matches!(&**name, b"COMM" | b"C-COMM"))?;
        let columns = Columns { names, comm, commas };
        needed.iter().all(|name| columns.find(name).is_some()).then_some(columns)
    }

    /// Whether the port of the server comes last, so that a line without its end may lack digits
    /// of it.
    fn ends_with_port(&self) -> bool {
        self.names.last().is_some_and(|name| **name == *b"LPORT")
    }

    /// Where a column is.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| **n == *name.as_bytes())
    }

    /// Reads a line; `None` if it has fewer columns.
    pub(super) fn row<'a>(&self, line: &'a [u8]) -> Option<Row<'a>> {
        let words: Vec<&[u8]> = split(line, self.commas).collect();
        let columns = self.names.len();
        (words.len() >= columns).then_some(Row { words, comm: self.comm, columns })
    }

    /// Whether the columns that tell the process, the time and the version of IP have such values.
    fn has_valid_process(&self, row: &Row<'_>) -> bool {
        let is = |name: &str, valid: fn(&[u8]) -> bool| row.get(self.find(name)).is_none_or(valid);
        is("PID", |pid| number::<u32>(pid).is_some())
            && is("IP", |version| matches!(version, b"4" | b"6"))
            && is("TIME", |time| clock_or_seconds(time) != Stamp::None)
            && is("TIME(s)", |time| clock_or_seconds(time) != Stamp::None)
    }

    /// The stamp of a line of this table.
    fn stamp(&self, line: &[u8]) -> Stamp {
        let first = split(line, self.commas).next().unwrap_or_default();
        match &*self.names[0] {
            b"TIME" | b"TIME(s)" => clock_or_seconds(first),
            b"TIME(ns)" => number::<u64>(first)
                .and_then(|ns| i64::try_from(ns).ok())
                .map_or(Stamp::None, Stamp::Elapsed),
            _ => Stamp::None,
        }
    }
}

fn split(line: &[u8], commas: bool) -> impl Iterator<Item = &[u8]> {
    line.split(move |b| if commas { *b == b',' } else { b.is_ascii_whitespace() })
        .map(<[u8]>::trim_ascii)
        .filter(move |word| commas || !word.is_empty())
}

fn clock_or_seconds(word: &[u8]) -> Stamp {
    let mut cursor = Cursor(word);
    if let Some(ns) = cursor.clock() {
        return Stamp::Clock(ns);
    }
    match cursor.seconds() {
        Some(ns) if word.contains(&b'.') => Stamp::Elapsed(ns),
        _ => Stamp::None,
    }
}

/// A line of a table. It is read from both ends, since the name in the middle may have blanks.
pub(super) struct Row<'a> {
    words: Vec<&'a [u8]>,
    comm: usize,
    columns: usize,
}

impl<'a> Row<'a> {
    /// The word in a column other than that of names.
    pub(super) fn at(&self, column: usize) -> &'a [u8] {
        let behind = self.words.len() - self.columns;
        self.words[if column < self.comm { column } else { column + behind }]
    }

    /// The word in a column that the table may not have.
    pub(super) fn get(&self, column: Option<usize>) -> Option<&'a [u8]> {
        column.map(|column| self.at(column))
    }

    /// The process name.
    pub(super) fn comm(&self) -> Arc<str> {
        let name = &self.words[self.comm..=self.comm + self.words.len() - self.columns];
        let name: Cow<'_, [u8]> = match name {
            [name] => Cow::Borrowed(*name),
            words => Cow::Owned(words.join(&b' ')),
        };
        String::from_utf8_lossy(&name).into()
    }
}

/// Whether one of the first lines is a header.
pub(super) fn has_header(head: &[u8], header: FindColumns) -> bool {
    let mut found = false;
    lines::each(head, |line, _| found = found || header(line).is_some());
    found
}

/// The columns of a text that has lost its header, as the output of tail(1): those of the first of `headers` by which all
/// lines of `head` are rows. The first line may be damaged.
pub(super) fn columns_of_rows(
    head: &[u8],
    headers: &[&str],
    is_row: fn(&Columns, &Row<'_>) -> bool,
) -> Option<Columns> {
    let lines: Vec<&[u8]> = first_lines(head)
        .into_iter()
        .filter(|line| !is_notice(line) && lost_events(line).is_none())
        .collect();
    let of = |columns: &Columns, line: &[u8]| {
        columns
            .row(line)
            .is_some_and(|row| columns.has_valid_process(&row) && is_row(columns, &row))
    };
    let (first, rest) = lines.split_first()?;
    let certain = if rest.is_empty() { std::slice::from_ref(first) } else { rest };
    let mut known = headers.iter().filter_map(|header| Columns::of(header.as_bytes(), &[]));
    known.find(|columns| certain.iter().all(|line| of(columns, line)))
}

/// Maximum size of the lines before the first header that are read when it comes: it is the last line of a table
/// that was sorted.
const MAX_EARLY_BYTES: usize = 16 * 1024 * 1024;

/// What is known from one line of an input to the next.
#[derive(Default)]
struct Tables {
    columns: Option<Columns>,
    /// The lines before the first header.
    early: Vec<u8>,
    /// Number of lines before the first header that had no room.
    passed_over: u64,
    unreadable: u64,
    /// Number of events, of any kind, that the tool says it lost.
    lost: u64,
}

impl Tables {
    /// Reads a line. `row` takes that of a table, and returns false if it cannot be read. `is_whole`: the line has
    /// its end.
    fn line(
        &mut self,
        line: &[u8],
        is_whole: bool,
        header: FindColumns,
        row: &mut dyn FnMut(&Columns, &[u8]) -> bool,
    ) {
        if let Some(found) = header(line) {
            for early in std::mem::take(&mut self.early).split(|b| lines::is_end(*b)) {
                if !row(&found, early) {
                    self.pass_over(early, has_two_addresses(early));
                }
            }
            self.columns = Some(found);
            return;
        }
        if line.trim_ascii().is_empty() || is_notice(line) {
            return;
        }
        let Some(columns) = &self.columns else {
            if self.early.len() + line.len() < MAX_EARLY_BYTES {
                self.early.extend_from_slice(line);
                self.early.push(b'\n');
            } else {
                self.passed_over += 1;
            }
            return;
        };
        let is_cut = columns.ends_with_port() && !is_whole;
        if is_cut || !row(columns, line) {
            self.pass_over(line, true);
        }
    }

    /// Counts a line that is no row. `may_be_row`: it may be a damaged one.
    fn pass_over(&mut self, line: &[u8], may_be_row: bool) {
        match lost_events(line) {
            Some(n) => self.lost += n,
            None => self.unreadable += u64::from(may_be_row),
        }
    }

    /// Number of lines that could not be read, at the end.
    fn unreadable(&self) -> u64 {
        let early = self.early.iter().filter(|b| **b == b'\n').count() as u64;
        self.unreadable + self.passed_over + early
    }
}

/// Reads the tables in `input`. `row` takes a line of a table with its time, and returns false if
/// it cannot be read. `columns_of_rows` knows the columns of a text without a header, if its rows tell them.
pub(super) fn read(
    input: &mut Input,
    cx: &mut Context<'_>,
    header: FindColumns,
    columns_of_rows: Option<FindColumns>,
    mut row: impl FnMut(&Columns, &Row<'_>, Option<RecordTime>, &mut dyn Sink) -> bool,
) {
    let stamp = |line: &[u8]| clock_or_seconds(first_word(line));
    let mut calendar = Calendar::new(input, cx, &stamp);
    // A header further on takes their place.
    let columns_of_rows = columns_of_rows.filter(|_| !has_header(input.head(), header));
    let columns = columns_of_rows.and_then(|columns| columns(input.head()));
    let mut tables = Tables { columns, ..Tables::default() };
    let sink = &mut *cx.sink;
    let mut take = |columns: &Columns, line: &[u8]| {
        let time = calendar.record_time(columns.stamp(line));
        columns.row(line).is_some_and(|read| row(columns, &read, time, sink))
    };
    let mut gaps = Gaps::default();
    let end = gaps::blocks(input, &mut gaps, |text, _| {
        let has_end = text.last().copied().is_some_and(lines::is_end);
        lines::each(text, |line, at| {
            let is_whole = has_end || at + line.len() < text.len();
            tables.line(line, is_whole, header, &mut take);
        });
    });
    let name = input.name();
    cx.status.record_unreadable_lines(name, tables.unreadable());
    gaps.report(name, cx.status);
    cx.status.record_shortfall(
        ShortfallKind::LostEvents,
        tables.lost,
        format!(
            "{name}: the tracing tool says that {} of its events were lost; connections may be among them",
            tables.lost
        ),
    );
    if let Err(e) = end {
        cx.record_read_error(input, e);
    }
}

fn first_word(line: &[u8]) -> &[u8] {
    line.split(|b| b.is_ascii_whitespace() || *b == b',')
        .find(|word| !word.is_empty())
        .unwrap_or_default()
}

/// `Possibly lost 12 samples`, `Lost 12 events`.
fn lost_events(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_whitespace().skip_while(|w| !w.eq_ignore_ascii_case("lost"));
    words.next()?;
    words.next()?.parse().ok()
}

fn is_notice(line: &[u8]) -> bool {
    [&b"^C"[..], b"Attaching", b"Tracing", b"Attached"].iter().any(|n| line.starts_with(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_are_read_between_the_other_columns() {
        let columns = Columns::of(b"PID COMM IP RADDR LPORT", &["RADDR", "LPORT"]).unwrap();
        let row = columns.row(b"7  a b/4 c  6  2001:db8::1   80  ").unwrap();
        let words = [row.at(0), row.at(2), row.at(3), row.at(4)];
        assert_eq!(words, [&b"7"[..], b"6", b"2001:db8::1", b"80"]);
        assert_eq!(&*row.comm(), "a b/4 c");
        assert!(columns.row(b"7 a 6 ::1").is_none());
        assert_eq!(Columns::of(b"PID COMM IP", &["RADDR"]), None);
        let columns = Columns::of(b"TIME(s),PID,COMM,MS", &["MS"]).unwrap();
        let row = columns.row(b"0.000001,7,a, b,0.23").unwrap();
        assert_eq!((row.at(3), &*row.comm()), (&b"0.23"[..], "a b"));
        assert_eq!(columns.stamp(b"0.000001,7,a,0.23"), Stamp::Elapsed(1000));
    }

    #[test]
    fn lost_events_are_counted() {
        assert_eq!(lost_events(b"Possibly lost 12 samples"), Some(12));
        assert_eq!(lost_events(b"lost 3 events on CPU #0"), Some(3));
        assert_eq!(lost_events(b"7 lost 4 198.51.100.7"), Some(4));
    }
}
