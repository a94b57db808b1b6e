//! [`Tracees`]: the traced threads, their state and engines.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;

use crate::model::connection::{Connection, RequestedFields};
use crate::sys::ptrace::{self, Tid};
use crate::sys::{wait, wake};
use crate::trace::IO_URING_SEEN;
use crate::trace::accepted::Reader;
use crate::trace::attach::Targets;
use crate::trace::command::Command;
use crate::trace::cpu_affinity::CpuAffinity;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::watch::Perf;
use crate::trace::procfs;
use crate::trace::signals::{handled_for_attached, handled_for_command};
use crate::trace::untraced::UntracedClones;
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::check::Check;
use super::coverage::Coverage;
use super::options::{Options, Remark};
use super::threads::Threads;

/// How the processes became tracees.
#[derive(Debug)]
pub(super) enum Watched {
    Spawned(Command),
    Attached(Targets),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Counting,
    /// Nothing is counted any more, but the tracees stay traced until they end.
    Supervising,
    /// All connections that had been accepted have been read; the tracees are detached next.
    Leaving,
}

/// The traced threads. Its stop handlers are in [`stops`](super::stops).
#[derive(Debug)]
pub(super) struct Tracees {
    pub options: Options,
    pub watched: Watched,
    pub phase: Phase,
    pub threads: Threads,
    pub reader: Reader,
    /// The engine `perf`, unless it is unavailable or another engine was requested.
    pub perf: Option<Perf>,
    pub untraced_clones: UntracedClones,
    pub cpu_affinity: CpuAffinity,
    pub check: Check,
    pub coverage: Coverage,
    pub status: SourceStatus,
    /// Connections that children of a command accepted, and that are not counted as requested.
    pub accepts_of_children: u64,
    /// Connections that were read while something else was awaited.
    pub ready: VecDeque<Connection>,
    pub remarks: Vec<Remark>,
}

impl Tracees {
    /// Returns the tracees, and installs the handlers of signals to the tracer.
    pub(super) fn new(
        options: Options,
        watched: Watched,
        threads: Threads,
    ) -> Result<Tracees, Error> {
        let handled = match &watched {
            Watched::Spawned(_) => handled_for_command(),
            Watched::Attached(_) => handled_for_attached(),
        };
        wake::install(&handled).doing("installing signal handlers")?;
        let requested = RequestedFields {
            pid: options.requested.pid || options.no_children,
            ..options.requested
        };
        let mut status = SourceStatus::new("trace");
        status.started = Some(RecordTime::now());
        Ok(Tracees {
            options,
            watched,
            phase: Phase::Counting,
            threads,
            reader: Reader::new(requested),
            perf: None,
            untraced_clones: UntracedClones::default(),
            cpu_affinity: CpuAffinity::default(),
            check: Check::default(),
            coverage: Coverage::default(),
            status,
            accepts_of_children: 0,
            ready: VecDeque::new(),
            remarks: Vec::new(),
        })
    }

    /// Adds a remark that is shown unless `--quiet` is given.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: false, text: text.into() });
    }

    /// Adds a remark that is shown with `--verbose`.
    pub(super) fn detail(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: true, text: text.into() });
    }

    /// Waits for a stop and handles it. Returns `None` if no tracees are left.
    pub(super) fn wait(&mut self) -> Result<Option<Option<Connection>>, Error> {
        match wait::any() {
            Ok(Some(change)) => self.on_stop(change.into()).doing("tracing").map(Some),
            Ok(None) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Some(None)),
            Err(e) => Err(e).doing("waiting for tracees"),
        }
    }

    /// Handles all stops that have been reported already. Does not wait.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        loop {
            match wait::any_now() {
                Ok(Some(change)) => {
                    let connection = self.on_stop(change.into()).doing("tracing")?;
                    self.ready.extend(connection);
                }
                Ok(None) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for tracees"),
            }
        }
    }

    /// Switches threads to the engine `syscall`: stops each once, and from then on at every
    /// system call.
    pub(super) fn switch_to_syscall(&mut self, threads: impl IntoIterator<Item = Tid>) {
        for tid in threads {
            self.threads.set_engine(tid, PtraceEngine::Syscall);
            self.threads.state(tid).is_awaiting_accept = false;
            // A thread that has ended needs no stop.
            if ptrace::interrupt(tid).is_ok() {
                self.threads.set_interrupted(tid);
                if let Some(perf) = &mut self.perf {
                    perf.give_away(tid);
                    self.threads.state(tid).is_leaving_perf = true;
                }
            }
        }
    }

    /// Switches a process to the engine `syscall` because `perf` is not possible.
    pub(super) fn fall_back(&mut self, pid: Tid, reason: &impl Display) {
        self.report_fallback(pid, reason);
        self.switch_to_syscall(procfs::threads(pid));
    }

    /// Switches one stopped thread to the engine `syscall` because `perf` is not possible.
    pub(super) fn fall_back_thread(&mut self, tid: Tid, reason: &impl Display) {
        self.threads.set_engine(tid, PtraceEngine::Syscall);
        self.report_fallback(tid, reason);
    }

    /// Whether a given process must be watched with this engine or not at all.
    pub(super) fn is_required(&self, engine: PtraceEngine, pid: Tid) -> bool {
        let Watched::Attached(targets) = &self.watched else { return false };
        self.options.engine == Some(engine) && targets.pids.contains(&pid)
    }

    /// Reports that `perf` is not possible: as a notice if it was requested, else as a detail.
    pub(super) fn report_fallback(&mut self, tid: Tid, reason: &impl Display) {
        let text = format!("process {tid}: engine syscall, since {reason}");
        if self.options.engine == Some(PtraceEngine::Perf) {
            self.remark(text);
        } else {
            self.detail(text);
        }
    }

    /// Checks running processes for rings that they set up before they were traced.
    pub(super) fn check_io_uring(&mut self, mut processes: impl Iterator<Item = Tid>) {
        if processes.any(procfs::has_io_uring) {
            self.record_io_uring();
        }
    }

    /// Records that a tracee uses io_uring.
    pub(super) fn record_io_uring(&mut self) {
        self.status.record_shortfall(ShortfallKind::IoUring, 1, IO_URING_SEEN);
    }
}
