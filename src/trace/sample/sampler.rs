//! [`Sampler`]: the source of connections.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::SourceStatus;
use crate::model::connection::Connection;
use crate::model::event_source::{Ending, Event, EventSource};
use crate::model::record_time::RecordTime;
use crate::model::status::ShortfallKind;
use crate::sys::arch::SAMPLES_TELL_LISTENER;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::trace::Options;
use crate::trace::attach::Targets;
use crate::trace::command::Command;
use crate::trace::error::{Doing, Error};
use crate::trace::signals::{self, ENDS};
use crate::trace::socket::Sockets;
use crate::trace::tracer::Remark;

use super::covered::Covered;
use super::events::Families;
use super::evidence::Programs;
use super::executions::Executions;
use super::learning::Learning;
use super::listeners::Listeners;
use super::renewals::Renewals;
use super::rings::Rings;
use super::socket_queries::{CLOSED_SOON, SocketQueries};
use super::threads::{Progress, Threads};
use super::unsuitable::UnsuitablePrograms;

/// How often the rings are read at least.
const READ_INTERVAL_MS: u16 = 50;
/// The same while answers of sockets wait for what else happened at their time.
const SHORT_READ_INTERVAL_MS: u16 = 2;
/// How long to look for a sample that the kernel has counted already.
pub(super) const SAMPLE_TIMEOUT: Duration = Duration::from_millis(300);
/// Time between two looks for what is awaited.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// A connection is usually given within this time.
const LATENESS: Duration = Duration::from_millis(250);

const LOST: &str = "connections were accepted while the kernel's ring buffer was full: tcptally was \
                    stopped, or got no CPU time; 'nice -n -5 tcptally' gets more of it";

const UNPROVEN: &str = "connections were counted with the addresses that the server's memory shows; \
                        whether its buffer holds whole addresses could not be found out";

/// Watches running processes without stopping them.
#[derive(Debug)]
pub struct Sampler {
    pub(super) options: Options,
    pub(super) targets: Targets,
    pub(super) families: Families,
    pub(super) rings: Rings,
    pub(super) threads: Threads,
    pub(super) listeners: Listeners,
    pub(super) sockets: Sockets,
    pub(super) socket_queries: SocketQueries,
    /// What is known of the buffers of each program.
    pub(super) programs: Programs,
    /// What the samples of each program must hold.
    pub(super) learning: Learning,
    pub(super) renewals: Renewals,
    /// Programs whose samples do not tell all, and why.
    pub(super) unsuitable: UnsuitablePrograms,
    pub(super) progress: Progress,
    pub(super) covered: Covered,
    /// All records before this time have been processed.
    pub(super) processed_until: u64,
    /// What happened to watched threads while a tracer attaches to some of them; `None`: none does.
    pub(super) held: Option<Vec<WithheldEvent>>,
    /// Whether a connection has been given.
    pub(super) has_counted: bool,
    /// Processes that have come to accept by int 0x80.
    pub(super) by_int80: HashSet<Tid>,
    /// Processes that have executed a program.
    pub(super) executions: Executions,
    /// From when on accepts count: CLOCK_MONOTONIC.
    pub(super) started: Option<u64>,
    /// Until when.
    pub(super) ended: Option<u64>,
    /// What to add to CLOCK_MONOTONIC to get CLOCK_REALTIME.
    pub(super) clock_offset: i64,
    /// Records of any kind that found no room in a ring.
    pub(super) records_lost: u64,
    /// The same at the last check.
    pub(super) records_lost_before: u64,
    /// Accepts that brought no sample.
    pub(super) lost: u64,
    pub(super) next_check: Instant,
    pub(super) io_uring_seen: bool,
    pub(super) phase: Phase,
    /// Whether a signal has ended the count.
    pub(super) end_requested: bool,
    /// Whether SIGUSR1 asked for the tally.
    pub(super) asked: bool,
    /// SIGHUP asked to reopen output files.
    pub(super) reopen: bool,
    /// Signals that were ignored, and whether that is still to be said.
    pub(super) notices: BTreeMap<i32, bool>,
    pub(super) ready: VecDeque<Connection>,
    pub(super) status: SourceStatus,
    pub(super) remarks: Vec<Remark>,
    /// The command that was started.
    pub(super) command: Option<Command>,
}

