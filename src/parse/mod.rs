//! Reads records of connections: input, recognition, and one file or folder per record type.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::connection::{Split, Wanted};
use crate::{Account, Moment};

/// How records are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The type of all records; `None`: recognised from the content of each.
    pub kind: Option<String>,
    /// When a record with relative times began.
    pub start: Option<Moment>,
    /// The date of the first line of a record with bare clock times.
    pub date: Option<jiff::civil::Date>,
    /// The zone of bare clock times; `None`: the machine's.
    pub tz: Option<TimeZone>,
    /// Fields that somebody will look at.
    pub wanted: Wanted,
    /// Threads; `None`: as many as there are processors.
    pub threads: Option<usize>,
}

/// What reading gave, beside the connections.
#[derive(Debug)]
pub struct Outcome {
    /// For the report.
    pub account: Account,
    /// Inputs that could not be read or recognised, each a message for the user.
    pub failures: Vec<String>,
}

/// Reads `files` (`-` is stdin; none: stdin) into `sink`.
pub fn parse<S: Split>(files: &[PathBuf], options: &Options, sink: &mut S) -> Outcome {
    let _ = (files, options, sink);
    Outcome { account: Account::new("parse"), failures: Vec::new() }
}
