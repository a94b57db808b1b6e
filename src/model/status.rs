//! [`SourceStatus`]: what a source says of its own work, beside the connections it gave.

use crate::RecordTime;

/// How a source fared: what it watched or read, and above all what it could not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// `trace`, `parse` or `watch`.
    pub source: &'static str,
    /// How tracees were made to stop, or which types of record were read.
    pub engine: Option<String>,
    /// When watching began.
    pub started: Option<RecordTime>,
    /// When it ended.
    pub ended: Option<RecordTime>,
    /// Whether every connection of the period is known to have been given.
    pub complete: bool,
    /// Connections that are known to have been missed.
    pub lost: u64,
    /// Lines (or packets) of a record that should have told of a connection and could not be read.
    pub unreadable_lines: u64,
    /// Stops of tracees, where there are any.
    pub stops: Option<u64>,
    /// Threads that are watched now, where there are any.
    pub tracees: Option<u64>,
    /// What else the reader of the report must know, a sentence each.
    pub warnings: Vec<String>,
}

impl SourceStatus {
    /// An account with nothing to complain of.
    pub fn new(source: &'static str) -> SourceStatus {
        SourceStatus {
            source,
            engine: None,
            started: None,
            ended: None,
            complete: true,
            lost: 0,
            unreadable_lines: 0,
            stops: None,
            tracees: None,
            warnings: Vec::new(),
        }
    }

    /// Adds a warning, once.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}
