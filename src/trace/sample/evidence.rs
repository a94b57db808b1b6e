//! Determines whether the buffers that a program passes to accept are long enough for the whole address.
//!
//! accept returns the length of the address, not of the buffer. Into a shorter buffer the kernel writes
//! the beginning of the address. The rest is the old content of the stack, perhaps another client's
//! address. So calls of accept are sampled, too, until the length of each buffer is known. The length is
//! assumed to be the same for all processes that execute the same program and call accept at the same
//! place in it, on listening sockets of the same address family: Python passes 16 bytes for IPv4 and 28
//! for IPv6.
//!
//! If these samples are unavailable, the sampled addresses are compared with those of the sockets, until
//! two of them differ in the last byte: then the kernel has written the whole address. The queried
//! socket may be another one: a thread has just got the same descriptor, and its sample has not arrived
//! yet. Then the ports differ, too. So a different address proves a short buffer only if the port, which
//! precedes it, is the same, or if no query ever confirmed an address.

use std::net::{IpAddr, SocketAddr};

use foldhash::HashMap;

use crate::sys::ptrace::Tid;
use crate::trace::sockaddr::PeerAddr;

use super::listeners::AddressFamily;
use super::record::{Accept, Entry, Site};
use super::socket_queries::confirms;

/// Number of query results, all with other ports, that prove a buffer of less than four bytes.
const MAX_DIFFERING: u64 = 8;
/// Where an IPv4 address ends in a `sockaddr_in`, and an IPv6 address in a `sockaddr_in6`.
const INET_END: u32 = 8;
const INET6_END: u32 = 24;

/// Number of connections during which calls are sampled for an address family that has no client yet.
const MAX_SAMPLED_ENTRIES: u32 = 1000;

/// A program file: device and inode; 0 and a process ID if that is not known.
pub(super) type Program = (u64, u64);

/// What is known of each program.
#[derive(Debug, Default)]
pub(super) struct Programs {
    of: HashMap<Tid, Program>,
    /// What a process executed before its present program.
    former: HashMap<Tid, Program>,
    known: HashMap<Program, Evidence>,
}

impl Programs {
    /// What is known of the program that a process executes, if it is known which that is.
    pub(super) fn get(&mut self, pid: Tid) -> Option<&mut Evidence> {
        let program = match self.of.get(&pid) {
            Some(program) => *program,
            None => *self.of.entry(pid).or_insert(program(pid)?),
        };
        Some(self.known.entry(program).or_default())
    }

    /// What is known of the program that a process executes, or executed before.
    pub(super) fn of(&mut self, pid: Tid) -> &mut Evidence {
        let program = self.program(pid);
        self.known.entry(program).or_default()
    }

    /// The program that a process executes, or executed before.
    pub(super) fn program(&mut self, pid: Tid) -> Program {
        let former = self.former.get(&pid).copied().unwrap_or((0, pid as u64));
        *self.of.entry(pid).or_insert_with(|| program(pid).unwrap_or(former))
    }

    /// A process executes the program of its parent.
    pub(super) fn fork(&mut self, child: Tid, parent: Tid) {
        let program = self.of.get(&parent).copied().or_else(|| program(parent));
        self.of.extend(program.map(|program| (child, program)));
    }

    /// A process executes another program, or the same once more.
    pub(super) fn exec(&mut self, pid: Tid) {
        let former = self.of.remove(&pid);
        self.former.extend(former.map(|program| (pid, program)));
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, pid: Tid) {
        self.of.remove(&pid);
        self.former.remove(&pid);
    }

    /// Number of addresses that were accepted without proof.
    pub(super) fn unproven(&self) -> u64 {
        self.known.values().map(Evidence::unproven).sum()
    }
}

/// `None`: it has ended.
fn program(pid: Tid) -> Option<Program> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((file.dev(), file.ino()))
}

/// What is known of the buffers of a program.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    sites: HashMap<Site, Proof>,
    /// Number of samples, at most [`MAX_SAMPLED_ENTRIES`].
    samples: u32,
}

