//! [`Flow`]: a connection that was seen, and whether another packet tells of it.
//!
//! That is told by the initial sequence number; where the record has none, by the IP ID, which
//! Linux counts up for a SYN that it sends again; where that is missing too, by the ports within
//! the time in which a SYN is sent again.

use super::{PacketKind, PacketObservation};
use crate::Connection;
use crate::parse::host::{Ends, Host};

/// Longer than any system waits between two tries (TCP_RTO_MAX of Linux is 120 s), in nanoseconds.
pub const SPAN: u64 = 130 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// The ports alone do not tell a connection from the next on the same ports. The first try is
/// repeated after 1 to 3 s, and each pause is at most twice as long as all before.
const FIRST_PAUSE: u64 = 3_500_000_000;

/// A SYN may carry data (RFC 7413), which the SYN+ACK acknowledges: at most a segment.
const FAST_OPEN: u32 = 9000;

/// How far the IP ID runs on through tries that the record does not show.
const ID_STEPS: u16 = 8;

/// Address translation shows a packet a second time at once.
const AT_ONCE: u64 = SECOND / 20;

/// A connection that more may be seen of.
pub struct Flow {
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
    unconfirmed: Option<Box<Unconfirmed>>,
}

/// Which connections count that are held and were never complete: where the record shows more of
/// none, all.
#[derive(Clone, Copy)]
pub enum Incomplete {
    None,
    Answered,
    All,
}

/// A connection that was not given yet.
pub struct Unconfirmed {
    /// For their order.
    pub number: u64,
    pub connection: Connection,
}

impl Flow {
    /// A connection of which `s` is the first packet.
    pub fn new(s: &PacketObservation, now: i64) -> Flow {
        Flow {
            server: s.ends.server.clone(),
            server_port: s.ends.server_port,
            isn: s.isn,
            id: s.id,
            began_with_answer: s.part == PacketKind::SynAck,
            answered: s.part == PacketKind::SynAck,
            timed: s.time.is_some(),
            first: now,
            last: now,
            unconfirmed: None,
        }
    }

    /// Keeps the connection until it is known to be complete.
    pub fn hold(&mut self, unconfirmed: Unconfirmed) {
        self.unconfirmed = Some(Box::new(unconfirmed));
    }

    /// Whether the connection has not been given yet.
    pub fn is_held(&self) -> bool {
        self.unconfirmed.is_some()
    }

    /// Nothing more is seen of it: what is held, if it counts.
    pub fn end(self, incomplete: Incomplete) -> Option<Unconfirmed> {
        let counts = match incomplete {
            Incomplete::None => false,
            Incomplete::Answered => self.answered,
            Incomplete::All => true,
        };
        self.unconfirmed.filter(|_| counts).map(|unconfirmed| *unconfirmed)
    }

    /// It is complete: what was held, if it was.
    pub fn complete(&mut self) -> Option<Unconfirmed> {
        self.unconfirmed.take().map(|unconfirmed| *unconfirmed)
    }

    /// Whether it is a connection to the server of `ends`, and that has answered.
    pub fn was_answered_by(&self, ends: &Ends) -> bool {
        self.answered && self.server == ends.server && self.server_port == ends.server_port
    }

    /// Whether it is too long ago for anything to tell of it.
    pub fn is_over(&self, now: i64) -> bool {
        self.timed && now.abs_diff(self.last) > SPAN
    }

    /// Whether `s` tells of this connection.
    pub fn is(&self, s: &PacketObservation, now: i64) -> bool {
        if self.is_over(now) {
            return false;
        }
        if self.server != s.ends.server || self.server_port != s.ends.server_port {
            return self.is_translated(s, now);
        }
        if let (Some(mine), Some(its)) = (self.isn, s.isn) {
            let ahead = match (self.began_with_answer, s.part) {
                (false, PacketKind::SynAck) => its.wrapping_sub(mine),
                (true, PacketKind::Syn) => mine.wrapping_sub(its),
                _ if mine == its => 0,
                _ => u32::MAX,
            };
            return ahead <= FAST_OPEN;
        }
        if let (Some(mine), Some(its), PacketKind::Syn) = (self.id, s.id, s.part) {
            return its.wrapping_sub(mine).min(mine.wrapping_sub(its)) <= ID_STEPS;
        }
        let (passed, tried_for) = (now.abs_diff(self.last), self.last.abs_diff(self.first));
        !self.timed || passed <= tried_for.saturating_mul(2).saturating_add(FIRST_PAUSE)
    }

    /// The same packet behind address translation: other ends, the same numbers, at once.
    fn is_translated(&self, s: &PacketObservation, now: i64) -> bool {
        let whole = [self.first, now].iter().all(|ns| ns.unsigned_abs().is_multiple_of(SECOND));
        s.part == PacketKind::Syn
            && !self.began_with_answer
            && self.id.is_some()
            && self.id == s.id
            && self.isn == s.isn
            && now.abs_diff(self.last) <= if whole { SECOND } else { AT_ONCE }
    }

    /// Takes note of another packet of it.
    pub fn note(&mut self, s: &PacketObservation, now: i64) {
        self.last = self.last.max(now);
        match s.part {
            PacketKind::Syn => {
                self.id = s.id.or(self.id);
                if self.began_with_answer && s.isn.is_some() {
                    self.isn = s.isn;
                    self.began_with_answer = false;
                }
                self.isn = self.isn.or(s.isn);
            }
            PacketKind::SynAck => self.answered = true,
            PacketKind::Onward => {}
        }
    }
}
