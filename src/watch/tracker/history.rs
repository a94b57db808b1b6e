//! [`History`]: when dumps were taken, and what that tells of beginnings.

use std::collections::VecDeque;

use crate::watch::dump::{Nanos, Span};

/// So many former dumps are remembered at the least: notices are that late very rarely.
const DUMPS: usize = 32;

/// The last dumps, which have numbers.
#[derive(Debug, Default)]
pub(super) struct History {
    last: u32,
    taken: VecDeque<Span>,
}

impl History {
    /// Another dump was taken then.
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

    /// The number of the earliest that is remembered, or of one before it.
    pub(super) fn first(&self) -> u32 {
        self.last.saturating_sub(DUMPS as u32)
    }

    /// When the last dump was begun.
    pub(super) fn last_start(&self) -> Option<Nanos> {
        self.taken.back().map(|taken| taken.after)
    }

    /// The last dump that was complete before `end`, with when it was begun, if it is remembered.
    /// A connection that ended later and is not in it began after it.
    pub(super) fn before(&self, end: Nanos) -> (u32, Option<Nanos>) {
        let complete = |dump: &&Span| dump.before <= end;
        let later = self.taken.iter().rev().take_while(|dump| !complete(dump)).count();
        let known = self.taken.iter().rev().nth(later);
        (self.last - later as u32, known.map(|dump| dump.after))
    }
}
