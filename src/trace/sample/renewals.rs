//! [`Renewals`]: the programs whose events are being replaced, and the progress.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::counters::FamilyId;
use super::evidence::Program;

/// Programs whose events are being replaced.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// The programs that wait for their turn.
    pub asked: VecDeque<Program>,
    /// The program whose events are being replaced now.
    pub current: Option<Renewal>,
}

/// Events that are replaced.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The events to be closed.
    pub former: BTreeSet<FamilyId>,
    /// Some threads cannot get new events: these stay open.
    pub is_stuck: bool,
    /// Time of the next check whether all threads have new ones.
    pub next_look: Instant,
}

impl Renewals {
    /// Requests a replacement of the events of this program.
    pub(super) fn request(&mut self, program: Program) {
        if !self.asked.contains(&program) {
            self.asked.push_back(program);
        }
    }

    /// Whether threads have old events that are still needed.
    pub(super) fn are_in_progress(&self) -> bool {
        self.current.is_some()
    }

    /// Whether some threads cannot get new events.
    pub(super) fn are_stuck(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_stuck)
    }
}
