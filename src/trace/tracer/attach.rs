//! Attaches to running processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::model::plural;
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::trace::attach::Targets;
use crate::trace::attach_error::AttachError;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::Error;
use crate::trace::perf::PerfError;
use crate::trace::perf::watch::{Perf, PerfWatchError};
use crate::trace::procfs;
use crate::{RecordTime, ShortfallKind};

use super::detach;
use super::options::Options;
use super::signals::SignalHandler;
use super::threads::Threads;
use super::tracees::{Phase, Tracees, Watched};

/// How long an attached process may take to stop once. Threads in vfork(2) or an uninterruptible
/// sleep do not stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Attaches to running processes. When this returns, their accepts are counted.
/// `collects_coverage`: a sampler watches them, too.
pub(super) fn attach(
    mut targets: Targets,
    options: Options,
    signals: &mut SignalHandler,
    collects_coverage: bool,
) -> Result<Tracees, Error> {
    // First, because it may fail: then no process has been affected.
    let inherit = if targets.children { Inherit::All } else { Inherit::Threads };
    let perf = open_perf(options.engine, inherit)?;
    let notes = targets.resolve_threads();
    if options.engine == Some(PtraceEngine::Perf) {
        require_perf(&targets)?;
    }
    let seized = targets.seize()?;
    let threads = Threads::recorded(seized.threads.values().flatten().copied());
    let mut tracees = Tracees::new(options, Watched::Attached(targets), threads)?;
    if collects_coverage {
        tracees.coverage.collect();
    }
    notes.into_iter().for_each(|note| tracees.remark(note));
    report_failed(&mut tracees, seized.failed);
    match perf {
        Some(Ok(perf)) => {
            tracees.perf = Some(perf);
            tracees.check.postpone();
        }
        Some(Err(error)) => tracees.remark(without_perf(&error)),
        None => {}
    }
    begin(&mut tracees, &seized.threads, signals)?;
    tracees.status.started = Some(RecordTime::now());
    Ok(tracees)
}

/// Attaches to more processes.
pub(super) fn attach_more(
    tracees: &mut Tracees,
    targets: &Targets,
    signals: &mut SignalHandler,
) -> Result<(), Error> {
    let seized = targets.seize()?;
    tracees.threads.add(seized.threads.values().flatten().copied());
    if let Watched::Attached(former) = &mut tracees.watched {
        former.pids.extend(targets.pids.iter().copied());
    }
    report_failed(tracees, seized.failed);
    begin(tracees, &seized.threads, signals)
}

/// Begins to count the accepts of threads that have been seized.
fn begin(
    tracees: &mut Tracees,
    processes: &BTreeMap<Tid, BTreeSet<Tid>>,
    signals: &mut SignalHandler,
) -> Result<(), Error> {
    choose_engines(tracees, processes)?;
    wait_until_settled(tracees, signals)?;
    tracees.check_io_uring(processes.keys().copied());
    let threads: usize = processes.values().map(BTreeSet::len).sum();
    tracees.remark(format!(
        "attached to {} and {}",
        plural(processes.len() as u64, "process", "processes"),
        plural(threads as u64, "thread", "threads"),
    ));
    Ok(())
}

/// Prepares the engine `perf` unless another engine is requested. Fails if `perf` is requested and
/// unavailable.
fn open_perf(
    requested: Option<PtraceEngine>,
    inherit: Inherit,
) -> Result<Option<Result<Perf, PerfError>>, Error> {
    match requested {
        Some(PtraceEngine::Syscall | PtraceEngine::Seccomp) => Ok(None),
        Some(PtraceEngine::Perf) => match Perf::new(inherit) {
            Ok(perf) => Ok(Some(Ok(perf))),
            Err(error) => Err(Error::PerfEvents { engine: "perf", cause: error }),
        },
        None => Ok(Some(Perf::new(inherit))),
    }
}

