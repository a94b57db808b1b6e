//! [`Fold`]: makes one connection of all that a record shows of it.
//!
//! A SYN is sent again while nothing answers, two rules or two interfaces show it twice, and the
//! SYN+ACK tells of the same connection once more. What belongs together is told by the initial
//! sequence number; where the record has none, by the IP ID, which Linux counts up for a SYN that
//! it sends again; where that is missing too, by the ports within the time in which a SYN is sent
//! again. A connection is given when it is first seen, so its time is that of the first SYN.
//!
//! Only what was seen within `SPAN` can still fold, so no more is remembered.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::context::Context;
use super::host::{Ends, Host};
use crate::connection::Connection;
use crate::{Account, Moment};

/// Longer than any system waits between two tries (TCP_RTO_MAX of Linux is 120 s), in nanoseconds.
const SPAN: i64 = 130 * SECOND;
const SECOND: i64 = 1_000_000_000;

/// The ports alone do not tell a connection from the next on the same ports. The first try is
/// repeated after 1 to 3 s, and each pause is at most twice as long as all before.
const FIRST_PAUSE: i64 = 3_500_000_000;

/// A SYN may carry data (RFC 7413), which the SYN+ACK acknowledges: at most a segment.
const FAST_OPEN: u32 = 9000;

/// How far the IP ID runs on through tries that the record does not show.
const ID_STEPS: i16 = 8;

/// Address translation shows a packet a second time at once.
const AT_ONCE: i64 = SECOND / 20;

/// In a record without times, or a flood, so many clients' ports are remembered.
const MOST: usize = 1 << 20;

/// What a packet says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The client asks.
    Syn,
    /// The server answers; the ends are those of the connection all the same.
    SynAck,
    /// The client goes on: any later packet of its own but a reset.
    Onward,
}

/// One packet that tells of a connection.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Whose connection it is.
    pub ends: Ends,
    /// When it was recorded.
    pub time: Option<Moment>,
    /// What it says.
    pub part: Part,
    /// The client's initial sequence number: of a SYN+ACK what it acknowledges, less one.
    pub isn: Option<u32>,
    /// The IP ID of a SYN, unless 0.
    pub id: Option<u16>,
}

/// A connection that more may be seen of.
struct Seen {
    server: Host,
    server_port: Option<u16>,
    isn: Option<u32>,
    id: Option<u16>,
    /// Its first packet was a SYN+ACK.
    began_with_answer: bool,
    answered: bool,
    /// The record has times.
    timed: bool,
    first: i64,
    last: i64,
    /// Not given yet, since it is not known to have been completed.
    held: Option<Box<Connection>>,
}

type Ports = HashMap<(Host, u16), SmallVec<[Seen; 1]>, RandomState>;

/// See the module.
pub struct Fold {
    local: Vec<Host>,
    established: bool,
    young: Ports,
    old: Ports,
    /// When `young` was begun.
    begun: i64,
    saw_answer: bool,
    saw_onward: bool,
    saw_any: bool,
    /// Times of day may pass midnight unseen where there is no clock.
    kind: Option<std::mem::Discriminant<Moment>>,
}

impl Fold {
    /// As the options ask for it.
    pub fn new(cx: &Context<'_>) -> Fold {
        Fold {
            local: cx.options.local.clone(),
            established: cx.options.established,
            young: Ports::default(),
            old: Ports::default(),
            begun: 0,
            saw_answer: false,
            saw_onward: false,
            saw_any: false,
            kind: None,
        }
    }

    /// Whether [`Part::Onward`] is worth telling.
    pub fn wants_onward(&self) -> bool {
        self.established
    }

    /// Takes note of one packet, and gives the connection if it is the first of it.
    pub fn see(&mut self, s: Sighting, give: &mut dyn FnMut(Connection)) {
        if !s.ends.inbound(&self.local) {
            return;
        }
        let Some(client_port) = s.ends.client_port else {
            // Nothing to tell it from others by.
            if s.part == Part::Syn {
                give(Connection { time: s.time, ..s.ends.connection() });
            }
            return;
        };
        let now = match s.time {
            Some(Moment::Clock(ns) | Moment::Elapsed(ns)) => ns,
            None => 0,
        };
        self.turn_over(s.time, now, give);
        self.saw_any = true;
        match s.part {
            Part::Syn => {}
            Part::SynAck => self.saw_answer = true,
            Part::Onward => self.saw_onward = true,
        }

        let key = (s.ends.client.clone(), client_port);
        if let Some(moved) = self.old.remove(&key) {
            self.young.entry(key.clone()).or_default().extend(moved);
        }
        if s.part == Part::Onward {
            self.onward(&key, &s, give);
            return;
        }
        let established = self.established;
        let all = self.young.entry(key).or_default();
        all.retain(|seen| seen.held.is_some() || !seen.timed || (now - seen.last).abs() <= SPAN);
        if let Some(seen) = all.iter_mut().rev().find(|seen| seen.is(&s, now)) {
            seen.note(&s, now);
            return;
        }
        if all.len() >= 64 {
            // Somebody scans from one port.
            let mut oldest = all.remove(0);
            let may = !self.saw_onward && (oldest.answered || !self.saw_answer);
            if let Some(connection) = oldest.held.take().filter(|_| may) {
                give(*connection);
            }
        }
        let connection = Connection { time: s.time, ..s.ends.connection() };
        let mut seen = Seen {
            server: s.ends.server.clone(),
            server_port: s.ends.server_port,
            isn: s.isn,
            id: s.id,
            began_with_answer: s.part == Part::SynAck,
            answered: s.part == Part::SynAck,
            timed: s.time.is_some(),
            first: now,
            last: now,
            held: None,
        };
        if established {
            seen.held = Some(Box::new(connection));
        } else {
            give(connection);
        }
        all.push(seen);
    }

