//! [`Deduplicator`]: makes one connection of all that a record shows of it.
//!
//! A SYN is sent again while nothing answers, two rules or two interfaces show it twice, and the
//! SYN+ACK tells of the same connection once more. `Flow` tells what belongs together. A
//! connection is given when it is first seen, so its time is that of the first SYN.
//!
//! Only what was seen within `SPAN` can still fold, so no more is remembered.

mod flow;

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use self::flow::{Flow, Incomplete, SPAN, Unconfirmed};
use super::context::Context;
use super::host::{Ends, Host};
use crate::model::connection::Connection;
use crate::{RecordTime, SourceStatus};

/// In a record without times, or a flood, so many clients' ports are remembered.
const MAX_FLOWS: usize = 1 << 20;

/// So many connections of one client's port are remembered: somebody may scan from one.
const MOST_OF_PORT: usize = 64;

/// What a packet says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// The client asks.
    Syn,
    /// The server answers; the ends are those of the connection all the same.
    SynAck,
    /// The client goes on: any later packet of its own but a reset.
    Onward,
}

/// One packet that tells of a connection.
#[derive(Clone, Debug)]
pub struct PacketObservation {
    /// Whose connection it is.
    pub ends: Ends,
    /// When it was recorded.
    pub time: Option<RecordTime>,
    /// What it says.
    pub part: PacketKind,
    /// The client's initial sequence number: of a SYN+ACK what it acknowledges, less one.
    pub isn: Option<u32>,
    /// The IP ID of a SYN, unless 0.
    pub id: Option<u16>,
}

/// All that was seen from a client's port.
struct Client {
    host: Host,
    port: u16,
    seen: SmallVec<[Flow; 1]>,
}

/// See the module.
pub struct Deduplicator {
    local: Vec<Host>,
    established: bool,
    /// Clients choose their addresses, so this one has a key.
    hasher: RandomState,
    /// A client's port is in one of the two: in `young` if it was seen since `begun`.
    young: HashTable<Client>,
    old: HashTable<Client>,
    begun: i64,
    /// How many connections were held so far.
    unconfirmed: u64,
    saw_answer: bool,
    saw_onward: bool,
    saw_any: bool,
    /// Times of day may pass midnight unseen where there is no clock.
    kind: Option<std::mem::Discriminant<RecordTime>>,
}

fn hash(hasher: &RandomState, host: &Host, port: u16) -> u64 {
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            hasher.hash_one(u64::from(u32::from(*ip)) << 16 | u64::from(port))
        }
        Host::Ip(IpAddr::V6(ip)) => hasher.hash_one((u128::from(*ip), port)),
        Host::Name(name) => hasher.hash_one((name, port)),
    }
}

impl Deduplicator {
    /// As the options ask for it.
    pub fn new(cx: &Context<'_>) -> Deduplicator {
        Deduplicator {
            local: cx.options.local.clone(),
            established: cx.options.established,
            hasher: RandomState::default(),
            young: HashTable::new(),
            old: HashTable::new(),
            begun: 0,
            unconfirmed: 0,
            saw_answer: false,
            saw_onward: false,
            saw_any: false,
            kind: None,
        }
    }

    /// Whether [`PacketKind::Onward`] is worth telling.
    pub fn wants_onward(&self) -> bool {
        self.established
    }

