//! A round: reads the rings, asks sockets at once where samples do not tell all, and makes
//! connections of what happened before a moment ago, in the order of time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::connection::{Connection, canonical};
use crate::model::record_time::RecordTime;
use crate::model::status::ShortfallKind;
use crate::sys::arch::SAMPLES_TELL_LISTENER;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::sys::tracee;
use crate::trace::perf::PerfError;
use crate::trace::procfs;
use crate::trace::sockaddr::PeerAddr;
use crate::trace::socket::SocketLookup;

use super::counters::FamilyId;
use super::covered::CountedBy;
use super::evidence::Verdict;
use super::listeners::{ListenerState, Listening};
use super::record::{Accept, Buffer, Entry, Fork, Record, Site, Thread, What};
use super::sampler::{Phase, Sampler, WithheldEvent};
use super::socket_queries::confirms;
use super::threads::{CREATED_UNSEEN, Inheritance};
use super::unsuitable::{NO_ADDRESS, OFF_STACK, TOO_SHORT_BUFFER};

const ROUND_PAUSE: Duration = Duration::from_micros(300);

/// Maximum number of sockets that are queried in one round, those of the latest accepts.
const MAX_QUESTIONS: usize = 256;

const TOO_SHORT: &str = "connections may have been counted with the address of another client: \
                         the server gives accept a buffer that is too short; '--engine perf' asks \
                         the kernel";

/// Why samples do not tell the local port, where they lack the listening descriptor.
pub(in crate::trace) const SEVERAL_PORTS: &str =
    "it listens on several ports, and the kernel's samples do not tell which on this processor";

const UNKNOWN_PORT: &str = match SAMPLES_TELL_LISTENER {
    true => {
        "connections were counted without their local port: the server closed or replaced the listening \
         socket before it was looked at; '--engine perf' asks the kernel at each accept"
    }
    false => {
        "connections were counted without their local port: the server listens on several, and on this \
         processor the engine sample can ask a socket only before the server closes it; use \
         '--engine perf'"
    }
};

/// Both ends of a connection, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    peer: Option<SocketAddr>,
    local_ip: Option<std::net::IpAddr>,
    local_port: Option<u16>,
}

impl Sampler {
    /// Reads the rings until all that the kernel has written up to this time is processed, unless
    /// it waits for an answer.
    pub(super) fn round_past(&mut self, time: u64) {
        while self.round(false) < time {
            std::thread::sleep(ROUND_PAUSE);
        }
    }

    /// Reads the rings and processes what is complete; `all`: everything that has come. Returns
    /// until when all is processed.
    pub(super) fn round(&mut self, all: bool) -> u64 {
        self.clock_offset = clock_offset();
        let horizon = self.read();
        let horizon = if all { u64::MAX } else { horizon };
        self.listeners.begin_round();
        while let Some(record) = self.rings.pending().front() {
            if record.time > horizon || self.socket_queries.must_wait(record, horizon) {
                break;
            }
            let Some(record) = self.rings.pending().pop_front() else { break };
            self.process(record);
        }
        if !self.socket_queries.is_empty() {
            let first = self.rings.pending().front().map_or(u64::MAX, |record| record.time);
            self.socket_queries.forget_before(first);
        }
        // What waits for an answer holds up all that came later.
        let first = self.rings.pending().front().map_or(u64::MAX, |record| record.time);
        self.processed_until = horizon.min(first.saturating_sub(1));
        if self.held.is_none() && self.covered.has_undecided() {
            let connections = self.covered.decide(self.processed_until);
            self.ready.extend(connections);
        }
        self.processed_until
    }

