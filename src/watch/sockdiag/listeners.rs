//! [`Listeners`]: which listening sockets existed, and when.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::sys::sock_diag::End;

/// Listeners by port and address, with the first and the last dump that contained them (see
/// [`SocketTracker`](super::tracker::SocketTracker)). A server may have many listeners on one port.
#[derive(Debug, Default)]
pub(super) struct Listeners(HashMap<u16, Vec<Listener>>);

#[derive(Debug)]
struct Listener {
    ip: IpAddr,
    first: u32,
    last: u32,
}

impl Listeners {
    /// Notes that a listener existed at dump number `dump`.
    pub(super) fn note(&mut self, (ip, port): End, dump: u32) {
        let here = self.0.entry(port).or_default();
        match here.iter_mut().find(|l| l.ip == ip) {
            Some(l) if l.last + 2 >= dump => l.last = l.last.max(dump),
            Some(l) => (l.first, l.last) = (dump, dump),
            None => here.push(Listener { ip, first: dump, last: dump }),
        }
    }

    /// Whether a listener existed that can have accepted a connection to `local` that began after
    /// one of the dumps `from` to `to` and before the next dump.
    pub(super) fn had(&self, (ip, port): End, from: u32, to: u32) -> bool {
        self.0.get(&port).is_some_and(|here| {
            here.iter().any(|l| {
                // The socket of a connection has the family of its listener: an IPv4 client of an
                // IPv6 listener has a mapped address.
                let takes = l.ip == ip || l.ip.is_unspecified() && l.ip.is_ipv4() == ip.is_ipv4();
                takes && l.first <= to + 1 && l.last >= from
            })
        })
    }

    /// Whether dump number `dump` has a listener on one of these ports.
    pub(super) fn has_port(&self, ports: RangeInclusive<u16>, dump: u32) -> bool {
        let mut here = self.0.iter().filter(|(port, _)| ports.contains(port));
        here.any(|(_, here)| here.iter().any(|l| l.last == dump))
    }

    /// Removes listeners that disappeared before dump number `dump`.
    pub(super) fn prune(&mut self, dump: u32) {
        self.0.retain(|_, here| {
            here.retain(|l| l.last >= dump);
            !here.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ip: &str) -> End {
        (ip.parse().unwrap(), 80)
    }

    #[test]
    fn a_listener_takes_connections_of_its_family_and_address() {
        let mut listeners = Listeners::default();
        listeners.note(end("127.0.0.1"), 3);
        assert!(listeners.had(end("127.0.0.1"), 3, 3));
        assert!(!listeners.had(end("127.0.0.2"), 3, 3));
        listeners.note(end("::"), 3);
        assert!(listeners.had(end("::ffff:127.0.0.2"), 3, 3));
        assert!(!listeners.had(end("127.0.0.2"), 3, 3));
    }

    #[test]
    fn a_listener_takes_connections_in_its_time() {
        let mut listeners = Listeners::default();
        listeners.note(end("0.0.0.0"), 5);
        let had =
            |l: &Listeners| (0..12).filter(|d| l.had(end("127.0.0.1"), *d, *d)).collect::<Vec<_>>();
        assert_eq!(had(&listeners), [4, 5]);
        assert!(listeners.had(end("127.0.0.1"), 2, 8));
        listeners.note(end("0.0.0.0"), 10);
        assert_eq!(had(&listeners), [9, 10]);
        listeners.prune(11);
        assert!(had(&listeners).is_empty());
    }
}
