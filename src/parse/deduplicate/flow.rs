//! [`Flow`]: a connection that was seen, and whether another packet belongs to it.
//!
//! Between the same ends, the initial sequence number (ISN) decides. Where the record has none, the
//! IP ID does, which Linux counts up for a SYN that it sends again. Where that is missing too, the
//! ports do, within the time in which a SYN is sent again.
//!
//! Between other ends, the packet may be the same behind address translation (DNAT), which leaves
//! both ISNs and the IP ID as they are. A scanner also sends many SYNs with one ISN or one ID from
//! one port. So equal numbers are not enough: either the SYN+ACK has the same ISN of the server, or
//! the packet was seen at another point (interface, sender on the link, prefix of the log).

use smallvec::SmallVec;

use super::observation::{PacketKind, PacketObservation};
use crate::RecordTime;
use crate::parse::host::{Ends, Host};
use crate::parse::timestamp::SECOND;

/// Longer than the maximum retransmission timeout of any system (TCP_RTO_MAX of Linux is 120 s), in nanoseconds.
pub(super) const SPAN: u64 = 130 * SECOND.unsigned_abs();

/// The ports alone do not distinguish a connection from the next on the same ports. The first SYN is
/// retransmitted after 1 to 3 s, and each pause is at most twice as long as all before.
const FIRST_PAUSE: u64 = 3_500_000_000;

/// A SYN may carry data (RFC 7413), which the SYN+ACK acknowledges: at most a segment.
const FAST_OPEN: u32 = 9000;

/// A sequence number that is further ahead is behind.
const MAX_AHEAD: u32 = 1 << 31;

/// How far the IP ID may advance through retransmissions that the record does not show.
const ID_STEPS: u16 = 8;

/// Address translation shows a packet a second time within this time.
const TRANSLATION_DELAY: u64 = SECOND.unsigned_abs() / 20;

/// The answer to a translated SYN comes before the SYN is sent again.
const ANSWER_DELAY: u64 = SECOND.unsigned_abs();

/// Points at which one connection is seen: the interfaces of a router and a bridge behind it.
const MAX_POINTS: usize = 4;

/// Whether a connection is another one behind address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// It is, unless the answers show two servers.
    Likely,
    /// It is not, unless the answers show one server.
    Unlikely,
}

/// What a RST of the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RstEffect {
    /// It ends a connection in which the client sent data, so the SYN+ACK is missing in the record.
    Ends,
    /// It refuses the SYN.
    Refuses,
}

/// A connection of which more packets may follow.
pub(super) struct Flow {
    server: Host,
    server_port: Option<u16>,
    isn: Option<u32>,
    server_isn: Option<u32>,
    id: Option<u16>,
    /// Where it was seen.
    points: SmallVec<[u32; 2]>,
    /// Its first packet was a SYN+ACK.
    began_with_answer: bool,
    answered: bool,
    /// The recording machine sent its SYN.
    outbound: bool,
    /// It was counted among the connections that the recording machine opened itself.
    counted_outbound: bool,
    /// The record has times.
    timed: bool,
    first: i64,
    last: i64,
    /// The held connection: not given yet, because it is not known whether it counts.
    unconfirmed: Option<Box<Unconfirmed>>,
}

/// Which connections count that are held and were never complete: where the record shows more of
/// none, all.
#[derive(Clone, Copy)]
pub(super) enum Incomplete {
    None,
    Answered,
    All,
}

/// A connection that was not given yet.
pub(super) struct Unconfirmed {
    /// For their order.
    pub number: u64,
    pub ends: Ends,
    pub time: Option<RecordTime>,
    /// Whether another connection of the same client's port is the same.
    pub translation: Option<Translation>,
}

impl Flow {
    /// A connection whose first packet is `s`.
    pub(super) fn new(s: &PacketObservation, now: i64) -> Flow {
        let is_answer = s.kind == PacketKind::SynAck;
        Flow {
            server: s.ends.server.clone(),
            server_port: s.ends.server_port,
            isn: s.isn,
            server_isn: s.server_isn,
            id: s.id,
            points: s.point.into_iter().collect(),
            began_with_answer: is_answer,
            answered: is_answer,
            outbound: s.outgoing,
            counted_outbound: false,
            timed: s.time.is_some(),
            first: now,
            last: now,
            unconfirmed: None,
        }
    }

