//! [`Handover`]: which of two engines reports a connection when one replaces the other.

use std::collections::HashMap;

use crate::model::connection::canonical;
use crate::sys::sock_diag::End;

/// The connections that the next engine does not report because they were open, or closed, when it
/// started. A connection is identified by its addresses and ports. A client cannot use the same
/// port again within the milliseconds of a start, unless it has reset the connection.
#[derive(Debug)]
pub(super) struct Handover {
    /// When the next engine started, by CLOCK_MONOTONIC.
    started: u64,
    /// How many of them have these local and remote ends.
    unreported: HashMap<(End, End), u32>,
}

impl Handover {
    /// Creates it from the local and the remote ends of those connections.
    pub(super) fn new(started: u64, connections: impl IntoIterator<Item = (End, End)>) -> Handover {
        let mut unreported = HashMap::new();
        for (local, peer) in connections {
            *unreported.entry(key(local, peer)).or_default() += 1;
        }
        Handover { started, unreported }
    }

    /// Whether the next engine reports a connection that began at `time`. Called once for each
    /// connection, in the order of time.
    pub(super) fn is_reported(&mut self, time: u64, local: End, peer: End) -> bool {
        let unreported = self.unreported.get_mut(&key(local, peer)).filter(|n| **n > 0);
        match unreported {
            Some(n) => {
                *n -= 1;
                false
            }
            None => time >= self.started,
        }
    }
}

/// The engines may show an IPv4 client of an IPv6 socket in different forms.
fn key(local: End, peer: End) -> (End, End) {
    let plain = |(ip, port): End| (canonical(ip), port);
    (plain(local), plain(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> End {
        let end: std::net::SocketAddr = text.parse().unwrap();
        (end.ip(), end.port())
    }

    #[test]
    fn only_connections_after_the_start_that_were_not_open_are_reported_by_the_next_engine() {
        let local = end("192.0.2.1:80");
        let [early, open, new] =
            ["198.51.100.1:1000", "198.51.100.1:2000", "198.51.100.1:3000"].map(end);
        let mut handover = Handover::new(500, [(local, early), (local, open)]);
        assert!(!handover.is_reported(499, local, early));
        assert!(!handover.is_reported(500, local, open));
        assert!(handover.is_reported(500, local, new));
        assert!(!handover.is_reported(499, local, end("198.51.100.1:4000")));
        assert!(handover.is_reported(501, local, open), "the port was used again");
    }

    #[test]
    fn both_forms_of_an_ipv4_address_are_the_same_connection() {
        let (plain, mapped) = (end("192.0.2.1:80"), end("[::ffff:192.0.2.1]:80"));
        let peer = end("198.51.100.1:1000");
        assert!(!Handover::new(500, [(mapped, peer)]).is_reported(501, plain, peer));
    }
}
