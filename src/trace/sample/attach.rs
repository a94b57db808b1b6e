//! Opens the events of processes that run already.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::RecordTime;
use crate::SourceStatus;
use crate::model::plural;
use crate::sys::perf_ring::{Inherit, monotonic_now};
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::trace::Options;
use crate::trace::attach::Targets;
use crate::trace::attach_error::{self, AttachError};
use crate::trace::error::{Doing, Error};
use crate::trace::perf::PerfError;
use crate::trace::procfs;
use crate::trace::signals::handled_for_attached;
use crate::trace::socket::Sockets;

use super::covered::Covered;
use super::events::Families;
use super::evidence::Programs;
use super::executions::Executions;
use super::learning::Learning;
use super::listeners::Listeners;
use super::record::Thread;
use super::renewals::Renewals;
use super::rings::Rings;
use super::sampler::{Phase, Sampler};
use super::socket_queries::SocketQueries;
use super::threads::{CREATED_UNSEEN, Progress, Threads};
use super::unsuitable::UnsuitablePrograms;

/// Maximum number of threads of a process, waiting in accept, whose buffers are looked at.
const MAX_INSPECTED_BUFFERS: usize = 8;
/// How long to wait for moments in which threads create no other ones.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Threads that lacked events.
#[derive(Debug)]
pub(super) struct Missing {
    /// Whether there was one.
    pub has_some: bool,
    /// Why one lacks them still.
    pub failed: Option<String>,
    /// Whether /proc showed all threads.
    pub is_whole: bool,
}

impl Sampler {
    /// Opens events on all threads of the targets. When this returns, what they accept counts.
    ///
    /// # Errors
    /// [`Error::NothingAttached`] where no process can be watched so, with cause and remedy.
    pub fn attach(mut targets: Targets, options: Options) -> Result<Sampler, Error> {
        let notes = targets.resolve_threads();
        let mut sampler = Sampler::new(targets, options, &handled_for_attached())?;
        notes.into_iter().for_each(|note| sampler.remark(note));
        sampler.open_all()?;
        sampler.begin();
        let processes: Vec<Tid> = sampler.threads.processes().collect();
        for pid in &processes {
            let comm = procfs::comm(*pid).unwrap_or_default();
            sampler.detail(format!("process {pid} ({comm}): engine sample"));
        }
        let (processes, threads) = (processes.len(), sampler.threads.count());
        sampler.remark(format!(
            "attached to {} and {}, without stopping them",
            plural(processes as u64, "process", "processes"),
            plural(threads as u64, "thread", "threads"),
        ));
        Ok(sampler)
    }

    /// Finds the tracepoints, maps the rings and handles these signals; no event is open yet.
    pub(super) fn new(
        targets: Targets,
        options: Options,
        handled_signals: &[i32],
    ) -> Result<Sampler, Error> {
        let inherit = if targets.children { Inherit::All } else { Inherit::Threads };
        let families = Families::new(inherit).map_err(engine_error)?;
        let rings = Rings::map().map_err(|e| engine_error(PerfError::rings(e)))?;
        wake::install(handled_signals).doing("installing signal handlers")?;
        Ok(Sampler {
            options,
            targets,
            families,
            rings,
            threads: Threads::default(),
            listeners: Listeners::default(),
            sockets: Sockets::default(),
            socket_queries: SocketQueries::default(),
            programs: Programs::default(),
            learning: Learning::default(),
            renewals: Renewals::default(),
            unsuitable: UnsuitablePrograms::default(),
            progress: Progress::default(),
            covered: Covered::default(),
            processed_until: 0,
            held: None,
            has_counted: false,
            by_int80: HashSet::new(),
            executions: Executions::default(),
            records_lost_before: 0,
            started: None,
            ended: None,
            clock_offset: 0,
            records_lost: 0,
            lost: 0,
            next_check: Instant::now(),
            io_uring_seen: false,
            phase: Phase::Counting,
            end_requested: false,
            asked: false,
            reopen: false,
            notices: BTreeMap::new(),
            ready: VecDeque::new(),
            status: SourceStatus::new("trace"),
            remarks: Vec::new(),
            command: None,
        })
    }

    fn open_all(&mut self) -> Result<(), Error> {
        let mut failed = BTreeMap::new();
        let end = Instant::now() + SETTLE_TIMEOUT;
        let (is_settled, is_whole) = loop {
            let (unknown, is_whole) = self.unknown_threads(&mut failed);
            let mut has_news = false;
            for thread in unknown {
                match self.open(thread) {
                    Ok(()) => has_news = true,
                    Err(PerfError::Gone) => {}
                    Err(why @ (PerfError::Thread(_) | PerfError::Other(_))) => {
                        failed.insert(thread.pid, AttachError::perf_event(thread.pid, &why));
                    }
                    Err(why) => return Err(engine_error(why)),
                }
            }
            let is_late = Instant::now() >= end;
            if has_news && !is_late {
                continue;
            }
            // What has been created meanwhile may have created others before it had events.
            let is_settled = self.settle() && is_whole && !has_news;
            if is_settled || is_late {
                break (is_settled, is_whole);
            }
        };
        let has_failed = |pid| failed.contains_key(pid);
        if self.threads.count() == 0 || self.targets.pids.iter().all(has_failed) {
            return Err(Error::nothing_attached(failed.into_values().collect()));
        }
        if !is_whole {
            self.incomplete(CREATED_UNSEEN);
        } else if !is_settled {
            self.detail("some threads never waited while tcptally attached");
        }
        for (pid, why) in failed {
            let text = format!("not watched: {why}");
            match procfs::exists(pid) {
                true => self.incomplete(text),
                false => self.status.warn(text),
            }
            self.remark(why.to_string());
        }
        Ok(())
    }

