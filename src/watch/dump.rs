//! [`Dump`]: the sockets at one time, and what the fields of a socket mean.

use std::collections::HashMap;

use super::wire::{Info, Socket, state};

/// A point in time: nanoseconds since 1970.
pub(super) type Nanos = i64;

/// tcp_info counts in the kernel's ticks, of 10 ms at the most.
pub(super) const TICK: Nanos = 10_000_000;

/// When something happened, as near as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Not before.
    pub after: Nanos,
    /// Not after.
    pub before: Nanos,
}

/// The sockets that the kernel has at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Dump {
    /// When it was asked for.
    pub start: Nanos,
    /// When it was complete.
    pub end: Nanos,
    /// Listeners and connections on the watched ports.
    pub sockets: Vec<Socket>,
}

impl Dump {
    /// How many connections are over, but are told of by nothing than that they wait to be
    /// accepted: the client has reset them, and the kernel keeps them for the server.
    pub(super) fn hidden(&self) -> u64 {
        let mut waiting: HashMap<u16, i64> = HashMap::new();
        for s in &self.sockets {
            *waiting.entry(s.local.1).or_default() += match s.state {
                state::LISTEN => s.queue.into(),
                state::ESTABLISHED | state::CLOSE_WAIT if !s.owned => -1,
                _ => 0,
            };
        }
        waiting.into_values().map(|n| n.max(0) as u64).sum()
    }
}

/// Whether a socket of a dump is a connection.
pub(super) fn is_connection(s: &Socket) -> bool {
    s.state != state::LISTEN && !s.remnant && s.peer.1 != 0
}

/// Whether this side opened the connection: its SYN was acknowledged besides its bytes and FIN.
pub(super) fn opened_here(info: &Info) -> bool {
    info.acked > info.sent.saturating_sub(info.resent) + 1
}
