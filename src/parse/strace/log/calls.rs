//! What whole calls do: an accept becomes a connection, the others change what is known of descriptors.

use crate::model::connection::RequestedFields;
use crate::parse::coalesce::Local;
use crate::parse::strace::block::{Fact, Given};
use crate::parse::strace::call::{Call, Name, Returned};
use crate::parse::strace::pending::PendingConnections;
use crate::parse::strace::sockaddr::{End, Shown};
use crate::parse::strace::socket_kind::SocketKind;
use crate::parse::strace::tables::{Listener, Socket, Tables};
use crate::parse::timestamp::{Base, Dates, Stamp};
use crate::{Connection, RecordTime};

/// Marks an unused entry of `near`.
const NOBODY: (u32, u32) = (u32::MAX, 0);

/// What is known of descriptors, and the connections that wait for more.
#[derive(Debug)]
pub(crate) struct Calls {
    /// What is known of the descriptors.
    pub tables: Tables,
    pub(super) pending: PendingConnections,
    pub(super) dates: Dates,
    pub(super) base: Base,
    pub(super) requested: RequestedFields,
    /// The process whose file this is, where each has its own.
    pub(super) pid: u32,
    /// Whether descriptors are followed by time too, and nothing is given: the first of two
    /// readings; or the second.
    pub(super) timed: bool,
    pub(super) learning: bool,
    sockets_seen: bool,
    /// Tables that were looked up, by the last bits of the process number.
    near: Box<[(u32, u32); 64]>,
    /// Connections without a local port, if that is wanted.
    pub unknown_ports: u64,
    /// Connections without a peer.
    pub unknown_peers: u64,
    /// Accepts that show no address, from listeners that may be no TCP sockets.
    pub unknown_kinds: u64,
}

impl Calls {
    pub(super) fn new(requested: RequestedFields, dates: Dates) -> Calls {
        Calls {
            tables: Tables::default(),
            pending: PendingConnections::default(),
            dates,
            base: Base::default(),
            requested,
            pid: 0,
            timed: false,
            learning: false,
            sockets_seen: false,
            near: Box::new([NOBODY; 64]),
            unknown_ports: 0,
            unknown_peers: 0,
            unknown_kinds: 0,
        }
    }

