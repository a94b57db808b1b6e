//! [`Log`]: joins the halves of calls in the order of the log, follows descriptors, and decides which
//! connections are final.

use super::accepted::LinePart;
use super::block::{Block, Fact, Given};
use super::call::{Call, Name, Returned};
use super::compact::{Briefs, LocalSource};
use super::pending::PendingConnections;
use super::sockaddr::{End, Shown};
use super::tables::{Listener, NumberMap, Socket, Tables};
use crate::model::connection::RequestedFields;
use crate::parse::coalesce::Local;
use crate::parse::timestamp::{Base, ClockSpan, Dates, Stamp};
use crate::{Connection, RecordTime};

/// Marks an unused entry of `near`.
const NOBODY: (u32, u32) = (u32::MAX, 0);

/// Maximum number of first halves that wait for their second half.
const MAX_ENTRIES: usize = 100_000;

/// A run of strace, or several that were written into the same log.
#[derive(Debug)]
pub(crate) struct Log {
    /// What is known of the descriptors.
    pub tables: Tables,
    pending: PendingConnections,
    entries: NumberMap<u32, Call>,
    /// The first half that was cut by text that is not strace's.
    torn: Option<Fact>,
    clock_span: ClockSpan,
    dates: Dates,
    base: Base,
    requested: RequestedFields,
    /// The process whose file this is, where each has its own.
    pid: u32,
    /// Whether descriptors are followed by time too, and nothing is given: the first of two
    /// readings; or the second.
    timed: bool,
    learning: bool,
    sockets_seen: bool,
    /// Tables that were looked up, by the last bits of the process number.
    near: Box<[(u32, u32); 64]>,
    /// Lines that should have told of a connection and could not be read.
    pub unreadable: u64,
    /// Whether io_uring was used.
    pub uring: bool,
    /// Connections without a local port, if that is wanted.
    pub unknown_ports: u64,
    /// Connections without a peer.
    pub unknown_peers: u64,
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
            tables: Tables::default(),
            pending: PendingConnections::default(),
            entries: NumberMap::default(),
            torn: None,
            clock_span: ClockSpan::default(),
            dates,
            base: Base::default(),
            requested,
            pid: 0,
            timed: false,
            learning: false,
            sockets_seen: false,
            near: Box::new([NOBODY; 64]),
            unreadable: 0,
            uring: false,
            unknown_ports: 0,
            unknown_peers: 0,
            seen: Seen::default(),
        }
    }

    /// The first of two readings of several files begins: nothing is given.
    pub(crate) fn read_first(&mut self) {
        self.tables.read_first();
        self.timed = true;
        self.learning = true;
    }

    /// The second reading begins.
    pub(crate) fn read_second(&mut self) {
        self.tables.read_second();
        self.learning = false;
    }

    /// The next file begins. Lines without a process number are of `pid` (0: not known).
    pub(crate) fn begin(&mut self, pid: Option<u32>, dates: Dates) {
        self.pid = pid.unwrap_or(0);
        self.dates = dates;
        self.clock_span = ClockSpan::default();
        self.base = Base::default();
        self.torn = None;
        self.forget_near();
    }

    /// How time passed so far.
    pub(super) fn clock_span(&self) -> &ClockSpan {
        &self.clock_span
    }

    /// Whether the briefs of the next block are certain as they are: what the block's facts and
    /// those before it tell must not matter to them. If not, the block has to be read without.
    pub(crate) fn takes_brief(&mut self, block: &Block) -> bool {
        let local = self.requested.local || self.requested.local_ip;
        let may_wait = local && self.pending.hopeful();
        let wants_ip = self.requested.local_ip;
        let wanted = |local: End| !wants_ip || !local.ip.is_unspecified();
        let harmless = |fact: &Fact| match (fact.call.name, fact.part) {
            (Name::Close, LinePart::Whole | LinePart::Entry | LinePart::Resumed) => {
                !local || !self.tables.may_know(fact.call.fd)
            }
            (Name::Accept, LinePart::Entry) => true,
            (Name::Accept, LinePart::Whole | LinePart::Resumed) => {
                let waits = may_wait && !fact.call.local.is_some_and(wanted);
                let shown = matches!(fact.call.shown, Shown::Inet(_));
                shown && !waits || fact.call.returned == Returned::Failed
            }
            _ => false,
        };
        block.briefs.is_empty()
            || !self.learning
                && self.pending.is_empty()
                && block.facts.iter().all(harmless)
                && !block.briefs.any_fd(|fd| self.tables.may_know(fd))
                && block.briefs.sources().iter().all(|(source, _)| {
                    let follows_time = matches!(source, LocalSource::Listener { .. }) && self.timed;
                    !follows_time && (!may_wait || self.has_wanted_local(source))
                })
    }

    /// Whether no other line can tell more of the local end of briefs with this source.
    fn has_wanted_local(&mut self, source: &LocalSource) -> bool {
        let wants_ip = self.requested.local_ip;
        self.local(source).is_some_and(|local| !wants_ip || !local.ip.is_unspecified())
    }

    /// The local end that briefs with this source have, if the log tells.
    fn local(&mut self, source: &LocalSource) -> Option<End> {
        match *source {
            LocalSource::Unwanted => None,
            LocalSource::Known(local) => Some(local),
            LocalSource::Listener { pid, fd, inode } => {
                let table = self.table(if pid == 0 { self.pid } else { pid });
                match self.tables.listener(table, fd, inode, None) {
                    Listener::At(local) => Some(local),
                    Listener::Foreign | Listener::Unknown => None,
                }
            }
        }
    }

    /// Finds the local ends of briefs.
    fn find_locals(&mut self, briefs: &mut Briefs) {
        for n in 0..briefs.sources().len() {
            let (source, count) = briefs.sources()[n];
            let local = self.local(&source);
            self.unknown_ports += match local {
                None if self.requested.local => u64::from(count),
                _ => 0,
            };
            briefs.locals.push(ends(local));
        }
    }

    /// Takes the next block, whose text begins at `at`; fills in what its facts lack, and which
    /// connections are to be given.
    pub(crate) fn take(&mut self, block: &mut Block, at: u64) {
        self.base = self.clock_span.join(&block.clock_span);
        if !self.learning {
            self.unreadable += block.unreadable;
            self.uring |= block.uring;
        }
        self.seen.connections |= !block.briefs.list().is_empty();
        self.find_locals(&mut block.briefs);
        let Block { facts, comms, given, .. } = block;
        let mut out = Out { given, comms };
        for (number, fact) in facts.iter_mut().enumerate() {
            if fact.pid == 0 {
                fact.pid = self.pid;
            }
            let at = at + u64::from(fact.at);
            if !self.pending.is_empty() {
                self.expire(at, &mut out);
            }
            self.fact(fact, number as u32, at, &mut out);
        }
        self.seen.connections |= !out.given.is_empty();
        block.briefs.known = self.tables.known();
    }

    /// What was passed over of a line has an accept.
    pub(crate) fn passed_accept(&mut self) {
        self.unreadable += u64::from(!self.learning);
    }

    /// What must be added to the times of the block that was taken last.
    pub(crate) fn base(&self) -> Base {
        self.base
    }

    /// What is known of the connections of a block when it is given away.
    pub(crate) fn dates(&self) -> Dates {
        self.dates.clone()
    }

    /// Nothing follows in this file: what waits is as certain as it gets.
    pub(crate) fn end(&mut self, mut give: impl FnMut(Connection)) {
        while let Some(connection) = self.pending.ended() {
            self.fd_annotation(&connection);
            self.seen.connections = true;
            give(connection);
        }
        self.torn = None;
    }

    fn expire(&mut self, at: u64, out: &mut Out<'_>) {
        while let Some(connection) = self.pending.expired(at) {
            self.fd_annotation(&connection);
            out.late(connection);
        }
    }

    fn fd_annotation(&mut self, connection: &Connection) {
        self.unknown_ports += u64::from(self.requested.local && connection.local_port.is_none());
        self.unknown_peers += u64::from(connection.ip.is_none());
    }

    fn fact(&mut self, fact: &mut Fact, number: u32, at: u64, out: &mut Out<'_>) {
        if fact.call.name == Name::Accept {
            self.seen.see(fact);
        }
        match fact.part {
            LinePart::Whole => self.done(fact, Some(number), at, out),
            LinePart::Entry | LinePart::Torn => {
                if self.entries.len() >= MAX_ENTRIES {
                    self.entries.clear();
                }
                self.entries.insert(fact.pid, fact.call);
                if fact.part == LinePart::Torn {
                    let stamp = self.base.apply(fact.stamp);
                    self.torn = Some(Fact { stamp, comm: 0, ..*fact });
                }
            }
            LinePart::Resumed => {
                match self.entries.remove(&fact.pid) {
                    Some(entry) if entry.name == fact.call.name => {
                        fact.call = fact.call.after(&entry);
                    }
                    Some(entry)
                        if fact.call.name == Name::SocketCall && entry.name == Name::Accept =>
                    {
                        fact.call = fact.call.after(&entry);
                    }
                    _ => {}
                }
                self.done(fact, Some(number), at, out);
            }
            LinePart::Continued => {
                let Some(torn) = self.torn.take() else {
                    // getsockname and getpeername return 0.
                    let accepted = matches!(fact.call.returned, Returned::Value(1..))
                        && matches!(fact.call.shown, Shown::Inet(_) | Shown::Unread);
                    self.unreadable += u64::from(accepted && !self.learning);
                    return;
                };
                self.entries.remove(&torn.pid);
                let mut whole = Fact { call: fact.call.after(&torn.call), ..torn };
                self.done(&mut whole, None, at, out);
            }
            LinePart::Unfinished => self.torn = None,
            LinePart::NewRun => {
                self.entries.clear();
                self.torn = None;
                self.tables.forget();
                self.forget_near();
            }
            LinePart::Exit => {
                self.entries.remove(&fact.pid);
                let time = self.time(fact.stamp);
                self.tables.exit(fact.pid, time);
                self.forget_near();
            }
        }
    }

    /// The time as descriptors are followed by it; nobody asks in a log that is read in order.
    fn time(&mut self, stamp: Stamp) -> Option<i64> {
        if !self.timed {
            return None;
        }
        match self.dates.record_time(self.base.apply(stamp)) {
            Some(RecordTime::Clock(ns)) => Some(ns),
            _ => None,
        }
    }

    fn forget_near(&mut self) {
        self.near.fill(NOBODY);
    }

    fn table(&mut self, pid: u32) -> u32 {
        let place = pid as usize % self.near.len();
        let (known, table) = self.near[place];
        if known == pid {
            return table;
        }
        let (table, swept) = self.tables.of(pid);
        if swept {
            self.forget_near();
        }
        self.near[place] = (pid, table);
        table
    }

    /// Takes a whole call. `number` is the index of its fact; `None`: it is not in the block, and
    /// its time is from the beginning of the log.
    fn done(&mut self, fact: &mut Fact, number: Option<u32>, at: u64, out: &mut Out<'_>) {
        let Returned::Value(value) = fact.call.returned else { return };
        match fact.call.name {
            Name::Accept => self.accepted(fact, value, number, at, out),
            Name::SocketCall | Name::Uring => {}
            Name::GetSockName | Name::GetPeerName => self.named(fact, out),
            _ => self.changed(fact, value, out),
        }
    }

    fn accepted(
        &mut self,
        fact: &mut Fact,
        fd: i32,
        number: Option<u32>,
        at: u64,
        out: &mut Out<'_>,
    ) {
        let peer = match fact.call.shown {
            Shown::Inet(end) => Some(end),
            _ => None,
        };
        if let (Some(number), Some(_)) = (number, peer)
            && (!self.requested.local || fact.call.local.is_some())
            && (!self.requested.local_ip || fact.call.local.is_some_and(|l| !l.ip.is_unspecified()))
            && !self.tables.may_know(fd)
            && self.pending.is_empty()
            && !self.learning
            && !fact.call.foreign
        {
            // Nearly all, where nobody wants the port.
            fact.leader = self.leader(fact.pid);
            out.given.push(Given::Fact(number));
            return;
        }
        let table = self.table(fact.pid);
        let time = self.time(fact.stamp);
        self.reused(table, fd, out);
        self.tables.gone(table, fd, time);
        let call = &mut fact.call;
        if call.foreign || call.shown == Shown::Foreign || self.learning {
            return;
        }
        let hidden = peer.is_none() && call.shown != Shown::Unread;
        if hidden && call.local.is_none() || self.requested.local && call.local.is_none() {
            match self.tables.listener(table, call.fd, call.inode, time) {
                Listener::At(local) => call.local = Some(local),
                Listener::Foreign if hidden => return,
                Listener::Foreign | Listener::Unknown => {}
            }
        }
        let no_port = self.requested.local && call.local.is_none();
        // The listener may be bound to all addresses; getsockname tells that of the connection.
        let no_ip =
            self.requested.local_ip && call.local.is_none_or(|local| local.ip.is_unspecified());
        let missing = (peer.is_none(), no_port || no_ip);
        if missing != (false, false) && self.pending.hopeful() {
            let listener = call.fd;
            let connection = self.connection(fact, number.is_some(), out);
            self.pending.wait(connection, (table, fd, listener), missing, at);
            return;
        }
        match number {
            Some(number) => {
                self.unknown_ports += u64::from(no_port);
                self.unknown_peers += u64::from(peer.is_none());
                fact.leader = self.leader(fact.pid);
                out.given.push(Given::Fact(number));
            }
            None => {
                let connection = self.connection(fact, false, out);
                self.fd_annotation(&connection);
                out.late(connection);
            }
        }
    }

    fn connection(&mut self, fact: &Fact, in_block: bool, out: &Out<'_>) -> Connection {
        let fact = Fact { leader: self.leader(fact.pid), ..*fact };
        let base = if in_block { self.base } else { Base::default() };
        connection(&fact, base, &mut self.dates, out.comms)
    }

    fn leader(&self, pid: u32) -> u32 {
        if self.requested.pid { self.tables.leader(pid) } else { pid }
    }

    /// Takes a getsockname or getpeername.
    fn named(&mut self, fact: &Fact, out: &mut Out<'_>) {
        self.pending.hope();
        let Call { name, fd, shown, inode, .. } = fact.call;
        let table = self.table(fact.pid);
        // Another process may ask for what this one accepted, but not if the number is in use
        // there, and that would only be known if socket is traced.
        let others = self.sockets_seen && !self.tables.has_own(table, fd);
        if let Some(number) = self.pending.find(table, fd, others) {
            self.named_held(number, name, shown, fact, out);
            return;
        }
        let (Name::GetSockName, Shown::Inet(end)) = (name, shown) else { return };
        let time = self.time(fact.stamp);
        let old = self.tables.socket(table, fd);
        let socket = Socket { local: Some(end), ..old.unwrap_or_default() };
        if old.is_none_or(|old| old.local.is_none_or(|l| l.port != end.port)) {
            self.tables.open(table, fd, socket, time);
        }
        if self.tables.by_inode(inode).is_some_and(|s| s.local.is_none()) {
            self.tables.inode(inode, socket);
        }
    }

    fn named_held(
        &mut self,
        number: u64,
        name: Name,
        shown: Shown,
        fact: &Fact,
        out: &mut Out<'_>,
    ) {
        let Some(waiting) = self.pending.get(number) else { return };
        let learnt = match (name, shown) {
            (_, Shown::Foreign) => {
                // A unix socket after all.
                self.pending.take(number);
                return;
            }
            (Name::GetPeerName, Shown::Inet(end)) => {
                if waiting.peer {
                    waiting.peer_is(end);
                }
                None
            }
            (Name::GetSockName, Shown::Inet(end)) => {
                let learnt = waiting.port.then_some((waiting.table, waiting.listener, end));
                waiting.local_is(end);
                learnt
            }
            _ => None,
        };
        let complete = !waiting.peer && !waiting.port;
        // The listener has the same port, and then so have the next connections.
        if let Some((table, listener, end)) = learnt
            && listener >= 0
        {
            let ip = std::net::Ipv4Addr::UNSPECIFIED.into();
            let local = Some(End { ip, ..end });
            let time = self.time(fact.stamp);
            self.tables.open(table, listener, Socket { foreign: false, strong: true, local }, time);
        }
        if complete && let Some(connection) = self.pending.take(number) {
            self.fd_annotation(&connection);
            out.late(connection);
        }
    }

    /// Takes a call that changes a descriptor.
    fn changed(&mut self, fact: &Fact, value: i32, out: &mut Out<'_>) {
        let Call { name, fd, shown, inode, foreign, shares, .. } = fact.call;
        if name == Name::Close && self.pending.is_empty() && !self.tables.may_know(fd) {
            return;
        }
        let table = self.table(fact.pid);
        let time = self.time(fact.stamp);
        match name {
            Name::Bind => {
                let local = match shown {
                    Shown::Inet(end) if end.port != 0 => Some(end),
                    _ => None,
                };
                let old = self.tables.socket(table, fd).unwrap_or_default();
                // What was bound before is another socket by now.
                let kept = old.foreign && !old.strong;
                let foreign = kept || foreign || shown == Shown::Foreign;
                let socket = Socket { foreign, strong: true, local };
                self.tables.open(table, fd, socket, time);
                self.tables.inode(inode, socket);
            }
            Name::Listen => {
                if let Some(socket) = self.tables.socket(table, fd).filter(|s| !s.strong) {
                    self.tables.open(table, fd, Socket { strong: true, ..socket }, time);
                }
            }
            Name::Socket => {
                self.sockets_seen = true;
                self.reused(table, value, out);
                let socket = Socket { foreign, strong: false, local: None };
                self.tables.open(table, value, socket, time);
                self.tables.inode(inode, socket);
            }
            Name::Dup => {
                if value == fd {
                    return;
                }
                self.reused(table, value, out);
                let by_inode = self.tables.by_inode(inode);
                match self.tables.socket(table, fd).or(by_inode) {
                    Some(socket) => self.tables.open(table, value, socket, time),
                    None => self.tables.gone(table, value, time),
                }
            }
            Name::Close => {
                self.pending.closed(table, fd);
                self.tables.gone(table, fd, time);
            }
            Name::Clone => {
                if let Ok(child @ 1..) = u32::try_from(value) {
                    self.tables.clone_of(fact.pid, child, shares);
                    self.forget_near();
                }
            }
            Name::Accept
            | Name::SocketCall
            | Name::GetSockName
            | Name::GetPeerName
            | Name::Uring => {}
        }
    }

    fn reused(&mut self, table: u32, fd: i32, out: &mut Out<'_>) {
        if self.pending.is_empty() {
            return;
        }
        if let Some(connection) = self.pending.reused(table, fd) {
            self.fd_annotation(&connection);
            out.late(connection);
        }
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
            LinePart::Unfinished | LinePart::Exit | LinePart::NewRun => {}
        }
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
                format!("accept was called and did not return in the log, {entries} times")
            }
            (returned, failed, _) if returned == failed => {
                format!("every accept in the log failed, {returned} times")
            }
            (returned, failed, _) => format!(
                "of {returned} calls of accept in the log, {failed} failed and the others \
                 returned sockets that are not TCP"
            ),
        }
    }
}

