//! [`Forgotten`]: cookies of sockets that were dropped. A notice that comes after all is not of a new connection.

use std::collections::{HashSet, VecDeque};

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
