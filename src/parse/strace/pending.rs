//! [`PendingConnections`]: connections whose peer or port is not known yet, but may stand in a line that
//! follows: getpeername or getsockname on the new descriptor.

use std::collections::VecDeque;

use super::sockaddr::End;
use super::tables::NumberMap;
use crate::Connection;

/// Bytes of the log that are waited for such a line.
const MAX_PENDING_LINES: u64 = 256 * 1024;

/// After so many that waited in vain, no other waits until such a line is seen.
const VAIN: u32 = 1000;

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What is known of it.
    pub connection: Connection,
    /// The table of the process that accepted it.
    pub table: u32,
    /// The listener, by its descriptor.
    pub listener: i32,
    /// Whether its peer is missing.
    pub peer: bool,
    /// Whether its local port is missing, and wanted.
    pub port: bool,
    fd: i32,
    at: u64,
    closed: bool,
}

/// Those that wait, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(super) struct PendingConnections {
    all: VecDeque<Option<Waiting>>,
    /// How many have left the front of `all`.
    left: u64,
    by_fd: NumberMap<i32, Vec<u64>>,
    vain: u32,
}

impl PendingConnections {
    /// Whether waiting has been worthwhile.
    pub(super) fn hopeful(&self) -> bool {
        self.vain < VAIN
    }

    /// A line of the sort that is waited for was seen.
    pub(super) fn hope(&mut self) {
        self.vain = 0;
    }

    /// Lets one wait that was accepted as `fd`, at this place of the log.
    pub(super) fn wait(
        &mut self,
        connection: Connection,
        (table, fd, listener): (u32, i32, i32),
        (peer, port): (bool, bool),
        at: u64,
    ) {
        let number = self.left + self.all.len() as u64;
        self.by_fd.entry(fd).or_default().push(number);
        let closed = false;
        self.all.push_back(Some(Waiting {
            connection,
            table,
            listener,
            peer,
            port,
            fd,
            at,
            closed,
        }));
    }

    /// Those for which no hope is left at this place of the log.
    pub(super) fn expired(&mut self, at: u64) -> Option<Connection> {
        loop {
            let over = match self.all.front()? {
                None => true,
                Some(w) => w.at.saturating_add(MAX_PENDING_LINES) < at,
            };
            if !over {
                return None;
            }
            let number = self.left;
            let connection = self.remove(number, true);
            self.trim();
            if connection.is_some() {
                return connection;
            }
        }
    }

    /// Nothing follows: the next that waits.
    pub(super) fn ended(&mut self) -> Option<Connection> {
        self.expired(u64::MAX)
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The connection that is descriptor `fd` of `table`, or of another process if there is only
    /// one with this number and `others` may be meant.
    pub(super) fn find(&mut self, table: u32, fd: i32, others: bool) -> Option<u64> {
        let numbers = self.by_fd.get(&fd)?;
        let get = |number: &u64| {
            self.all.get(usize::try_from(number - self.left).ok()?).and_then(Option::as_ref)
        };
        let own = numbers
            .iter()
            .rev()
            .find(|n| get(n).is_some_and(|w| w.table == table && !w.closed))
            .copied();
        if own.is_some() {
            return own;
        }
        let mut rest = numbers.iter().filter(|n| get(n).is_some_and(|w| w.table != table));
        match (rest.next(), rest.next()) {
            (Some(only), None) if others => Some(*only),
            _ => None,
        }
    }

    /// One that was found.
    pub(super) fn get(&mut self, number: u64) -> Option<&mut Waiting> {
        self.all.get_mut(usize::try_from(number.checked_sub(self.left)?).ok()?)?.as_mut()
    }

    /// Takes one away that was found; it is complete, or known to be none.
    pub(super) fn take(&mut self, number: u64) -> Option<Connection> {
        let connection = self.remove(number, false);
        self.trim();
        connection
    }

    /// Descriptor `fd` of `table` was closed.
    pub(super) fn closed(&mut self, table: u32, fd: i32) {
        if let Some(number) = self.find(table, fd, false)
            && let Some(waiting) = self.get(number)
        {
            waiting.closed = true;
        }
    }

    /// Descriptor `fd` of `table` is something else now: what waited under this number.
    pub(super) fn reused(&mut self, table: u32, fd: i32) -> Option<Connection> {
        let left = self.left;
        let all = &self.all;
        let same = |n: &&u64| {
            let place = usize::try_from(**n - left).ok().and_then(|n| all.get(n));
            place.and_then(Option::as_ref).is_some_and(|w| w.table == table)
        };
        let number = self.by_fd.get(&fd)?.iter().find(same).copied()?;
        let connection = self.remove(number, true);
        self.trim();
        connection
    }

    fn remove(&mut self, number: u64, in_vain: bool) -> Option<Connection> {
        let place = usize::try_from(number.checked_sub(self.left)?).ok()?;
        let waiting = self.all.get_mut(place)?.take()?;
        if let Some(numbers) = self.by_fd.get_mut(&waiting.fd) {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                self.by_fd.remove(&waiting.fd);
            }
        }
        if in_vain {
            self.vain = self.vain.saturating_add(1);
        }
        Some(waiting.connection)
    }

    fn trim(&mut self) {
        while let Some(None) = self.all.front() {
            self.all.pop_front();
            self.left += 1;
        }
    }
}

impl Waiting {
    /// The peer is this.
    pub(super) fn peer_is(&mut self, end: End) {
        self.connection.ip = Some(end.ip);
        self.connection.port = Some(end.port);
        self.peer = false;
    }

    /// The local end is this.
    pub(super) fn local_is(&mut self, end: End) {
        self.connection.local_ip = Some(end.ip);
        self.connection.local_port = Some(end.port);
        self.port = false;
    }
}