/// An event of a thread that is withheld until it is known which engine counts it.
#[derive(Debug)]
pub(super) enum WithheldEvent {
    /// It accepted; `None`: not an internet socket.
    Accept(Tid, u64, Option<Connection>),
    /// It ended.
    Exit(Tid, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Counting,
    Ended,
}

impl Sampler {
    /// What was chosen and why, and what was attached to.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Processes that execute a program whose samples are unsuitable: they do not tell all, and why. Those that are
    /// excluded are not among them, nor those that a tracer watches already.
    pub(in crate::trace) fn unsuitable_processes(
        &mut self,
        excluded: &mut HashSet<Tid>,
    ) -> Option<(BTreeSet<Tid>, &'static str)> {
        // The id of one that has ended may be that of another process by now.
        excluded.retain(|pid| self.threads.of_process(*pid).next().is_some());
        let processes: Vec<Tid> = match self.unsuitable.is_empty() {
            true => Vec::new(),
            false => self.threads.processes().filter(|pid| !excluded.contains(pid)).collect(),
        };
        let mut found: Option<(BTreeSet<Tid>, &'static str)> = None;
        for pid in processes {
            let Some(why) = self.unsuitable.why(self.programs.program(pid)) else { continue };
            let mut threads = self.threads.of_process(pid);
            if threads.any(|tid| !self.covered.has(tid)) {
                let (pids, first) = found.get_or_insert_with(|| (BTreeSet::new(), why));
                if *first == why {
                    pids.insert(pid);
                }
            }
        }
        found
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: false, text: text.into() });
    }

