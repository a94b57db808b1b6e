//! Which programs' events are to be opened anew, and how far that is.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::counters::FamilyId;
use super::evidence::Program;

/// Programs whose events are opened anew.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// Those that wait for their turn.
    pub asked: VecDeque<Program>,
    /// The one that is being done.
    pub current: Option<Renewal>,
}

/// Events that are replaced.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The events to be closed.
    pub former: BTreeSet<FamilyId>,
    /// Some threads cannot get new events: these stay open.
    pub is_stuck: bool,
    /// When to look next whether all threads have new ones.
    pub next_look: Instant,
}

impl Renewals {
    /// The events of this program are to be opened anew.
    pub(super) fn ask(&mut self, program: Program) {
        if !self.asked.contains(&program) {
            self.asked.push_back(program);
        }
    }

    /// Whether threads have former events that are still needed.
    pub(super) fn are_in_progress(&self) -> bool {
        self.current.is_some()
    }

    /// Whether some threads cannot get new events.
    pub(super) fn are_stuck(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_stuck)
    }
}
