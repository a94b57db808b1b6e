//! [`EventFilter`]: selects the events of a log that count, and counts events by kind.

use super::calls::SeenCalls;
use super::event::Event;
use super::found::FoundConnections;
use super::host::{Ends, Host};
use super::sessions::Unjoined;
use crate::{Connection, RecordTime, UsedFields};

/// Numbers of events by kind, of all inputs.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Connections in the record, in both directions.
    pub connections: u64,
    /// Connections that may not have been established: the record does not show it.
    pub undecided: u64,
    /// Connections that the record calls outbound.
    pub outbound: u64,
    /// Packets and sessions that were blocked.
    pub blocked: u64,
    /// Lines that show that connections are recorded, and do not count.
    pub evidence: u64,
    /// Packets of TCP.
    pub packets: u64,
    /// Those of them that open a connection, or answer one that does.
    pub attempts: u64,
    /// Calls of accept.
    pub calls: SeenCalls,
    /// Lines that were left out, because a line before is of the same connection.
    pub requests: u64,
    /// Sessions of which the log has only the end.
    pub unjoined: Unjoined,
}

impl Seen {
    /// Adds what was seen of a block; its calls are not known yet.
    pub(super) fn add(&mut self, block: &Seen) {
        self.connections += block.connections;
        self.undecided += block.undecided;
        self.packets += block.packets;
        self.attempts += block.attempts;
    }
}

/// Which events count.
pub(super) struct EventFilter {
    pub local: Vec<Host>,
    pub established: bool,
    /// What is used of a connection.
    pub used: UsedFields,
}

impl EventFilter {
    /// Adds the connection of an event to `found`, if it counts.
    pub(super) fn take(
        &self,
        event: Event,
        time: Option<RecordTime>,
        seen: &mut Seen,
        found: &mut FoundConnections,
    ) {
        if self.counts(&event.ends, event.established, seen) {
            found.push(connection(event, time, self.used.can_coalesce()));
        }
    }

    /// Adds a connection of which no more is known to `found`, if it counts.
    pub(super) fn take_ends(
        &self,
        ends: Ends,
        established: Option<bool>,
        time: Option<RecordTime>,
        seen: &mut Seen,
        found: &mut FoundConnections,
    ) {
        if self.counts(&ends, established, seen) {
            found.push_ends(ends, time);
        }
    }

    /// Whether a connection counts, which is noted in `seen`.
    fn counts(&self, ends: &Ends, established: Option<bool>, seen: &mut Seen) -> bool {
        let wanted = !self.established || established != Some(false);
        seen.connections += 1;
        // A log of a server's own connections may not name its address.
        let own = matches!(&ends.server, Host::Name(name) if name.is_empty());
        let counts = wanted && (own || ends.inbound(&self.local));
        seen.undecided += u64::from(counts && established.is_none());
        counts
    }
}

/// The connection of an event at `time`; `ends_only`: without other values.
fn connection(event: Event, time: Option<RecordTime>, ends_only: bool) -> Connection {
    let ends = event.ends.connection();
    let time = match event.before {
        0 => time,
        before => time.map(|t| t.shifted(jiff::SignedDuration::from_nanos(-before))),
    };
    if ends_only {
        return Connection { time, machine: event.more.machine, ..ends };
    }
    Connection {
        time,
        ip: ends.ip,
        host: ends.host,
        port: ends.port,
        local_ip: ends.local_ip,
        local_port: ends.local_port,
        ..event.more
    }
}
