//! The parts of a list of sockets: states, ends, and what a line is.

use crate::parse::host::{Ends, Host};
use crate::parse::services;

/// The states of ss, netstat and the BSDs, each with the rank that `Entry` gives it; `None`: no
/// connection.
pub(super) const STATES: &[(&[u8], Option<u8>)] = &[
    (b"ESTAB", Some(2)),
    (b"ESTABLISHED", Some(2)),
    (b"SYN-RECV", Some(1)),
    (b"SYN_RECV", Some(1)),
    (b"SYN_RCVD", Some(1)),
    (b"SYN_RECEIVED", Some(1)),
    (b"FIN-WAIT-1", Some(3)),
    (b"FIN_WAIT1", Some(3)),
    (b"FIN_WAIT_1", Some(3)),
    (b"FIN-WAIT-2", Some(3)),
    (b"FIN_WAIT2", Some(3)),
    (b"FIN_WAIT_2", Some(3)),
    (b"CLOSE-WAIT", Some(3)),
    (b"CLOSE_WAIT", Some(3)),
    (b"CLOSING", Some(3)),
    (b"LAST-ACK", Some(4)),
    (b"LAST_ACK", Some(4)),
    (b"TIME-WAIT", Some(5)),
    (b"TIME_WAIT", Some(5)),
    (b"LISTEN", None),
    (b"UNCONN", None),
    (b"CLOSED", None),
    (b"CLOSE", None),
    (b"SYN-SENT", None),
    (b"SYN_SENT", None),
];

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The header.
    Header,
    /// A listening socket.
    Listening(u16),
    /// A connection, as if it were inbound, and its rank.
    Socket(Ends, u8),
    /// A TCP socket that was destroyed, as if it were inbound.
    Destroyed(Ends),
    /// A TCP socket that cannot be read.
    Broken,
    /// A socket that is bound to a port only. Without the column of the protocol, that is one of UDP.
    Unconnected,
    /// A socket without a connection, or of another protocol.
    OtherSocket,
    /// Anything else.
    Other,
}

#[cfg(test)]
impl Line {
    /// Both ends of a socket and the rank of its state, as the tests compare them.
    pub(super) fn shown(&self) -> String {
        match self {
            Line::Socket(e, rank) => format!(
                "{} {} {} {} {rank}",
                e.client.ip().unwrap(),
                e.client_port.unwrap(),
                e.server.ip().unwrap(),
                e.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }
}

/// An end: an address, perhaps any, and a port, perhaps any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub host: Option<Host>,
    pub port: Option<u16>,
}

/// Reads `192.0.2.1:22`, `192.0.2.1:ssh`, `[2001:db8::1]:22`, `*:*`, `0.0.0.0%eth0:68`, and with a point before the
/// port as the BSDs print it. `None`: it cannot be read.
pub(super) fn end(word: &[u8]) -> Option<End> {
    let mark = match memchr::memrchr(b':', word) {
        Some(colon) if !word[colon..].contains(&b'.') => colon,
        _ => memchr::memrchr(b'.', word)?,
    };
    let (host, port) = (&word[..mark], &word[mark + 1..]);
    if host.starts_with(b"[") && !host.contains(&b']') {
        return None;
    }
    let port = match port {
        b"*" => None,
        port => Some(services::port(port)?),
    };
    // The interface may stand within the brackets or behind them.
    let host = match host.split(|b| *b == b'%').next().unwrap_or(host) {
        b"*" => None,
        host => {
            let bare = host.strip_prefix(b"[").unwrap_or(host);
            Some(Host::address(bare.strip_suffix(b"]").unwrap_or(bare))?)
        }
    };
    Some(End { host, port })
}

/// The rank of a state; `None`: it is no state.
pub(super) fn rank_of(state: &[u8]) -> Option<Option<u8>> {
    STATES.iter().find(|(name, _)| *name == state).map(|(_, rank)| *rank)
}

/// The ends of a connection, as if it were inbound.
pub(super) fn ends_of(local: End, peer: End) -> Option<Ends> {
    Some(Ends {
        client: peer.host?,
        client_port: Some(peer.port?),
        server: local.host?,
        server_port: Some(local.port?),
    })
}
