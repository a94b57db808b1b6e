//! Asks the kernel for both addresses of a tracee's new socket.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::model::connection::RequestedFields;
use crate::sys::files;
use crate::sys::pidfd::{self, Name};
use crate::sys::ptrace::Tid;

use super::procfs::{self, SocketEntry};

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketLookup {
    /// An internet socket; the peer is `None` if the kernel does not return it.
    Inet {
        /// The address that the client connected to, if it was requested.
        local: Option<SocketAddr>,
        /// The client.
        peer: Option<SocketAddr>,
    },
    /// A socket of another family.
    NotInet,
    /// The socket could not be queried.
    Unknown,
}

/// Maximum number of pidfds that are kept: a server with ten thousand threads must not use up the
/// descriptors of tcptally.
const MAX_PIDFDS: usize = 256;
/// Descriptors that are left for other uses.
const RESERVED_DESCRIPTORS: u64 = 8;

/// Looks up sockets of stopped tracees. Keeps a pidfd of each thread.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pidfds: HashMap<Tid, OwnedFd>,
    /// Addresses of listening sockets by inode.
    listeners: HashMap<u64, SocketAddr>,
}

impl Sockets {
    /// Finds the remote address of descriptor `fd` of the stopped thread `tid`, and the local
    /// address if `wants_local` is set.
    pub(super) fn find(&mut self, tid: Tid, fd: i32, wants_local: bool) -> SocketLookup {
        self.by_pidfd(tid, fd, wants_local).unwrap_or_else(|_| by_table(tid, fd))
    }

    /// Like [`Sockets::find`] for a socket that was accepted from descriptor `listener` and whose
    /// `peer` is known. Where pidfd_getfd(2) is refused, as in containers without CAP_SYS_PTRACE, the
    /// listener has the local port; its address may be unspecified unless `local_ip` is requested.
    /// To find each connection in the table of all sockets would stop the server for milliseconds.
    pub(super) fn find_accepted(
        &mut self,
        tid: Tid,
        fd: i32,
        (listener, peer): (Option<i32>, SocketAddr),
        requested: RequestedFields,
    ) -> SocketLookup {
        self.by_pidfd(tid, fd, requested.local).unwrap_or_else(|_| {
            let local = listener.and_then(|listener| self.listener_address(tid, listener));
            match local.filter(|local| !requested.local_ip || !local.ip().is_unspecified()) {
                Some(local) => SocketLookup::Inet { local: Some(local), peer: Some(peer) },
                None => by_table(tid, fd),
            }
        })
    }

    /// Returns the address of a listening socket.
    fn listener_address(&mut self, tid: Tid, fd: i32) -> Option<SocketAddr> {
        let inode = procfs::socket_inode(tid, fd)?;
        if !self.listeners.contains_key(&inode) {
            let listeners = procfs::listeners(tid).ok()?;
            self.listeners = listeners.into_iter().map(|l| (l.inode, l.local)).collect();
        }
        self.listeners.get(&inode).copied()
    }

    fn by_pidfd(&mut self, tid: Tid, fd: i32, wants_local: bool) -> io::Result<SocketLookup> {
        if !self.pidfds.contains_key(&tid) {
            let pidfd = open(tid)?;
            if self.pidfds.len() >= MAX_PIDFDS
                || !files::has_room(RESERVED_DESCRIPTORS, pidfd.as_raw_fd())
            {
                self.pidfds.clear();
            }
            self.pidfds.insert(tid, pidfd);
        }
        let socket = pidfd::get(self.pidfds[&tid].as_fd(), fd)?;
        if !wants_local && let Ok(Name::Inet(peer)) = pidfd::peer_name_of_any(socket.as_fd()) {
            return Ok(SocketLookup::Inet { local: None, peer: Some(peer) });
        }
        let Name::Inet(local) = pidfd::local_name(socket.as_fd())? else {
            return Ok(SocketLookup::NotInet);
        };
        let peer = match pidfd::peer_name(socket.as_fd(), &local) {
            Ok(Name::Inet(peer)) => Some(peer),
            _ => None,
        };
        Ok(SocketLookup::Inet { local: Some(local), peer })
    }

    /// Drops the pidfd of a thread that has ended or executed another program: its id may be
    /// reused.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.pidfds.remove(&tid);
    }
}

fn by_table(tid: Tid, fd: i32) -> SocketLookup {
    match procfs::socket(tid, fd) {
        Some(SocketEntry::Tcp { local, peer }) => {
            SocketLookup::Inet { local: Some(local), peer: Some(peer) }
        }
        Some(SocketEntry::NotTcp) => SocketLookup::NotInet,
        None => SocketLookup::Unknown,
    }
}

/// Before Linux 6.9 only processes have pidfds. Threads share the descriptor table of their process
/// unless they called unshare(2).
fn open(tid: Tid) -> io::Result<OwnedFd> {
    pidfd::open_thread(tid).or_else(|error| match procfs::process_of(tid) {
        Some(pid) => pidfd::open_process(pid),
        None => Err(error),
    })
}