    /// Takes the records out of the rings, and asks for what the samples do not tell.
    fn read(&mut self) -> u64 {
        let mut questions = Vec::new();
        let (mut lost, mut wrong) = (0, 0);
        let Sampler { rings, families, listeners, options, programs, .. } = self;
        let Sampler { started, covered, socket_queries, .. } = self;
        let entries = families.entry_events();
        let is_entry = |event| entries.contains(&event);
        let horizon = rings.drain(is_entry, |record| match &record.what {
            What::Accept(accept) => {
                families.see(record.event, record.time);
                let (pid, fd) = (accept.thread.pid, accept.listener);
                let is_unclear = programs.get(pid).is_none_or(|known| known.needs_query(accept));
                let is_local_unclear = options.requested.local
                    && (listeners.is_doubtful(pid, fd)
                        || options.requested.local_ip && listeners.is_wildcard(pid, fd));
                let is_asked = (is_unclear || is_local_unclear) && !covered.has(accept.thread.tid);
                if is_asked && started.is_some_and(|t| t <= record.time) {
                    questions.push(((record.time, record.event), *accept));
                }
            }
            What::Entry(entry) => {
                let pid = entry.thread.pid;
                let family = listeners.family(pid, entry.listener);
                // A descriptor that is not known yet is looked at when this is processed.
                if (family.is_some() || entry.listener.is_none())
                    && let Some(known) = programs.get(pid)
                {
                    wrong += known.enter(entry, family);
                }
            }
            What::Lost(count) => {
                lost += count;
                socket_queries.note_lost(record.time);
            }
            _ => {}
        });
        self.status.record_shortfall(ShortfallKind::Unobservable, wrong, TOO_SHORT);
        self.records_lost += lost;
        // Each takes a look at all pending records. Sockets of older accepts are closed by now.
        let skipped = questions.len().saturating_sub(MAX_QUESTIONS);
        let Sampler { socket_queries, rings, families, sockets, .. } = self;
        socket_queries.query_new_processes(rings.pending(), (families.counters(), sockets));
        for (sample, accept) in questions.into_iter().skip(skipped) {
            socket_queries.query(sample, &accept, rings.pending(), (families.counters(), sockets));
        }
        horizon
    }

    fn process(&mut self, record: Record) {
        let time = record.time;
        match record.what {
            What::Accept(accept) => {
                let sample = (time, record.event);
                let counters = self.families.counters();
                let answer =
                    self.socket_queries.take(sample, &accept, self.rings.pending(), counters);
                let Some((family, place)) = self.families.place_of(record.event) else { return };
                if self.threads.counts(&accept, sample, (family, place), &mut self.families)
                    && self.started.is_some_and(|t| t <= time)
                    && self.ended.is_none_or(|t| time <= t)
                {
                    self.accepted(time, &accept, answer, family);
                }
            }
            // By now it is known which program a new process executes.
            What::Entry(entry) => self.enter(&entry),
            What::Fork(fork) => self.forked(fork, time, self.families.family_of(record.event)),
            What::Exit(thread) if self.goes_on(thread, time) => {}
            What::Exit(thread) => self.exited(thread, time),
            What::Comm(thread, comm) => self.threads.renamed(thread, comm),
            What::Exec(thread, comm) => self.executed(thread, time, comm),
            What::Lost(_) => {}
        }
    }

    fn forked(&mut self, fork: Fork, time: u64, reported_by: Option<FamilyId>) {
        let is_process = fork.is_process();
        if is_process {
            self.unsuitable.forked(fork.parent.pid);
            if !self.targets.children {
                return;
            }
        }
        self.replaced(fork.child.tid, time);
        let inheritance = self.threads.forked(fork, time, reported_by, &mut self.families);
        if inheritance == Inheritance::Doubtful {
            match self.open(fork.child) {
                Ok(()) | Err(PerfError::Gone) => {}
                // It has the events that are being replaced.
                Err(_) if self.renewals.are_in_progress() => {}
                Err(refused) => self.incomplete(refused),
            }
            if self.started.is_some() && !self.renewals.are_in_progress() {
                self.incomplete(CREATED_UNSEEN);
            }
        }
        if is_process {
            self.executions.created(fork.child.pid, fork.parent.pid);
            self.listeners.inherit(fork.child.pid, fork.parent.pid);
            self.programs.fork(fork.child.pid, fork.parent.pid);
        }
    }

    fn enter(&mut self, entry: &Entry) {
        let Thread { pid, tid } = entry.thread;
        if entry.listener.is_some() && self.listeners.family(pid, entry.listener).is_none() {
            let now = monotonic_now();
            self.listeners.at((pid, tid), entry.listener, (now, now), &mut self.sockets);
        }
        let family = self.listeners.family(pid, entry.listener);
        let wrong = self.programs.of(pid).enter(entry, family);
        self.status.record_shortfall(ShortfallKind::Unobservable, wrong, TOO_SHORT);
    }

    /// Finds out the length of the buffer of a thread that waits in accept. Whoever may not trace the
    /// thread has to wait for its next call.
    pub(super) fn look_at_buffer(&mut self, thread: Thread) {
        // It may leave the call in between, and enter it again.
        let waits = || procfs::status_field(thread.tid, "voluntary_ctxt_switches");
        let before = waits();
        let Some(call) = procfs::accept_under_way(thread.tid) else { return };
        let mut length = [0; 4];
        if tracee::read_memory(thread.tid, call.length, &mut length).is_ok()
            && procfs::accept_under_way(thread.tid) == Some(call)
            && waits() == before
        {
            let site = Site::new(call.address, call.length, call.stack_pointer);
            let (listener, length) = (Some(call.listener), u32::from_ne_bytes(length));
            self.enter(&Entry { thread, site, listener, length });
        }
    }

