//! The interface of readers: [`RecordFormat`] describes one, [`Context`] is what it works with, and
//! [`Options`] is how the user wants records to be read.

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;

use super::host::Host;
use super::input::Input;
use crate::model::connection::RequestedFields;
use crate::{RecordTime, ShortfallKind, Sink, SourceStatus};

/// A type of record.
pub struct RecordFormat {
    /// As `--type` names it.
    pub name: &'static str,
    /// For the list of known types.
    pub about: &'static str,
    /// What is a connection in such a record, for a message that there is none.
    pub connection: &'static str,
    /// Whether a record that begins with these bytes is of this type. Called again with more of
    /// them when no type was sure.
    pub recognise: fn(&[u8]) -> bool,
    /// Inputs with the same key are one run and are read together. `None`: alone.
    pub run: fn(&Path) -> Option<String>,
    /// Reads a run.
    pub read: fn(Vec<Input>, &mut Context<'_>),
}

/// How records are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The type of all records; `None`: recognised from the content of each.
    pub kind: Option<String>,
    /// When a record with relative times began.
    pub start: Option<RecordTime>,
    /// The date of the first line of a record with bare clock times.
    pub date: Option<jiff::civil::Date>,
    /// The zone of bare clock times; `None`: the machine's.
    pub tz: Option<TimeZone>,
    /// The addresses of the recorded machine; empty: not known, and every connection whose record
    /// gives no direction is taken to be inbound.
    pub local: Vec<Host>,
    /// The port that is asked for, if it is one: taken for that of records that tell none.
    pub port: Option<u16>,
    /// Whether only connections count that the record shows to have been completed.
    pub established: bool,
    /// Whether packets inside tunnels are left out.
    pub outer: bool,
    /// Fields that somebody will look at.
    pub requested: RequestedFields,
    /// Threads; `None`: as many as there are processors.
    pub threads: Option<usize>,
    /// Bytes of a file that a thread takes at a time; `None`: what is fastest.
    pub chunk: Option<usize>,
    /// Whether progress is shown on stderr, if that is a terminal and it takes long.
    pub progress: bool,
}

/// What the reader of a run works with.
pub struct Context<'a> {
    /// As the user asked.
    pub options: &'a Options,
    /// Takes the connections.
    pub sink: &'a mut dyn Sink,
    /// What the report will say of the records.
    pub status: &'a mut SourceStatus,
    /// Inputs that could not be read to their end.
    pub failures: &'a mut Vec<String>,
}

impl Context<'_> {
    /// How many threads may work.
    pub fn threads(&self) -> usize {
        self.options
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1)
            .max(1)
    }

    /// Reading `input` ended with `error`: a truncated archive is worth a warning, anything else
    /// is a failure.
    pub fn broken(&mut self, input: &Input, error: &io::Error) {
        let name = input.name();
        if input.is_compressed() && error.kind() == io::ErrorKind::UnexpectedEof {
            let text = format!("{name}: the compressed file is cut off; what could be read counts");
            self.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
        } else {
            self.failures.push(format!("{name}: {error}; what came before counts"));
        }
    }
}
