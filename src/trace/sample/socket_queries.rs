//! [`SocketQueries`]: queries the addresses of new sockets as soon as their samples have been read.
//!
//! A server that creates a process for each connection closes the socket soon. But the new process
//! has it, under the same descriptor as a rule, so its descriptors are queried instead.

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

use super::counters::Counters;
use super::listeners::living_thread;
use super::record::{Accept, Record, Thread, What};
use super::same_accept::SampledAccept;

/// Maximum number of new processes whose descriptor is queried.
const MAX_CHILDREN: usize = 4;
/// Maximum number of sockets of a new process that are queried.
const MAX_OWN_SOCKETS: usize = 16;

/// The warning if the peer of a connection is unknown.
pub(super) const CLOSED_SOON: &str = "the engine sample queries the sockets of this server for the clients' \
                                      addresses, and some were closed before that; '--engine perf' \
                                      queries each at its accept ('--engine syscall', if the server \
                                      blocks signals)";

/// A sample: its time and event.
type Key = (u64, u64);

/// Results of queries for samples that have not been processed yet.
#[derive(Debug, Default)]
pub(super) struct SocketQueries {
    known: HashMap<Key, QueryResult>,
    /// The time of the latest PERF_RECORD_LOST. If a sample may have been lost before that, the sample of a
    /// later accept must not be mistaken for it.
    lost_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct QueryResult {
    /// The time of the result: CLOCK_MONOTONIC.
    time: u64,
    socket: SocketLookup,
    /// The process whose descriptor was queried.
    pid: Tid,
}

impl QueryResult {
    fn has_peer(&self) -> bool {
        has_peer(&self.socket)
    }
}

fn has_peer(socket: &SocketLookup) -> bool {
    matches!(socket, SocketLookup::Inet { peer: Some(_), .. })
}

impl SocketQueries {
    /// Queries the socket of an accept, whose sample has this time and event, unless a later accept has
    /// returned the same descriptor.
    pub(super) fn query(
        &mut self,
        sample: Key,
        accept: &Accept,
        pending: &VecDeque<Record>,
        (counters, sockets): (&Counters, &mut Sockets),
    ) {
        let Some(fd) = accept.fd else { return };
        let Thread { pid, tid } = accept.thread;
        let mut socket = SocketLookup::Unknown;
        let next = self.next_with_descriptor(sample, (accept, pid), pending, counters);
        if next.is_none() {
            socket = sockets.find(tid, fd, true);
            if socket == SocketLookup::Unknown && procfs::has_ended(tid) {
                // The process still has its descriptors.
                let other = living_thread(pid, tid);
                socket = other.map_or(socket, |other| sockets.find(other, fd, true));
            }
        }
        let own = QueryResult { time: monotonic_now(), socket, pid };
        let result = match own.has_peer() {
            true => own,
            false => query_children(sample.0..next.unwrap_or(u64::MAX), accept, pending, sockets)
                .unwrap_or(own),
        };
        self.known.insert(sample, result);
    }

    /// Queries the processes that were created since, if the descriptor gave no peer, or was that of a later
    /// accept by then.
    pub(super) fn query_new_processes(
        &mut self,
        pending: &VecDeque<Record>,
        (counters, sockets): (&Counters, &mut Sockets),
    ) {
        let is_new_process =
            |record: &Record| matches!(&record.what, What::Fork(f) if f.is_process());
        if self.known.is_empty() || !pending.iter().any(is_new_process) {
            return;
        }
        for record in pending {
            let What::Accept(accept) = &record.what else { continue };
            let sample = (record.time, record.event);
            let Some(result) = self.known.get(&sample) else { continue };
            let next = self.next_with_descriptor(sample, (accept, result.pid), pending, counters);
            if result.has_peer() && next.is_none_or(|next| next > result.time) {
                continue;
            }
            let window = record.time..next.unwrap_or(u64::MAX);
            if let Some(other) = query_children(window, accept, pending, sockets) {
                self.known.insert(sample, other);
            }
        }
    }

    /// Handles a PERF_RECORD_LOST of this time.
    pub(super) fn note_lost(&mut self, time: u64) {
        self.lost_until = self.lost_until.max(time);
    }

    /// Whether there are no results.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a sample must wait. All accepts until `horizon` are known; a later one may have returned the
    /// same descriptor before the query.
    pub(super) fn must_wait(&self, record: &Record, horizon: u64) -> bool {
        !self.known.is_empty()
            && self.known.get(&(record.time, record.event)).is_some_and(|a| a.time > horizon)
    }

    /// Removes and returns the result for an accept; `None` if it may be that of another socket.
    pub(super) fn take(
        &mut self,
        sample: Key,
        accept: &Accept,
        pending: &VecDeque<Record>,
        counters: &Counters,
    ) -> Option<SocketLookup> {
        if self.known.is_empty() {
            return None;
        }
        let result = self.known.remove(&sample)?;
        let next = self.next_with_descriptor(sample, (accept, result.pid), pending, counters);
        next.is_none_or(|next| next > result.time).then_some(result.socket)
    }

