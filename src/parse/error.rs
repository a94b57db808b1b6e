//! [`InputError`]: why an input was not read, or only in part, with all messages.

use std::error::Error;
use std::io;
use std::process::ExitStatus;

/// Why an input is not read, or only in part. Displays the input, the cause and a remedy.
///
/// The message contains the cause, so it is not the [source](Error::source), too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// [`Options::format`](super::Options::format) is no format.
    #[error("unknown record format {given:?}; known are: {known}")]
    NoSuchFormat {
        /// The name that was given.
        given: String,
        /// The names of all formats.
        known: String,
    },
    /// open(2) or fstat(2) failed.
    #[error("cannot open {name}: {error}")]
    Open {
        /// The name of the input.
        name: String,
        /// The error of the system call.
        error: io::Error,
    },
    /// read(2) or the decompression of the first bytes failed.
    #[error("cannot read {name}: {error}")]
    Read {
        /// The name of the input.
        name: String,
        /// The error.
        error: io::Error,
    },
    /// The standard input is a directory.
    #[error("stdin is a directory")]
    StdinIsDirectory,
    /// A directory was given.
    #[error("{name} is a directory; give the files in it: {name}/*")]
    Directory {
        /// Its path.
        name: String,
    },
    /// A compression that only another program reads.
    #[error("{name} has an unsupported compression; try: {tool} {name} | tcptally parse -")]
    Compression {
        /// The name of the input.
        name: String,
        /// The command that decompresses it.
        tool: &'static str,
    },
    /// It has bytes, and all are zero.
    #[error(
        "{name} has nothing but zero bytes: what was written there is lost (a full disk, a crash, or a log that was \
         truncated while a program had it open); make the record again"
    )]
    Zeros {
        /// The name of the input.
        name: String,
    },
    /// No format recognises the content.
    #[error(
        "{name} is not in a known record format{hint}; if you know which it is, name it with {option} NAME; the names are: \
         {known}; docs/records.md says what each is and how to make it"
    )]
    NotRecognised {
        /// The name of the input.
        name: String,
        /// What it seems to be, and what can be read instead; may be empty.
        hint: &'static str,
        /// The names of all formats.
        known: String,
        /// What sets the format.
        option: &'static str,
    },
    /// The format that was given has a magic number, and the content begins otherwise.
    #[error(
        "{name} does not begin as {format} does ({about}), the format given with {option}; without {option} the \
         format is detected"
    )]
    OtherFormat {
        /// The name of the input.
        name: String,
        /// The name of the format that was given.
        format: &'static str,
        /// What that format is.
        about: &'static str,
        /// What sets the format.
        option: &'static str,
    },
    /// Reading or decompressing failed after the beginning.
    #[error("{name}: {error}; only the part before counts")]
    Interrupted {
        /// The name of the input.
        name: String,
        /// The error.
        error: Box<dyn Error + Send + Sync>,
    },
    /// The input is not a document of its format from beginning to end.
    #[error("{name} is not a complete {document}: {error}")]
    Damaged {
        /// The name of the input.
        name: String,
        /// What it should be.
        document: &'static str,
        /// The error.
        error: Box<dyn Error + Send + Sync>,
    },
    /// An archive is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A report cannot be counted.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A block of a capture is damaged.
    #[error("{name}: there is {what}; what came before counts")]
    Capture {
        /// The name of the input.
        name: String,
        /// What cannot be part of a capture.
        what: &'static str,
    },
    /// A parquet file has other columns.
    #[error(
        "{name} has neither the columns of events (time, local_port, peer_ip) nor those of a \
         report (kind, count)"
    )]
    Columns {
        /// The name of the input.
        name: String,
    },
    /// nfdump printed statistics instead of flows.
    #[error("{}", flow_statistics(.name, *.rows))]
    FlowStatistics {
        /// The name of the input.
        name: String,
        /// The number of rows.
        rows: u64,
    },
    /// A file of nfdump could not be read.
    #[error("{name}: {error}")]
    Nfdump {
        /// The name of the input.
        name: String,
        /// The cause.
        error: NfdumpError,
    },
}