    /// Keeps the connection until it is known whether it counts.
    pub(super) fn hold(&mut self, unconfirmed: Unconfirmed) {
        self.unconfirmed = Some(Box::new(unconfirmed));
    }

    /// Whether the connection has not been given yet.
    pub(super) fn is_held(&self) -> bool {
        self.unconfirmed.is_some()
    }

    /// Nothing more is seen of it: what is held, if it counts.
    pub(super) fn end(self, incomplete: Incomplete, established: bool) -> Option<Unconfirmed> {
        let unconfirmed = self.unconfirmed?;
        let counts = match (unconfirmed.translation, incomplete) {
            (Some(Translation::Likely), _) => false,
            _ if !established => true,
            (_, Incomplete::None) => false,
            (_, Incomplete::Answered) => self.answered,
            (_, Incomplete::All) => true,
        };
        counts.then_some(*unconfirmed)
    }

    /// It is complete: what was held, if it was, and counts.
    pub(super) fn complete(&mut self) -> Option<Unconfirmed> {
        let is_translated = self.translation() == Some(Translation::Likely);
        self.unconfirmed.take_if(|_| !is_translated).map(|unconfirmed| *unconfirmed)
    }

    /// What was held, if it was: it does not stay held.
    pub(super) fn take(&mut self) -> Option<Unconfirmed> {
        self.unconfirmed.take().map(|unconfirmed| *unconfirmed)
    }

    /// Whether it is held as a connection behind address translation.
    pub(super) fn translation(&self) -> Option<Translation> {
        self.unconfirmed.as_ref().and_then(|unconfirmed| unconfirmed.translation)
    }