    fn executed(&mut self, thread: Thread, time: u64, comm: Arc<str>) {
        self.threads.executed(thread, comm.clone(), &mut self.families);
        self.programs.exec(thread.pid);
        self.listeners.executed(thread.pid, monotonic_now());
        if procfs::is_32_bit(thread.pid) == Some(true) {
            self.incomplete(format!(
                "process {} executes {comm}, a 32-bit program, whose connections the engine \
                 sample cannot see; use '--engine syscall'",
                thread.pid
            ));
        }
        self.executions.executed(thread.tid, time, comm);
    }

    fn accepted(
        &mut self,
        time: u64,
        accept: &Accept,
        answer: Option<SocketLookup>,
        family: FamilyId,
    ) {
        // The filter lets no error pass, save while events are being opened.
        if accept.fd.is_none() && accept.buffer != Buffer::Unknown {
            return;
        }
        let ends = self.ends(time, accept, answer);
        if let Some(ends) = &ends {
            self.learn(family, accept, ends);
            let is_unknown = ends.local_port.is_none() && self.options.requested.local;
            if is_unknown && !self.covered.has(accept.thread.tid) {
                self.status.record_shortfall(ShortfallKind::Unobservable, 1, UNKNOWN_PORT);
            }
        }
        let tid = accept.thread.tid;
        let connection = ends.map(|ends| self.connection(time, accept, &ends));
        match &mut self.held {
            Some(held) => held.push(WithheldEvent::Accept(tid, time, connection)),
            None => self.give(tid, time, connection),
        }
    }

    fn connection(&self, time: u64, accept: &Accept, ends: &Ends) -> Connection {
        let requested = self.options.requested;
        let Thread { pid, tid } = accept.thread;
        let comm = if requested.comm { self.threads.comm(tid) } else { None };
        Connection {
            time: Some(RecordTime::Clock((time as i64).wrapping_add(self.clock_offset))),
            ip: ends.peer.map(|p| canonical(p.ip())),
            port: ends.peer.map(|p| p.port()),
            local_ip: ends.local_ip,
            local_port: ends.local_port,
            pid: Some(pid as u32),
            tid: Some(tid as u32),
            comm: comm.or_else(|| requested.comm.then(|| procfs::comm(tid)).flatten()),
            container: requested.container.then(|| procfs::container(tid)).flatten(),
            fd: accept.fd,
            ..Connection::default()
        }
    }

    /// Gives a connection, unless a tracer counts it.
    pub(super) fn give(&mut self, tid: Tid, time: u64, connection: Option<Connection>) {
        match self.covered.counted_by(tid, time) {
            CountedBy::Sampler => self.ready.extend(connection),
            CountedBy::Undecided => self.covered.keep(tid, time, connection),
            CountedBy::Tracer => {}
        }
    }

    /// `None`: not an internet socket.
    fn ends(&mut self, time: u64, accept: &Accept, answer: Option<SocketLookup>) -> Option<Ends> {
        let Thread { pid, tid } = accept.thread;
        let has_peer = matches!(accept.sampled_peer, PeerAddr::Peer(_));
        let listening = if self.options.requested.local || !has_peer {
            let times = (time, monotonic_now());
            self.listeners.at((pid, tid), accept.listener, times, &mut self.sockets)
        } else {
            ListenerState::Unknown
        };
        // The new descriptor may be that of a later connection by now, and the answer tell of it.
        if listening == ListenerState::Was(Listening::NotInet)
            && accept.sampled_peer == PeerAddr::Unclear
        {
            return None;
        }
        let current = match listening {
            ListenerState::Was(listening) | ListenerState::Is(listening) => Some(listening),
            ListenerState::Unknown => None,
        };
        let (local, peer) = match answer {
            Some(SocketLookup::Inet { local: Some(local), peer }) => {
                let is_confirmed = confirms(accept.sampled_peer, peer);
                let port = local.port();
                let is_served = current.and_then(Listening::address).map(|l| l.port())
                    == Some(port)
                    || self.serves(accept, port);
                match is_confirmed || is_served {
                    true => (Some(local), peer),
                    false => (None, None),
                }
            }
            _ => (None, None),
        };
        let is_other = current == Some(Listening::NotInet)
            || current.is_none() && answer == Some(SocketLookup::NotInet);
        if local.is_none() && accept.sampled_peer == PeerAddr::Unclear && is_other {
            return None;
        }
        let (peer, is_answer) = self.peer(accept, peer);
        let local = local.filter(|_| is_answer);
        let (local_ip, local_port) = match (local, listening) {
            (Some(local), _) => (Some(canonical(local.ip())), Some(local.port())),
            (None, ListenerState::Was(Listening::Tcp(local))) => {
                let ip = canonical(local.ip());
                (Some(ip).filter(|ip| !ip.is_unspecified()), Some(local.port()))
            }
            _ => (None, self.only_port(pid)),
        };
        Some(Ends { peer, local_ip, local_port })
    }

