//! [`Listeners`]: the local address of a connection, which is that of the listening socket.
//!
//! A descriptor may be reused for another socket. So its inode is compared whenever its connections are
//! given. If the inode changed or was not known before, the local address must be queried from the
//! connection's own socket.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use foldhash::{HashMap, HashSet};

use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::trace::procfs;
use crate::trace::socket::{SocketLookup, Sockets};

/// A socket that accept is called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// A TCP socket with this address.
    Tcp(SocketAddr),
    /// A socket of another family.
    NotInet,
}

/// The address family of a listening TCP socket, and so of the addresses that accept writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressFamily {
    Ipv4,
    /// IPv4 clients have IPv4-mapped addresses.
    Ipv6,
}

impl Listening {
    fn family(self) -> Option<AddressFamily> {
        self.address().map(|local| match local {
            SocketAddr::V4(_) => AddressFamily::Ipv4,
            SocketAddr::V6(_) => AddressFamily::Ipv6,
        })
    }

    /// Its address, if it is a TCP socket.
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(local) => Some(local),
            Listening::NotInet => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    inode: u64,
    listening: Listening,
    /// Known since this time: CLOCK_MONOTONIC.
    since: u64,
    /// Whether it was once reused for another socket, which may happen again.
    is_fleeting: bool,
    /// When it had first been found to be closed: CLOCK_MONOTONIC.
    closed: Option<u64>,
    /// Whether an exec closes it.
    closes_on_exec: bool,
}

impl Known {
    fn new(inode: u64, listening: Listening, since: u64) -> Known {
        let closes_on_exec = false;
        Known { inode, listening, since, is_fleeting: false, closed: None, closes_on_exec }
    }

    /// Adds what this thread's descriptor `fd` tells.
    fn of(self, tid: Tid, fd: i32) -> Known {
        Known { closes_on_exec: procfs::closes_on_exec(tid, fd).unwrap_or(true), ..self }
    }

    /// Whether it may be the same socket after an exec. `current` is the inode that is there now, `None` if it
    /// is closed or its process has ended.
    fn survives_exec(&self, current: Option<u64>) -> bool {
        current.map_or(!self.closes_on_exec, |inode| inode == self.inode)
    }

    /// Whether it is still the first socket that it was found to be.
    fn is_lasting(&self) -> bool {
        !self.is_fleeting && self.closed.is_none()
    }

    /// What is known after a look at the descriptor. `current` is what it is now, `None` if it is closed.
    fn found(self, current: Option<Known>, now: u64) -> Known {
        let Some(current) = current else {
            return Known { closed: self.closed.or(Some(now)), ..self };
        };
        let is_other = self.inode != current.inode || self.closed.is_some();
        Known { is_fleeting: self.is_fleeting || is_other, closed: None, ..current }
    }

    /// Whether it was this socket when accept returned at `time`. Accepts of before a descriptor was closed
    /// may be processed long after.
    fn was_at(&self, time: u64) -> bool {
        !self.is_fleeting && self.since <= time && self.closed.is_none_or(|closed| time <= closed)
    }
}

/// The socket of a descriptor before this round, and now.
#[derive(Clone, Copy, Debug)]
struct Checked {
    before: Option<Known>,
    now: Option<Known>,
}

/// The socket of a listening descriptor at the time of an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerState {
    /// It was certainly this one.
    Was(Listening),
    /// It is this one now, and may have been another one then.
    Is(Listening),
    /// It is not known.
    Unknown,
}

/// The listening descriptors of the watched processes.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    known: HashMap<Tid, HashMap<i32, Known>>,
    /// What has been looked at in this round.
    checked: HashMap<(Tid, i32), Checked>,
    /// Processes that were looked at in this round.
    looked_at: HashSet<Tid>,
}

impl Listeners {
    /// Notes all listening TCP sockets that a process has, unless this round has done so.
    pub(super) fn look_at(&mut self, pid: Tid, now: u64) {
        if !self.looked_at.insert(pid) {
            return;
        }
        let mut asked = living_thread(pid, pid);
        while let Some(thread) = asked {
            self.look_by(thread, pid, now);
            // A thread that ended in between has not shown all descriptors of its process.
            let has_ended = procfs::has_ended(thread);
            asked = if has_ended { living_thread(pid, thread) } else { None };
        }
    }