/// Takes the connections of a block.
struct Out<'a> {
    given: &'a mut Vec<Given>,
    comms: &'a [std::sync::Arc<str>],
}

impl Out<'_> {
    fn late(&mut self, connection: Connection) {
        self.given.push(Given::Late(Box::new(connection)));
    }
}

/// The local address and port of a connection.
fn ends(local: Option<End>) -> Local {
    (local.map(|l| l.ip).filter(|ip| !ip.is_unspecified()), local.map(|l| l.port))
}

/// The connection of a fact.
#[inline]
pub(crate) fn connection(
    fact: &Fact,
    base: Base,
    dates: &mut Dates,
    comms: &[std::sync::Arc<str>],
) -> Connection {
    let peer = match fact.call.shown {
        Shown::Inet(end) => Some(end),
        _ => None,
    };
    let (local_ip, local_port) = ends(fact.call.local);
    let tid = (fact.pid != 0).then_some(fact.pid);
    Connection {
        time: dates.record_time(base.apply(fact.stamp)),
        ip: peer.map(|p| p.ip),
        host: None,
        port: peer.map(|p| p.port),
        local_ip,
        local_port,
        pid: (fact.leader != 0).then_some(fact.leader),
        tid,
        comm: (fact.comm as usize).checked_sub(1).and_then(|n| comms.get(n)).cloned(),
        fd: match fact.call.returned {
            Returned::Value(fd) => Some(fd),
            _ => None,
        },
        machine: None,
        transport: None,
    }
}