    /// Takes a whole call. `number` is the index of its fact; `None`: it is not in the block, and
    /// its time is from the beginning of the log.
    pub(super) fn done(
        &mut self,
        fact: &mut Fact,
        number: Option<u32>,
        at: u64,
        out: &mut Out<'_>,
    ) {
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
            && fact.call.kind == SocketKind::MaybeTcp
            && !self.tables.has_other_transport()
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
        if call.kind != SocketKind::MaybeTcp || call.shown == Shown::Foreign || self.learning {
            return;
        }
        let hidden = peer.is_none() && call.shown != Shown::Unread;
        let doubtful = hidden || self.requested.local || self.tables.has_other_transport();
        if doubtful && call.local.is_none() && !self.find_listener(call, table, hidden, time) {
            return;
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

    /// Finds where an accept's socket listens. False: it is known to be no TCP socket.
    fn find_listener(
        &mut self,
        call: &mut Call,
        table: u32,
        hidden: bool,
        time: Option<i64>,
    ) -> bool {
        match self.tables.listener(table, call.fd, call.inode, time) {
            Listener::At(local) => call.local = Some(local),
            Listener::NotTcp(SocketKind::OtherTransport) => return false,
            Listener::NotTcp(_) if hidden => return false,
            Listener::Unknown if hidden && self.tables.socket(table, call.fd).is_none() => {
                self.unknown_kinds += 1;
            }
            Listener::NotTcp(_) | Listener::Unknown => {}
        }
        true
    }

    pub(super) fn connection(&mut self, fact: &Fact, in_block: bool, out: &Out<'_>) -> Connection {
        let fact = Fact { leader: self.leader(fact.pid), ..*fact };
        let base = if in_block { self.base } else { Base::default() };
        connection(&fact, base, &mut self.dates, out.comms)
    }

    pub(super) fn leader(&self, pid: u32) -> u32 {
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
        if name != Name::GetSockName {
            return;
        }
        let time = self.time(fact.stamp);
        let old = self.tables.socket(table, fd);
        let end = match shown {
            Shown::Inet(end) => end,
            // A socket that another process opened, such as one that systemd passed.
            Shown::Foreign if old.is_none() => {
                let socket = Socket { kind: SocketKind::Other, ..Socket::default() };
                self.tables.open(table, fd, socket, time);
                return;
            }
            _ => return,
        };
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
            let socket = Socket { is_bound: true, local, ..Socket::default() };
            self.tables.open(table, listener, socket, time);
        }
        if complete && let Some(connection) = self.pending.take(number) {
            self.fd_annotation(&connection);
            out.late(connection);
        }
    }

    /// Takes a call that changes a descriptor.
    fn changed(&mut self, fact: &Fact, value: i32, out: &mut Out<'_>) {
        let Call { name, fd, inode, kind, shares, .. } = fact.call;
        if name == Name::Close && self.pending.is_empty() && !self.tables.may_know(fd) {
            return;
        }
        let table = self.table(fact.pid);
        let time = self.time(fact.stamp);
        match name {
            Name::Bind => {
                let socket = bound_socket(&fact.call, self.tables.socket(table, fd));
                self.tables.open(table, fd, socket, time);
                self.tables.inode(inode, socket);
            }
            Name::Listen => {
                if let Some(socket) = self.tables.socket(table, fd).filter(|s| !s.is_bound) {
                    self.tables.open(table, fd, Socket { is_bound: true, ..socket }, time);
                }
            }
            Name::Socket => {
                self.sockets_seen = true;
                self.reused(table, value, out);
                let socket = Socket { kind, is_bound: false, local: None };
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

    pub(super) fn reused(&mut self, table: u32, fd: i32, out: &mut Out<'_>) {
        if self.pending.is_empty() {
            return;
        }
        if let Some(connection) = self.pending.reused(table, fd) {
            self.fd_annotation(&connection);
            out.late(connection);
        }
    }

    pub(super) fn fd_annotation(&mut self, connection: &Connection) {
        self.unknown_ports += u64::from(self.requested.local && connection.local_port.is_none());
        self.unknown_peers += u64::from(connection.ip.is_none());
    }

    /// The time as descriptors are followed by it; nobody asks in a log that is read in order.
    pub(super) fn time(&mut self, stamp: Stamp) -> Option<i64> {
        if !self.timed {
            return None;
        }
        match self.dates.record_time(self.base.apply(stamp)) {
            Some(RecordTime::Clock(ns)) => Some(ns),
            _ => None,
        }
    }

    pub(super) fn forget_near(&mut self) {
        self.near.fill(NOBODY);
    }

    pub(super) fn table(&mut self, pid: u32) -> u32 {
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
}

/// Takes the connections of a block.
pub(super) struct Out<'a> {
    pub given: &'a mut Vec<Given>,
    pub late: &'a mut Vec<Connection>,
    pub comms: &'a [std::sync::Arc<str>],
}

impl Out<'_> {
    pub(super) fn late(&mut self, connection: Connection) {
        self.given.push(Given::Late);
        self.late.push(connection);
    }
}

/// The local address and port of a connection.
pub(super) fn ends(local: Option<End>) -> Local {
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
        container: None,
        transport: None,
    }
}

/// The socket that `bind` binds. `old` is what its descriptor was before.
fn bound_socket(bind: &Call, old: Option<Socket>) -> Socket {
    let local = match bind.shown {
        Shown::Inet(end) if end.port != 0 => Some(end),
        _ => None,
    };
    // What was bound before is another socket by now.
    let unbound = old.filter(|old| !old.is_bound).map_or(SocketKind::MaybeTcp, |old| old.kind);
    let kind = match (unbound, bind.shown) {
        (SocketKind::MaybeTcp, Shown::Foreign) => SocketKind::Other,
        (SocketKind::MaybeTcp, _) => bind.kind,
        (kind, _) => kind,
    };
    Socket { kind, is_bound: true, local }
}
