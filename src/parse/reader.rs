//! The interface of readers: [`RecordFormat`] describes a format, [`Context`] is what its reader
//! works with, and [`Options`] says how records are read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::tz::TimeZone;

use super::error::InputError;
use super::host::Host;
use super::host_pattern::HostPattern;
use super::input::Input;
use crate::model::connection::RequestedFields;
use crate::time::interval::Interval;
use crate::time::local_zone;
use crate::{InputResult, RecordTime, ShortfallKind, Sink, SourceStatus};

/// A record format and its reader.
pub(crate) struct RecordFormat {
    /// Name, as in [`Options::format`].
    pub name: &'static str,
    /// One phrase for lists of formats.
    pub about: &'static str,
    /// What counts as a connection in such a record, for the message that explains a total of 0.
    pub connection: &'static str,
    /// Whether the record is a log whose reader ignores lines that it does not know.
    pub is_text: bool,
    /// Whether a JSON object can be a record of this format. If not, the lines of a log are taken
    /// out of the JSON objects around them before the record is recognised.
    pub is_json: bool,
    /// Whether an empty file may be a snapshot that could not be made, and is worth a warning.
    pub is_snapshot: bool,
    /// Whether a record that begins with these bytes has this format. Called again with more bytes
    /// if no format recognises them.
    pub recognise: fn(&[u8]) -> bool,
    /// The key of a file. Inputs with the same key form one run and are read together; `None`: the
    /// input is read alone.
    pub run: fn(&Path) -> Option<String>,
    /// Reads a run.
    pub read: fn(Vec<Input>, &mut Context<'_>),
}

/// A field of [`Options`] that messages refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// [`Options::format`].
    Format,
    /// [`Options::date`].
    Date,
    /// [`Options::local`].
    Local,
    /// [`Options::port`].
    Port,
    /// [`Options::established`].
    Established,
    /// [`Options::outer`].
    Outer,
    /// [`Options::host_from`].
    HostFrom,
    /// [`Options::interval`].
    Interval,
}

/// How messages name a [`Setting`]: a program puts the names of its own options here.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames(pub fn(Setting) -> &'static str);

impl Default for SettingNames {
    /// The names of the fields of [`Options`].
    fn default() -> SettingNames {
        SettingNames(|setting| match setting {
            Setting::Format => "format",
            Setting::Date => "date",
            Setting::Local => "local",
            Setting::Port => "port",
            Setting::Established => "established",
            Setting::Outer => "outer",
            Setting::HostFrom => "host_from",
            Setting::Interval => "interval",
        })
    }
}

/// How records are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format of all records; `None`: detected from the content of each.
    pub format: Option<String>,
    /// When a record with relative times began.
    pub start: Option<RecordTime>,
    /// The date of the first line of a record whose times have no date.
    pub date: Option<jiff::civil::Date>,
    /// The time zone of local times; `None`: the system's.
    pub tz: Option<TimeZone>,
    /// Addresses of the recorded machine. Empty: unknown, and every connection without a direction
    /// is taken to be inbound.
    pub local: Vec<Host>,
    /// The only port that is asked for. It becomes the local port in records that contain none.
    pub port: Option<u16>,
    /// Whether to count only connections that the record shows to be established.
    pub established: bool,
    /// Whether to leave out packets inside tunnels.
    pub outer: bool,
    /// Takes the host of a record that names none from its path.
    pub host_from: Option<HostPattern>,
    /// The intervals in which connections are counted: a report that does not tell them is refused.
    pub interval: Option<Interval>,
    /// Fields of connections that are used.
    pub requested: RequestedFields,
    /// Number of threads; `None`: one per processor.
    pub threads: Option<usize>,
    /// Bytes of a file that a thread reads at a time; `None`: the default.
    pub chunk: Option<usize>,
    /// Whether to show progress on stderr if that is a terminal.
    pub progress: bool,
    /// The number of connections so far, which progress shows.
    pub counted: Option<Arc<AtomicU64>>,
    /// How messages name these settings.
    pub names: SettingNames,
}

impl Options {
    /// The machine that a record with this path is of, if [`host_from`](Options::host_from) tells.
    pub(crate) fn host_of(&self, path: Option<&Path>) -> Option<Arc<str>> {
        self.host_from.as_ref()?.host_of(path?)
    }

    /// The number of threads to use.
    pub(crate) fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().ok().map(usize::from);
        self.threads.or_else(all).unwrap_or(1).max(1)
    }

    /// How messages name `setting`.
    pub fn name(&self, setting: Setting) -> &'static str {
        (self.names.0)(setting)
    }
}

/// What the reader of a run works with.
pub(crate) struct Context<'a> {
    /// How to read.
    pub options: &'a Options,
    /// Takes the connections.
    pub sink: &'a mut dyn Sink,
    /// What the record could not show.
    pub status: &'a mut SourceStatus,
    /// Why inputs could not be read to their end.
    pub failures: &'a mut Vec<InputError>,
    /// Set by the reader: whether a line is certainly one of the record. Where a heading says what the
    /// columns are, [`RecordFormat::recognise`] cannot tell it of a line alone.
    pub is_own_line: Option<LineTest>,
    /// Set by readers that ignore lines which [`RecordFormat::recognise`] does not know alone: whether the reader
    /// knows a line, even if it says nothing about a connection.
    pub is_known_line: Option<LineTest>,
}

/// Tests a line.
pub(crate) type LineTest = Box<dyn Fn(&[u8]) -> bool>;

impl Context<'_> {
    /// Returns the number of threads to use.
    pub(crate) fn threads(&self) -> usize {
        self.options.threads()
    }

    /// Returns the time zone of local times.
    pub(crate) fn zone(&self) -> TimeZone {
        self.options.tz.clone().unwrap_or_else(local_zone)
    }

    /// Reports that nothing in the inputs `name` shows that connections were recorded, unless `is_shown`.
    pub(crate) fn require_evidence(&mut self, is_shown: bool, name: &str, text: &str) {
        let kind = ShortfallKind::UnreadInput;
        self.status.record_shortfall(kind, (!is_shown).into(), format!("{name}: {text}"));
    }

    /// What could not be read so far, to compare with [`record_input`](Context::record_input).
    pub(crate) fn shortfalls(&self) -> u64 {
        let counts = self.status.shortfalls().iter().map(|s| s.count);
        counts.fold(self.failures.len() as u64, u64::saturating_add)
    }

    /// Records the result of one input of a run, whose shortfalls were `before` when it began.
    /// Readers that can tell which connections are of which input do that at the end of each.
    pub(crate) fn record_input(
        &mut self,
        name: &str,
        format: &str,
        host: Option<&str>,
        before: u64,
    ) {
        let summary = self.sink.take_summary();
        self.status.inputs.push(InputResult {
            name: name.into(),
            files: 1,
            host: host.map(Into::into),
            hosts: Vec::new(),
            format: Some(format.into()),
            complete: self.shortfalls() == before,
            total: summary.total,
            started: summary.first,
            ended: summary.last,
        });
    }

    /// Records that reading `input` ended with `error`: a truncated compressed file is a shortfall,
    /// any other error a failure.
    pub(crate) fn record_read_error(&mut self, input: &Input, error: io::Error) {
        let name = input.name();
        if input.is_compressed() && error.kind() == io::ErrorKind::UnexpectedEof {
            let text =
                format!("{name}: the compressed file is truncated; only its readable part counts");
            self.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
        } else {
            self.failures.push(InputError::interrupted(name, error));
        }
    }
}