/// What is known of a buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Proof {
    ipv4: FamilyProof,
    ipv6: FamilyProof,
    /// SocketQueries that name another port, until one confirms an address.
    differing: u64,
}

/// The same for listening sockets of one address family.
#[derive(Clone, Copy, Debug, Default)]
struct FamilyProof {
    /// The least length that was given to accept.
    length: Option<u32>,
    confirmed: Confirmed,
    is_refuted: bool,
    /// Number of addresses that were accepted without proof.
    trusted: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Confirmed {
    #[default]
    None,
    /// One address was right: its last byte.
    One(u8),
    /// Two different ones were.
    Two,
}

/// The conclusion from a query result about the addresses that were accepted without proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Open,
    /// The result is that of another socket.
    Ignored,
    /// This number of connections may be wrong.
    Refuted(u64),
}

impl Evidence {
    /// Number of addresses that were accepted without proof.
    fn unproven(&self) -> u64 {
        self.sites.values().map(Proof::unproven).sum()
    }

    /// Whether calls should be sampled further, for buffers that are unknown. `families` are those of the
    /// process's listening sockets: clients of one may come long after those of the other.
    pub(super) fn needs_entries(&self, families: impl Iterator<Item = AddressFamily>) -> bool {
        let has_length = |family| {
            self.sites.values().any(|proof| match family {
                AddressFamily::Ipv4 => proof.ipv4.length.is_some(),
                AddressFamily::Ipv6 => proof.ipv6.length.is_some(),
            })
        };
        let mut families = families;
        self.unproven() > 0 || self.samples < MAX_SAMPLED_ENTRIES && !families.all(has_length)
    }

    /// Whether the socket should be queried although the sample may contain the peer.
    pub(super) fn needs_query(&self, accept: &Accept) -> bool {
        match accept.sampled_peer {
            PeerAddr::Peer(peer) | PeerAddr::Perhaps(peer) => {
                self.sites.get(&accept.site).is_none_or(|proof| !proof.covers(peer))
            }
            PeerAddr::Unclear => true,
        }
    }

    /// Records the buffer length of a call of accept. Returns how many addresses that may be wrong were
    /// accepted before. `family` is that of the listening socket; `None`: either.
    pub(super) fn enter(&mut self, entry: &Entry, family: Option<AddressFamily>) -> u64 {
        // Buffers on the heap may have another address in each call, of which nothing is learnt.
        if !entry.site.is_in_reach() {
            return 0;
        }
        let proof = self.sites.entry(entry.site).or_default();
        let mut wrong = 0;
        let both = [
            (AddressFamily::Ipv4, &mut proof.ipv4, INET_END),
            (AddressFamily::Ipv6, &mut proof.ipv6, INET6_END),
        ];
        for (of, proof, end) in both {
            if family.is_none_or(|family| family == of) {
                let least = proof.length.map_or(entry.length, |known| known.min(entry.length));
                proof.length = Some(least);
                let believed = std::mem::take(&mut proof.trusted);
                wrong += if entry.length < end { believed } else { 0 };
            }
        }
        wrong
    }

    /// Determines the peer from the sample and, if there is one, from the query result.
    pub(super) fn peer(
        &mut self,
        accept: &Accept,
        answered: Option<SocketAddr>,
    ) -> (Option<SocketAddr>, Verdict) {
        self.samples = (self.samples + 1).min(MAX_SAMPLED_ENTRIES);
        let sampled_peer = accept.sampled_peer;
        let (PeerAddr::Peer(sampled) | PeerAddr::Perhaps(sampled)) = sampled_peer else {
            return (answered, Verdict::Open);
        };
        let proof = self.sites.entry(accept.site).or_default();
        let Some(peer) = answered else {
            return (proof.unanswered(sampled_peer, sampled), Verdict::Open);
        };
        if confirms(sampled_peer, answered) {
            proof.confirm(sampled);
            return (answered, Verdict::Open);
        }
        proof.differing += 1;
        let is_other_socket = proof.covers(sampled)
            || peer.port() != sampled.port()
                && (proof.has_confirmed() || proof.differing < MAX_DIFFERING);
        if is_other_socket && !proof.is_short(sampled) {
            return (proof.unanswered(sampled_peer, sampled), Verdict::Ignored);
        }
        let mut believed = 0;
        for proof in [&mut proof.ipv4, &mut proof.ipv6] {
            proof.is_refuted = true;
            believed += std::mem::take(&mut proof.trusted);
        }
        (Some(peer), Verdict::Refuted(believed))
    }

