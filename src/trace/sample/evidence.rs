//! Whether the buffers that a process gives accept are long enough for the whole address.
//!
//! The length that accept returns is that of the address and not of the buffer. Into a shorter
//! one the kernel writes the beginning of the address; the rest is what was on the stack before,
//! another client's address perhaps. So the first addresses are compared with what the sockets
//! say, until two of them differ in the last byte: the kernel has written that far.

use std::net::{IpAddr, SocketAddr};

use crate::trace::sockaddr::PeerAddr;

use super::answers::confirms;

/// So many samples without an answer are believed before nobody asks any more.
const MAX_TRUSTED: u64 = 256;

/// What is known of a process' buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    ipv4: Proof,
    ipv6: Proof,
    is_refuted: bool,
    /// Addresses that were believed without proof.
    trusted: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proof {
    #[default]
    None,
    /// One address was right: its last byte.
    One(u8),
    /// Two different ones were.
    Whole,
}

/// What an answer says of the addresses that were believed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Open,
    /// So many may be wrong.
    Refuted(u64),
}

impl Evidence {
    /// Whether the socket should be asked although the sample tells a peer.
    pub(super) fn wants_answer(&self, heard: PeerAddr) -> bool {
        match heard {
            PeerAddr::Peer(peer) => {
                self.is_refuted || !self.is_proven(peer) && self.trusted < MAX_TRUSTED
            }
            PeerAddr::Perhaps(peer) => self.is_refuted || !self.is_proven(peer),
            PeerAddr::Unclear => true,
        }
    }

    /// Whether a sample is enough.
    pub(super) fn is_enough(&self, heard: PeerAddr) -> bool {
        !self.wants_answer(heard)
    }

    /// The peer, of what the sample tells and of what the socket has answered, if it has.
    pub(super) fn peer(
        &mut self,
        heard: PeerAddr,
        answered: Option<SocketAddr>,
    ) -> (Option<SocketAddr>, Verdict) {
        let (PeerAddr::Peer(told) | PeerAddr::Perhaps(told)) = heard else {
            return (answered, Verdict::Open);
        };
        let Some(peer) = answered else { return (self.unanswered(heard, told), Verdict::Open) };
        if confirms(heard, answered) {
            self.confirm(told);
            (answered, Verdict::Open)
        } else {
            self.is_refuted = true;
            (Some(peer), Verdict::Refuted(std::mem::take(&mut self.trusted)))
        }
    }

    fn unanswered(&mut self, heard: PeerAddr, told: SocketAddr) -> Option<SocketAddr> {
        if self.is_refuted {
            return None;
        }
        if self.is_proven(told) {
            return Some(told);
        }
        // An IPv4 address has zeroes behind it, which a short buffer lacks, as a rule.
        let is_likely = matches!(heard, PeerAddr::Peer(_)) || told.is_ipv6();
        self.trusted += u64::from(is_likely);
        Some(told).filter(|_| is_likely)
    }

    /// Addresses that were believed without proof.
    pub(super) fn unproven(&self) -> u64 {
        let is_proven = self.ipv4 == Proof::Whole || self.ipv6 == Proof::Whole;
        if is_proven { 0 } else { self.trusted }
    }

    /// Whether an address was wrong.
    pub(super) fn is_refuted(&self) -> bool {
        self.is_refuted
    }

    /// What a new process has from its parent.
    pub(super) fn inherited(&self) -> Evidence {
        Evidence { trusted: 0, ..*self }
    }

    fn is_proven(&self, told: SocketAddr) -> bool {
        // The IPv6 address lies farther from the beginning.
        self.ipv6 == Proof::Whole || told.is_ipv4() && self.ipv4 == Proof::Whole
    }

    fn confirm(&mut self, told: SocketAddr) {
        let (proof, last) = match told.ip() {
            IpAddr::V4(ip) => (&mut self.ipv4, ip.octets()[3]),
            IpAddr::V6(ip) => (&mut self.ipv6, ip.octets()[15]),
        };
        *proof = match *proof {
            Proof::Whole => Proof::Whole,
            Proof::One(former) if former != last => Proof::Whole,
            _ => Proof::One(last),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> PeerAddr {
        PeerAddr::Peer(text.parse().unwrap())
    }

    #[test]
    fn two_different_confirmed_addresses_prove_the_buffer() {
        let mut evidence = Evidence::default();
        for text in ["127.0.0.5:1000", "127.0.0.5:1001"] {
            evidence.peer(heard(text), Some(text.parse().unwrap()));
            assert!(evidence.wants_answer(heard(text)), "stale bytes would look the same");
        }
        evidence.peer(heard("127.0.0.6:9"), Some("127.0.0.6:9".parse().unwrap()));
        assert!(!evidence.wants_answer(heard("127.0.0.7:9")));
        assert!(evidence.wants_answer(heard("[::1]:9")), "IPv6 needs more bytes");
    }

    #[test]
    fn a_wrong_address_tells_how_many_were_believed() {
        let mut evidence = Evidence::default();
        for _ in 0..3 {
            assert!(evidence.peer(heard("127.0.0.5:1"), None).0.is_some());
        }
        assert_eq!(evidence.unproven(), 3);
        let truth = Some("127.0.0.9:1".parse().unwrap());
        let (peer, verdict) = evidence.peer(heard("127.0.0.5:1"), truth);
        assert_eq!((peer, verdict), (truth, Verdict::Refuted(3)));
        assert_eq!(evidence.peer(heard("127.0.0.5:1"), None).0, None);
    }
}
