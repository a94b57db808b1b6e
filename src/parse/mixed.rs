//! Finds lines of other record formats in a record, which its reader ignores.
//!
//! Each input is sampled, see [`samples`](super::input::samples). Lines that its own reader
//! knows or its format recognises are dropped. If another format recognises one of the others, its reader reads them.
//! If that finds a connection, the record is reported as not complete. The same is done with what stands in JSON objects
//! among them, or must be converted to be read, and with the reader of the record itself: some formats have several
//! forms, and a reader reads the one that a record begins with.
//!
//! Of the rest, lines with two addresses may describe connections, too: if the reader found none at all, or if the line
//! would be one of the record without what stands before it.

use std::sync::{Arc, Mutex, PoisonError};

use super::cut_line;
use super::host::has_two_addresses;
use super::input::samples::Samples;
use super::input::{Input, unwrap_line};
use super::reader::{Context, Options, RecordFormat};
use super::registry::FORMATS;
use super::{bcc, conversions, json_lines, lines, mongodb, server_log, strace, systemtap};
use crate::model::plural;
use crate::{Connection, ShortfallKind, SourceStatus};

/// What a reader says of a line.
pub(super) struct LineTests<O, K> {
    /// Whether it is certainly one of the record.
    pub is_own: O,
    /// Whether it has a form that the reader knows.
    pub is_known: K,
}

/// Formats whose readers account for each line.
const ACCOUNTING: [&str; 5] = [
    strace::FORMAT.name,
    bcc::tcpaccept::FORMAT.name,
    bcc::tcplife::FORMAT.name,
    bcc::tcpstates::FORMAT.name,
    bcc::tcptracer::FORMAT.name,
];

/// Maximum number of lines with two addresses that are looked at.
const MAX_HIDDEN: usize = 1000;

/// The record's own line begins within so many bytes of a line.
const MAX_BEFORE: usize = 160;

/// Reports that `samples` of a record in the format `own` contain connections in other formats, or in lines that its
/// reader does not know. `found` is the number of its connections.
pub(super) fn report_other_formats(
    name: &str,
    own: &RecordFormat,
    tests: &LineTests<impl Fn(&[u8]) -> bool, impl Fn(&[u8]) -> bool>,
    samples: Vec<Arc<Mutex<Samples>>>,
    found: u64,
    options: &Options,
    status: &mut SourceStatus,
) {
    // Readers of binary and of structured records report every byte that they do not know.
    if !own.is_text {
        return;
    }
    let accounts = ACCOUNTING.contains(&own.name);
    let mut all = Vec::new();
    let mut cut = 0;
    for samples in samples {
        let samples = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
        let pieces = samples.into_pieces();
        if let Some(first) = pieces.first().filter(|_| !accounts) {
            let first = lines::without_terminal_sequences(first);
            cut += u64::from(cut_line::begins_within_line(&first, &tests.is_own));
        }
        all.extend_from_slice(&lines::without_terminal_sequences(&pieces.join(&b'\n')));
        all.push(b'\n');
    }
    if cut > 0 && status.is_complete() {
        let text = format!(
            "{name}: the beginning of {} cut off, and {} may describe {}",
            if cut == 1 {
                "the first line is".into()
            } else {
                format!("the first lines of {cut} files is")
            },
            if cut == 1 { "it" } else { "they" },
            if cut == 1 { "a connection" } else { "connections" },
        );
        status.record_shortfall(ShortfallKind::UnreadableLines, cut, text);
    }
    let known = KnownLines::of(&all, &tests.is_own);
    if known.rest.trim_ascii().is_empty() {
        return;
    }
    report_readable(name, own, &all, &known, options, status);
    if !accounts && status.is_complete() {
        report_hidden(name, own, tests, &known.rest, found, status);
    }
}

/// Lines that were sampled, by whether the record's own reader knows them.
#[derive(Default)]
struct KnownLines {
    own: Vec<u8>,
    rest: Vec<u8>,
    /// The lines of `own` that stand before lines of `rest`: headings of another form may be among them.
    leads: Vec<u8>,
    /// Both, in their order.
    led: Vec<u8>,
}

impl KnownLines {
    fn of(all: &[u8], is_own: impl Fn(&[u8]) -> bool) -> KnownLines {
        let mut known = KnownLines::default();
        let push = |text: &mut Vec<u8>, line: &[u8]| {
            text.extend_from_slice(line);
            text.push(b'\n');
        };
        let mut lead: Vec<u8> = Vec::new();
        lines::each(all, |line, _| {
            if is_own(line) {
                push(&mut known.own, line);
                lead.clear();
                push(&mut lead, line);
                return;
            }
            known.leads.extend_from_slice(&lead);
            known.led.append(&mut lead);
            push(&mut known.led, line);
            push(&mut known.rest, line);
        });
        known
    }
}

