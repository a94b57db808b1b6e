//! The registry of conversions: they restore a record that another program has put into a form of its own.

use std::io::{Cursor, Read};

use super::decoration::{
    csv_fields, escaped, line_numbers, one_line, pasted, quoted_printable, tags,
};
use super::input::{Conversion, Input};
use super::reader::RecordFormat;
use super::registry::recognise;
use super::{audit, azure, freebsd_truss, strace, vpc_csv};

/// An input, and what is known of it.
struct Text<'a> {
    input: &'a Input,
    head: &'a [u8],
    /// The format that is read without a conversion.
    format: Option<&'static RecordFormat>,
}

/// All conversions, each with the texts that need it. The first that a text needs is the one it gets.
const CONVERSIONS: &[fn(&Text<'_>) -> Option<Conversion>] = &[
    of_mail,
    of_tags,
    of_marked_lines,
    of_strings,
    of_csv_fields,
    of_line_numbers,
    of_freebsd_truss,
    of_no_format,
    of_csv_columns,
    of_paste,
];

/// A conversion, and whether a text has what it converts.
type Needed = (fn(&[u8]) -> bool, Conversion);

/// Conversions of texts that no format recognises.
const OF_NO_FORMAT: [Needed; 3] = [
    (azure::has_tuples, azure::convert),
    (audit::events::has_records, audit::events::convert),
    (vpc_csv::is_csv, vpc_csv::convert),
];

/// Records in `text` that must be converted, each from its first line on.
pub(super) fn of_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let converted = |(is_needed, conversion): &Needed| {
        let mut at = 0;
        let mut lines = text.split_inclusive(|b| *b == b'\n');
        lines.find(|line| {
            let found = is_needed(line);
            at += if found { 0 } else { line.len() };
            found
        })?;
        let mut out = Vec::new();
        // Memory is read without errors.
        let _ = conversion(Box::new(Cursor::new(text[at..].to_vec()))).read_to_end(&mut out);
        Some(out)
    };
    OF_NO_FORMAT.iter().filter_map(converted).collect()
}

/// Converts an input if that is needed to read it, or to read all of it. Returns whether it did. `format` is what
/// it looks like now.
pub(super) fn convert(input: &mut Input, format: Option<&'static RecordFormat>) -> bool {
    let text = Text { input, head: input.head(), format };
    let needed = CONVERSIONS.iter().find_map(|needed_by| needed_by(&text));
    needed.is_some_and(|conversion| input.convert(conversion))
}

impl Text<'_> {
    /// Whether it is text, as far as is known.
    fn may_be_text(&self) -> bool {
        self.format.is_none_or(|format| format.is_text)
    }

    /// Whether it may be lines of text, and no JSON, in whose strings marks are no line feeds.
    fn may_be_lines(&self) -> bool {
        let begins_json = matches!(self.head.trim_ascii_start().first(), Some(b'{' | b'['));
        self.format.is_none_or(|format| format.is_text && !(format.is_json && begins_json))
    }

    fn is_strace(&self) -> bool {
        self.format.is_some_and(|format| format.name == strace::FORMAT.name)
    }

    /// Whether what stands behind a mark within a line is another line of this log. Marks in strings of strace are
    /// text of the traced program.
    fn has_line(&self, line: &[u8]) -> bool {
        match self.format {
            Some(format) if self.is_strace() => (format.recognise)(line),
            Some(_) => !line.trim_ascii().is_empty(),
            None => recognise(line).is_some_and(|format| format.is_text),
        }
    }
}

fn of_no_format(text: &Text<'_>) -> Option<Conversion> {
    let found = OF_NO_FORMAT.iter().find(|(is_needed, _)| is_needed(text.head));
    found.filter(|_| text.format.is_none()).map(|(_, conversion)| *conversion)
}

fn of_mail(text: &Text<'_>) -> Option<Conversion> {
    let is_encoded = text.may_be_text() && quoted_printable::is_encoded(text.head);
    is_encoded.then_some(quoted_printable::decode)
}

/// Tags that an issue tracker has put right before the first line. strace's reader finds that line itself.
fn of_tags(text: &Text<'_>) -> Option<Conversion> {
    (text.may_be_text() && !text.is_strace()).then(|| tags::remover(text.head))?
}

/// Lines that a logger has joined, with a mark for each line feed.
fn of_marked_lines(text: &Text<'_>) -> Option<Conversion> {
    text.may_be_lines().then(|| one_line::divider(text.head, |line| text.has_line(line)))?
}

/// Lines in strings, so that several look like one.
fn of_strings(text: &Text<'_>) -> Option<Conversion> {
    let is_escaped = match text.format {
        Some(_) if text.is_strace() => escaped::has_calls(text.head),
        Some(format) => text.may_be_lines() && escaped::has_lines(text.head, format.recognise),
        None => false,
    };
    (is_escaped && !text.input.has_unread_result()).then_some(escaped::unescape)
}

fn of_csv_fields(text: &Text<'_>) -> Option<Conversion> {
    (text.is_strace() && csv_fields::has_calls(text.head)).then_some(csv_fields::convert)
}

/// A log whose lines are in a field of CSV.
fn of_csv_columns(text: &Text<'_>) -> Option<Conversion> {
    let columns = text.format.is_none().then(|| csv_fields::columns_of_head(text.head))??;
    recognise(&columns).is_some_and(|format| format.is_text).then_some(csv_fields::convert_columns)
}

/// Numbers of lines, which strace's reader would take for process numbers.
fn of_line_numbers(text: &Text<'_>) -> Option<Conversion> {
    (text.is_strace() && line_numbers::has_numbers(text.head)).then_some(line_numbers::remove)
}

/// strace's reader does not know the prefixes of FreeBSD's truss, or takes them for others.
fn of_freebsd_truss(text: &Text<'_>) -> Option<Conversion> {
    let may_be = text.format.is_none() || text.is_strace();
    may_be.then(|| freebsd_truss::conversion(text.head))?
}

/// What was copied from a web page or a terminal. strace's reader restores that itself, and binary records are no
/// text.
fn of_paste(text: &Text<'_>) -> Option<Conversion> {
    let Text { head, format, .. } = text;
    let is_copied = match format {
        Some(format) => {
            format.is_text
                && !text.is_strace()
                && (pasted::has_entities(head) || pasted::has_blanks(head))
        }
        None => pasted::is_dirty(head) && memchr::memchr(0, head).is_none(),
    };
    is_copied.then_some(one_line::divide_html)
}