    /// Takes note of one packet, and gives the connection if it is the first of it.
    #[expect(clippy::too_many_lines, reason = "to be split by kind of packet")]
    pub fn see(&mut self, s: PacketObservation, give: &mut dyn FnMut(Connection)) {
        if !s.ends.inbound(&self.local) {
            return;
        }
        let Some(port) = s.ends.client_port else {
            // Nothing to tell it from others by.
            if s.part == PacketKind::Syn {
                give(Connection { time: s.time, ..s.ends.connection() });
            }
            return;
        };
        let now = match s.time {
            Some(RecordTime::Clock(ns) | RecordTime::Elapsed(ns)) => ns,
            None => 0,
        };
        // What connections are known must not depend on whether anybody asks for their end.
        if s.part != PacketKind::Onward {
            self.turn_over(s.time, now, give);
        }
        self.saw_any = true;
        match s.part {
            PacketKind::Syn => {}
            PacketKind::SynAck => self.saw_answer = true,
            PacketKind::Onward => self.saw_onward = true,
        }
        let incomplete = self.incomplete();

        let key = hash(&self.hasher, &s.ends.client, port);
        let same = |client: &Client| client.port == port && client.host == s.ends.client;
        let rehash = |client: &Client| hash(&self.hasher, &client.host, client.port);
        if let Ok(entry) = self.old.find_entry(key, same) {
            let (moved, _) = entry.remove();
            self.young.insert_unique(key, moved, rehash);
        }
        if s.part == PacketKind::Onward {
            if let Some(client) = self.young.find_mut(key, same) {
                client.goes_on(&s, give);
            }
            return;
        }
        let client = match self.young.entry(key, same, rehash) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let host = s.ends.client.clone();
                entry.insert(Client { host, port, seen: SmallVec::new() }).into_mut()
            }
        };
        let all = &mut client.seen;
        all.retain(|seen| seen.is_held() || !seen.is_over(now));
        if let Some(seen) = all.iter_mut().rev().find(|seen| seen.is(&s, now)) {
            seen.note(&s, now);
            return;
        }
        if all.len() >= MOST_OF_PORT
            && let Some(unconfirmed) = all.remove(0).end(incomplete)
        {
            give(unconfirmed.connection);
        }
        let mut seen = Flow::new(&s, now);
        let connection = Connection { time: s.time, ..s.ends.connection() };
        if self.established {
            self.unconfirmed += 1;
            seen.hold(Unconfirmed { number: self.unconfirmed, connection });
        } else {
            give(connection);
        }
        all.push(seen);
    }

    fn incomplete(&self) -> Incomplete {
        match (self.saw_onward, self.saw_answer) {
            (true, _) => Incomplete::None,
            (false, true) => Incomplete::Answered,
            (false, false) => Incomplete::All,
        }
    }

    /// Forgets what can no longer fold.
    fn turn_over(&mut self, time: Option<RecordTime>, now: i64, give: &mut dyn FnMut(Connection)) {
        let kind = time.as_ref().map(std::mem::discriminant);
        if kind != self.kind {
            // Another clock: nothing that was seen before compares with it.
            self.kind = kind;
            self.begun = now;
            self.forget_all(give);
        }
        let is_far = now.abs_diff(self.begun) > SPAN;
        if is_far && now > self.begun || self.young.len() >= MAX_FLOWS {
            self.begun = now;
            self.forget(give);
        } else if is_far {
            // A time was wrong, or the record begins anew: no reason yet to forget.
            self.begun = now;
        }
    }

    fn forget(&mut self, give: &mut dyn FnMut(Connection)) {
        std::mem::swap(&mut self.young, &mut self.old);
        if self.established {
            let incomplete = self.incomplete();
            let all = self.young.drain().flat_map(|client| client.seen);
            let mut unconfirmed: Vec<Unconfirmed> =
                all.filter_map(|seen| seen.end(incomplete)).collect();
            // The order of the table is another each time.
            unconfirmed.sort_unstable_by_key(|unconfirmed| unconfirmed.number);
            unconfirmed.into_iter().for_each(|unconfirmed| give(unconfirmed.connection));
        }
        // The room is needed again, but not that of a flood.
        if self.young.capacity() > 8 * self.old.len().max(1024) {
            self.young = HashTable::new();
        } else {
            self.young.clear();
        }
    }

    /// Nothing that comes is of the same clock or machine as what was seen.
    fn forget_all(&mut self, give: &mut dyn FnMut(Connection)) {
        self.forget(give);
        self.forget(give);
    }

    /// Ends the record, and says what it could not tell.
    pub fn finish(
        &mut self,
        name: &str,
        status: &mut SourceStatus,
        give: &mut dyn FnMut(Connection),
    ) {
        self.forget_all(give);
        if self.saw_any && !self.saw_answer && !self.established {
            status.warn(format!(
                "{name}: this record has SYNs alone, so attempts that were refused or never \
                 answered count too"
            ));
        }
        if !self.established || !self.saw_any || self.saw_onward {
            return;
        }
        status.warn(if self.saw_answer {
            format!(
                "{name}: --established counts what was answered with SYN+ACK; whether the client \
                 went on is not in this record"
            )
        } else {
            format!(
                "{name}: this record has SYNs alone and cannot tell which connections were \
                 established, so --established counts every attempt"
            )
        });
    }
}