/// Reports the formats whose readers find connections in lines that the reader of `own` does not know. `all`: what was
/// sampled.
fn report_readable(
    name: &str,
    own: &RecordFormat,
    all: &[u8],
    known: &KnownLines,
    options: &Options,
    status: &mut SourceStatus,
) {
    let forms = forms(&known.rest);
    // What a server logs of its connections beside another record is there twice.
    let is_other = |format: &RecordFormat| {
        format.is_text
            && ![own.name, server_log::FORMAT.name, mongodb::FORMAT.name].contains(&format.name)
    };
    let found_by = |format: &RecordFormat| {
        let read = forms.iter().filter(|text| (format.recognise)(text));
        read.map(|text| certain_connections(format, text, options)).max().unwrap_or(0)
    };
    for other in FORMATS.iter().filter(|format| is_other(format)) {
        let found = found_by(other);
        let text = format!(
            "{name}: read as {}, and connections in its lines of {} ({}), at least {found}, are not counted; put each \
             kind of record into a file of its own",
            own.name, other.name, other.about
        );
        status.record_shortfall(ShortfallKind::UnreadInput, u64::from(found > 0), text);
    }
    // The reader of systemtap compares a summary with the lines.
    let reads_all = ACCOUNTING.contains(&own.name) || own.name == systemtap::FORMAT.name;
    if reads_all || !status.is_complete() {
        return;
    }
    let count = |text: &[u8]| connections(own, Input::as_of_file(text), options).len();
    let is_found = found_by(own) > 0 || count(&known.led) > count(&known.leads);
    // Lines that the reader does not know alone may have counted beside others.
    if is_found && count(all) <= count(&known.own) {
        let text = format!(
            "{name}: read as {} ({}) in the form that it begins with, and connections in its lines of another form \
             are not counted; put each form into a file of its own",
            own.name, own.about
        );
        status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
    }
}

/// Numbers of lines at the beginning and at the end of the lines of other records. Formats that all lines must have are
/// recognised there, if the lines between are of a third record.
const WINDOWS: [usize; 4] = [4, 8, 16, 40];

/// `rest` in all forms in which it may be read: as it is, its beginning and its end alone, the lines in JSON objects, and
/// converted.
fn forms(rest: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = conversions::of_lines(rest);
    let divided = json_lines::divide(rest);
    let mut unwrapped = Vec::new();
    for lines in divided.split(|b| *b == b'\n').filter_map(unwrap_line) {
        unwrapped.extend_from_slice(&lines);
    }
    for lines in WINDOWS {
        let first = memchr::memchr_iter(b'\n', rest).nth(lines);
        let last = memchr::memrchr_iter(b'\n', rest).nth(lines);
        forms.extend(first.map(|at| rest[..=at].to_vec()));
        forms.extend(last.map(|at| rest[at + 1..].to_vec()));
    }
    if divided != rest {
        forms.push(divided);
    }
    forms.extend([unwrapped, rest.to_vec()]);
    forms
}

/// Reports lines of `rest` that may describe connections.
fn report_hidden(
    name: &str,
    own: &RecordFormat,
    tests: &LineTests<impl Fn(&[u8]) -> bool, impl Fn(&[u8]) -> bool>,
    rest: &[u8],
    found: u64,
    status: &mut SourceStatus,
) {
    let lines = rest
        .split(|b| *b == b'\n')
        .filter(|line| has_two_addresses(line) && !(tests.is_known)(line));
    let is_hidden = |line: &&[u8]| {
        let starts =
            (1..line.len().min(MAX_BEFORE)).filter(|at| !line[at - 1].is_ascii_alphanumeric());
        found == 0 || starts.into_iter().any(|at| (tests.is_own)(&line[at..]))
    };
    let hidden = lines.take(MAX_HIDDEN).filter(is_hidden).count() as u64;
    let text = format!(
        "{name}: {} with addresses {} not understood as {} ({}) and may describe connections",
        plural(hidden, "line", "lines"),
        if hidden == 1 { "is" } else { "are" },
        own.name,
        own.about
    );
    status.record_shortfall(ShortfallKind::UnreadableLines, hidden, text);
}

/// The number of connections that the reader of `format` finds in `text`, and that are certainly connections.
fn certain_connections(format: &RecordFormat, text: &[u8], options: &Options) -> usize {
    // An address alone may stand in the output of any program.
    let is_summary = format.name == systemtap::FORMAT.name && systemtap::has_summary(text);
    let is_certain = |c: &&Connection| {
        c.time.is_some() || c.port.is_some() || c.comm.is_some() || c.fd.is_some()
    };
    let found = connections(format, Input::from_text(text), options);
    found.iter().filter(|c| is_summary || is_certain(c)).count()
}

/// The connections that the reader of `format` finds in `input`.
fn connections(format: &RecordFormat, input: Input, options: &Options) -> Vec<Connection> {
    let options = Options { threads: Some(1), ..options.clone() };
    let mut sink: Vec<Connection> = Vec::new();
    let mut context = Context {
        options: &options,
        sink: &mut sink,
        status: &mut SourceStatus::new("parse"),
        failures: &mut Vec::new(),
        is_own_line: None,
        is_known_line: None,
    };
    (format.read)(vec![input], &mut context);
    sink
}