fn without_perf(reason: &PerfError) -> String {
    format!(
        "engine perf unavailable: {reason}. The engine syscall is used, which stops the server at \
         every system call instead of once per connection"
    )
}

/// Fails if `perf` is requested and cannot watch one of the given processes.
fn require_perf(targets: &Targets) -> Result<(), Error> {
    let unsupported = |pid: &Tid| Perf::unsupported(*pid).map(|reason| unsupported(*pid, &reason));
    let exist = targets.pids.iter().filter(|pid| procfs::exists(**pid));
    let causes: Vec<AttachError> = exist.filter_map(unsupported).collect();
    if causes.is_empty() { Ok(()) } else { Err(Error::nothing_attached(causes)) }
}

fn unsupported(pid: Tid, reason: &PerfWatchError) -> AttachError {
    AttachError::other(format!(
        "process {pid}: engine 'perf' cannot be used, since {reason}; without '--engine', another \
         engine is used for such a process"
    ))
}

/// Reports the processes that could not be seized, each with the reason.
fn report_failed(tracees: &mut Tracees, failed: BTreeMap<Tid, AttachError>) {
    for (pid, reason) in failed {
        let text = format!("not watched: {reason}");
        if procfs::exists(pid) {
            tracees.status.record_shortfall(ShortfallKind::Unobservable, 1, text);
        } else {
            tracees.status.warn(text);
        }
        tracees.remark(reason.to_string());
    }
}

/// Chooses an engine for each process and starts it. This takes a while for each process, so the
/// stops of others are handled in between.
fn choose_engines(
    tracees: &mut Tracees,
    processes: &BTreeMap<Tid, BTreeSet<Tid>>,
) -> Result<(), Error> {
    let mut has_told = false;
    for (&pid, threads) in processes {
        match tracees.perf.as_mut().map(|perf| perf.begin(pid)) {
            Some(Ok(opened)) => {
                tracees.coverage.add(opened);
                threads.iter().for_each(|tid| tracees.threads.set_engine(*tid, PtraceEngine::Perf));
                tracees.check.add_process(pid);
                tracees.detail(format!("process {pid}: engine perf"));
            }
            Some(Err(reason)) if tracees.is_required(PtraceEngine::Perf, pid) => {
                detach::detach(tracees)?;
                return Err(Error::NothingAttached(vec![unsupported(pid, &reason)]));
            }
            Some(Err(reason)) => {
                if let Some(perf) = &mut tracees.perf {
                    perf.begin_at_first_stop(threads);
                }
                // Unlike other reasons, it is not the process that must be changed.
                if let PerfWatchError::Event(error) = &reason
                    && !std::mem::replace(&mut has_told, true)
                {
                    tracees.remark(without_perf(error));
                }
                tracees.fall_back(pid, &reason);
            }
            None => tracees.switch_to_syscall(threads.iter().copied()),
        }
        tracees.drain()?;
    }
    Ok(())
}

/// Waits until every thread that was interrupted has stopped once.
fn wait_until_settled(tracees: &mut Tracees, signals: &mut SignalHandler) -> Result<(), Error> {
    let end = Instant::now() + STOP_TIMEOUT;
    wake::at(Some(end));
    while tracees.phase == Phase::Counting && !is_settled(tracees) {
        if wake::is_due() {
            signals.handle(tracees, wake::take())?;
            wake::at(Some(end));
        }
        if Instant::now() >= end {
            let failed = tracees.perf.as_mut().map(Perf::give_up).unwrap_or_default();
            for (tid, reason) in failed {
                tracees.report_fallback(tid, &reason);
                tracees.switch_to_syscall([tid]);
            }
            break;
        }
        match tracees.wait()? {
            Some(connection) => tracees.ready.extend::<Option<Connection>>(connection),
            None => break,
        }
    }
    Ok(())
}

fn is_settled(tracees: &Tracees) -> bool {
    !tracees.threads.has_interrupted() && tracees.perf.as_ref().is_none_or(Perf::is_settled)
}