impl Client {
    /// The client sends more, so what was answered is complete.
    fn goes_on(&mut self, s: &PacketObservation, give: &mut dyn FnMut(Connection)) {
        let newest = self.seen.iter_mut().rev().find(|seen| seen.was_answered_by(&s.ends));
        if let Some(unconfirmed) = newest.and_then(Flow::complete) {
            give(unconfirmed.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Options;

    struct Bench {
        fold: Deduplicator,
        given: Vec<Connection>,
    }

    impl Bench {
        fn new(established: bool) -> Bench {
            let options = Options { established, ..Options::default() };
            let cx = Context {
                options: &options,
                sink: &mut Vec::new(),
                status: &mut SourceStatus::new("parse"),
                failures: &mut Vec::new(),
            };
            Bench { fold: Deduplicator::new(&cx), given: Vec::new() }
        }

        /// `port` is the client's, `at` in seconds.
        fn see(&mut self, part: PacketKind, port: u16, at: f64, isn: Option<u32>, id: Option<u16>) {
            self.see_to(part, port, 80, at, isn, id);
        }

        fn see_to(
            &mut self,
            part: PacketKind,
            port: u16,
            to: u16,
            at: f64,
            isn: Option<u32>,
            id: Option<u16>,
        ) {
            let ends = Ends {
                client: "198.51.100.1".parse().unwrap(),
                client_port: Some(port),
                server: "192.0.2.77".parse().unwrap(),
                server_port: Some(to),
            };
            let time = Some(RecordTime::Clock((at * 1e9) as i64));
            let s = PacketObservation { ends, time, part, isn, id };
            self.fold.see(s, &mut |c| self.given.push(c));
        }

        fn end(mut self) -> usize {
            let mut status = SourceStatus::new("parse");
            self.fold.finish("x", &mut status, &mut |c| self.given.push(c));
            self.given.len()
        }
    }

    #[test]
    fn by_sequence_number() {
        let mut b = Bench::new(false);
        for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0] {
            b.see(PacketKind::Syn, 1, at, Some(7), None);
        }
        b.see(PacketKind::SynAck, 1, 127.1, Some(7), None);
        assert_eq!(b.given.len(), 1);
        b.see(PacketKind::Syn, 1, 128.0, Some(20_000), None);
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn fast_open_and_a_lone_answer() {
        let mut b = Bench::new(false);
        b.see(PacketKind::Syn, 1, 0.0, Some(u32::MAX - 3), None);
        b.see(PacketKind::SynAck, 1, 0.1, Some(6), None);
        b.see(PacketKind::SynAck, 2, 0.1, Some(6), None);
        // Captured in the wrong order.
        b.see(PacketKind::Syn, 2, 0.1, Some(6), None);
        b.see(PacketKind::SynAck, 2, 1.1, Some(6), None);
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn by_ip_id() {
        let mut b = Bench::new(false);
        for (at, id) in [(0.0, 65535), (0.0, 65535), (1.0, 1), (2.0, 2), (3.5, 30_000)] {
            b.see(PacketKind::Syn, 1, at, None, Some(id));
        }
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn by_ports_and_time() {
        let mut b = Bench::new(false);
        for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0] {
            b.see(PacketKind::Syn, 1, at, None, None);
        }
        assert_eq!(b.given.len(), 1);
        b.see(PacketKind::Syn, 2, 0.0, None, None);
        b.see(PacketKind::Syn, 2, 10.0, None, None);
        assert_eq!(b.end(), 3);
    }

    #[test]
    fn translated_counts_once_and_a_scan_does_not_fold() {
        let mut b = Bench::new(false);
        b.see_to(PacketKind::Syn, 1, 80, 0.0, None, Some(9));
        b.see_to(PacketKind::Syn, 1, 8080, 0.0001, None, Some(9));
        for port in 1..1000 {
            b.see_to(PacketKind::Syn, 2, port, f64::from(port) / 1e4, Some(5), Some(port * 40));
        }
        assert_eq!(b.end(), 1 + 999);
    }

    #[test]
    fn established_is_what_the_client_went_on_with() {
        let mut b = Bench::new(true);
        b.see(PacketKind::Syn, 1, 0.0, Some(5), None);
        b.see(PacketKind::SynAck, 1, 0.1, Some(5), None);
        b.see(PacketKind::Onward, 1, 0.2, None, None);
        b.see(PacketKind::Onward, 1, 0.3, None, None);
        b.see(PacketKind::Syn, 2, 0.0, Some(5), None);
        b.see(PacketKind::SynAck, 2, 0.1, Some(5), None);
        b.see(PacketKind::Syn, 3, 0.0, Some(5), None);
        b.see(PacketKind::Onward, 3, 0.1, None, None);
        assert_eq!(b.given[0].time, Some(RecordTime::Clock(0)));
        assert_eq!(b.end(), 1);

        let mut answers_only = Bench::new(true);
        answers_only.see(PacketKind::SynAck, 1, 0.1, Some(5), None);
        assert_eq!(answers_only.end(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut b = Bench::new(false);
        for n in 0..20_000_u32 {
            b.see(PacketKind::Syn, (n % 60_000) as u16, f64::from(n), Some(n), None);
        }
        assert!(b.fold.young.len() + b.fold.old.len() <= 2 * 131 + 2);
        assert_eq!(b.end(), 20_000);
    }

    #[test]
    fn one_wrong_time_makes_nothing_new() {
        for (established, wrong) in [(false, PacketKind::Syn), (true, PacketKind::Onward)] {
            let mut b = Bench::new(established);
            for _ in 0..2 {
                b.see(PacketKind::Syn, 1, 0.0, Some(7), None);
                b.see(PacketKind::SynAck, 1, 0.1, Some(7), None);
                b.see(PacketKind::Onward, 1, 0.2, Some(8), None);
                b.see(wrong, 2, 500.0, Some(9), None);
            }
            let given = b.given.iter().filter(|c| c.port == Some(1)).count();
            assert_eq!(given, 1, "{wrong:?}");
        }
    }
}