    /// The client goes on, so what was answered is complete.
    fn onward(&mut self, key: &(Host, u16), s: &Sighting, give: &mut dyn FnMut(Connection)) {
        let Some(all) = self.young.get_mut(key) else { return };
        let newest = all.iter_mut().rev().find(|seen| {
            seen.answered && seen.server == s.ends.server && seen.server_port == s.ends.server_port
        });
        if let Some(connection) = newest.and_then(|seen| seen.held.take()) {
            give(*connection);
        }
    }

    /// Forgets what can no longer fold.
    fn turn_over(&mut self, time: Option<Moment>, now: i64, give: &mut dyn FnMut(Connection)) {
        let kind = time.as_ref().map(std::mem::discriminant);
        if kind != self.kind {
            // Another clock: nothing that was seen before compares with it.
            self.kind = kind;
            self.begun = now;
            self.forget(give);
            self.forget(give);
        }
        if (now - self.begun).abs() > SPAN || self.young.len() >= MOST {
            self.begun = now;
            self.forget(give);
        }
    }

    fn forget(&mut self, give: &mut dyn FnMut(Connection)) {
        let young = std::mem::take(&mut self.young);
        let old = std::mem::replace(&mut self.old, young);
        for mut seen in old.into_values().flatten() {
            let may = !self.saw_onward && (seen.answered || !self.saw_answer);
            if let Some(connection) = seen.held.take().filter(|_| may) {
                give(*connection);
            }
        }
    }

    /// Nothing that comes is of the same clock or machine as what was seen.
    pub fn forget_all(&mut self, give: &mut dyn FnMut(Connection)) {
        self.forget(give);
        self.forget(give);
    }