    /// Settles threads that create no other one just now. Returns whether all are settled and none
    /// has been added meanwhile.
    pub(super) fn settle(&mut self) -> bool {
        let next = self.families.next();
        let unsettled = self.threads.unsettled();
        let quiet: Vec<Tid> =
            unsettled.iter().map(|t| t.tid).filter(|tid| self.progress.has_settled(*tid)).collect();
        // Threads that they created before have been reported by now.
        self.round_past(monotonic_now());
        quiet.into_iter().for_each(|tid| self.threads.settle(tid));
        self.families.next() == next && self.threads.unsettled().is_empty()
    }

    /// The threads that /proc shows and that may have no events yet, and whether it shows all.
    fn unknown_threads(&mut self, failed: &mut BTreeMap<Tid, AttachError>) -> (Vec<Thread>, bool) {
        let mut processes = self.targets.pids.clone();
        processes.extend(self.threads.processes());
        if self.targets.children {
            processes = procfs::with_descendants(&processes);
        }
        processes.remove(&(std::process::id() as Tid));
        let mut found = Vec::new();
        let mut is_whole = true;
        for pid in processes {
            let is_known = self.threads.of_process(pid).next().is_some();
            if failed.contains_key(&pid) {
                continue;
            }
            let why = if is_known {
                None
            } else {
                attach_error::unsupported(pid).or_else(|| unsupported(pid).map(AttachError::other))
            };
            if let Some(why) = why {
                if self.targets.pids.contains(&pid) || !procfs::process_has_ended(pid) {
                    failed.insert(pid, why);
                }
                continue;
            }
            let (threads, are_all) = procfs::all_threads(pid);
            is_whole &= are_all;
            found.extend(threads.into_iter().map(|tid| Thread { pid, tid }));
        }
        // Those that were born meanwhile have inherited events: their records are there by now.
        self.round_past(monotonic_now());
        found.retain(|thread| {
            self.threads.is_uncertain(thread.tid) && !procfs::has_ended(thread.tid)
        });
        (found, is_whole)
    }

    /// Opens events on all threads that may lack them, after records were lost.
    pub(super) fn open_uncertain(&mut self) {
        let mut failed = BTreeMap::new();
        let missing = self.open_missing(&mut failed);
        let failed =
            missing.failed.or_else(|| failed.into_values().next().map(|error| error.to_string()));
        if let Some(why) = failed.or_else(|| (!missing.is_whole).then(|| CREATED_UNSEEN.into())) {
            self.incomplete(why);
        }
    }

    /// Opens events on all threads that may lack them.
    pub(super) fn open_missing(&mut self, failed: &mut BTreeMap<Tid, AttachError>) -> Missing {
        let (unknown, is_whole) = self.unknown_threads(failed);
        let mut missing = Missing { has_some: !unknown.is_empty(), failed: None, is_whole };
        for thread in unknown {
            match self.open(thread) {
                Ok(()) | Err(PerfError::Gone) => {}
                Err(why) => missing.failed = Some(why.to_string()),
            }
        }
        missing
    }

    /// Opens events on a thread.
    pub(super) fn open(&mut self, thread: Thread) -> Result<(), PerfError> {
        let program = self.programs.program(thread.pid);
        if !self.learning.knows(program) {
            let threads = procfs::threads(thread.pid).into_iter().take(MAX_INSPECTED_BUFFERS);
            self.learning.begin(program, threads.filter_map(procfs::accept_under_way));
        }
        let family = self.families.open(thread.tid, self.learning.mode(program), &self.rings)?;
        let comm = self.options.requested.comm.then(|| procfs::comm(thread.tid)).flatten();
        self.threads.opened(thread, family, comm, &mut self.families);
        Ok(())
    }

    /// What is accepted from now on counts.
    pub(super) fn begin(&mut self) {
        let processes: Vec<Tid> = self.threads.processes().collect();
        for pid in &processes {
            self.listeners.look_at(*pid, monotonic_now());
            let threads: Vec<Tid> = self.threads.of_process(*pid).collect();
            let waiting =
                threads.into_iter().filter(|tid| procfs::accept_under_way(*tid).is_some());
            for tid in waiting.take(MAX_INSPECTED_BUFFERS).collect::<Vec<_>>() {
                self.look_at_buffer(Thread { pid: *pid, tid });
            }
        }
        if processes.iter().copied().any(procfs::has_io_uring) {
            self.warn_of_io_uring();
        }
        // Without the thread, the rings are read between other work.
        if let Err(error) = self.rings.collect() {
            self.detail(format!("no thread for the ring buffers: {error}"));
        }
        self.started = Some(monotonic_now());
        self.status.started = Some(RecordTime::now());
        self.detail(format!(
            "engine sample: {} events, a ring of {} KiB for each of {} CPUs",
            self.families.open_events(),
            self.rings.ring_bytes() >> 10,
            self.rings.cpus(),
        ));
    }
}

fn unsupported(pid: Tid) -> Option<String> {
    if procfs::is_32_bit(pid) == Some(true) {
        return Some(format!(
            "process {pid} is a 32-bit program, whose calls the kernel's tracepoints do not show; \
             use '--engine syscall'"
        ));
    }
    procfs::threads(pid).into_iter().any(procfs::accepts_by_int80).then(|| {
        format!(
            "process {pid} accepts by int 0x80, which the kernel's tracepoints do not show; use \
             '--engine syscall'"
        )
    })
}

pub(super) fn engine_error(cause: PerfError) -> Error {
    Error::PerfEvents { engine: "sample", cause }
}
