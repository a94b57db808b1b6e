//! Finds lines of other record formats in a record, which its reader ignores.
//!
//! Each input is sampled, see [`samples`](super::input::samples). Lines that its own reader
//! knows or its format recognises are dropped. If another format recognises one of the others, its reader reads them.
//! If that finds a connection, the record is reported as not complete.
//!
//! Of the rest, lines with two addresses may describe connections, too: if the reader found none at all, or if the line
//! would be one of the record without what stands before it.

use std::sync::{Arc, Mutex, PoisonError};

use super::host::has_two_addresses;
use super::input::Input;
use super::input::samples::Samples;
use super::lines;
use super::reader::{Context, Options, RecordFormat};
use super::registry::FORMATS;
use super::{bcc, mongodb, server_log, strace};
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
    let mut rest = Vec::new();
    for samples in samples {
        let samples = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
        let sampled = samples.into_pieces().join(&b'\n');
        lines::each(&lines::without_terminal_sequences(&sampled), |line, _| {
            if !line.is_empty() && !(tests.is_own)(line) {
                rest.extend_from_slice(line);
                rest.push(b'\n');
            }
        });
    }
    if rest.is_empty() {
        return;
    }
    // What a server logs of its connections beside another record is there twice.
    let is_other = |format: &RecordFormat| {
        format.is_text
            && ![own.name, server_log::FORMAT.name, mongodb::FORMAT.name].contains(&format.name)
    };
    let others = FORMATS.iter().filter(|format| is_other(format));
    for other in others.filter(|format| (format.recognise)(&rest)) {
        let text = format!(
            "{name}: read as {}, and connections in its lines of {} ({}) are not counted; put each \
             kind of record into a file of its own",
            own.name, other.name, other.about
        );
        let has_any = finds_connection(other, &rest, options);
        status.record_shortfall(ShortfallKind::UnreadInput, has_any.into(), text);
    }
    if !ACCOUNTING.contains(&own.name) && status.is_complete() {
        report_hidden(name, own, tests, &rest, found, status);
    }
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

/// Whether the reader of `format` finds a connection in `text`.
fn finds_connection(format: &RecordFormat, text: &[u8], options: &Options) -> bool {
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
    (format.read)(vec![Input::from_text(text)], &mut context);
    // An address alone may stand in the output of any program.
    sink.iter().any(|c| c.time.is_some() || c.port.is_some() || c.comm.is_some())
}
