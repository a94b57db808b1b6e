//! Both ends of a tracee's new socket, as the kernel knows them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys::files;
use crate::sys::pidfd::{self, Name};
use crate::sys::ptrace::Tid;

use super::procfs::{self, SocketEntry};

/// What a look-up gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketLookup {
    /// An internet socket; the peer is `None` where the kernel would not tell.
    Inet {
        /// The address that the client connected to, where that was asked for.
        local: Option<SocketAddr>,
        /// The client.
        peer: Option<SocketAddr>,
    },
    /// A socket of another family.
    NotInet,
    /// Nothing could be found out.
    Unknown,
}

/// How many pidfds are kept; a server of ten thousand threads must not use up our descriptors.
const KEPT: usize = 256;
/// Descriptors that they leave to others.
const SPARE: u64 = 8;

/// Looks up sockets of stopped tracees, and keeps a pidfd of each thread it was asked about.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pidfds: HashMap<Tid, OwnedFd>,
}

impl Sockets {
    /// Finds the remote end of descriptor `fd` of the stopped thread `tid`, and the local end if
    /// that is wanted.
    pub(super) fn find(&mut self, tid: Tid, fd: i32, wants_local: bool) -> SocketLookup {
        self.by_pidfd(tid, fd, wants_local).unwrap_or_else(|_| match procfs::socket(tid, fd) {
            Some(SocketEntry::Tcp { local, peer }) => {
                SocketLookup::Inet { local: Some(local), peer: Some(peer) }
            }
            Some(SocketEntry::NotTcp) => SocketLookup::NotInet,
            None => SocketLookup::Unknown,
        })
    }

    fn by_pidfd(&mut self, tid: Tid, fd: i32, wants_local: bool) -> io::Result<SocketLookup> {
        if !self.pidfds.contains_key(&tid) {
            let pidfd = open(tid)?;
            if self.pidfds.len() >= KEPT || !files::has_room(SPARE, pidfd.as_raw_fd()) {
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

    /// Forgets a thread that has ended or executed another program: its id may come again.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.pidfds.remove(&tid);
    }
}

/// Before Linux 6.9 only processes have pidfds; their threads share one table of descriptors
/// unless they have asked for their own.
fn open(tid: Tid) -> io::Result<OwnedFd> {
    pidfd::open_thread(tid).or_else(|error| match procfs::process_of(tid) {
        Some(pid) => pidfd::open_process(pid),
        None => Err(error),
    })
}