    /// Whether a buffer of this program is too short.
    pub(super) fn is_refuted(&self, accept: &Accept) -> bool {
        let (PeerAddr::Peer(sampled) | PeerAddr::Perhaps(sampled)) = accept.sampled_peer else {
            return false;
        };
        self.sites.get(&accept.site).is_some_and(|proof| proof.is_short(sampled))
    }
}

impl Proof {
    fn of(&self, sampled: SocketAddr) -> &FamilyProof {
        if sampled.is_ipv4() { &self.ipv4 } else { &self.ipv6 }
    }

    fn of_mut(&mut self, sampled: SocketAddr) -> &mut FamilyProof {
        if sampled.is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 }
    }

    /// Whether the kernel is known to have written the whole of such an address.
    fn covers(&self, sampled: SocketAddr) -> bool {
        let proof = self.of(sampled);
        match proof.length {
            Some(length) => length >= end_of(sampled),
            None => !proof.is_refuted && self.is_proven(proof),
        }
    }

    /// Whether the kernel is known not to have written it.
    fn is_short(&self, sampled: SocketAddr) -> bool {
        let proof = self.of(sampled);
        proof.length.map_or(proof.is_refuted, |length| length < end_of(sampled))
    }

    fn unanswered(&mut self, sampled_peer: PeerAddr, sampled: SocketAddr) -> Option<SocketAddr> {
        if self.is_short(sampled) {
            return None;
        }
        if self.covers(sampled) {
            return Some(sampled);
        }
        // An IPv4 address has zeroes behind it, which a short buffer lacks, as a rule.
        let is_likely = matches!(sampled_peer, PeerAddr::Peer(_)) || sampled.is_ipv6();
        self.of_mut(sampled).trusted += u64::from(is_likely);
        Some(sampled).filter(|_| is_likely)
    }

    /// Whether two different addresses were right: those of IPv6 are longer.
    fn is_proven(&self, proof: &FamilyProof) -> bool {
        self.ipv6.confirmed == Confirmed::Two || proof.confirmed == Confirmed::Two
    }

    fn unproven(&self) -> u64 {
        let unproven = |proof: &FamilyProof| if self.is_proven(proof) { 0 } else { proof.trusted };
        unproven(&self.ipv4) + unproven(&self.ipv6)
    }

    fn has_confirmed(&self) -> bool {
        self.ipv4.confirmed != Confirmed::None || self.ipv6.confirmed != Confirmed::None
    }

    fn confirm(&mut self, sampled: SocketAddr) {
        let last = match sampled.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let confirmed = &mut self.of_mut(sampled).confirmed;
        *confirmed = match *confirmed {
            Confirmed::Two => Confirmed::Two,
            Confirmed::One(former) if former != last => Confirmed::Two,
            _ => Confirmed::One(last),
        };
    }
}

