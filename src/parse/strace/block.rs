//! [`Block`]: what some lines that follow each other say, each by itself.

use std::sync::Arc;

use super::accepted::LinePart;
use super::call::{Call, Name, Returned};
use super::compact::Briefs;
use super::prefix::{Prefix, best};
use super::sockaddr::Shown;
use super::socket_kind::SocketKind;
use crate::Connection;
use crate::parse::cursor::unescape;
use crate::parse::gaps::Gaps;
use crate::parse::timestamp::{ClockSpan, Stamp};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Where the line begins in its block.
    pub at: u32,
    /// The thread; 0 if the line has none.
    pub pid: u32,
    /// The process that it belongs to, as [`log`](super::log) found out.
    pub leader: u32,
    /// Its name: a place in [`Block::comms`], from 1; 0 if the line has none or nobody wants it.
    pub comm: u32,
    /// Which part of the call it is.
    pub part: LinePart,
    /// Counted from the beginning of the block. Of a whole call: when it returned.
    pub stamp: Stamp,
    /// The call.
    pub call: Call,
}

/// A connection that is certain.
#[derive(Debug)]
pub enum Given {
    /// This fact is one.
    Fact(u32),
    /// The next of [`Block::late`].
    Late,
}

/// The facts of some lines that follow each other.
#[derive(Debug, Default)]
pub struct Block {
    /// In the order of the lines.
    pub facts: Vec<Fact>,
    /// Names of threads.
    pub comms: Vec<Arc<str>>,
    /// How time passed.
    pub clock_span: ClockSpan,
    /// Lines that should have told of a connection and could not be read.
    pub unreadable: u64,
    /// Calls of accept that failed, and are no facts.
    pub failed_accepts: u64,
    /// Whether io_uring was used.
    pub uring: bool,
    /// What is missing in the log.
    pub(super) gaps: Gaps,
    /// What is to be given, as [`log`](super::log) found out.
    pub given: Vec<Given>,
    /// Connections whose peer or port came from another line.
    pub late: Vec<Connection>,
    /// Whether names of threads are wanted.
    pub want_comms: bool,
    /// Connections that need no fact.
    pub briefs: Briefs,
    /// The time that another program put before the line that is being read.
    pub(super) wrapper: Stamp,
}

impl Block {
    /// Forgets everything but the memory it has.
    pub fn clear(&mut self) {
        self.facts.clear();
        self.comms.clear();
        self.given.clear();
        self.late.clear();
        self.briefs.clear();
        self.clock_span = ClockSpan::default();
        self.unreadable = 0;
        self.failed_accepts = 0;
        self.uring = false;
        self.gaps.clear();
    }

    /// Removes the last fact if its place among the others does not matter: a call that failed, or a
    /// connection of which no more is requested than its line tells.
    pub(super) fn settle(&mut self) {
        let Some(Fact { pid, part: LinePart::Whole, stamp, call, .. }) = self.facts.last() else {
            return;
        };
        let is_accept = call.name == Name::Accept;
        let is_settled = match (call.returned, call.shown) {
            (Returned::Failed, _) => {
                self.failed_accepts += u64::from(is_accept);
                true
            }
            (Returned::Value(_), Shown::Inet(end))
                if is_accept && call.kind == SocketKind::MaybeTcp =>
            {
                self.briefs.take_call(*pid, call, end, *stamp)
            }
            _ => false,
        };
        if is_settled {
            self.facts.pop();
        }
    }

    /// Takes the time of a line.
    pub(super) fn see(&mut self, own: Stamp) -> Stamp {
        let stamp = if self.wrapper == Stamp::None { own } else { best(own, self.wrapper) };
        self.clock_span.see(stamp)
    }

    pub(super) fn add(
        &mut self,
        prefix: &Prefix<'_>,
        stamp: Stamp,
        at: u32,
        part: LinePart,
        call: Call,
    ) {
        let comm = match prefix.comm {
            Some(name) if self.want_comms => self.intern(name),
            _ => 0,
        };
        let pid = prefix.pid.unwrap_or(0);
        self.facts.push(Fact { at, pid, leader: pid, comm, part, stamp, call });
    }

    pub(super) fn intern(&mut self, name: &[u8]) -> u32 {
        let name = String::from_utf8_lossy(&unescape(name)).into_owned();
        // Few names come often; if they are many, some are kept more than once.
        let recent = self.comms.len().saturating_sub(32);
        let known = self.comms[recent..].iter().position(|known| **known == *name);
        let known = known.map(|place| recent + place);
        let place = known.unwrap_or_else(|| {
            self.comms.push(name.into());
            self.comms.len() - 1
        });
        place as u32 + 1
    }

    /// Whether a fact from `before` on is a successful accept.
    pub(super) fn has_accepted(&self, before: usize) -> bool {
        let mut torn = None;
        self.facts[before..].iter().any(|fact| {
            let name = match fact.part {
                LinePart::Torn => {
                    torn = Some(fact.call.name);
                    None
                }
                LinePart::Whole | LinePart::Resumed => Some(fact.call.name),
                LinePart::Continued => torn.take().filter(|_| fact.call.shown != Shown::Foreign),
                _ => None,
            };
            name == Some(Name::Accept) && matches!(fact.call.returned, Returned::Value(_))
        })
    }
}
