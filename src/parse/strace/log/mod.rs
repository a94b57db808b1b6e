//! [`Log`]: joins the halves of calls in the order of the log, follows descriptors, and decides which
//! connections are final.

mod calls;

pub(crate) use self::calls::connection;
use self::calls::{Calls, Out, ends};
use crate::Connection;
use crate::model::connection::RequestedFields;
use crate::model::plural;
use crate::parse::gaps::Gaps;
use crate::parse::strace::accepted::LinePart;
use crate::parse::strace::block::{Block, Fact};
use crate::parse::strace::block_reader;
use crate::parse::strace::call::{Name, Returned};
use crate::parse::strace::compact::{Briefs, LocalSource};
use crate::parse::strace::open_calls::OpenCalls;
use crate::parse::strace::sockaddr::{End, Shown};
use crate::parse::strace::socket_kind::SocketKind;
use crate::parse::strace::tables::Listener;
use crate::parse::timestamp::{Base, ClockSpan, Dates};

/// A run of strace, or several that were written into the same log.
#[derive(Debug)]
pub(crate) struct Log {
    /// What whole calls did.
    pub calls: Calls,
    open: OpenCalls,
    /// The first half that was cut by text that is not strace's.
    torn: Option<Fact>,
    clock_span: ClockSpan,
    /// Lines that should have told of a connection and could not be read.
    pub unreadable: u64,
    /// Whether io_uring was used.
    pub uring: bool,
    /// What is missing in the log.
    pub gaps: Gaps,
    /// What the log has of accept.
    pub seen: Seen,
}

/// Counts of accept calls in a log, for the reason of a total of 0.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether a connection was given.
    pub connections: bool,
    /// Calls that returned.
    returned: u64,
    /// Those of them that failed.
    failed: u64,
    /// First halves.
    entries: u64,
}

impl Log {
    /// A log that was not read yet.
    pub(crate) fn new(requested: RequestedFields, dates: Dates) -> Log {
        Log {
            calls: Calls::new(requested, dates),
            open: OpenCalls::default(),
            torn: None,
            clock_span: ClockSpan::default(),
            unreadable: 0,
            uring: false,
            gaps: Gaps::default(),
            seen: Seen::default(),
        }
    }

    /// The first of two readings of several files begins: nothing is given.
    pub(crate) fn read_first(&mut self) {
        self.calls.tables.read_first();
        self.calls.timed = true;
        self.calls.learning = true;
    }

    /// The second reading begins.
    pub(crate) fn read_second(&mut self) {
        self.calls.tables.read_second();
        self.calls.learning = false;
    }

    /// The next file begins. Lines without a process number are of `pid` (0: not known).
    pub(crate) fn begin(&mut self, pid: Option<u32>, dates: Dates) {
        self.calls.pid = pid.unwrap_or(0);
        self.calls.dates = dates;
        self.clock_span = ClockSpan::default();
        self.calls.base = Base::default();
        self.torn = None;
        self.calls.forget_near();
    }

    /// How time passed so far.
    pub(super) fn clock_span(&self) -> &ClockSpan {
        &self.clock_span
    }

    /// Whether the briefs of the next block are certain as they are: what the block's facts and
    /// those before it tell must not matter to them. If not, the block has to be read without.
    pub(crate) fn takes_brief(&mut self, block: &Block) -> bool {
        let local = self.calls.requested.local || self.calls.requested.local_ip;
        let may_wait = local && self.calls.pending.hopeful();
        let wants_ip = self.calls.requested.local_ip;
        let wanted = |local: End| !wants_ip || !local.ip.is_unspecified();
        // Where nobody wants the port, all that matters of a descriptor is whether it is TCP.
        let matters = match local {
            true => self.calls.tables.known(),
            false => self.calls.tables.known_other(),
        };
        let harmless = |fact: &Fact| match (fact.call.name, fact.part) {
            (Name::Close, LinePart::Whole | LinePart::Entry | LinePart::Resumed) => {
                !local || !self.calls.tables.may_know(fact.call.fd)
            }
            (Name::Accept, LinePart::Entry | LinePart::Joined) => true,
            // The socket is not TCP, until its number is reused.
            (Name::GetSockName, _) if fact.call.shown == Shown::Foreign => false,
            // A connection to another server, perhaps; or the copy of what is no socket of another kind.
            (Name::Socket, LinePart::Whole | LinePart::Entry | LinePart::Resumed) => {
                !local && fact.call.kind == SocketKind::MaybeTcp
            }
            (Name::Dup, LinePart::Whole) => {
                !local && !self.calls.tables.known_other().may_contain(fact.call.fd)
            }
            // They make other processes known, and where a TCP socket listens.
            (
                Name::Clone | Name::GetSockName | Name::GetPeerName,
                LinePart::Whole | LinePart::Entry | LinePart::Resumed,
            )
            | (_, LinePart::Exit) => !local,
            (Name::Accept, LinePart::Whole | LinePart::Resumed) => {
                let waits = may_wait && !fact.call.local.is_some_and(wanted);
                match (fact.call.returned, fact.call.shown) {
                    (Returned::Failed, _) => true,
                    (_, Shown::Inet(_)) => !waits,
                    // It takes the number of a descriptor that nobody knew.
                    (Returned::Value(fd), Shown::Foreign) => !self.calls.tables.may_know(fd),
                    _ => false,
                }
            }
            _ => false,
        };
        block.briefs.is_empty()
            || !self.calls.learning
                && !self.calls.tables.has_other_transport()
                && self.calls.pending.is_empty()
                && block.facts.iter().all(harmless)
                && !block.briefs.any_new(matters)
                && !block.briefs.any_closed(self.calls.tables.known())
                && block.briefs.sources().iter().all(|(source, _)| {
                    let follows_time =
                        matches!(source, LocalSource::Listener { .. }) && self.calls.timed;
                    !follows_time && (!may_wait || self.has_wanted_local(source))
                })
    }

