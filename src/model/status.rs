//! [`SourceStatus`]: what a source could not observe, its engine, and its inputs.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::text::plural;
use crate::RecordTime;

/// What a source could not observe, its engine, and its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// `trace`, `parse` or `watch`.
    pub source: &'static str,
    /// The engine of `trace`, or the record formats that were read.
    pub engine: Option<String>,
    /// When observing began.
    pub started: Option<RecordTime>,
    /// When it ended.
    pub ended: Option<RecordTime>,
    /// Connections that are known to have been missed.
    pub lost: u64,
    /// Stops of tracees; `None` if the source traces none.
    pub stops: Option<u64>,
    /// Threads that are traced now; `None` if the source traces none.
    pub tracees: Option<u64>,
    /// The results of each input; of `parse` only.
    pub inputs: Vec<InputResult>,
    /// Notes for the reader of the report, a sentence each. A warning alone leaves the report
    /// complete; see [`record_shortfall`](SourceStatus::record_shortfall).
    pub warnings: Vec<String>,
    /// Connections whose local port a record does not show, if a warning says so.
    explained_local_ports: u64,
    shortfalls: Vec<Shortfall>,
    /// Where a shortfall stands in the list.
    shortfall_index: HashMap<(ShortfallKind, String), usize>,
    seen_warnings: HashSet<String>,
}

/// The result of one input of `parse`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputResult {
    /// Its name, or that of the first of several files that are one record.
    pub name: String,
    /// Number of files.
    #[serde(default = "one")]
    pub files: u64,
    /// The machine that it is of, if it or its path names one.
    pub host: Option<String>,
    /// The machines that it names, if it is of several.
    #[serde(skip)]
    pub hosts: Vec<String>,
    /// The record format; `None`: empty, or not read.
    pub format: Option<String>,
    /// Whether nothing is known to be missing from it.
    pub complete: bool,
    /// Number of connections in it that were counted.
    pub total: u64,
    /// When the first of them was made, or the beginning of a report.
    pub started: Option<RecordTime>,
    /// When the last of them was made, or the end of a report.
    pub ended: Option<RecordTime>,
}

fn one() -> u64 {
    1
}

/// Maximum number of different warnings that are kept. A record, such as a merged report, may have any number.
const MAX_WARNINGS: usize = 1000;
const MORE_WARNINGS: &str =
    "there are more than 1000 different warnings, and the others are left out";

/// Something that a source could not see, and that may hide connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What could not be seen.
    pub kind: ShortfallKind,
    /// How many of them.
    pub count: u64,
    /// A sentence for the reader of the report: what, how many, and what to do about it.
    pub text: String,
}

/// What could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShortfallKind {
    /// Lines, packets or entries of a record that look like connections and cannot be read.
    UnreadableLines,
    /// Connections that the source itself says it lost. They are added to
    /// [`SourceStatus::lost`].
    LostConnections,
    /// Events that a record says it lost. How many connections were among them is not known.
    LostEvents,
    /// Parts of an input: an encapsulation, a link type, the rest of a truncated file.
    UnreadInput,
    /// Inputs that could not be read, or only in part: `Outcome::failures` of `parse`.
    FailedInput,
    /// Connections that were made in a way the source cannot see.
    Unobservable,
    /// Connections of a process that may accept through io_uring, which makes no system call.
    IoUring,
}

impl SourceStatus {
    /// The status of a source that has missed nothing so far.
    pub fn new(source: &'static str) -> SourceStatus {
        SourceStatus {
            source,
            engine: None,
            started: None,
            ended: None,
            lost: 0,
            stops: None,
            tracees: None,
            inputs: Vec::new(),
            warnings: Vec::new(),
            explained_local_ports: 0,
            shortfalls: Vec::new(),
            shortfall_index: HashMap::new(),
            seen_warnings: HashSet::new(),
        }
    }

    /// Whether every connection of the period is known to have been reported.
    pub fn is_complete(&self) -> bool {
        self.shortfalls.is_empty() && self.lost == 0
    }