/// Why an archive or one of its members is not read, or only in part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A compressed archive could not be copied to a file.
    #[error("cannot copy {name} to a temporary file (TMPDIR): {error}")]
    Copy {
        /// The name of the archive.
        name: String,
        /// The error.
        error: io::Error,
    },
    /// Its list of members could not be read.
    #[error("{name}: {error}")]
    List {
        /// The name of the archive.
        name: String,
        /// The error.
        error: io::Error,
    },
    /// Reading failed behind some members.
    #[error("{name}: {error}; the members before count")]
    Interrupted {
        /// The name of the archive.
        name: String,
        /// The error.
        error: io::Error,
    },
    /// The archive ends inside a member.
    #[error("{name}: the archive is cut off here; what came before counts")]
    CutOff {
        /// The name of the member.
        name: String,
    },
    /// The blocks that end an archive are missing.
    #[error("{name}: the archive has no end; it may be cut off")]
    NoEnd {
        /// The name of the archive.
        name: String,
    },
    /// It has no members.
    #[error("{name}: the archive contains no files")]
    NoFiles {
        /// The name of the archive.
        name: String,
    },
    /// No format recognises any of its members.
    #[error("{}", unknown_members(.name, *.files, *.files, .first))]
    NotRecognised {
        /// The name of the archive.
        name: String,
        /// The number of members.
        files: usize,
        /// The name of the first one.
        first: String,
    },
}

/// Why a report of tcptally cannot be counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A report in JSON has no member `rows`.
    #[error("{name} is not a complete report: it has no rows")]
    NoRows {
        /// The name of the input.
        name: String,
    },
    /// A newer version wrote it.
    #[error(
        "{name} is a report of schema {schema}, and this program understands up to {newest}; use \
         the version that wrote it"
    )]
    Schema {
        /// The name of the input.
        name: String,
        /// Its schema.
        schema: u32,
        /// The newest schema that is understood.
        newest: u32,
    },
    /// It does not tell in which interval its connections were made.
    #[error(
        "{name} is left out, because this report does not contain the times of its connections \
         that {option} needs; give the record, its events, or a report that was made with \
         {option} and an interval that divides this one"
    )]
    TooCoarse {
        /// The name of the input.
        name: String,
        /// What sets the interval.
        option: &'static str,
    },
}

/// Why the flows of an nfcapd file could not be printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NfdumpError {
    /// The program could not be started.
    #[error("nfcapd files are read through nfdump, which cannot be run ({0}); install nfdump")]
    NotRun(io::Error),
    /// The program failed.
    #[error("nfdump could not read it ({0}); what it printed counts")]
    Failed(ExitStatus),
    /// Its input could not be copied, or its output not read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl InputError {
    /// Reading the input `name` ended with `error`.
    pub(super) fn interrupted(
        name: &str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> InputError {
        InputError::Interrupted { name: name.into(), error: error.into() }
    }

    /// The input `name` is not a whole `document`.
    pub(super) fn damaged(
        name: &str,
        document: &'static str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> InputError {
        InputError::Damaged { name: name.into(), document, error: error.into() }
    }
}

/// Says that an input, or a part of it, has statistics in place of flows.
pub(super) fn flow_statistics(name: &str, rows: u64) -> String {
    format!(
        "{name}: {rows} rows are statistics of nfdump (-s or -A), which do not contain single flows; \
         nfdump -r FILE -o long prints the flows"
    )
}

/// Says that some members of an archive are not records.
pub(super) fn unknown_members(archive: &str, unknown: usize, all: usize, first: &str) -> String {
    format!(
        "{unknown} of {all} files in {archive} {} in no known record format and left out, for example {first}",
        if unknown == 1 { "is" } else { "are" }
    )
}