    /// Whether no other line can tell more of the local end of briefs with this source.
    fn has_wanted_local(&mut self, source: &LocalSource) -> bool {
        let wants_ip = self.calls.requested.local_ip;
        self.local(source).is_some_and(|local| !wants_ip || !local.ip.is_unspecified())
    }

    /// The local end that briefs with this source have, if the log tells.
    fn local(&mut self, source: &LocalSource) -> Option<End> {
        match *source {
            LocalSource::Unwanted => None,
            LocalSource::Known(local) => Some(local),
            LocalSource::Listener { pid, fd, inode } => {
                let table = self.calls.table(if pid == 0 { self.calls.pid } else { pid });
                match self.calls.tables.listener(table, fd, inode, None) {
                    Listener::At(local) => Some(local),
                    Listener::NotTcp(_) | Listener::Unknown => None,
                }
            }
        }
    }

    /// Finds the local ends of briefs.
    fn find_locals(&mut self, briefs: &mut Briefs) {
        for n in 0..briefs.sources().len() {
            let (source, count) = briefs.sources()[n];
            let local = self.local(&source);
            self.calls.unknown_ports += match local {
                None if self.calls.requested.local => u64::from(count),
                _ => 0,
            };
            briefs.locals.push(ends(local));
        }
    }

    /// Takes the next block, whose text begins at `at`; fills in what its facts lack, and which
    /// connections are to be given.
    pub(crate) fn take(&mut self, block: &mut Block, at: u64) {
        self.calls.base = self.clock_span.join(&block.clock_span);
        if !self.calls.learning {
            self.unreadable += block.unreadable;
            self.uring |= block.uring;
            self.gaps.join(&block.gaps, &block_reader::is_record);
        }
        self.seen.returned += block.failed_accepts;
        self.seen.failed += block.failed_accepts;
        self.seen.connections |= block.briefs.has_accepts();
        self.find_locals(&mut block.briefs);
        let Block { facts, comms, given, late, .. } = block;
        let mut out = Out { given, late, comms };
        for (number, fact) in facts.iter_mut().enumerate() {
            if fact.pid == 0 {
                fact.pid = self.calls.pid;
            }
            let at = at + u64::from(fact.at);
            if !self.calls.pending.is_empty() {
                self.expire(at, &mut out);
            }
            self.fact(fact, number as u32, at, &mut out);
        }
        self.seen.connections |= !out.given.is_empty();
        block.briefs.known.copy(self.calls.tables.known());
    }

    /// Accepts that must have returned, and whose second halves the log does not have.
    pub(crate) fn lost(&self) -> u64 {
        self.open.lost()
    }

    /// What was passed over of a line has an accept.
    pub(crate) fn passed_accept(&mut self) {
        self.unreadable += u64::from(!self.calls.learning);
    }

    /// What must be added to the times of the block that was taken last.
    pub(crate) fn base(&self) -> Base {
        self.calls.base
    }

    /// What is known of the connections of a block when it is given away.
    pub(crate) fn dates(&self) -> Dates {
        self.calls.dates.clone()
    }

