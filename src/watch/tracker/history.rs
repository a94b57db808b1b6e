//! [`History`]: the times of the last dumps, which bound when connections began.

use std::collections::VecDeque;

use crate::watch::dump::{Nanos, Span};

/// Minimum number of dumps that are kept: notices are very rarely later.
const DUMPS: usize = 32;

/// The last dumps, by number.
#[derive(Debug, Default)]
pub(super) struct History {
    last: u32,
    taken: VecDeque<Span>,
}

impl History {
    /// Adds a dump with its start and end time.
    pub(super) fn add(&mut self, taken: Span) {
        self.last += 1;
        if self.taken.len() == DUMPS {
            self.taken.pop_front();
        }
        self.taken.push_back(taken);
    }

    /// The number of the last dump.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// The number of the earliest dump that is kept, or an earlier one.
    pub(super) fn first(&self) -> u32 {
        self.last.saturating_sub(DUMPS as u32)
    }

    /// The start time of the last dump.
    pub(super) fn last_start(&self) -> Option<Nanos> {
        self.taken.back().map(|taken| taken.after)
    }

    /// Returns the last dump that was complete before `end`, with its start time, if it is kept. A
    /// connection that ended later and is not in it began after it.
    pub(super) fn before(&self, end: Nanos) -> (u32, Option<Nanos>) {
        let complete = |dump: &&Span| dump.before <= end;
        let later = self.taken.iter().rev().take_while(|dump| !complete(dump)).count();
        let known = self.taken.iter().rev().nth(later);
        (self.last - later as u32, known.map(|dump| dump.after))
    }
}
