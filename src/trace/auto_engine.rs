//! [`AutoEngine`], the engine `auto`: watches running processes with the engine `sample`, and those
//! whose samples lack an address with `perf` or `syscall`.
//!
//! # No gap, no double count
//!
//! While a tracer attaches to a process, the sampler watches it, too, and withholds connections. The
//! tracer reports from which time on it sees the accepts of each thread. An earlier accept counts by
//! its sample, a later one by its stop. `sample::covered` decides about accepts at that very moment.
//! The sampler keeps the threads to which the tracer could not attach.
//! Both engines compare with the kernel's own counts.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::SourceStatus;
use crate::model::connection::Connection;
use crate::model::event_source::{Ending, Event, EventSource};
use crate::model::plural;
use crate::sys::ptrace::Tid;

use super::attach::Targets;
use super::error::Error;
use super::known_programs::KnownPrograms;
use super::procfs;
use super::sample::{self, Sampler};
use super::tracer::{Options, Remark, Tracer};

/// Maximum interval at which the sampler reads its rings while a tracer waits for stops.
const LOOK: Duration = Duration::from_millis(20);
/// Smaller rings are full before a busy machine gives the reader CPU time: this holds some 800 accepts
/// of each CPU.
const MIN_RING_BYTES: usize = 512 << 10;
/// Maximum time to wait until it is known which engine counts each connection.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(30);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// The same while sockets must be queried at once.
const LOOK_SOON: Duration = Duration::from_millis(2);

/// Watches each of the running processes with the least intrusive engine that provides all requested fields.
#[derive(Debug)]
pub struct AutoEngine {
    targets: Targets,
    options: Options,
    /// `None` once a tracer watches all processes.
    sampler: Option<Box<Sampler>>,
    /// `None` as long as samples are sufficient for all processes.
    tracer: Option<Box<Tracer>>,
    /// Whether the tracer has no process to trace.
    is_tracer_idle: bool,
    /// The last status of the sampler, once it has ended.
    sampled: Option<SourceStatus>,
    /// Processes that a tracer was asked to watch.
    handed_over: HashSet<Tid>,
    /// Programs for which earlier runs found that samples lack an address.
    known: KnownPrograms,
    /// Whether no tracer can watch them, so that the sampler continues alone.
    cannot_hand_over: bool,
    remarks: Vec<Remark>,
    /// Connections and notices to be given next.
    ready: VecDeque<Event>,
    next_look: Instant,
}

impl AutoEngine {
    /// Attaches to processes. When this returns, what they accept counts.
    ///
    /// # Errors
    /// Those of [`Tracer::attach`].
    pub fn attach(targets: Targets, options: Options) -> Result<AutoEngine, Error> {
        let mut attached = AutoEngine {
            targets,
            options,
            sampler: None,
            tracer: None,
            is_tracer_idle: true,
            sampled: None,
            handed_over: HashSet::new(),
            known: KnownPrograms::default(),
            cannot_hand_over: false,
            remarks: Vec::new(),
            ready: VecDeque::new(),
            next_look: Instant::now(),
        };
        match Sampler::attach(attached.targets.clone(), options) {
            Ok(sampler) if sampler.is_partial() || sampler.ring_bytes() < MIN_RING_BYTES => {
                let why = match sampler.is_partial() {
                    true => "it cannot watch all of them",
                    false => {
                        "its ring buffers would be too small (perf_event_mlock_kb; each \
                              tcptally of this user takes a part)"
                    }
                };
                if let Err(error) = attached.trace_all(why) {
                    attached.keep(sampler);
                    attached.remark(format!("no other engine is possible: {error}"));
                }
            }
            Ok(sampler) => {
                attached.keep(sampler);
                attached.hand_over_known()?;
            }
            Err(error) => attached.trace_all(&error.to_string())?,
        }
        Ok(attached)
    }

    /// Notices: the chosen engine and the reason, and the attached processes.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Whether an engine watches a process.
    pub(super) fn watches(&mut self, pid: Tid) -> bool {
        self.tracer.as_ref().is_some_and(|tracer| tracer.watches(pid))
            || self.sampler.as_mut().is_some_and(|sampler| sampler.watches(pid))
    }

