//! What the new sockets themselves say, asked as soon as their samples have been read.
//!
//! A server that creates a process for each connection closes the socket soon, but the new process
//! has it under the same descriptor: it is asked instead.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use foldhash::HashMap;

use crate::model::connection::canonical;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::trace::procfs;
use crate::trace::sockaddr::PeerAddr;
use crate::trace::socket::{SocketLookup, Sockets};

use super::listeners::living_thread;
use super::record::{Accept, Fork, Record, Thread, What};

/// Maximum number of new processes that are asked for a socket.
const MAX_CHILDREN: usize = 4;

/// A sample: its time and thread.
type Key = (u64, Tid);

/// Answers to samples that have not been processed yet.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<Key, Answer>);

#[derive(Clone, Copy, Debug)]
struct Answer {
    /// When it was complete: CLOCK_MONOTONIC.
    time: u64,
    socket: SocketLookup,
    /// The process whose descriptor it was.
    pid: Tid,
}

impl Answer {
    fn tells_peer(&self) -> bool {
        matches!(self.socket, SocketLookup::Inet { peer: Some(_), .. })
    }
}

impl Answers {
    /// Asks the socket of an accept that returned at `time`, unless its descriptor has been
    /// returned again since.
    pub(super) fn ask(
        &mut self,
        time: u64,
        accept: &Accept,
        pending: &VecDeque<Record>,
        sockets: &mut Sockets,
    ) {
        let Some(fd) = accept.fd else { return };
        let Thread { pid, tid } = accept.thread;
        let mut socket = SocketLookup::Unknown;
        let next = next_with_descriptor(pending, time, accept, pid);
        if next.is_none() {
            socket = sockets.find(tid, fd, true);
            if socket == SocketLookup::Unknown && procfs::has_ended(tid) {
                // The process has its descriptors still.
                let other = living_thread(pid, tid);
                socket = other.map_or(socket, |other| sockets.find(other, fd, true));
            }
        }
        let own = Answer { time: monotonic_now(), socket, pid };
        let answer = match own.tells_peer() {
            true => own,
            false => ask_children(time..next.unwrap_or(u64::MAX), accept, pending, sockets)
                .unwrap_or(own),
        };
        self.0.insert((time, tid), answer);
    }

    /// Asks the processes that were created since, where the descriptor told no peer.
    pub(super) fn ask_again(&mut self, pending: &VecDeque<Record>, sockets: &mut Sockets) {
        if self.0.values().all(Answer::tells_peer) {
            return;
        }
        for record in pending {
            let What::Accept(accept) = &record.what else { continue };
            let answer = self.0.get_mut(&(record.time, accept.thread.tid));
            let Some(answer) = answer.filter(|answer| !answer.tells_peer()) else { continue };
            let next = next_with_descriptor(pending, record.time, accept, answer.pid);
            let window = record.time..next.unwrap_or(u64::MAX);
            if let Some(other) = ask_children(window, accept, pending, sockets) {
                *answer = other;
            }
        }
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a sample must wait: until `horizon` all accepts are known, and one after that may
    /// have returned the same descriptor before the answer.
    pub(super) fn must_wait(&self, record: &Record, horizon: u64) -> bool {
        let What::Accept(accept) = &record.what else { return false };
        !self.0.is_empty()
            && self.0.get(&(record.time, accept.thread.tid)).is_some_and(|a| a.time > horizon)
    }

    /// What the socket of an accept said; nothing where it may have been another socket.
    pub(super) fn take(
        &mut self,
        time: u64,
        accept: &Accept,
        pending: &VecDeque<Record>,
    ) -> Option<SocketLookup> {
        if self.0.is_empty() {
            return None;
        }
        let answer = self.0.remove(&(time, accept.thread.tid))?;
        let next = next_with_descriptor(pending, time, accept, answer.pid);
        next.is_none_or(|next| next > answer.time).then_some(answer.socket)
    }

    /// Forgets the answers to samples before a time: those of accepts that did not count.
    pub(super) fn forget_before(&mut self, time: u64) {
        self.0.retain(|(sampled, _), _| *sampled >= time);
    }
}

/// The answer of a process that was created between an accept and the next one that returned the same
/// descriptor.
fn ask_children(
    between: Range<u64>,
    accept: &Accept,
    pending: &VecDeque<Record>,
    sockets: &mut Sockets,
) -> Option<Answer> {
    let (fd, pid) = (accept.fd?, accept.thread.pid);
    let children = pending.iter().filter_map(|record| match &record.what {
        What::Fork(Fork { child, parent })
            if parent.pid == pid && child.pid != pid && between.contains(&record.time) =>
        {
            Some(child.pid)
        }
        _ => None,
    });
    let ask = |child| {
        let socket = sockets.find(child, fd, true);
        Answer { time: monotonic_now(), socket, pid: child }
    };
    children.take(MAX_CHILDREN).map(ask).find(Answer::tells_peer)
}

/// When an accept of process `pid` returned the same descriptor after `time`.
fn next_with_descriptor(
    pending: &VecDeque<Record>,
    time: u64,
    accept: &Accept,
    pid: Tid,
) -> Option<u64> {
    let is_same = |other: &Accept| other.thread.pid == pid && other.fd == accept.fd;
    // Two events may tell of one accept, microseconds apart.
    const SAME_ACCEPT_NS: u64 = 20_000;
    let later = pending.iter().filter(|record| match &record.what {
        What::Accept(other) => {
            let is_other_thread = other.thread.tid != accept.thread.tid;
            is_same(other) && record.time > time + if is_other_thread { 0 } else { SAME_ACCEPT_NS }
        }
        _ => false,
    });
    later.map(|record| record.time).min()
}

/// Whether an answer names the peer that the sample names.
pub(super) fn confirms(heard: PeerAddr, peer: Option<SocketAddr>) -> bool {
    let (PeerAddr::Peer(heard) | PeerAddr::Perhaps(heard)) = heard else { return false };
    peer.is_some_and(|peer| {
        canonical(peer.ip()) == canonical(heard.ip()) && peer.port() == heard.port()
    })
}
