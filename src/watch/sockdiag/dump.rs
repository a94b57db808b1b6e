//! [`Dump`]: the sockets at one time, and the meaning of their fields.

use std::collections::HashMap;

use crate::sys::sock_diag::{Info, Socket, state};

/// A point in time: nanoseconds since 1970.
pub(in crate::watch) type Nanos = i64;

/// The resolution of times in tcp_info: the kernel's tick, at most 10 ms.
pub(in crate::watch) const TICK: Nanos = 10_000_000;

/// The bounds of the time at which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Span {
    /// Not before.
    pub after: Nanos,
    /// Not after.
    pub before: Nanos,
}

/// The sockets of the kernel at one time.
#[derive(Clone, Debug, Default)]
pub(in crate::watch) struct Dump {
    /// When it was requested.
    pub start: Nanos,
    /// When it was complete.
    pub end: Nanos,
    /// Listeners and connections on the watched ports.
    pub sockets: Vec<Socket>,
}

impl Dump {
    /// The number of connections that have ended and still wait to be accepted: the client has
    /// reset them, and only the listener's queue length shows them.
    pub(in crate::watch) fn hidden(&self) -> u64 {
        let mut waiting: HashMap<u16, i64> = HashMap::new();
        for s in &self.sockets {
            *waiting.entry(s.local.1).or_default() += match s.state {
                state::LISTEN => s.queue.into(),
                state::ESTABLISHED | state::CLOSE_WAIT if s.inode == 0 => -1,
                _ => 0,
            };
        }
        waiting.into_values().map(|n| n.max(0) as u64).sum()
    }
}

/// Whether a socket of a dump is a connection.
pub(in crate::watch) fn is_connection(s: &Socket) -> bool {
    s.state != state::LISTEN && !s.remnant && s.peer.1 != 0
}

/// Whether this side opened the connection: then the acknowledged sequence numbers include its SYN,
/// besides bytes and FIN.
pub(in crate::watch) fn opened_here(info: &Info) -> bool {
    info.acked > info.sent.saturating_sub(info.resent) + 1
}

/// Whether a closed socket never was a connection. Two CPUs processed the client's final ACK of the handshake at once, or
/// that ACK and the first data: both made a socket, and the kernel discarded one (`inet_ehash_nolisten`). Until it has
/// processed that segment, a new socket has counted the SYN only.
pub(in crate::watch) fn was_discarded(s: &Socket) -> bool {
    let counted_syn_only =
        |i: &Info| i.all_segments_received == 1 && i.received == 0 && i.sent == 0;
    // A reset by the owner sets the counters to 0.
    s.state != state::CLOSE || !s.is_wiped() && s.info.as_ref().is_some_and(counted_syn_only)
}
