//! [`FoundConnections`]: the connections in a part of a record, until they are given to the sink.

use super::coalesce::{Coalescer, Local, give_one, peer};
use super::host::{Address, Ends, Host};
use crate::{Connection, RecordTime, Sink, UsedFields};

/// A connection in a quarter of the memory.
#[derive(Clone, Copy)]
struct CompactConnection {
    ip: Address,
    /// Its local end: a place in [`FoundConnections::locals`].
    local: u8,
    time: Option<RecordTime>,
}

/// Maximum number of local ends of a [`FoundConnections`].
const MAX_FOUND_LOCALS: usize = 256;

/// Connections that were found in a part of a record.
#[derive(Default)]
pub(super) struct FoundConnections {
    /// What is used of them. The order matters only if that is all.
    pub used: UsedFields,
    /// In the order of the record.
    all: Vec<Connection>,
    /// Those that have no more fields than ends and time, if no more are used.
    briefs: Vec<CompactConnection>,
    locals: Vec<Local>,
    /// The place of the last local end.
    local: u8,
}

impl FoundConnections {
    /// Adds a connection.
    #[inline]
    pub(super) fn push(&mut self, c: Connection) {
        if self.used.can_coalesce()
            && let Some(ip) = peer(&c)
            && let Some(local) = self.place(|| (c.local_ip, c.local_port))
        {
            self.briefs.push(CompactConnection { ip, local, time: c.time });
        } else {
            self.all.push(c);
        }
    }

    /// Adds a connection of which no more is known than its ends and its time.
    #[inline]
    pub(super) fn push_ends(&mut self, ends: Ends, time: Option<RecordTime>) {
        if self.used.can_coalesce()
            && let (Host::Ip(client), Host::Ip(server)) = (&ends.client, &ends.server)
            && let Some(local) = self.place(|| (Some(server.ip()), ends.server_port))
        {
            self.briefs.push(CompactConnection { ip: *client, local, time });
        } else {
            self.all.push(ends.connection_at(time));
        }
    }

    /// The place of a local end. `None`: there are too many.
    #[inline]
    fn place(&mut self, local: impl FnOnce() -> Local) -> Option<u8> {
        if self.used == UsedFields::Peer {
            self.locals.resize(1, Local::default());
            return Some(0);
        }
        let local = local();
        if self.locals.get(usize::from(self.local)) == Some(&local) {
            return Some(self.local);
        }
        let known = self.locals.iter().position(|known| *known == local);
        let place = known.unwrap_or(self.locals.len());
        if place == MAX_FOUND_LOCALS {
            return None;
        }
        if known.is_none() {
            self.locals.push(local);
        }
        self.local = place as u8;
        Some(self.local)
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.briefs.clear();
        self.locals.clear();
    }

    /// Gives all to the sink, or to `waiting` for it.
    pub(super) fn give(&mut self, waiting: Option<&mut Coalescer>, sink: &mut dyn Sink) {
        let FoundConnections { all, briefs, locals, .. } = self;
        let brief = |brief: &CompactConnection| (brief.ip, usize::from(brief.local), brief.time);
        if let Some(waiting) = waiting {
            waiting.take_briefs(briefs, locals, brief, sink);
            all.drain(..).for_each(|connection| waiting.take(connection, sink));
        } else {
            for (ip, local, time) in briefs.iter().map(brief) {
                give_one(ip.ip(), locals.get(local).copied().unwrap_or_default(), time, sink);
            }
            all.drain(..).for_each(|connection| sink.take(connection));
        }
        self.clear();
    }
}
