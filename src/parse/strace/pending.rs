//! [`PendingConnections`]: connections whose peer or port is not known yet, but may stand in a line that
//! follows: getpeername or getsockname on the new descriptor.

use std::collections::VecDeque;

use super::number_map::NumberMap;
use super::sockaddr::End;
use crate::Connection;

/// Maximum distance in bytes between accept and such a line.
const MAX_PENDING_LINES: u64 = 256 * 1024;

/// After this number of connections without such a line, others do not wait until one is seen.
const MAX_WAITS_IN_VAIN: u32 = 1000;

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The fields known so far.
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

/// The connections that wait, in the order of accept.
#[derive(Debug, Default)]
pub(super) struct PendingConnections {
    all: VecDeque<Option<Waiting>>,
    /// Number of entries removed from the front of `all`.
    left: u64,
    by_fd: NumberMap<i32, Vec<u64>>,
    vain: u32,
}

impl PendingConnections {
    /// Whether such lines were seen lately.
    pub(super) fn hopeful(&self) -> bool {
        self.vain < MAX_WAITS_IN_VAIN
    }

    /// Takes note of a line that completes connections.
    pub(super) fn hope(&mut self) {
        self.vain = 0;
    }

    /// Adds a connection that was accepted as `fd` at this offset of the log.
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

    /// Removes the next connection that is too old at this offset of the log.
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

    /// Removes the next connection, at the end of the log.
    pub(super) fn ended(&mut self) -> Option<Connection> {
        self.expired(u64::MAX)
    }

    /// Whether no connection waits.
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

    /// The connection with this number.
    pub(super) fn get(&mut self, number: u64) -> Option<&mut Waiting> {
        self.all.get_mut(usize::try_from(number.checked_sub(self.left)?).ok()?)?.as_mut()
    }

    /// Removes a connection that is complete, or is none.
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

    /// Removes the connection of `fd` of `table`, which is another file now.
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
    /// Sets the peer.
    pub(super) fn peer_is(&mut self, end: End) {
        self.connection.ip = Some(end.ip);
        self.connection.port = Some(end.port);
        self.peer = false;
    }

    /// Sets the local address and port.
    pub(super) fn local_is(&mut self, end: End) {
        self.connection.local_ip = Some(end.ip);
        self.connection.local_port = Some(end.port);
        self.port = false;
    }
}
