//! A round: reads the rings, asks sockets at once where samples do not tell all, and makes
//! connections of what happened before a moment ago, in the order of time.

use std::net::SocketAddr;

use crate::model::connection::{Connection, canonical};
use crate::model::record_time::RecordTime;
use crate::model::status::ShortfallKind;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::trace::perf::Refused;
use crate::trace::procfs;
use crate::trace::sockaddr::PeerAddr;
use crate::trace::socket::SocketLookup;

use super::answers::confirms;
use super::events::FamilyId;
use super::evidence::{Evidence, Verdict};
use super::listeners::{Answer, Listening, living_thread};
use super::record::{Accept, Buffer, Fork, Record, Thread, What};
use super::rings::Wake;
use super::sampler::{Phase, Sampler};
use super::threads::Inheritance;

/// So many accepts whose samples tell the peer make the reader look from time to time only.
const LEARNT: u32 = 4;
/// So often the reader changes its mind about when to look.
const MAX_CHANGES: u32 = 8;

const TOO_SHORT: &str = "connections may have been counted with the address of another client: \
                         the server gives accept a buffer that is too short; '--engine perf' asks \
                         the kernel";

/// Both ends of a connection, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    peer: Option<SocketAddr>,
    local_ip: Option<std::net::IpAddr>,
    local_port: Option<u16>,
}

impl Sampler {
    /// Reads the rings and processes what is complete; `all`: everything that has come.
    pub(super) fn round(&mut self, all: bool) {
        self.clock_offset = clock_offset();
        let horizon = self.read();
        let horizon = if all { u64::MAX } else { horizon };
        self.listeners.begin_round();
        while let Some(record) = self.rings.pending().front() {
            if record.time > horizon || self.answers.must_wait(record, horizon) {
                break;
            }
            let Some(record) = self.rings.pending().pop_front() else { break };
            self.process(record);
        }
        if !self.answers.is_empty() {
            let first = self.rings.pending().front().map_or(u64::MAX, |record| record.time);
            self.answers.forget_before(first);
        }
    }

    /// Takes the records out of the rings, and asks for what the samples do not tell.
    fn read(&mut self) -> u64 {
        let mut questions = Vec::new();
        let mut lost = 0;
        let Sampler { rings, families, listeners, options, evidence, started, .. } = self;
        let horizon = rings.drain(|record| match &record.what {
            What::Accept(accept) => {
                families.see(record.event);
                let (pid, fd) = (accept.thread.pid, accept.listener);
                let is_unclear =
                    evidence.get(&pid).copied().unwrap_or_default().wants_answer(accept.heard);
                let is_local_unclear = options.requested.local
                    && (listeners.is_doubtful(pid, fd)
                        || options.requested.local_ip && listeners.is_wildcard(pid, fd));
                if (is_unclear || is_local_unclear) && started.is_some_and(|t| t <= record.time) {
                    questions.push((record.time, *accept));
                }
            }
            What::Lost(count) => lost += count,
            _ => {}
        });
        self.records_lost += lost;
        for (time, accept) in questions {
            self.answers.ask(time, &accept, self.rings.pending(), &mut self.sockets);
        }
        horizon
    }

    fn process(&mut self, record: Record) {
        let time = record.time;
        match record.what {
            What::Accept(accept) => {
                let answer = self.answers.take(time, &accept, self.rings.pending());
                let Some(family) = self.families.family_of(record.event) else { return };
                let told = (time, accept.fd);
                if self.threads.counts(accept.thread, told, family, &mut self.families)
                    && self.started.is_some_and(|t| t <= time)
                    && self.ended.is_none_or(|t| time <= t)
                {
                    self.accepted(time, &accept, answer, family);
                }
            }
            What::Fork(fork) => self.forked(fork, time, self.families.family_of(record.event)),
            What::Exit(thread) => {
                self.threads.ended(thread, &mut self.families);
                self.sockets.forget(thread.tid);
                if self.threads.of_process(thread.pid).next().is_none() {
                    self.listeners.forget(thread.pid);
                    self.forget_evidence(thread.pid);
                }
            }
            What::Comm(thread, comm) => self.threads.renamed(thread, comm),
            What::Exec(thread, comm) => self.executed(thread, comm),
            What::Lost(_) => {}
        }
    }

