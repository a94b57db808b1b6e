//! [`Tally`]: counts by key, mergeable.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::{Connection, Moment};

/// Counts of connections.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Placeholder until keys are chosen by the user.
    pub rows: HashMap<Option<IpAddr>, Entry>,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// Connections.
    pub count: u64,
    /// Time of the first, where known.
    pub first: Option<Moment>,
    /// Time of the last, where known.
    pub last: Option<Moment>,
}

impl Tally {
    /// Counts one connection.
    pub fn add(&mut self, c: &Connection) {
        self.rows.entry(c.ip).or_default().count += 1;
    }
}