    /// Whether a signal has ended the count.
    pub(super) fn is_leaving(&self) -> bool {
        self.tracer.as_ref().is_some_and(|tracer| tracer.is_leaving())
            || self.sampler.as_ref().is_some_and(|sampler| sampler.is_leaving())
    }

    fn remark(&mut self, text: String) {
        self.remarks.push(Remark { is_detail: false, text });
    }

    fn detail(&mut self, text: String) {
        self.remarks.push(Remark { is_detail: true, text });
    }

    fn keep(&mut self, sampler: Sampler) {
        self.remarks.extend_from_slice(sampler.remarks());
        self.sampler = Some(Box::new(sampler));
    }

    /// Watches all processes with a tracer from the start.
    fn trace_all(&mut self, why: &str) -> Result<(), Error> {
        let tracer = Tracer::attach(self.targets.clone(), self.options)?;
        self.detail(format!("not the engine sample: {why}"));
        self.remarks.extend_from_slice(tracer.remarks());
        self.tracer = Some(Box::new(tracer));
        self.is_tracer_idle = false;
        Ok(())
    }

    /// Hands over the processes whose samples will lack an address, as far as that is known before the
    /// first accept.
    fn hand_over_known(&mut self) -> Result<(), Error> {
        let Some(sampler) = &mut self.sampler else { return Ok(()) };
        self.known = KnownPrograms::of_this_user();
        let processes: Vec<Tid> = sampler.processes().collect();
        for pid in processes {
            let why = known_unsuitable(sampler, pid).or_else(|| self.known.cause(pid));
            if let Some(why) = why {
                sampler.note_unsuitable_process(pid, why);
            }
        }
        while self.hand_over()? {}
        let end = Instant::now() + SETTLE_TIMEOUT;
        while !self.is_tracer_idle && self.sampler.is_some() && Instant::now() < end {
            self.look()?;
            std::thread::sleep(POLL_INTERVAL);
        }
        if self.sampler.is_none() {
            // Its only notices so far are those of its start.
            self.remarks.clear();
        }
        if let Some(tracer) = &self.tracer {
            self.remarks.extend_from_slice(tracer.remarks());
        }
        for event in std::mem::take(&mut self.ready) {
            match event {
                Event::Notice(text) if self.tracer.is_some() => self.detail(text),
                Event::Notice(text) => self.remark(text),
                event => self.ready.push_back(event),
            }
        }
        Ok(())
    }

    /// Hands over to a tracer the processes of a program whose samples lack an address. Returns whether there was
    /// one.
    fn hand_over(&mut self) -> Result<bool, Error> {
        let AutoEngine {
            sampler: Some(sampler), tracer, handed_over, cannot_hand_over: false, ..
        } = self
        else {
            return Ok(false);
        };
        let Some((mut pids, why)) = sampler.unsuitable_processes(handed_over) else {
            return Ok(false);
        };
        // The child of a traced process is traced, too; its first stop has not been handled yet.
        pids.retain(|pid| !procfs::is_traced_by_us(*pid));
        let Some(&pid) = pids.first() else { return Ok(false) };
        handed_over.extend(&pids);
        let others = pids.len() - 1;
        let targets = Targets { pids: pids.clone(), children: self.targets.children };
        let options = self.options;
        sampler.hold();
        let result = while_sampling(sampler, || match tracer {
            Some(tracer) => tracer.attach_more(&targets),
            None => {
                Tracer::attach_beside(targets, options).map(|new| *tracer = Some(Box::new(new)))
            }
        })?;
        if let Some(tracer) = tracer {
            sampler.cover(tracer.take_coverage());
        }
        sampler.release();
        let name = procfs::comm(pid).map_or(String::new(), |comm| format!(" ({comm})"));
        let others = match others {
            0 => String::new(),
            n => format!(", and {} of the same program", plural(n as u64, "process", "processes")),
        };
        let notice = match result {
            Ok(()) => {
                self.is_tracer_idle = false;
                self.known.add(pids.iter().copied(), why);
                let engine = self.tracer.as_mut().and_then(|tracer| tracer.status().engine);
                format!(
                    "process {pid}{name}: {why}; it is stopped at its accepts from now on (engine \
                     {}){others}",
                    engine.unwrap_or_default()
                )
            }
            Err(_) if pids.into_iter().all(procfs::process_has_ended) => {
                self.take_sampled();
                return Ok(true);
            }
            Err(error) => {
                self.cannot_hand_over = true;
                format!(
                    "process {pid}{name}: {why}, so that some clients' addresses may be unknown{others}; \
                 no other engine is possible: {error}"
                )
            }
        };
        self.take_sampled();
        self.ready.push_back(Event::Notice(notice));
        Ok(true)
    }