    /// Ends the record, and says what it could not tell.
    pub fn finish(&mut self, name: &str, account: &mut Account, give: &mut dyn FnMut(Connection)) {
        self.forget_all(give);
        if self.saw_any && !self.saw_answer && !self.established {
            account.warn(format!(
                "{name}: this record has SYNs alone, so attempts that were refused or never \
                 answered count too"
            ));
        }
        if !self.established || !self.saw_any || self.saw_onward {
            return;
        }
        account.warn(if self.saw_answer {
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

impl Seen {
    /// Whether `s` tells of this connection.
    fn is(&self, s: &Sighting, now: i64) -> bool {
        let passed = (now - self.last).abs();
        if self.timed && passed > SPAN {
            return false;
        }
        if self.server != s.ends.server || self.server_port != s.ends.server_port {
            return self.is_translated(s, now);
        }
        if let (Some(mine), Some(its)) = (self.isn, s.isn) {
            let ahead = match (self.began_with_answer, s.part) {
                (false, Part::SynAck) => its.wrapping_sub(mine),
                (true, Part::Syn) => mine.wrapping_sub(its),
                _ if mine == its => 0,
                _ => u32::MAX,
            };
            return ahead <= FAST_OPEN;
        }
        if let (Some(mine), Some(its), Part::Syn) = (self.id, s.id, s.part) {
            return (its.wrapping_sub(mine) as i16).abs() <= ID_STEPS;
        }
        let tried_for = (self.last - self.first).abs();
        !self.timed || passed <= tried_for.saturating_mul(2).saturating_add(FIRST_PAUSE)
    }

    /// The same packet behind address translation: other ends, the same numbers, at once.
    fn is_translated(&self, s: &Sighting, now: i64) -> bool {
        let whole = self.first % SECOND == 0 && now % SECOND == 0;
        s.part == Part::Syn
            && !self.began_with_answer
            && self.id.is_some()
            && self.id == s.id
            && self.isn == s.isn
            && (now - self.last).abs() <= if whole { SECOND } else { AT_ONCE }
    }

    fn note(&mut self, s: &Sighting, now: i64) {
        self.last = self.last.max(now);
        match s.part {
            Part::Syn => {
                self.id = s.id.or(self.id);
                if self.began_with_answer && s.isn.is_some() {
                    self.isn = s.isn;
                    self.began_with_answer = false;
                }
                self.isn = self.isn.or(s.isn);
            }
            Part::SynAck => self.answered = true,
            Part::Onward => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Options;

    struct Bench {
        fold: Fold,
        given: Vec<Connection>,
    }

    impl Bench {
        fn new(established: bool) -> Bench {
            let options = Options { established, ..Options::default() };
            let cx = Context {
                options: &options,
                sink: &mut Vec::new(),
                account: &mut Account::new("parse"),
                failures: &mut Vec::new(),
            };
            Bench { fold: Fold::new(&cx), given: Vec::new() }
        }

        /// `port` is the client's, `at` in seconds.
        fn see(&mut self, part: Part, port: u16, at: f64, isn: Option<u32>, id: Option<u16>) {
            self.see_to(part, port, 80, at, isn, id);
        }

        fn see_to(
            &mut self,
            part: Part,
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
            let time = Some(Moment::Clock((at * 1e9) as i64));
            let s = Sighting { ends, time, part, isn, id };
            self.fold.see(s, &mut |c| self.given.push(c));
        }

        fn end(mut self) -> usize {
            let mut account = Account::new("parse");
            self.fold.finish("x", &mut account, &mut |c| self.given.push(c));
            self.given.len()
        }
    }

    #[test]
    fn by_sequence_number() {
        let mut b = Bench::new(false);
        for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0] {
            b.see(Part::Syn, 1, at, Some(7), None);
        }
        b.see(Part::SynAck, 1, 127.1, Some(7), None);
        assert_eq!(b.given.len(), 1);
        b.see(Part::Syn, 1, 128.0, Some(20_000), None);
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn fast_open_and_a_lone_answer() {
        let mut b = Bench::new(false);
        b.see(Part::Syn, 1, 0.0, Some(u32::MAX - 3), None);
        b.see(Part::SynAck, 1, 0.1, Some(6), None);
        b.see(Part::SynAck, 2, 0.1, Some(6), None);
        // Captured in the wrong order.
        b.see(Part::Syn, 2, 0.1, Some(6), None);
        b.see(Part::SynAck, 2, 1.1, Some(6), None);
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn by_ip_id() {
        let mut b = Bench::new(false);
        for (at, id) in [(0.0, 65535), (0.0, 65535), (1.0, 1), (2.0, 2), (3.5, 30_000)] {
            b.see(Part::Syn, 1, at, None, Some(id));
        }
        assert_eq!(b.end(), 2);
    }

    #[test]
    fn by_ports_and_time() {
        let mut b = Bench::new(false);
        for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0] {
            b.see(Part::Syn, 1, at, None, None);
        }
        assert_eq!(b.given.len(), 1);
        b.see(Part::Syn, 2, 0.0, None, None);
        b.see(Part::Syn, 2, 10.0, None, None);
        assert_eq!(b.end(), 3);
    }

    #[test]
    fn translated_counts_once_and_a_scan_does_not_fold() {
        let mut b = Bench::new(false);
        b.see_to(Part::Syn, 1, 80, 0.0, None, Some(9));
        b.see_to(Part::Syn, 1, 8080, 0.0001, None, Some(9));
        for port in 1..1000 {
            b.see_to(Part::Syn, 2, port, f64::from(port) / 1e4, Some(5), Some(port * 40));
        }
        assert_eq!(b.end(), 1 + 999);
    }

    #[test]
    fn established_is_what_the_client_went_on_with() {
        let mut b = Bench::new(true);
        b.see(Part::Syn, 1, 0.0, Some(5), None);
        b.see(Part::SynAck, 1, 0.1, Some(5), None);
        b.see(Part::Onward, 1, 0.2, None, None);
        b.see(Part::Onward, 1, 0.3, None, None);
        b.see(Part::Syn, 2, 0.0, Some(5), None);
        b.see(Part::SynAck, 2, 0.1, Some(5), None);
        b.see(Part::Syn, 3, 0.0, Some(5), None);
        b.see(Part::Onward, 3, 0.1, None, None);
        assert_eq!(b.given[0].time, Some(Moment::Clock(0)));
        assert_eq!(b.end(), 1);

        let mut answers_only = Bench::new(true);
        answers_only.see(Part::SynAck, 1, 0.1, Some(5), None);
        assert_eq!(answers_only.end(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut b = Bench::new(false);
        for n in 0..20_000_u32 {
            b.see(Part::Syn, (n % 60_000) as u16, f64::from(n), Some(n), None);
        }
        assert!(b.fold.young.len() + b.fold.old.len() <= 2 * 131 + 2);
        assert_eq!(b.end(), 20_000);
    }
}
