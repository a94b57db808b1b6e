//! [`Context`]: what a reader may use and fill while it reads a run.

use std::io;

use super::Options;
use super::input::Input;
use crate::{Sink, SourceStatus};

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
            self.status.complete = false;
            self.status
                .warn(format!("{name}: the compressed file is cut off; what could be read counts"));
        } else {
            self.failures.push(format!("{name}: {error}; what came before counts"));
        }
    }
}