    /// Reads the rings while a tracer is attached, too.
    fn look(&mut self) -> Result<(), Error> {
        let (Some(sampler), Some(tracer)) = (&mut self.sampler, &mut self.tracer) else {
            return Ok(());
        };
        let quiet = sampler.quiet();
        tracer.drain()?;
        sampler.cover(tracer.take_coverage());
        sampler.look()?;
        sampler.decide(quiet);
        let wait = if sampler.asks_sockets() { LOOK_SOON } else { LOOK };
        self.next_look = Instant::now() + wait;
        if sampler.has_ended() || sampler.is_covered() {
            self.end_sampler()?;
        }
        self.take_sampled();
        self.hand_over()?;
        Ok(())
    }

    fn take_sampled(&mut self) {
        while let Some(connection) = self.sampler.as_mut().and_then(|sampler| sampler.take()) {
            self.ready.push_back(Event::Connection(connection));
        }
    }

    /// Ends the sampler. All stops of the tracer have been handled.
    fn end_sampler(&mut self) -> Result<(), Error> {
        let Some(mut sampler) = self.sampler.take() else { return Ok(()) };
        if let Some(tracer) = &mut self.tracer {
            sampler.cover(tracer.take_coverage());
        }
        let connections = sampler.stop_counting()?;
        self.ready.extend(connections.into_iter().map(Event::Connection));
        sampler.decide_all();
        let has_counted = sampler.has_counted() || !self.ready.is_empty();
        while let Some(connection) = sampler.take() {
            self.ready.push_back(Event::Connection(connection));
        }
        let status = sampler.status();
        // A tracer that watches all processes reports the rest.
        if has_counted || !status.is_complete() || self.tracer.is_none() {
            self.sampled = Some(status);
        }
        Ok(())
    }

    /// Waits for an event of the tracer, and reads samples meanwhile.
    fn trace(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        if self.sampler.is_some() && self.next_look <= Instant::now() {
            self.look()?;
            return Ok(None);
        }
        let Some(tracer) = &mut self.tracer else { return Ok(None) };
        let until = match (&self.sampler, deadline) {
            (Some(_), Some(deadline)) => Some(deadline.min(self.next_look)),
            (Some(_), None) => Some(self.next_look),
            (None, deadline) => deadline,
        };
        match tracer.next(until)? {
            Event::Deadline if until != deadline => Ok(None),
            Event::Ended(ending) => {
                self.is_tracer_idle = true;
                if tracer.is_leaving() || self.sampler.is_none() {
                    self.end_sampler()?;
                    self.ready.push_back(Event::Ended(ending));
                }
                Ok(None)
            }
            event => Ok(Some(event)),
        }
    }
}

/// Programs whose buffer for addresses is known to be elsewhere than on the stack.
const OFF_STACK: [&str; 15] = [
    "cupsd",
    "h2o",
    "haproxy",
    "knotd",
    "mosquitto",
    "named",
    "node",
    "php",
    "privoxy",
    "sniproxy",
    "squid",
    "unbound",
    "uwsgi",
    "uwsgi-core",
    "webfsd",
];
/// Maximum number of threads of a process that are checked.
const MAX_INSPECTED_THREADS: usize = 64;