    /// Nothing follows in this file: what waits is as certain as it gets.
    pub(crate) fn end(&mut self, mut give: impl FnMut(Connection)) {
        while let Some(connection) = self.calls.pending.ended() {
            self.calls.fd_annotation(&connection);
            self.seen.connections = true;
            give(connection);
        }
        self.torn = None;
        self.gaps.end_input();
    }

    fn expire(&mut self, at: u64, out: &mut Out<'_>) {
        while let Some(connection) = self.calls.pending.expired(at) {
            self.calls.fd_annotation(&connection);
            out.late(connection);
        }
    }

    fn fact(&mut self, fact: &mut Fact, number: u32, at: u64, out: &mut Out<'_>) {
        if fact.call.name == Name::Accept {
            self.seen.see(fact);
        }
        match fact.part {
            LinePart::Whole => {
                self.open.leave(fact.pid);
                self.calls.done(fact, Some(number), at, out);
            }
            LinePart::Entry | LinePart::Torn => {
                let stamp = self.calls.base.apply(fact.stamp);
                let entry = Fact { stamp, comm: 0, ..*fact };
                self.open.begin(entry);
                if fact.part == LinePart::Torn {
                    self.torn = Some(entry);
                }
            }
            LinePart::Resumed => {
                if let Some(entry) = self.open.resume(fact.pid, fact.call.name) {
                    fact.pid = entry.pid;
                    fact.call = fact.call.after(&entry.call);
                } else if let (Name::Accept, Returned::Value(_)) =
                    (fact.call.name, fact.call.returned)
                {
                    self.open.add_orphan();
                }
                self.calls.done(fact, Some(number), at, out);
            }
            LinePart::Joined => self.open.leave(fact.pid),
            LinePart::Continued => self.continued(fact, at, out),
            LinePart::Unfinished => self.torn = None,
            LinePart::NewRun => {
                self.open.clear();
                self.torn = None;
                self.calls.tables.forget();
                self.calls.forget_near();
            }
            LinePart::Exit => {
                self.open.remove(fact.pid);
                let time = self.calls.time(fact.stamp);
                self.calls.tables.exit(fact.pid, time);
                if fact.pid == 0 {
                    // No other process was traced, so strace has ended, too.
                    self.calls.tables.forget();
                }
                self.calls.forget_near();
            }
        }
    }

    /// Takes the rest of a call whose line does not tell which.
    fn continued(&mut self, rest: &Fact, at: u64, out: &mut Out<'_>) {
        // getsockname and getpeername return 0.
        let is_accepted = matches!(rest.call.returned, Returned::Value(1..))
            && matches!(rest.call.shown, Shown::Inet(_) | Shown::Unread);
        let first = match self.torn.take() {
            None if is_accepted => self.open.take_only(Name::Accept),
            torn => torn,
        };
        let Some(first) = first else {
            self.unreadable += u64::from(is_accepted && !self.calls.learning);
            return;
        };
        self.open.remove(first.pid);
        let mut whole = Fact { call: rest.call.after(&first.call), ..first };
        self.calls.done(&mut whole, None, at, out);
    }
}

impl Seen {
    fn see(&mut self, fact: &Fact) {
        match fact.part {
            LinePart::Entry | LinePart::Torn => self.entries += 1,
            LinePart::Whole | LinePart::Resumed | LinePart::Continued => {
                self.returned += 1;
                self.failed += u64::from(fact.call.returned == Returned::Failed);
            }
            LinePart::Joined | LinePart::Unfinished | LinePart::Exit | LinePart::NewRun => {}
        }
    }

    /// Whether accepts returned, and all of them failed.
    pub(crate) fn all_failed(&self) -> bool {
        !self.connections && self.returned > 0 && self.returned == self.failed
    }

    /// Whether the log has a call of accept, so that accept was traced.
    pub(crate) fn has_accept(&self) -> bool {
        self.connections || self.returned > 0 || self.entries > 0
    }

    /// Why no connection was given.
    pub(crate) fn reason(&self) -> String {
        match (self.returned, self.failed, self.entries) {
            (0, _, 0) => {
                "the log has no call of accept, so it does not show whether accept was traced; \
                 strace -f -e trace=network shows the calls of all threads"
                    .into()
            }
            (0, _, entries) => {
                let times = plural(entries, "time", "times");
                format!("accept was called and did not return in the log, {times}")
            }
            (returned, failed, _) if returned == failed => {
                format!("every accept in the log failed, {}", plural(returned, "time", "times"))
            }
            (returned, failed, _) => format!(
                "of {} of accept in the log, {failed} failed and the others returned sockets that are not TCP",
                plural(returned, "call", "calls")
            ),
        }
    }
}