    fn forked(&mut self, fork: Fork, time: u64, told_by: Option<FamilyId>) {
        let is_process = fork.child.pid != fork.parent.pid;
        if is_process && !self.targets.children {
            return;
        }
        let inheritance = self.threads.forked(fork, time, told_by, &mut self.families);
        if inheritance == Inheritance::Doubtful {
            match self.open(fork.child) {
                Ok(()) | Err(Refused::Gone) => {}
                Err(refused) => self.incomplete(refused),
            }
        }
        if is_process {
            self.listeners.inherit(fork.child.pid, fork.parent.pid);
            if let Some(evidence) = self.evidence.get(&fork.parent.pid) {
                let inherited = evidence.inherited();
                self.evidence.insert(fork.child.pid, inherited);
            }
        }
    }

    fn executed(&mut self, thread: Thread, comm: std::sync::Arc<str>) {
        self.threads.executed(thread, comm.clone(), &mut self.families);
        self.forget_evidence(thread.pid);
        if procfs::is_32_bit(thread.pid) == Some(true) {
            self.incomplete(format!(
                "process {} executes {comm}, a 32-bit program, whose connections the engine \
                 sample cannot see; use '--engine syscall'",
                thread.pid
            ));
        } else if ends_events(thread.pid) {
            // Only root gets events for it.
            let refused = self.open(thread).err();
            self.incomplete(format!(
                "process {} executes {comm}, which has other privileges, so that the kernel ended \
                 its events; {}",
                thread.pid,
                match refused {
                    Some(_) => "its connections are not counted from then on; run tcptally as root",
                    None => "connections may have been missed at that time",
                }
            ));
        }
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
        let Some(ends) = self.ends(time, accept, answer) else { return };
        self.learn(family, accept, &ends);
        let requested = self.options.requested;
        let Thread { pid, tid } = accept.thread;
        let comm = if requested.comm { self.threads.comm(tid) } else { None };
        self.ready.push_back(Connection {
            time: Some(RecordTime::Clock((time as i64).wrapping_add(self.clock_offset))),
            ip: ends.peer.map(|p| canonical(p.ip())),
            port: ends.peer.map(|p| p.port()),
            local_ip: ends.local_ip,
            local_port: ends.local_port,
            pid: Some(pid as u32),
            tid: Some(tid as u32),
            comm: comm.or_else(|| requested.comm.then(|| procfs::comm(tid)).flatten()),
            fd: accept.fd,
            ..Connection::default()
        });
    }

    /// `None`: not an internet socket.
    fn ends(&mut self, time: u64, accept: &Accept, answer: Option<SocketLookup>) -> Option<Ends> {
        let Thread { pid, tid } = accept.thread;
        let is_told = matches!(accept.heard, PeerAddr::Peer(_));
        let listening = if self.options.requested.local || !is_told {
            let times = (time, monotonic_now());
            self.listeners.at((pid, tid), accept.listener, times, &mut self.sockets)
        } else {
            Answer::Unknown
        };
        let current = match listening {
            Answer::Was(listening) | Answer::Is(listening) => Some(listening),
            Answer::Unknown => None,
        };
        let (local, peer) = match answer {
            Some(SocketLookup::Inet { local: Some(local), peer }) => {
                let is_confirmed = confirms(accept.heard, peer);
                let port = local.port();
                let is_served = current.and_then(Listening::address).map(|l| l.port())
                    == Some(port)
                    || self.listeners.ports(pid).contains(&port);
                match is_confirmed || is_served {
                    true => (Some(local), peer),
                    false => (None, None),
                }
            }
            _ => (None, None),
        };
        let is_other = current == Some(Listening::NotInet)
            || current.is_none() && answer == Some(SocketLookup::NotInet);
        if local.is_none() && accept.heard == PeerAddr::Unclear && is_other {
            return None;
        }
        let peer = self.peer(pid, accept.heard, peer);
        let (local_ip, local_port) = match (local, listening) {
            (Some(local), _) => (Some(canonical(local.ip())), Some(local.port())),
            (None, Answer::Was(Listening::Tcp(local))) => {
                let ip = canonical(local.ip());
                (Some(ip).filter(|ip| !ip.is_unspecified()), Some(local.port()))
            }
            _ => (None, self.only_port(pid, tid)),
        };
        Some(Ends { peer, local_ip, local_port })
    }

