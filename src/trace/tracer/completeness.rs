//! Compares the accepts that were seen with those that the kernel counted (engine `perf`).

use std::time::{Duration, Instant};

use crate::ShortfallKind;
use crate::sys::ptrace::Tid;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::counters::Snapshot;
use crate::trace::perf::watch::{Perf, PerfWatchError};

use super::tracees::{Phase, Tracees};

/// How many times accepts may be missing before the engine is given up.
const MAX_SHORTFALLS: u32 = 3;

/// How long to wait for accepts in progress.
const READ_TIMEOUT: Duration = Duration::from_millis(10);
/// The same before the events are closed: how long a signal may take to reach a running thread, and how
/// long a thread with a pending signal may get no CPU.
const SIGNAL_TIMEOUT: Duration = Duration::from_millis(300);
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
const READ_INTERVAL: Duration = Duration::from_millis(1);

/// The shortfall if the kernel counted more accepts in the process tree than were seen.
pub(super) const UNTRACED: &str = "connections were accepted by processes of the server that \
                                   tcptally does not trace (created with CLONE_UNTRACED), or by \
                                   threads that were killed as they accepted; '--engine syscall' \
                                   removes that flag, so that such processes are counted";

/// The shortfall if the kernel counted more accepts of watched threads than were seen.
pub(super) const MISSED: &str = "connections were accepted by threads that blocked the signal by which the \
                                 engine perf stops them, or that were killed as they accepted; '--engine \
                                 sample' and '--engine syscall' need no signal";

/// Compares the counts. If the engine `perf` misses accepts, unblocks its signals or gives it up.
pub(super) fn compare(tracees: &mut Tracees) -> Result<(), Error> {
    tracees.check.postpone();
    let new_threads = std::mem::take(&mut tracees.check.new_threads);
    let Some(perf) = &mut tracees.perf else { return Ok(()) };
    let alive = new_threads.into_iter().filter(|tid| tracees.threads.is_recorded(*tid));
    perf.interrupt_blocked(alive);
    for (pid, reason) in perf.change_handled_signals() {
        if tracees.threads.engine(pid) == PtraceEngine::Perf {
            tracees.fall_back(pid, &reason);
        }
    }
    for pid in record_int80(tracees) {
        tracees.fall_back(pid, &PerfWatchError::Int80);
    }
    let missing = count_missing(tracees, false)?;
    let has_grown = missing > tracees.check.lost;
    tracees.check.lost = missing;
    let has_process_ended = std::mem::take(&mut tracees.check.has_process_ended);
    if !has_grown || tracees.phase != Phase::Counting {
        return Ok(());
    }
    let threads = tracees.threads.with_engine(PtraceEngine::Perf);
    let Some(perf) = &mut tracees.perf else { return Ok(()) };
    let is_blocked = perf.interrupt_blocked(threads.iter().copied()) > 0;
    tracees.check.has_seen_blocked |= is_blocked;
    if is_blocked || !has_process_ended {
        tracees.check.shortfalls += 1;
    }
    if tracees.check.shortfalls >= MAX_SHORTFALLS {
        tracees.check.next = None;
        let cause = match tracees.check.has_seen_blocked {
            true => {
                "the server repeatedly blocks signals, so that the engine perf missed connections"
            }
            false => "the engine perf repeatedly missed connections",
        };
        tracees.status.warn(format!("{cause}; tcptally continues with the engine syscall"));
        tracees.switch_to_syscall(threads);
    }
    Ok(())
}

/// Records the processes that have started to accept by int 0x80, each once, and returns them. Their
/// accepts before this were not seen.
fn record_int80(tracees: &mut Tracees) -> Vec<Tid> {
    let threads = tracees.threads.with_engine(PtraceEngine::Perf);
    let Some(perf) = &mut tracees.perf else { return Vec::new() };
    let processes = perf.new_int80_processes(&threads);
    for pid in &processes {
        let text = format!(
            "process {pid} calls accept by int 0x80, as 32-bit code does, which the engine perf \
             does not see; connections that it accepted so before this was detected are not \
             counted; '--engine syscall' counts them"
        );
        tracees.status.record_shortfall(ShortfallKind::Unobservable, 1, text);
    }
    processes
}