    pub(super) fn detail(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: true, text: text.into() });
    }

    pub(super) fn incomplete(&mut self, why: impl ToString) {
        self.status.record_shortfall(ShortfallKind::Unobservable, 1, why.to_string());
    }

    pub(super) fn warn_of_io_uring(&mut self) {
        self.io_uring_seen = true;
        self.status.record_shortfall(ShortfallKind::IoUring, 1, crate::trace::IO_URING_SEEN);
    }

    /// Deals with the signals that have come.
    fn on_signals(&mut self) -> Result<(), Error> {
        let signals = wake::take();
        wake::at(None);
        self.asked |= signals.has(libc::SIGUSR1);
        self.reopen |= signals.asks_to_reopen();
        if let Some(command) = self.command.as_mut().filter(|command| command.ending.is_none()) {
            let ignored = command.on_signals(signals).doing("stopping with the job")?;
            wake::at(command.next_due());
            for signal in ignored {
                self.notices.entry(signal).or_insert(true);
            }
            return Ok(());
        }
        // SIGXCPU: at the hard limit of CPU time the kernel kills, so report before.
        if ENDS.into_iter().chain([libc::SIGXCPU]).any(|s| signals.has(s)) {
            self.end_requested = true;
            self.finish()?;
        }
        for signal in signals.numbers().filter(|s| signals::is_ignored_while_attached(*s)) {
            self.notices.entry(signal).or_insert(true);
        }
        Ok(())
    }

    /// How the count has ended.
    fn ending(&self) -> Ending {
        match &self.command {
            Some(command) => command.ending.unwrap_or(Ending::CommandDetached(command.pid)),
            None => Ending::Detached,
        }
    }

    /// Stops counting.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.ended = Some(monotonic_now());
        self.compare()?;
        // The answers of sockets wait for what else happened at their time.
        let end = Instant::now() + SAMPLE_TIMEOUT;
        while !self.socket_queries.is_empty() && Instant::now() < end {
            std::thread::sleep(POLL_INTERVAL);
            self.round(false);
        }
        self.prove_buffers();
        self.round(true);
        self.look_for_other_calls();
        self.phase = Phase::Ended;
        Ok(())
    }

    /// Gives an event, or waits a little for one.
    pub(in crate::trace) fn step(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.on_signals()?;
        }
        if std::mem::take(&mut self.reopen) {
            return Ok(Some(Event::Reopen));
        }
        if std::mem::take(&mut self.asked) {
            return Ok(Some(Event::Asked));
        }
        if let Some((signal, is_new)) = self.notices.iter_mut().find(|(_, is_new)| **is_new) {
            *is_new = false;
            let pid = self.command.as_ref().map(|command| command.pid);
            return Ok(Some(Event::Notice(signals::describe_ignored(*signal, pid))));
        }
        if let Some(connection) = self.take() {
            return Ok(Some(Event::Connection(connection)));
        }
        if self.phase == Phase::Ended {
            return Ok(Some(Event::Ended(self.ending())));
        }
        if deadline.is_some_and(|d| d <= Instant::now()) {
            return Ok(Some(Event::Deadline));
        }
        self.wait(deadline);
        if let Some(command) = &mut self.command {
            command.collect()?;
        }
        self.look()?;
        Ok(None)
    }

    /// The next connection that is complete.
    pub(in crate::trace) fn take(&mut self) -> Option<Connection> {
        let connection = self.ready.pop_front()?;
        self.has_counted = true;
        if connection.ip.is_none() {
            self.status.warn(CLOSED_SOON);
        }
        Some(connection)
    }

    /// Reads the rings, and does what is due.
    pub(in crate::trace) fn look(&mut self) -> Result<(), Error> {
        self.round(false);
        self.renew();
        if self.next_check <= Instant::now() {
            self.check()?;
        }
        let runs = self.command.as_ref().is_some_and(|command| command.ending.is_none());
        if self.threads.count() == 0 && !runs {
            self.finish()?;
        }
        Ok(())
    }

    /// Whether a process is watched.
    pub(in crate::trace) fn watches(&mut self, pid: Tid) -> bool {
        // The record of its creation may not have been processed yet.
        self.round_past(monotonic_now());
        self.threads.of_process(pid).next().is_some()
    }

    /// The processes that are watched.
    pub(in crate::trace) fn processes(&self) -> impl Iterator<Item = Tid> {
        self.threads.processes()
    }

    /// The threads of a process, as far as they are watched.
    pub(in crate::trace) fn threads_of(&self, pid: Tid) -> impl Iterator<Item = Tid> {
        self.threads.of_process(pid)
    }

    /// Whether a connection has been given, or will be.
    pub(in crate::trace) fn has_counted(&self) -> bool {
        self.has_counted || !self.ready.is_empty()
    }

    /// Whether it has ended: its processes have, or it was requested to end.
    pub(in crate::trace) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether a signal has ended the count.
    pub(in crate::trace) fn is_leaving(&self) -> bool {
        self.end_requested
    }

    /// Waits for records for two milliseconds at most.
    pub(in crate::trace) fn wait_shortly(&self) {
        self.rings.wait(SHORT_READ_INTERVAL_MS);
    }

    /// Whether a process listens on several ports, the local one is asked for, and the samples do not
    /// tell the listening descriptor.
    pub(in crate::trace) fn cannot_tell_port(&self, pid: Tid) -> bool {
        !SAMPLES_TELL_LISTENER
            && self.options.requested.local
            && self.listeners.ports(pid).len() > 1
    }

    /// Whether connections of a process have local addresses that the samples do not tell.
    pub(in crate::trace) fn asks_for_wildcard(&self, pid: Tid) -> bool {
        self.options.requested.local_ip && self.listeners.has_wildcard(pid)
    }

    /// Notes that the samples of a process will not tell all.
    pub(in crate::trace) fn note_unsuitable_process(&mut self, pid: Tid, why: &'static str) {
        self.unsuitable.note(self.programs.program(pid), why);
    }

    /// Whether sockets are to be asked as soon as their samples come.
    pub(in crate::trace) fn asks_sockets(&self) -> bool {
        !self.socket_queries.is_empty() || self.families.wake_at_once()
    }

    /// How many bytes each ring holds.
    pub(in crate::trace) fn ring_bytes(&self) -> usize {
        self.rings.ring_bytes()
    }

    /// Whether a part of what was to be watched cannot be, which another engine may be able to watch.
    pub(in crate::trace) fn is_partial(&self) -> bool {
        self.status.shortfalls().iter().any(|s| s.kind != ShortfallKind::IoUring)
    }

    fn wait(&self, deadline: Option<Instant>) {
        let most =
            if self.socket_queries.is_empty() { READ_INTERVAL_MS } else { SHORT_READ_INTERVAL_MS };
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map_or(most, |left| left.as_millis().min(most.into()) as u16);
        self.rings.wait(left);
    }
}

impl EventSource for Sampler {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.step(deadline)? {
                return Ok(event);
            }
        }
    }

    fn next_known(&mut self) -> Option<Connection> {
        self.take()
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.finish()?;
        Ok(std::iter::from_fn(|| self.take()).collect())
    }

    fn status(&mut self) -> SourceStatus {
        if self.phase == Phase::Counting && self.compare().is_err() {
            self.incomplete("the kernel's count of accepts could not be read");
        }
        let mut status = self.status.clone();
        status.engine = Some("sample".into());
        status.ended = Some(RecordTime::now());
        status.record_shortfall(ShortfallKind::Unobservable, self.programs.unproven(), UNPROVEN);
        status.tracees = Some(self.threads.count() as u64);
        status.record_shortfall(ShortfallKind::LostConnections, self.lost, LOST);
        status
    }

    fn lateness(&self) -> Duration {
        LATENESS
    }
}
