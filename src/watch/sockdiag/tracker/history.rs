//! The history of a tracker. [`History`]: the times of the last dumps, which bound when
//! connections began. [`Forgotten`]: cookies of sockets that were dropped; a late destroy event about one is
//! not of a new connection.

use std::collections::{HashSet, VecDeque};

use crate::watch::sockdiag::dump::{Nanos, Span};

/// Minimum number of dumps that are kept: destroy events are very rarely later.
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

/// Maximum number of cookies.
const MAX_COOKIES: usize = 1 << 18;

/// The sockets that were dropped last.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    cookies: HashSet<u64>,
    /// In the order in which they were added; some are removed already.
    order: VecDeque<u64>,
}

impl Forgotten {
    /// Adds a socket. Removes the oldest one if there are too many.
    pub(super) fn add(&mut self, cookie: u64) {
        if self.order.len() == MAX_COOKIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.cookies.remove(&oldest);
        }
        self.cookies.insert(cookie);
        self.order.push_back(cookie);
    }

    /// Removes a socket. Returns whether it was there.
    pub(super) fn remove(&mut self, cookie: u64) -> bool {
        self.cookies.remove(&cookie)
    }
}
