//! Finds lines of other record formats in a record, which its reader ignores.
//!
//! Each input is sampled, see [`samples`](super::input::samples). Lines that its own reader
//! knows or its format recognises are dropped. If another format recognises one of the others, its reader reads them.
//! If that finds a connection, the record is reported as not complete.

use std::sync::{Arc, Mutex, PoisonError};

use super::input::Input;
use super::input::samples::Samples;
use super::lines;
use super::reader::{Context, Options, RecordFormat};
use super::registry::FORMATS;
use crate::{Connection, ShortfallKind, SourceStatus};

/// Reports that `samples` of a record in the format `own` contain connections in other formats. `is_own`
/// tells whether a line is in that format.
pub(super) fn report_other_formats(
    name: &str,
    own: &RecordFormat,
    is_own: impl Fn(&[u8]) -> bool,
    samples: Vec<Arc<Mutex<Samples>>>,
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
            if !line.is_empty() && !is_own(line) {
                rest.extend_from_slice(line);
                rest.push(b'\n');
            }
        });
    }
    if rest.is_empty() {
        return;
    }
    let others = FORMATS.iter().filter(|format| format.is_text && format.name != own.name);
    for other in others.filter(|format| (format.recognise)(&rest)) {
        let text = format!(
            "{name}: read as {}, and connections in its lines of {} ({}) are not counted; put each \
             kind of record into a file of its own",
            own.name, other.name, other.about
        );
        let found = finds_connection(other, &rest, options);
        status.record_shortfall(ShortfallKind::UnreadInput, found.into(), text);
    }
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
    };
    (format.read)(vec![Input::from_text(text)], &mut context);
    // An address alone may stand in the output of any program.
    sink.iter().any(|c| c.time.is_some() || c.port.is_some() || c.comm.is_some())
}
