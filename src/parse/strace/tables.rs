//! [`Tables`]: which descriptor of which process is which listening socket.
//!
//! A log is rarely complete: threads appear without a clone line, and workers accept on a socket that
//! their master bound in another file. So a descriptor that is unknown in its own process is looked
//! up in the others. If all processes that listen on this number have the same port, it is used.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::descriptors::Descriptors;
use super::number_map::NumberMap;
use super::sockaddr::End;
use super::socket_kind::SocketKind;

/// What is known of a socket that may listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Socket {
    pub kind: SocketKind,
    /// Whether bind(2) or listen(2) was called: other processes may accept on it.
    pub is_bound: bool,
    /// Where it listens; an unspecified address is any.
    pub local: Option<End>,
}

impl Socket {
    /// Whether it is no TCP socket.
    fn is_other(self) -> bool {
        self.kind != SocketKind::MaybeTcp
    }

    fn listener(self) -> Listener {
        match self.local {
            _ if self.is_other() => Listener::NotTcp(self.kind),
            Some(local) => Listener::At(local),
            None => Listener::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Open(Socket),
    /// Closed, or used for something else.
    Gone,
}

type Map = NumberMap<i32, Entry>;

/// The descriptors of a process, or of threads that share them.
#[derive(Debug, Default)]
struct Table {
    /// From its own calls.
    own: Map,
    /// Inherited from its parent.
    base: Option<Arc<Map>>,
    /// `base` and `own` together, for the next child.
    frozen: Option<Arc<Map>>,
    leader: u32,
    parent: u32,
    users: u32,
}

/// A listening socket, as other processes may have it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    table: u32,
    socket: Socket,
    alive: bool,
    from: Option<i64>,
    until: Option<i64>,
}

/// What is known of the socket that a connection was accepted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// It listens here.
    At(End),
    /// It is no TCP socket, but one of this kind.
    NotTcp(SocketKind),
    /// The log does not tell.
    Unknown,
}

/// The descriptors of all processes of a run.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    by_pid: NumberMap<u32, u32>,
    tables: NumberMap<u32, Table>,
    next: u32,
    candidates: NumberMap<i32, Vec<Candidate>>,
    inodes: NumberMap<u64, Socket>,
    inherited: NumberMap<u32, (Arc<Map>, u32)>,
    /// Descriptors that any process ever had something under.
    touched: Descriptors,
    /// Those of them that were no TCP socket.
    touched_other: Descriptors,
    /// Whether any socket was of another transport with internet addresses.
    any_other_transport: bool,
    reading: Reading,
}

/// Which reading of the run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Reading {
    /// The only one.
    #[default]
    Only,
    /// The first of two: what is learnt is kept, with the time for which it is true.
    First,
    /// The second: what the first learnt stays as it is.
    Second,
}

/// Maximum number of tables. Tables without own entries are removed first.
const MAX_TABLES: usize = 50_000;
/// Maximum number of sockets of one descriptor number, and of inodes.
const MAX_CANDIDATES: usize = 64;
const MAX_INODES: usize = 200_000;
/// Maximum number of descriptors of one process.
const MAX_OWN: usize = 100_000;

impl Tables {
    /// The table of `pid`, created if there is none. Also, whether others were removed for it.
    pub(crate) fn of(&mut self, pid: u32) -> (u32, bool) {
        match self.by_pid.get(&pid) {
            Some(table) => (*table, false),
            None => self.make(pid),
        }
    }