/// Why the samples of a process will lack an address, as far as that is known before its first accept.
fn known_unsuitable(sampler: &Sampler, pid: Tid) -> Option<&'static str> {
    let program = procfs::program(pid).unwrap_or_default();
    // Such as php8.2.
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if OFF_STACK.contains(&program) {
        return Some("its buffers for addresses are not on the stack");
    }
    if sampler.cannot_tell_port(pid) {
        return Some(sample::SEVERAL_PORTS);
    }
    if sampler.asks_for_wildcard(pid) {
        return Some("the local address is requested, and it listens on all addresses");
    }
    let threads = sampler.threads_of(pid).take(MAX_INSPECTED_THREADS);
    let mut buffers = threads.filter_map(procfs::accept_under_way);
    let is_elsewhere = buffers.any(|call| !sample::can_reach(&call));
    is_elsewhere.then_some("its buffer for addresses is elsewhere")
}

/// Runs `f`, and reads the rings meanwhile, so that sockets are queried before they are closed.
fn while_sampling<T>(sampler: &mut Sampler, f: impl FnOnce() -> T) -> Result<T, Error> {
    let is_done = AtomicBool::new(false);
    let (result, sampled) = std::thread::scope(|scope| {
        let read = || -> Result<(), Error> {
            while !is_done.load(Ordering::Acquire) {
                sampler.wait_shortly();
                sampler.look()?;
            }
            Ok(())
        };
        let sampling =
            std::thread::Builder::new().name("sampling".into()).spawn_scoped(scope, read);
        let result = f();
        is_done.store(true, Ordering::Release);
        (result, sampling.ok().map(std::thread::ScopedJoinHandle::join))
    });
    match sampled {
        Some(Ok(outcome)) => outcome.map(|()| result),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        // No thread could be created. What the rings could not hold is reported lost.
        None => sampler.look().map(|()| result),
    }
}

/// The sum of what both engines could not observe.
fn join(mut status: SourceStatus, sampled: &SourceStatus) -> SourceStatus {
    status.started = sampled.started;
    let engine = status.engine.take().unwrap_or_default();
    status.engine = Some(format!("sample+{engine}"));
    for shortfall in sampled.shortfalls() {
        status.record_shortfall(shortfall.kind, shortfall.count, shortfall.text.clone());
    }
    sampled.warnings.iter().for_each(|warning| status.warn(warning.clone()));
    status
}

impl EventSource for AutoEngine {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if !self.is_tracer_idle {
                if let Some(event) = self.trace(deadline)? {
                    return Ok(event);
                }
                continue;
            }
            let Some(sampler) = &mut self.sampler else {
                return Ok(Event::Ended(Ending::Detached));
            };
            if let Some(event) = sampler.step(deadline)? {
                return Ok(event);
            }
            self.hand_over()?;
        }
    }

    fn next_known(&mut self) -> Option<Connection> {
        if !self.ready.is_empty() || !self.is_tracer_idle {
            return None;
        }
        self.sampler.as_mut()?.take()
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        let mut connections = match &mut self.tracer {
            Some(tracer) => tracer.stop_counting()?,
            None => Vec::new(),
        };
        self.end_sampler()?;
        // Notices stay for later.
        self.ready.retain(|event| match event {
            Event::Connection(connection) => {
                connections.push(connection.clone());
                false
            }
            _ => true,
        });
        Ok(connections)
    }

    fn status(&mut self) -> SourceStatus {
        let sampled = match &mut self.sampler {
            Some(sampler) => Some(sampler.status()),
            None => self.sampled.clone(),
        };
        match (&mut self.tracer, sampled) {
            (Some(tracer), Some(sampled)) => join(tracer.status(), &sampled),
            (Some(tracer), None) => tracer.status(),
            (None, sampled) => sampled.unwrap_or_else(|| SourceStatus::new("trace")),
        }
    }

    fn lateness(&self) -> Duration {
        self.sampler.as_ref().map_or(Duration::ZERO, |sampler| sampler.lateness())
    }
}
