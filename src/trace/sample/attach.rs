//! Opens the events of processes that run already.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use crate::RecordTime;
use crate::SourceStatus;
use crate::sys::perf_ring::{Inherit, monotonic_now};
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::trace::Options;
use crate::trace::attach::Targets;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::Refused;
use crate::trace::procfs;
use crate::trace::refusal;
use crate::trace::signals::handled_for_attached;
use crate::trace::socket::Sockets;
use crate::trace::target;

use super::answers::Answers;
use super::events::Families;
use super::listeners::Listeners;
use super::record::Thread;
use super::rings::Rings;
use super::sampler::{Phase, Sampler};
use super::threads::Threads;

impl Sampler {
    /// Opens events on all threads of the targets. When this returns, what they accept counts.
    ///
    /// # Errors
    /// [`Error::NothingAttached`] where no process can be watched so, with cause and remedy.
    pub fn attach(mut targets: Targets, options: Options) -> Result<Sampler, Error> {
        let notes = targets.resolve_threads();
        let inherit = if targets.children { Inherit::All } else { Inherit::Threads };
        let families = Families::new(inherit).map_err(engine_error)?;
        let rings = Rings::map().map_err(|e| engine_error(Refused::rings(e)))?;
        wake::install(&handled_for_attached()).doing("installing signal handlers")?;
        let mut sampler = Sampler {
            options,
            targets,
            families,
            rings,
            threads: Threads::default(),
            listeners: Listeners::default(),
            sockets: Sockets::default(),
            answers: Answers::default(),
            evidence: HashMap::new(),
            unproven: 0,
            experience: HashMap::new(),
            unfit: HashMap::new(),
            started: None,
            ended: None,
            clock_offset: 0,
            records_lost: 0,
            lost: 0,
            next_check: Instant::now(),
            phase: Phase::Counting,
            asked: false,
            notices: BTreeMap::new(),
            ready: VecDeque::new(),
            status: SourceStatus::new("trace"),
            remarks: Vec::new(),
        };
        notes.into_iter().for_each(|note| sampler.remark(note));
        sampler.open_all()?;
        sampler.begin();
        Ok(sampler)
    }

    fn open_all(&mut self) -> Result<(), Error> {
        let mut refused = BTreeMap::new();
        loop {
            let mut news = false;
            for thread in self.unknown_threads(&mut refused) {
                match self.open(thread) {
                    Ok(()) => news = true,
                    Err(Refused::Gone) => {}
                    Err(why @ (Refused::Thread(_) | Refused::Other(_))) => {
                        refused.insert(thread.pid, format!("process {}: {why}", thread.pid));
                    }
                    Err(why) => return Err(engine_error(why)),
                }
            }
            if !news {
                break;
            }
        }
        if self.threads.count() == 0 {
            return Err(Error::nothing_attached(refused.into_values().collect()));
        }
        for (pid, why) in refused {
            let text = format!("not watched: {why}");
            match procfs::exists(pid) {
                true => self.incomplete(text),
                false => self.status.warn(text),
            }
            self.remark(why);
        }
        Ok(())
    }

    /// The threads that /proc shows and that have no events yet.
    fn unknown_threads(&mut self, refused: &mut BTreeMap<Tid, String>) -> Vec<Thread> {
        let mut processes = self.targets.pids.clone();
        processes.extend(self.threads.processes());
        if self.targets.children {
            processes = target::with_descendants(&processes);
        }
        processes.remove(&(std::process::id() as Tid));
        let mut found = Vec::new();
        for pid in processes {
            let is_known = self.threads.of_process(pid).next().is_some();
            if refused.contains_key(&pid) {
                continue;
            }
            let why =
                if is_known { None } else { refusal::unwatchable(pid).or_else(|| unfit(pid)) };
            if let Some(why) = why {
                if self.targets.pids.contains(&pid) || !procfs::process_has_ended(pid) {
                    refused.insert(pid, why);
                }
                continue;
            }
            found.extend(procfs::threads(pid).into_iter().map(|tid| Thread { pid, tid }));
        }
        // Those that were born meanwhile have inherited events: their records are there by now.
        self.round(true);
        found.retain(|thread| !self.threads.knows(thread.tid));
        found
    }

    /// Opens events on a thread.
    pub(super) fn open(&mut self, thread: Thread) -> Result<(), Refused> {
        let family = self.families.open(thread.tid, &self.rings)?;
        let comm = self.options.requested.comm.then(|| procfs::comm(thread.tid)).flatten();
        self.threads.opened(thread, family, comm, &mut self.families);
        Ok(())
    }

    fn begin(&mut self) {
        let processes: Vec<Tid> = self.threads.processes().collect();
        for pid in &processes {
            let tid = self.threads.of_process(*pid).next().unwrap_or(*pid);
            self.listeners.look_at(*pid, tid, monotonic_now());
        }
        if processes.iter().copied().any(procfs::has_io_uring) {
            self.warn_of_io_uring();
        }
        self.round(true);
        self.started = Some(monotonic_now());
        self.status.started = Some(RecordTime::now());
        self.detail(format!(
            "engine sample: {} events, two rings of {} KiB for each of {} CPUs",
            self.families.open_events(),
            self.rings.ring_bytes() >> 10,
            self.rings.cpus(),
        ));
        let (processes, threads) = (processes.len(), self.threads.count());
        self.remark(format!(
            "attached to {processes} {} and {threads} {}, without stopping them",
            if processes == 1 { "process" } else { "processes" },
            if threads == 1 { "thread" } else { "threads" },
        ));
    }
}

fn unfit(pid: Tid) -> Option<String> {
    (procfs::is_32_bit(pid) == Some(true)).then(|| {
        format!(
            "process {pid} is a 32-bit program, whose calls the kernel's tracepoints do not show; \
             use '--engine syscall'"
        )
    })
}

fn engine_error(refused: Refused) -> Error {
    Error::Engine { engine: "sample", cause: refused.to_string() }
}