    fn make(&mut self, pid: u32) -> (u32, bool) {
        let swept = self.tables.len() >= MAX_TABLES;
        if swept {
            self.tables.retain(|_, t| !t.own.is_empty());
            if self.tables.len() > MAX_TABLES / 2 {
                self.tables.clear();
            }
            let tables = &self.tables;
            self.by_pid.retain(|_, id| tables.contains_key(id));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let (base, parent) = match self.inherited.get(&pid) {
            Some((map, parent)) if self.reading == Reading::Second => {
                (Some(Arc::clone(map)), *parent)
            }
            _ => (None, 0),
        };
        self.tables.insert(id, Table { base, parent, leader: pid, users: 1, ..Table::default() });
        self.by_pid.insert(pid, id);
        (id, swept)
    }

    /// The process that the thread `pid` belongs to, as far as is known.
    pub(crate) fn leader(&self, pid: u32) -> u32 {
        let table = self.by_pid.get(&pid).and_then(|id| self.tables.get(id));
        table.map_or(pid, |t| t.leader)
    }

    fn entry(&self, table: u32, fd: i32) -> Option<Entry> {
        let table = self.tables.get(&table)?;
        if let Some(entry) = table.own.get(&fd) {
            return Some(*entry);
        }
        if let Some(entry) = table.base.as_ref().and_then(|base| base.get(&fd)) {
            return Some(*entry);
        }
        if self.reading != Reading::Second {
            return None;
        }
        // The parent may have got it from its own parent, whose file came later.
        let mut parent = table.parent;
        for _ in 0..16 {
            let (map, next) = self.inherited.get(&parent)?;
            if let Some(entry) = map.get(&fd) {
                return Some(*entry);
            }
            parent = *next;
        }
        None
    }

    /// The socket that `fd` is by what its own process and that one's parents did.
    pub(crate) fn socket(&self, table: u32, fd: i32) -> Option<Socket> {
        match self.entry(table, fd) {
            Some(Entry::Open(socket)) => Some(socket),
            _ => None,
        }
    }

    /// Whether the process of `table` is known to use `fd` for something of its own.
    pub(crate) fn has_own(&self, table: u32, fd: i32) -> bool {
        self.tables.get(&table).is_some_and(|t| matches!(t.own.get(&fd), Some(Entry::Open(_))))
    }

    /// Where a connection was accepted from: descriptor `fd` of `table`, a socket with `inode`
    /// (0 if the log does not say), at `time`.
    pub(crate) fn listener(&self, table: u32, fd: i32, inode: u64, time: Option<i64>) -> Listener {
        let by_inode = (inode != 0).then(|| self.inodes.get(&inode)).flatten();
        if let Some(socket) = by_inode.filter(|s| s.is_other() || s.local.is_some()) {
            return socket.listener();
        }
        match self.entry(table, fd) {
            Some(Entry::Open(socket)) => socket.listener(),
            Some(Entry::Gone) => Listener::Unknown,
            None => self.elsewhere(fd, time),
        }
    }

    /// The listener that all other processes have under this number.
    fn elsewhere(&self, fd: i32, time: Option<i64>) -> Listener {
        let Some(all) = self.candidates.get(&fd) else { return Listener::Unknown };
        if let [only] = &all[..] {
            return only.socket.listener();
        }
        let mut now: Vec<&Candidate> = all.iter().collect();
        let narrow = |now: &mut Vec<&Candidate>, keep: &dyn Fn(&Candidate) -> bool| {
            if now.iter().any(|c| keep(c)) {
                now.retain(|c| keep(c));
            }
        };
        if self.reading == Reading::Second {
            if let Some(time) = time {
                narrow(&mut now, &|c| c.from.is_none_or(|from| from <= time));
                narrow(&mut now, &|c| c.until.is_none_or(|until| time <= until));
            }
        } else {
            narrow(&mut now, &|c| c.alive);
        }
        if now.iter().all(|c| c.socket.is_other()) {
            let other = now.iter().max_by_key(|c| c.socket.kind);
            return other.map_or(Listener::Unknown, |c| c.socket.listener());
        }
        now.retain(|c| !c.socket.is_other());
        let port = |c: &Candidate| c.socket.local.map(|l| l.port);
        let first = now[0];
        if now.iter().any(|c| port(c) != port(first)) {
            return Listener::Unknown;
        }
        match first.socket.local {
            Some(local) if now.iter().all(|c| c.socket.local == first.socket.local) => {
                Listener::At(local)
            }
            // The same port on several addresses.
            Some(local) => Listener::At(End { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..local }),
            None => Listener::Unknown,
        }
    }

    /// `fd` of `table` is `socket` from `time` on.
    pub(crate) fn open(&mut self, table: u32, fd: i32, socket: Socket, time: Option<i64>) {
        self.set(table, fd, Entry::Open(socket), time);
    }

    /// Whether `fd` may be a socket that is known, in any process.
    #[inline]
    pub(crate) fn may_know(&self, fd: i32) -> bool {
        self.touched.may_contain(fd)
    }

    /// The descriptors that [`may_know`](Tables::may_know) knows.
    pub(super) fn known(&self) -> &Descriptors {
        &self.touched
    }

    /// The descriptors that may be known as sockets that are not TCP, in any process.
    pub(super) fn known_other(&self) -> &Descriptors {
        &self.touched_other
    }

    /// Whether the internet address of a peer does not show that its connection is TCP, because sockets of
    /// another transport were opened.
    #[inline]
    pub(crate) fn has_other_transport(&self) -> bool {
        self.any_other_transport
    }

    /// `fd` of `table` is no listening socket from `time` on.
    #[inline]
    pub(crate) fn gone(&mut self, table: u32, fd: i32, time: Option<i64>) {
        let Some(t) = self.tables.get(&table) else { return };
        let nothing = t.own.is_empty() || !t.own.contains_key(&fd);
        if nothing && t.base.as_ref().is_none_or(|base| !base.contains_key(&fd)) {
            return;
        }
        self.set(table, fd, Entry::Gone, time);
    }

    fn set(&mut self, table: u32, fd: i32, entry: Entry, time: Option<i64>) {
        let Some(t) = self.tables.get_mut(&table) else { return };
        if t.own.len() >= MAX_OWN {
            t.own.clear();
        }
        t.frozen = None;
        self.touched.add(fd);
        if let Entry::Open(socket) = entry
            && socket.is_other()
        {
            self.touched_other.add(fd);
            self.any_other_transport |= socket.kind == SocketKind::OtherTransport;
        }
        let old = t.own.insert(fd, entry);
        if let Some(Entry::Open(Socket { is_bound: true, .. })) = old {
            self.withdraw(table, fd, time);
        }
        if let Entry::Open(socket @ Socket { is_bound: true, .. }) = entry
            && self.reading != Reading::Second
        {
            let all = self.candidates.entry(fd).or_default();
            if self.reading == Reading::Only {
                all.retain(|c| c.table != table);
            }
            if all.len() >= MAX_CANDIDATES {
                let dead = all.iter().position(|c| !c.alive).unwrap_or(0);
                all.remove(dead);
            }
            all.push(Candidate { table, socket, alive: true, from: time, until: None });
        }
    }

    /// The socket of `table` under this number is not there any more.
    fn withdraw(&mut self, table: u32, fd: i32, time: Option<i64>) {
        if self.reading == Reading::Second {
            return;
        }
        let Some(all) = self.candidates.get_mut(&fd) else { return };
        for c in all.iter_mut().filter(|c| c.table == table && c.alive) {
            // A child that the log does not tell of may have it still: no longer the first
            // choice, but one.
            c.alive = false;
            c.until = time;
        }
    }

    /// Remembers which socket has this inode.
    pub(crate) fn inode(&mut self, inode: u64, socket: Socket) {
        if inode != 0 {
            if self.inodes.len() >= MAX_INODES {
                self.inodes.clear();
            }
            self.inodes.insert(inode, socket);
        }
    }

    /// The socket that has this inode.
    pub(crate) fn by_inode(&self, inode: u64) -> Option<Socket> {
        self.inodes.get(&inode).copied()
    }

    /// `pid` created `child`, which shares its descriptors or has a copy: clone(2).
    pub(crate) fn clone_of(&mut self, pid: u32, child: u32, shares: bool) {
        let (parent, _) = self.of(pid);
        if self.by_pid.get(&child) == Some(&parent) {
            return;
        }
        if shares {
            self.leave(child);
            self.by_pid.insert(child, parent);
            if let Some(t) = self.tables.get_mut(&parent) {
                t.users += 1;
            }
        }
        let Some(base) = self.freeze(parent) else { return };
        if self.reading == Reading::First && self.inherited.len() < MAX_TABLES {
            self.inherited.insert(child, (Arc::clone(&base), pid));
        }
        if shares {
            return;
        }
        // The child may have come before its parent's clone returned. A table
        // that has a base already is that of another process with the same number.
        let known = self.by_pid.get(&child).and_then(|id| self.tables.get_mut(id));
        if let Some(t) = known.filter(|t| t.base.is_none()) {
            t.base = Some(base);
            t.parent = pid;
            t.frozen = None;
            return;
        }
        self.leave(child);
        let (id, _) = self.make(child);
        if let Some(t) = self.tables.get_mut(&id) {
            t.base = Some(base);
            t.parent = pid;
        }
    }

    fn freeze(&mut self, table: u32) -> Option<Arc<Map>> {
        let t = self.tables.get_mut(&table)?;
        let frozen = t.frozen.get_or_insert_with(|| match &t.base {
            Some(base) if t.own.is_empty() => Arc::clone(base),
            Some(base) => {
                let mut all = Map::clone(base);
                all.extend(t.own.iter().map(|(fd, entry)| (*fd, *entry)));
                Arc::new(all)
            }
            None => Arc::new(t.own.clone()),
        });
        Some(Arc::clone(frozen))
    }

    /// Takes the exit of thread `pid`. Returns its table if no other thread uses it.
    pub(crate) fn exit(&mut self, pid: u32, time: Option<i64>) -> Option<u32> {
        let table = *self.by_pid.get(&pid)?;
        self.leave(pid);
        if self.tables.contains_key(&table) {
            return None;
        }
        if self.reading != Reading::Second {
            for c in self.candidates.values_mut().flatten() {
                if c.table == table && c.alive {
                    c.alive = false;
                    c.until = time;
                }
            }
        }
        Some(table)
    }

    fn leave(&mut self, pid: u32) {
        let Some(table) = self.by_pid.remove(&pid) else { return };
        if let Some(t) = self.tables.get_mut(&table) {
            t.users = t.users.saturating_sub(1);
            if t.users == 0 {
                self.tables.remove(&table);
            }
        }
    }

    /// What follows is another run, whose processes have the same numbers by chance only.
    pub(crate) fn forget(&mut self) {
        self.by_pid.clear();
        self.tables.clear();
        match self.reading {
            Reading::Only => self.candidates.clear(),
            // With their times, they are of use to the other files.
            Reading::First => self.candidates.values_mut().flatten().for_each(|c| c.alive = false),
            Reading::Second => {}
        }
    }

    /// The first of two readings begins.
    pub(crate) fn read_first(&mut self) {
        self.reading = Reading::First;
    }

    /// The second reading begins. What is known of the run by now is kept: the parents of processes,
    /// and the sockets.
    pub(crate) fn read_second(&mut self) {
        self.by_pid.clear();
        self.tables.clear();
        self.reading = Reading::Second;
    }
}