    /// Notes the listening TCP sockets that a thread of a process shows.
    fn look_by(&mut self, thread: Tid, pid: Tid, now: u64) {
        let Ok(sockets) = procfs::listeners(thread) else { return };
        let sockets: HashMap<u64, SocketAddr> =
            sockets.into_iter().map(|l| (l.inode, l.local)).collect();
        let known = self.known.entry(pid).or_default();
        for (fd, inode) in procfs::socket_descriptors(thread) {
            let Some(local) = sockets.get(&inode) else { continue };
            let former = known.get(&fd).map(|known| known.inode);
            if former != Some(inode) {
                let listening = Listening::Tcp(*local);
                let is_fleeting = former.is_some();
                let found = Known::new(inode, listening, now).of(thread, fd);
                known.insert(fd, Known { is_fleeting, ..found });
            }
        }
    }

    /// Whether the local address must be queried from the connection's own socket. `fd`: the listening
    /// descriptor, if it is known.
    pub(super) fn is_doubtful(&self, pid: Tid, fd: Option<i32>) -> bool {
        let known = fd.and_then(|fd| self.known.get(&pid)?.get(&fd));
        known.is_none_or(|known| !known.is_lasting())
    }

    /// Whether a descriptor listens on all addresses, so that it does not have the connection's address.
    pub(super) fn is_wildcard(&self, pid: Tid, fd: Option<i32>) -> bool {
        let known = fd.and_then(|fd| self.known.get(&pid)?.get(&fd));
        known
            .and_then(|known| known.listening.address())
            .is_some_and(|local| local.ip().to_canonical().is_unspecified())
    }

    /// The address family of a descriptor that has been the same socket since it is known.
    pub(super) fn family(&self, pid: Tid, fd: Option<i32>) -> Option<AddressFamily> {
        let known = self.known.get(&pid)?.get(&fd?)?;
        if known.is_fleeting { None } else { known.listening.family() }
    }

    /// The address families of the listening sockets of a process.
    pub(super) fn families(&self, pid: Tid) -> impl Iterator<Item = AddressFamily> {
        let known = self.known.get(&pid).into_iter().flat_map(|known| known.values());
        known.filter_map(|known| known.listening.family())
    }

    /// Whether any descriptor of a process listens on all addresses.
    pub(super) fn has_wildcard(&self, pid: Tid) -> bool {
        let known = self.known.get(&pid);
        known.is_some_and(|known| known.keys().any(|fd| self.is_wildcard(pid, Some(*fd))))
    }

    /// Copies the descriptors of its parent to a new process.
    pub(super) fn inherit(&mut self, child: Tid, parent: Tid) {
        if let Some(known) = self.known.get(&parent) {
            let known = known.clone();
            self.known.insert(child, known);
        }
    }

    /// Records an exec: removes the descriptors that it closed. The program may have reused their numbers for
    /// other sockets.
    pub(super) fn executed(&mut self, pid: Tid, now: u64) {
        self.checked.retain(|(process, _), _| *process != pid);
        self.looked_at.remove(&pid);
        let Some(known) = self.known.get_mut(&pid) else { return };
        known.retain(|fd, known| known.survives_exec(procfs::socket_inode(pid, *fd)));
        if !known.is_empty() {
            // It may have got further ones at other numbers.
            self.look_at(pid, now);
        }
    }

    /// Removes a process that has ended.
    pub(super) fn forget(&mut self, pid: Tid) {
        self.known.remove(&pid);
    }

    /// Starts a round: forgets the checks of the previous one.
    pub(super) fn begin_round(&mut self) {
        self.checked.clear();
        self.looked_at.clear();
    }

    /// Returns which socket descriptor `fd` of a thread was when accept returned at `time`.
    pub(super) fn at(
        &mut self,
        (pid, tid): (Tid, Tid),
        fd: Option<i32>,
        (time, now): (u64, u64),
        sockets: &mut Sockets,
    ) -> ListenerState {
        let Some(fd) = fd else { return ListenerState::Unknown };
        let checked = match self.checked.get(&(pid, fd)) {
            Some(checked) => *checked,
            None => {
                let checked = self.check((pid, tid), fd, now, sockets);
                self.checked.insert((pid, fd), checked);
                checked
            }
        };
        match (checked.before, checked.now) {
            (None, None) => ListenerState::Unknown,
            // The TCP sockets of a process are noted when it is attached to.
            (None, Some(current)) if current.listening == Listening::NotInet => {
                ListenerState::Was(current.listening)
            }
            (None, Some(current)) => ListenerState::Is(current.listening),
            (Some(before), current) if !before.was_at(time) => {
                ListenerState::Is(current.unwrap_or(before).listening)
            }
            // Its process has ended, or has closed it to accept no more.
            (Some(before), None) => ListenerState::Was(before.listening),
            // After a reload it is another socket at the same place, as a rule.
            (Some(before), Some(current)) if before.listening == current.listening => {
                ListenerState::Was(current.listening)
            }
            (Some(_), Some(current)) => ListenerState::Is(current.listening),
        }
    }