    /// Removes the results for samples before a time: those of accepts that did not count.
    pub(super) fn forget_before(&mut self, time: u64) {
        self.known.retain(|(sampled, _), _| *sampled >= time);
    }

    /// Returns when a later accept of process `pid` returned the same descriptor. The first sample of
    /// `accept` has this time and event.
    fn next_with_descriptor(
        &self,
        (time, event): Key,
        (accept, pid): (&Accept, Tid),
        pending: &VecDeque<Record>,
        counters: &Counters,
    ) -> Option<u64> {
        let place = counters.place_of(event).map(|(_, place)| place);
        let mut sampled = place
            .filter(|_| self.lost_until < time)
            .map(|place| SampledAccept::new(accept, (time, event), place));
        let from = pending.partition_point(|record| record.time < time);
        let later = pending.range(from..).filter(|r| (r.time, r.event) != (time, event));
        for record in later {
            let What::Accept(other) = &record.what else { continue };
            if other.thread.pid == pid
                && other.fd == accept.fd
                && !sampled
                    .as_mut()
                    .is_some_and(|sampled| sampled.add_sample(other, record.event, counters))
            {
                return Some(record.time);
            }
        }
        None
    }
}

/// Queries the processes that were created between an accept and the next one that returned the same
/// descriptor.
fn query_children(
    between: Range<u64>,
    accept: &Accept,
    pending: &VecDeque<Record>,
    sockets: &mut Sockets,
) -> Option<QueryResult> {
    let (fd, pid) = (accept.fd?, accept.thread.pid);
    let children = pending.iter().filter_map(|record| match &record.what {
        What::Fork(fork) if between.contains(&record.time) => fork.process_of(pid),
        _ => None,
    });
    let query = |child| {
        let socket = sockets.find(child, fd, true);
        QueryResult { time: monotonic_now(), socket, pid: child }
    };
    let found = children.take(MAX_CHILDREN).map(query).find(QueryResult::has_peer);
    found.or_else(|| {
        let child = process_for(accept, between, pending)?;
        let socket = sole_own_socket(child, pid, sockets)?;
        Some(QueryResult { time: monotonic_now(), socket, pid: child })
    })
}

/// The process that was created next after an accept, unless its creator had another connection that this process
/// may serve.
fn process_for(accept: &Accept, between: Range<u64>, pending: &VecDeque<Record>) -> Option<Tid> {
    let pid = accept.thread.pid;
    // A new process, or `None` for another connection.
    let step = |record: &Record| match &record.what {
        What::Fork(fork) => fork.process_of(pid).map(Some),
        What::Accept(other) if other.thread.pid == pid && other.fd != accept.fd => Some(None),
        _ => None,
    };
    let from = pending.partition_point(|record| record.time < between.start);
    let until = pending.partition_point(|record| record.time < between.end);
    let before = pending.range(..from).rev().find_map(step);
    if before == Some(None) {
        return None;
    }
    pending.range(from..until).find_map(step)?
}

/// Finds the only connected socket that a new process has and its creator has not. The processes of inetd move it
/// to another descriptor by dup2(2).
fn sole_own_socket(child: Tid, creator: Tid, sockets: &mut Sockets) -> Option<SocketLookup> {
    let by_inode = |pid| -> HashMap<u64, i32> {
        procfs::socket_descriptors(pid).map(|(fd, inode)| (inode, fd)).collect()
    };
    let own = by_inode(child);
    if own.is_empty() || own.len() > MAX_OWN_SOCKETS {
        return None;
    }
    let kept = by_inode(creator);
    let own = own.into_iter().filter(|(inode, _)| !kept.contains_key(inode));
    let mut connected = own.map(|(_, fd)| sockets.find(child, fd, true)).filter(has_peer);
    connected.next().filter(|_| connected.next().is_none())
}

/// Whether the socket has the peer that the sample contains.
pub(super) fn confirms(sampled_peer: PeerAddr, peer: Option<SocketAddr>) -> bool {
    let (PeerAddr::Peer(sampled_peer) | PeerAddr::Perhaps(sampled_peer)) = sampled_peer else {
        return false;
    };
    peer.is_some_and(|peer| {
        canonical(peer.ip()) == canonical(sampled_peer.ip()) && peer.port() == sampled_peer.port()
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::super::counters::{FamilyId, Place};
    use super::super::record::{Buffer, Fork, Site};
    use super::*;

    const THREAD: Thread = Thread { pid: 1, tid: 1 };
    /// Two events of the thread, and one of another.
    const EVENTS: [u64; 3] = [100, 101, 102];
    /// When the accept was sampled, and when its socket was queried.
    const SAMPLED: u64 = 1_000;
    const QUERIED: u64 = SAMPLED + 80_000_000;
    /// A time in between, as if the thread had been preempted.
    const LATER: u64 = SAMPLED + 50_000_000;

    fn accept(thread: Thread) -> Accept {
        Accept {
            thread,
            fd: Some(7),
            listener: Some(3),
            site: Site::default(),
            buffer: Buffer::Null,
            sampled_peer: PeerAddr::Unclear,
        }
    }

    /// Whether the result counts if an event of a thread samples an accept with the same descriptor
    /// later, but before the query.
    fn counts(event: u64, thread: Thread, lost: Option<u64>) -> bool {
        let mut counters = Counters::default();
        for event in EVENTS {
            counters.add(event, (FamilyId::default(), (1, 2)), Place::default());
        }
        let peer = Some(([127, 0, 0, 5], 1).into());
        let socket = SocketLookup::Inet { local: None, peer };
        let sample = (SAMPLED, EVENTS[0]);
        let mut queries = SocketQueries::default();
        queries.known.insert(sample, QueryResult { time: QUERIED, socket, pid: THREAD.pid });
        lost.into_iter().for_each(|time| queries.note_lost(time));
        let later = Record { time: LATER, event, what: What::Accept(accept(thread)) };
        queries.take(sample, &accept(THREAD), &VecDeque::from([later]), &counters) == Some(socket)
    }

    #[test]
    fn a_second_sample_of_an_accept_does_not_invalidate_its_result() {
        assert!(counts(EVENTS[1], THREAD, None));
        assert!(counts(EVENTS[1], THREAD, Some(SAMPLED - 1)));
    }

    /// The process that serves the accept of descriptor 7 at `SAMPLED`. Given are accepts, as descriptors, and
    /// new processes, as negative process IDs, in order.
    fn process_for_accept(steps: &[i32]) -> Option<Tid> {
        let at = steps.iter().position(|step| *step == 7).unwrap() as u64;
        let record = |(n, step): (usize, &i32)| {
            let child = Thread { pid: -step, tid: -step };
            let what = match step {
                0.. => What::Accept(Accept { fd: Some(*step), ..accept(THREAD) }),
                _ => What::Fork(Fork { child, parent: THREAD }),
            };
            Record { time: SAMPLED - at + n as u64, event: EVENTS[0], what }
        };
        let pending: VecDeque<Record> = steps.iter().enumerate().map(record).collect();
        process_for(&accept(THREAD), SAMPLED..u64::MAX, &pending)
    }

    #[test]
    fn the_next_process_serves_an_accept_unless_it_may_serve_another() {
        assert_eq!(process_for_accept(&[7, -20, -21]), Some(20));
        assert_eq!(process_for_accept(&[6, -19, 7, -20]), Some(20), "the former has its own");
        assert_eq!(process_for_accept(&[6, 7, -20]), None, "it may serve the former");
        assert_eq!(process_for_accept(&[7, 8, -20]), None, "it may serve the later one");
        assert_eq!(process_for_accept(&[-19, 7]), None, "it was created before");
    }

    /// This process stands for the one that was created for the first accept.
    #[test]
    fn a_new_process_is_queried_if_the_descriptor_was_that_of_a_later_accept() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let me = std::process::id() as Tid;
        let child = Thread { pid: me, tid: me };
        let first = Accept { fd: Some(accepted.as_raw_fd()), ..accept(THREAD) };
        let record = |time, what| Record { time, event: EVENTS[0], what };
        let pending = VecDeque::from([
            record(SAMPLED, What::Accept(first)),
            record(SAMPLED + 1, What::Fork(Fork { child, parent: THREAD })),
            record(LATER, What::Accept(first)),
        ]);
        let sample = (SAMPLED, EVENTS[0]);
        let of_later = SocketLookup::Inet { local: None, peer: Some(([127, 0, 0, 5], 1).into()) };
        let result = QueryResult { time: QUERIED, socket: of_later, pid: THREAD.pid };
        let mut queries = SocketQueries::default();
        queries.known.insert(sample, result);
        let counters = Counters::default();
        queries.query_new_processes(&pending, (&counters, &mut Sockets::default()));
        let told = queries.take(sample, &first, &pending, &counters);
        let (local, peer) = (listener.local_addr().ok(), client.local_addr().ok());
        assert_eq!(told, Some(SocketLookup::Inet { local, peer }));
    }

    #[test]
    fn a_later_accept_with_the_same_descriptor_invalidates_a_result() {
        let other = Thread { pid: 1, tid: 2 };
        assert!(!counts(EVENTS[0], THREAD, None), "an event samples an accept once");
        assert!(!counts(EVENTS[2], other, None), "another thread");
        let lost = Some(SAMPLED);
        assert!(!counts(EVENTS[1], THREAD, lost), "its sample of the first may be lost");
    }
}