    /// Records that `count` of something could not be seen, so that the report is not complete.
    /// Does nothing if `count` is 0. This is the only way to make a report incomplete, so that
    /// none is incomplete without a reason. `text` is shown to the user.
    pub fn record_shortfall(&mut self, kind: ShortfallKind, count: u64, text: impl Into<String>) {
        if count == 0 {
            return;
        }
        if kind == ShortfallKind::LostConnections {
            self.lost = self.lost.saturating_add(count);
        }
        let text = text.into();
        match self.shortfall_index.entry((kind, text.clone())) {
            Entry::Occupied(at) => {
                let known = &mut self.shortfalls[*at.get()];
                known.count = known.count.saturating_add(count);
            }
            Entry::Vacant(new) => {
                new.insert(self.shortfalls.len());
                self.shortfalls.push(Shortfall { kind, count, text });
            }
        }
    }

    /// Records `count` unreadable lines of `name` that may describe connections.
    pub fn record_unreadable_lines(&mut self, name: &str, count: u64) {
        let lines = plural(count, "line", "lines");
        let text = format!("{name}: {lines} could not be read and may describe connections");
        self.record_shortfall(ShortfallKind::UnreadableLines, count, text);
    }

    /// Warns that the record `name` does not show the local port of `count` connections. `advice` continues
    /// the sentence: the cause or the remedy. Does nothing if `count` is 0.
    pub(crate) fn warn_of_local_ports(&mut self, name: &str, count: u64, advice: &str) {
        if count == 0 {
            return;
        }
        self.explained_local_ports = self.explained_local_ports.saturating_add(count);
        let connections = plural(count, "connection", "connections");
        self.warn(format!("{name}: the log does not show the local port of {connections}{advice}"));
    }

    /// Number of connections whose unknown local port a warning explains.
    pub(crate) fn explained_local_ports(&self) -> u64 {
        self.explained_local_ports
    }

    /// Adds what another source, or another part of this one, could not see.
    pub(crate) fn add(&mut self, other: SourceStatus) {
        self.started = self.started.into_iter().chain(other.started).min();
        self.ended = self.ended.max(other.ended);
        let told = other.shortfalls.iter().filter(|s| s.kind == ShortfallKind::LostConnections);
        let told = told.fold(0_u64, |sum, s| sum.saturating_add(s.count));
        self.lost = self.lost.saturating_add(other.lost.saturating_sub(told));
        for Shortfall { kind, count, text } in other.shortfalls {
            self.record_shortfall(kind, count, text);
        }
        self.inputs.extend(other.inputs);
        self.explained_local_ports =
            self.explained_local_ports.saturating_add(other.explained_local_ports);
        other.warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// Everything that could not be seen.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    /// How many lines, packets or entries looked like connections and could not be read.
    pub fn unreadable_lines(&self) -> u64 {
        let unreadable = |s: &&Shortfall| s.kind == ShortfallKind::UnreadableLines;
        let counts = self.shortfalls.iter().filter(unreadable).map(|s| s.count);
        counts.fold(0, u64::saturating_add)
    }

    /// Adds a warning, once. Those beyond the first thousand are replaced by one that says so.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if self.warnings.len() > MAX_WARNINGS || self.seen_warnings.contains(&warning) {
            return;
        }
        if self.warnings.len() == MAX_WARNINGS {
            self.warnings.push(MORE_WARNINGS.into());
            return;
        }
        self.seen_warnings.insert(warning.clone());
        self.warnings.push(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shortfall_makes_the_report_incomplete_and_nothing_else_does() {
        use ShortfallKind::*;
        let mut status = SourceStatus::new("parse");
        status.warn("a warning");
        status.record_shortfall(UnreadInput, 0, "none");
        assert!(status.is_complete() && status.shortfalls().is_empty());
        for kind in [
            UnreadableLines,
            LostConnections,
            LostEvents,
            UnreadInput,
            FailedInput,
            Unobservable,
            IoUring,
        ] {
            let mut status = SourceStatus::new("parse");
            status.record_shortfall(kind, 2, "two");
            status.record_shortfall(kind, 1, "two");
            assert!(!status.is_complete(), "{kind:?}");
            assert_eq!(status.shortfalls(), [Shortfall { kind, count: 3, text: "two".into() }]);
            assert_eq!(status.unreadable_lines(), if kind == UnreadableLines { 3 } else { 0 });
            assert_eq!(status.lost, if kind == LostConnections { 3 } else { 0 });
        }
        let lost = SourceStatus { lost: 1, ..SourceStatus::new("watch") };
        assert!(!lost.is_complete());
    }
}