    /// Decides differently.
    pub(super) fn set_translation(&mut self, translation: Option<Translation>) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.translation = translation;
        }
    }

    /// Whether it is a connection to the server of `ends`.
    pub(super) fn is_to(&self, ends: &Ends) -> bool {
        self.server == ends.server && self.server_port == ends.server_port
    }

    /// The server's end, as a key.
    pub(super) fn server(&self) -> (Host, Option<u16>) {
        (self.server.clone(), self.server_port)
    }

    /// Whether the recording machine sent its SYN.
    pub(super) fn is_outbound(&self) -> bool {
        self.outbound
    }

    /// Notes whether it was counted among the connections that the recording machine opened itself.
    pub(super) fn set_counted_outbound(&mut self, counted: bool) {
        self.counted_outbound = counted;
    }

    /// Whether it was.
    pub(super) fn is_counted_outbound(&self) -> bool {
        self.counted_outbound
    }

    /// Whether it was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether it is so old that no further packet can belong to it.
    pub(super) fn is_over(&self, now: i64) -> bool {
        self.timed && now.abs_diff(self.last) > SPAN
    }

    /// Whether `s` belongs to this connection, as its ends say.
    pub(super) fn is(&self, s: &PacketObservation, now: i64) -> bool {
        if self.is_over(now) || !self.is_to(&s.ends) {
            return false;
        }
        if let (Some(mine), Some(its)) = (self.isn, s.isn) {
            let ahead = match (self.began_with_answer, s.kind) {
                (false, PacketKind::SynAck) => its.wrapping_sub(mine),
                (true, PacketKind::Syn) => mine.wrapping_sub(its),
                _ if mine == its => 0,
                _ => u32::MAX,
            };
            return ahead <= FAST_OPEN;
        }
        if let (Some(mine), Some(its), PacketKind::Syn) = (self.id, s.id, s.kind) {
            return its.wrapping_sub(mine).min(mine.wrapping_sub(its)) <= ID_STEPS;
        }
        let (passed, tried_for) = (now.abs_diff(self.last), self.last.abs_diff(self.first));
        !self.timed || passed <= tried_for.saturating_mul(2).saturating_add(FIRST_PAUSE)
    }

    /// Whether the SYN+ACK `s` of another server has both ISNs of this connection: then it is the
    /// same, before or behind address translation.
    pub(super) fn has_isns(&self, s: &PacketObservation, now: i64) -> bool {
        let server_isns_equal = self.server_isn.is_some() && self.server_isn == s.server_isn;
        server_isns_equal && self.isn_is_answered_by(s) && !self.is_over(now)
    }

    /// Whether this and `other` have both ISNs in common; `None`: not known.
    pub(super) fn is_same_as(&self, other: &Flow) -> Option<bool> {
        let servers = self.server_isn.zip(other.server_isn).map(|(a, b)| a == b)?;
        let near = |(a, b): (u32, u32)| a.wrapping_sub(b).min(b.wrapping_sub(a)) <= FAST_OPEN;
        Some(servers && self.isn.zip(other.isn).is_some_and(near))
    }

    /// What the RST `s` does to this connection, which was not answered; `None`: it belongs to another one. A client takes
    /// a RST for an answer only if it acknowledges the SYN (RFC 9293, section 3.10.7.3).
    pub(super) fn rst_effect(&self, s: &PacketObservation, now: i64) -> Option<RstEffect> {
        if !self.is_to(&s.ends) || self.is_over(now) {
            return None;
        }
        let is_later = s.server_isn.is_some_and(|seq| seq != 0);
        match self.isn.zip(s.isn).map(|(mine, its)| its.wrapping_sub(mine)) {
            None | Some(0) => Some(RstEffect::Refuses),
            Some(1..=FAST_OPEN) if !is_later => Some(RstEffect::Refuses),
            Some(1..MAX_AHEAD) if is_later => Some(RstEffect::Ends),
            Some(_) => None,
        }
    }

    fn isn_is_answered_by(&self, s: &PacketObservation) -> bool {
        let isns = self.isn.zip(s.isn);
        isns.is_some_and(|(mine, its)| its.wrapping_sub(mine) <= FAST_OPEN)
    }

    /// Whether `s`, of another server, may be this connection behind address translation.
    pub(super) fn translation_to(&self, s: &PacketObservation, now: i64) -> Option<Translation> {
        let delay = now.abs_diff(self.last);
        let known_point = s.point.is_some() && !self.points.is_empty();
        let other_point = s.point.is_some_and(|point| !self.points.contains(&point));
        if self.began_with_answer || s.kind == PacketKind::Onward {
            return None;
        }
        if s.kind == PacketKind::SynAck {
            let may_be = !self.answered && self.isn_is_answered_by(s) && delay <= ANSWER_DELAY;
            return may_be.then_some(Translation::Likely);
        }
        let whole = [self.first, now]
            .iter()
            .all(|ns| ns.unsigned_abs().is_multiple_of(SECOND.unsigned_abs()));
        if delay > if whole { SECOND.unsigned_abs() } else { TRANSLATION_DELAY }
            || self.isn != s.isn
        {
            return None;
        }
        let ids_equal = match (self.id, s.id) {
            (Some(mine), Some(its)) if mine != its => return None,
            (mine, its) => mine.is_some() && mine == its,
        };
        match (ids_equal, s.isn.is_some()) {
            (false, false) => None,
            _ if known_point => other_point.then_some(Translation::Likely),
            (true, true) => Some(Translation::Likely),
            (false, true) => Some(Translation::Unlikely),
            (true, false) => None,
        }
    }

    /// Whether the SYN `s` has the same ISN and IP ID.
    pub(super) fn has_numbers_of(&self, s: &PacketObservation) -> bool {
        self.isn == s.isn && self.id == s.id
    }

    /// Records another packet of this connection. Returns whether it is the first answer to a connection that was
    /// given.
    pub(super) fn note(&mut self, s: &PacketObservation, now: i64) -> bool {
        self.last = self.last.max(now);
        if let Some(point) = s.point
            && self.points.len() < MAX_POINTS
            && !self.points.contains(&point)
        {
            self.points.push(point);
        }
        match s.kind {
            PacketKind::Syn => {
                self.id = s.id.or(self.id);
                if self.began_with_answer && s.isn.is_some() {
                    self.isn = s.isn;
                    self.began_with_answer = false;
                }
                self.isn = self.isn.or(s.isn);
                false
            }
            PacketKind::SynAck => {
                self.server_isn = self.server_isn.or(s.server_isn);
                self.answer()
            }
            PacketKind::Onward | PacketKind::Rst => false,
        }
    }

    /// Records an answer, to this connection or to the same behind address translation. Returns whether it is the
    /// first, to a connection that was given.
    pub(super) fn answer(&mut self) -> bool {
        !std::mem::replace(&mut self.answered, true) && !self.outbound && !self.is_held()
    }
}