    /// The peer, and whether what the socket has answered is the answer to this accept.
    fn peer(
        &mut self,
        accept: &Accept,
        answered: Option<SocketAddr>,
    ) -> (Option<SocketAddr>, bool) {
        let (peer, verdict) = self.programs.of(accept.thread.pid).peer(accept, answered);
        if let Verdict::Refuted(count) = verdict {
            self.status.record_shortfall(ShortfallKind::Unobservable, count, TOO_SHORT);
        }
        (peer, verdict != Verdict::Ignored)
    }

    /// Whether the process of an accept listens on this port, or did.
    fn serves(&mut self, accept: &Accept, port: u16) -> bool {
        let pid = accept.thread.pid;
        if accept.listener.is_none() && !self.listeners.ports(pid).contains(&port) {
            self.listeners.look_at(pid, monotonic_now());
        }
        self.listeners.ports(pid).contains(&port)
    }

    /// Where a process listens on one port, it does not matter by which descriptor.
    fn only_port(&mut self, pid: Tid) -> Option<u16> {
        if !self.options.requested.local {
            return None;
        }
        self.listeners.look_at(pid, monotonic_now());
        let ports = self.listeners.ports(pid);
        ports.first().copied().filter(|_| ports.len() == 1)
    }

    /// Learns from an accept what the samples of its program must hold.
    fn learn(&mut self, family: FamilyId, accept: &Accept, ends: &Ends) {
        let requested = self.options.requested;
        let (pid, fd) = (accept.thread.pid, accept.listener);
        let has_peer = !self.programs.of(pid).needs_query(accept);
        let has_local = !requested.local
            || !self.listeners.is_doubtful(pid, fd)
                && (!requested.local_ip || !self.listeners.is_wildcard(pid, fd));
        let program = self.programs.program(pid);
        if self.phase == Phase::Counting && !self.covered.has(accept.thread.tid) {
            let changed = self.learning.see(program, accept, has_peer && has_local);
            if changed.is_some() {
                self.renewals.request(program);
            }
        }
        self.note_unsuitable(accept, has_peer, ends);
        if !has_peer && accept.buffer == Buffer::Sampled {
            self.look_at_buffer(accept.thread);
        }
        let families = self.listeners.families(pid);
        let needs_entries = !has_peer || self.programs.of(pid).needs_entries(families);
        if needs_entries && accept.buffer == Buffer::Sampled {
            self.families.open_entries(family, accept.thread.tid, &self.rings);
        } else if !self.learning.mode(program).wakes_at_once {
            self.families.close_entries(family);
        }
    }

    /// Notes why the samples of a process do not tell all.
    fn note_unsuitable(&mut self, accept: &Accept, has_peer: bool, ends: &Ends) {
        let pid = accept.thread.pid;
        let program = self.programs.program(pid);
        if self.unsuitable.has(program) {
            return;
        }
        let is_refuted = self.programs.of(pid).is_refuted(accept);
        let is_short = !has_peer && accept.sampled_peer == PeerAddr::Unclear || is_refuted;
        let why = match accept.buffer {
            Buffer::Null => NO_ADDRESS,
            Buffer::Elsewhere(_) if self.will_reach(program, accept) => return,
            Buffer::Elsewhere(_) => OFF_STACK,
            Buffer::Unknown => "the kernel gives no registers",
            Buffer::Sampled if is_short => TOO_SHORT_BUFFER,
            Buffer::Sampled if self.options.requested.local && ends.local_port.is_none() => {
                match accept.listener {
                    Some(_) => "it moves its listening descriptors",
                    None => SEVERAL_PORTS,
                }
            }
            Buffer::Sampled => return,
        };
        self.unsuitable.suspect(pid, program, why);
    }
}

/// What to add to CLOCK_MONOTONIC to get CLOCK_REALTIME, by the quickest of several readings.
fn clock_offset() -> i64 {
    let reading = || {
        let before = monotonic_now();
        let now = RecordTime::now();
        let after = monotonic_now();
        let RecordTime::Clock(now) = now else { return (u64::MAX, 0) };
        (after - before, now.wrapping_sub((before + (after - before) / 2) as i64))
    };
    [reading(), reading(), reading()].into_iter().min().map_or(0, |(_, offset)| offset)
}