    fn check(
        &mut self,
        (pid, tid): (Tid, Tid),
        fd: i32,
        now: u64,
        sockets: &mut Sockets,
    ) -> Checked {
        let known = self.known.entry(pid).or_default();
        let before = known.get(&fd).copied();
        let mut current = None;
        let mut asked = living_thread(pid, tid);
        while let Some(thread) = asked {
            current = look_up(thread, fd, now, before, sockets);
            // A thread that ends in between does not show the descriptors of its process.
            asked = match current {
                None if procfs::has_ended(thread) => living_thread(pid, thread),
                None if thread != pid => (!procfs::has_ended(pid)).then_some(pid),
                _ => break,
            };
        }
        let entry = match before {
            // It cannot be looked at if its process has ended.
            Some(before) if asked.is_some() => Some(before.found(current, monotonic_now())),
            _ => current.or(before),
        };
        known.extend(entry.map(|entry| (fd, entry)));
        Checked { before, now: current }
    }

    /// The ports that a process listens on, or did.
    pub(super) fn ports(&self, pid: Tid) -> BTreeSet<u16> {
        let known = self.known.get(&pid).into_iter().flat_map(HashMap::values);
        known.filter_map(|known| known.listening.address()).map(|local| local.port()).collect()
    }
}

/// A thread of a process that has not ended; `tid` if it has not.
pub(super) fn living_thread(pid: Tid, tid: Tid) -> Option<Tid> {
    let others = || procfs::threads(pid).into_iter().find(|t| !procfs::has_ended(*t));
    if procfs::has_ended(tid) { others() } else { Some(tid) }
}

fn look_up(
    tid: Tid,
    fd: i32,
    now: u64,
    known: Option<Known>,
    sockets: &mut Sockets,
) -> Option<Known> {
    let inode = procfs::socket_inode(tid, fd)?;
    if let Some(known) = known.filter(|known| known.inode == inode) {
        return Some(known);
    }
    let listening = match sockets.find(tid, fd, true) {
        SocketLookup::Inet { local: Some(local), .. } => Listening::Tcp(local),
        SocketLookup::NotInet => Listening::NotInet,
        SocketLookup::Inet { local: None, .. } | SocketLookup::Unknown => return None,
    };
    // It may have become another one in between.
    let is_same = procfs::socket_inode(tid, fd) == Some(inode);
    is_same.then(|| Known::new(inode, listening, now).of(tid, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN_SINCE: u64 = 100;
    const CLOSED: u64 = 200;

    fn known(inode: u64) -> Known {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        Known::new(inode, Listening::Tcp(local), KNOWN_SINCE)
    }

    #[test]
    fn a_closed_descriptor_was_the_same_socket_until_it_was_closed() {
        let closed = known(1).found(None, CLOSED).found(None, CLOSED + 100);
        assert!(closed.was_at(KNOWN_SINCE) && closed.was_at(CLOSED));
        assert!(!closed.was_at(KNOWN_SINCE - 1) && !closed.was_at(CLOSED + 1));
        assert!(!closed.is_lasting());
    }

    #[test]
    fn an_exec_closes_what_is_another_socket_now_or_was_to_be_closed() {
        let kept = known(1);
        assert!(kept.survives_exec(Some(1)) && !kept.survives_exec(Some(2)));
        assert!(kept.survives_exec(None), "its process has ended since, or has closed it");
        let closed = Known { closes_on_exec: true, ..kept };
        assert!(closed.survives_exec(Some(1)), "the flag was removed");
        assert!(!closed.survives_exec(None));
    }

    #[test]
    fn a_descriptor_that_was_another_socket_is_never_certain() {
        assert!(known(1).found(Some(known(1)), CLOSED).was_at(CLOSED), "it is the same");
        for reused in [known(1).found(Some(known(2)), CLOSED), known(1).found(None, CLOSED)] {
            let reused = reused.found(Some(known(2)), CLOSED).found(None, CLOSED);
            assert!(!reused.was_at(KNOWN_SINCE));
        }
    }
}