/// Updates how many accepts the kernel has counted that the tracer missed, and notes io_uring.
///
/// An accept in progress is not lost: its thread is stopped, or has the signal pending. So that a busy
/// server cannot keep this from ending, only the accepts before its start are waited for.
fn count_missing(tracees: &mut Tracees, is_last: bool) -> Result<u64, Error> {
    let has_io_uring = tracees.perf.as_ref().is_some_and(Perf::has_seen_io_uring);
    if has_io_uring && !std::mem::replace(&mut tracees.check.has_seen_io_uring, true) {
        tracees.record_io_uring();
    }
    let snapshot = read(tracees)?;
    let mut due = snapshot.due.clone();
    let begin = Instant::now();
    loop {
        tracees.drain()?;
        let Some(perf) = &mut tracees.perf else { return Ok(0) };
        due.retain(|(tid, due)| !perf.is_explained(*tid, *due));
        let elapsed = begin.elapsed();
        let is_over = match is_last {
            false => elapsed >= READ_TIMEOUT,
            true if elapsed >= LAST_TIMEOUT => true,
            true => elapsed >= SIGNAL_TIMEOUT && !due.iter().any(|d| perf.is_in_progress(d.0)),
        };
        if due.is_empty() || is_over {
            break;
        }
        if elapsed >= READ_TIMEOUT {
            std::thread::sleep(READ_INTERVAL);
        }
    }
    let Some(perf) = &mut tracees.perf else { return Ok(0) };
    for (tid, due) in due {
        // At the end it is lost either way.
        if is_last || !perf.is_in_progress(tid) {
            perf.record_lost(tid, due);
        }
    }
    let lost = perf.lost();
    count_untraced(tracees, &snapshot)?;
    Ok(lost)
}

fn read(tracees: &mut Tracees) -> Result<Snapshot, Error> {
    tracees.drain()?;
    let snapshot = tracees.perf.as_mut().map_or(Ok(Snapshot::default()), Perf::snapshot);
    snapshot.doing("reading the kernel's count of accepts")
}

/// Updates the number of accepts by untraced processes of the tree.
fn count_untraced(tracees: &mut Tracees, first: &Snapshot) -> Result<(), Error> {
    // Accepts in progress of threads without events are in that number; so the least of several readings
    // counts.
    let is_mixed = tracees.threads.engines_used().contains(&PtraceEngine::Syscall);
    let begin = Instant::now();
    let mut least = first.untraced;
    let mut is_exact = first.is_exact;
    let known = if is_mixed { 0 } else { tracees.check.untraced };
    while (least > known || !is_exact) && begin.elapsed() < READ_TIMEOUT {
        let reading = read(tracees)?;
        if !is_mixed && reading.untraced >= least {
            // The same twice: no event was read between the increments of two events by one accept.
            break;
        }
        least = least.min(reading.untraced);
        is_exact = reading.is_exact;
    }
    tracees.check.untraced = least.max(known);
    Ok(())
}

/// Whether the events are open. After the engine was given up they still are, for descendants.
fn is_counting(tracees: &Tracees) -> bool {
    tracees.perf.as_ref().is_some_and(|perf| !perf.is_detaching())
}

/// Compares for the last time, before the events are closed.
pub(super) fn finish(tracees: &mut Tracees) -> Result<(), Error> {
    if is_counting(tracees) {
        record_int80(tracees);
        tracees.check.lost = count_missing(tracees, true)?;
    }
    tracees.check.next = None;
    Ok(())
}

/// Returns how many accepts are known to have been missed.
pub(super) fn count_lost(tracees: &mut Tracees) -> u64 {
    if is_counting(tracees)
        && let Ok(missing) = count_missing(tracees, false)
    {
        tracees.check.lost = missing;
    }
    tracees.check.lost
}