    fn peer(
        &mut self,
        pid: Tid,
        heard: PeerAddr,
        answered: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let (peer, verdict) = self.evidence.entry(pid).or_default().peer(heard, answered);
        if let Verdict::Refuted(count) = verdict {
            self.status.record_shortfall(ShortfallKind::Unobservable, count, TOO_SHORT);
        }
        peer
    }

    /// Where a process listens on one port, it does not matter by which descriptor.
    fn only_port(&mut self, pid: Tid, tid: Tid) -> Option<u16> {
        if !self.options.requested.local {
            return None;
        }
        let tid = living_thread(pid, tid).unwrap_or(tid);
        self.listeners.look_at(pid, tid, monotonic_now());
        let ports = self.listeners.ports(pid);
        ports.first().copied().filter(|_| ports.len() == 1)
    }

    /// A process has ended or executes another program.
    pub(super) fn forget_evidence(&mut self, pid: Tid) {
        let evidence = self.evidence.remove(&pid);
        self.unproven += evidence.map_or(0, |e| e.unproven());
    }

    /// Adapts when the reader looks: at once as long as sockets must be asked.
    fn learn(&mut self, family: FamilyId, accept: &Accept, ends: &Ends) {
        let requested = self.options.requested;
        let (pid, fd) = (accept.thread.pid, accept.listener);
        let evidence = self.evidence.get(&pid).copied().unwrap_or_default();
        let is_told = evidence.is_enough(accept.heard);
        let is_local_told = !requested.local
            || !self.listeners.is_doubtful(pid, fd)
                && (!requested.local_ip || !self.listeners.is_wildcard(pid, fd));
        self.note_unfit(accept, is_told, ends);
        let experience = self.experience.entry(family).or_default();
        experience.told = if is_told && is_local_told { experience.told + 1 } else { 0 };
        let wake = if experience.told >= LEARNT { Wake::Later } else { Wake::AtOnce };
        let is_other = self.families.get(family).is_some_and(|f| f.wake != wake);
        if self.phase == Phase::Counting && is_other && experience.changes < MAX_CHANGES {
            experience.changes += 1;
            // Where it fails, samples go where they went before.
            let _ = self.families.send_to(family, wake, &self.rings);
        }
    }

    /// Notes why the samples of a process do not tell all.
    fn note_unfit(&mut self, accept: &Accept, is_told: bool, ends: &Ends) {
        let pid = accept.thread.pid;
        if self.unfit.contains_key(&pid) {
            return;
        }
        let is_refuted = self.evidence.get(&pid).is_some_and(Evidence::is_refuted);
        let is_short = !is_told && accept.heard == PeerAddr::Unclear || is_refuted;
        let why = match accept.buffer {
            Buffer::Null => "it asks accept for no address",
            Buffer::Elsewhere(_) => "its buffer for addresses is not on the stack",
            Buffer::Unknown => "the kernel gives no registers",
            Buffer::Sampled if is_short => "its buffer for addresses is too short",
            Buffer::Sampled if self.options.requested.local && ends.local_port.is_none() => {
                "it moves its listening descriptors"
            }
            Buffer::Sampled => return,
        };
        self.unfit.insert(pid, why);
    }
}

/// Whether the program that a process has just executed has other privileges than whoever
/// executed it, or is hidden from him: the kernel ends its events then.
fn ends_events(pid: Tid) -> bool {
    use std::os::unix::fs::MetadataExt;
    const SET_IDS: u32 = libc::S_ISUID | libc::S_ISGID;
    let program = std::fs::metadata(format!("/proc/{pid}/exe"));
    program.is_ok_and(|program| program.mode() & SET_IDS != 0)
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