fn end_of(address: SocketAddr) -> u32 {
    if address.is_ipv4() { INET_END } else { INET6_END }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Buffer, Thread};
    use super::*;

    const THREAD: Thread = Thread { pid: 1, tid: 1 };

    fn accept(text: &str) -> Accept {
        Accept {
            thread: THREAD,
            fd: Some(7),
            listener: Some(3),
            site: Site::default(),
            buffer: Buffer::Sampled,
            sampled_peer: PeerAddr::Peer(text.parse().unwrap()),
        }
    }

    fn entry(length: u32) -> Entry {
        Entry { thread: THREAD, site: Site::default(), listener: Some(3), length }
    }

    #[test]
    fn two_different_confirmed_addresses_prove_the_buffer() {
        let mut evidence = Evidence::default();
        for text in ["127.0.0.5:1000", "127.0.0.5:1001"] {
            evidence.peer(&accept(text), Some(text.parse().unwrap()));
            assert!(evidence.needs_query(&accept(text)), "stale bytes would look the same");
        }
        evidence.peer(&accept("127.0.0.6:9"), Some("127.0.0.6:9".parse().unwrap()));
        assert!(!evidence.needs_query(&accept("127.0.0.7:9")));
        assert!(evidence.needs_query(&accept("[::1]:9")), "IPv6 needs more bytes");
    }

    #[test]
    fn a_wrong_address_shows_how_many_were_accepted_without_proof() {
        let mut evidence = Evidence::default();
        let sample = accept("127.0.0.5:1");
        for _ in 0..3 {
            assert!(evidence.peer(&sample, None).0.is_some());
        }
        let other = Some("127.0.0.9:2".parse().unwrap());
        let (peer, verdict) = evidence.peer(&sample, other);
        assert_eq!((peer, verdict), (Some("127.0.0.5:1".parse().unwrap()), Verdict::Ignored));
        let truth = Some("127.0.0.9:1".parse().unwrap());
        let (peer, verdict) = evidence.peer(&sample, truth);
        assert_eq!((peer, verdict), (truth, Verdict::Refuted(4)));
        assert_eq!(evidence.peer(&sample, None).0, None);
    }

    #[test]
    fn queries_that_never_confirm_an_address_refute_it() {
        let mut evidence = Evidence::default();
        let mut verdicts = Vec::new();
        for port in 1..=MAX_DIFFERING as u16 {
            let answered = Some(([127, 0, 0, 9], port + 10).into());
            verdicts.push(evidence.peer(&accept("127.0.0.5:1"), answered).1);
        }
        assert_eq!(verdicts.pop(), Some(Verdict::Refuted(MAX_DIFFERING - 1)));
        assert!(verdicts.iter().all(|v| *v == Verdict::Ignored), "{verdicts:?}");
    }

    #[test]
    fn the_length_of_the_buffer_decides() {
        for (length, ipv4, ipv6) in [(4, false, false), (16, true, false), (28, true, true)] {
            let mut evidence = Evidence::default();
            for text in ["127.0.0.5:1", "[::1]:1"] {
                assert!(evidence.peer(&accept(text), None).0.is_some(), "believed for now");
            }
            let wrong = u64::from(!ipv4) + u64::from(!ipv6);
            assert_eq!(evidence.enter(&entry(length), None), wrong, "{length}");
            for (text, is_known) in [("127.0.0.5:1", ipv4), ("[::1]:1", ipv6)] {
                assert_eq!(evidence.peer(&accept(text), None).0.is_some(), is_known, "{length}");
                assert_eq!(evidence.is_refuted(&accept(text)), !is_known);
            }
        }
    }

    #[test]
    fn buffers_that_no_sample_can_hold_are_not_remembered() {
        let mut evidence = Evidence::default();
        for call in 0..100 {
            let address = (1 << 40) + call * 64;
            let site = Site::new(address, address + 32, 1 << 20);
            evidence.enter(&Entry { site, ..entry(16) }, None);
        }
        assert!(evidence.sites.is_empty());
    }

    #[test]
    fn listeners_of_each_family_may_have_buffers_of_their_own_length() {
        let mut evidence = Evidence::default();
        evidence.enter(&entry(16), Some(AddressFamily::Ipv4));
        assert!(evidence.needs_query(&accept("[::1]:1")), "not known yet");
        evidence.enter(&entry(28), Some(AddressFamily::Ipv6));
        evidence.enter(&entry(16), Some(AddressFamily::Ipv4));
        for text in ["127.0.0.5:1", "[::1]:1", "[::ffff:127.0.0.5]:1"] {
            assert!(!evidence.needs_query(&accept(text)), "{text}");
            assert!(evidence.peer(&accept(text), None).0.is_some(), "{text}");
        }
    }
}
