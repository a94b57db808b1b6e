//! Compares the accepts that were seen with those that the kernel counted (engine `perf`).

use std::time::{Duration, Instant};

use crate::ShortfallKind;
use crate::sys::ptrace::Tid;
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::counters::Missing;
use crate::trace::perf::watch::Perf;

use super::tracees::{Phase, Tracees};

/// How many times accepts may be missing before the engine is given up.
const MAX_SHORTFALLS: u32 = 3;

/// How long to try to read the counters at a moment at which no accept is in progress.
const READ_TIMEOUT: Duration = Duration::from_millis(10);
const READ_INTERVAL: Duration = Duration::from_millis(1);

/// The shortfall if the kernel counted more accepts in the process tree than were seen.
pub(super) const UNTRACED: &str = "connections were accepted by processes of the server that \
                                   tcptally does not trace (created with CLONE_UNTRACED), or by \
                                   threads that were killed as they accepted; '--engine syscall' \
                                   removes that flag, so that such processes are counted";

/// Compares the counts. If the engine `perf` misses accepts, unblocks its signals or gives it up.
pub(super) fn compare(tracees: &mut Tracees) -> Result<(), Error> {
    tracees.check.postpone();
    let new_threads = std::mem::take(&mut tracees.check.new_threads);
    let Some(perf) = &mut tracees.perf else { return Ok(()) };
    let alive = new_threads.into_iter().filter(|tid| tracees.threads.is_recorded(*tid));
    perf.interrupt_blocked(alive);
    for (pid, reason) in perf.change_handled_signals() {
        if tracees.threads.engine(pid) == Engine::Perf {
            tracees.fall_back(pid, &reason);
        }
    }
    for pid in record_int80(tracees) {
        tracees.fall_back(pid, "it accepts by int 0x80");
    }
    let missing = count_missing(tracees, READ_TIMEOUT)?;
    let has_grown = missing > tracees.check.lost;
    tracees.check.lost = missing;
    let has_process_ended = std::mem::take(&mut tracees.check.has_process_ended);
    if !has_grown || tracees.phase != Phase::Counting {
        return Ok(());
    }
    let threads = tracees.threads.with_engine(Engine::Perf);
    let Some(perf) = &mut tracees.perf else { return Ok(()) };
    if perf.interrupt_blocked(threads.iter().copied()) > 0 || !has_process_ended {
        tracees.check.shortfalls += 1;
    }
    if tracees.check.shortfalls >= MAX_SHORTFALLS {
        tracees.check.next = None;
        tracees.status.warn(
            "the server repeatedly blocks signals, so that the engine perf missed connections; \
             tcptally continues with the engine syscall",
        );
        tracees.switch_to_syscall(threads);
    }
    Ok(())
}

/// Records the processes that have started to accept by int 0x80, each once, and returns them. Their
/// accepts before this were not seen.
fn record_int80(tracees: &mut Tracees) -> Vec<Tid> {
    let threads = tracees.threads.with_engine(Engine::Perf);
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

/// Returns how many accepts of traced threads the kernel has counted that were not seen, without
/// those in progress: the least of several readings. Notes those of other processes, and io_uring.
fn count_missing(tracees: &mut Tracees, timeout: Duration) -> Result<u64, Error> {
    let has_io_uring = tracees.perf.as_ref().is_some_and(Perf::has_seen_io_uring);
    if has_io_uring && !std::mem::replace(&mut tracees.check.has_seen_io_uring, true) {
        tracees.record_io_uring();
    }
    let begin = Instant::now();
    let mut least = Missing { watched: u64::MAX, all: u64::MAX };
    loop {
        tracees.drain()?;
        let Some(perf) = &tracees.perf else { return Ok(0) };
        let missing = perf.missing().doing("reading the kernel's count of accepts")?;
        least.watched = least.watched.min(missing.watched);
        least.all = least.all.min(missing.all);
        let elapsed = begin.elapsed();
        if least.all == 0 || elapsed >= timeout {
            tracees.check.untraced = least.all.saturating_sub(least.watched);
            return Ok(least.watched);
        }
        // Under load, moments without an accept in progress are short and frequent: do not sleep
        // at first.
        if elapsed >= READ_TIMEOUT {
            std::thread::sleep(READ_INTERVAL);
        }
    }
}

/// Compares for the last time, before the events are closed.
pub(super) fn finish(tracees: &mut Tracees, timeout: Duration) -> Result<(), Error> {
    if tracees.check.next.is_some() {
        record_int80(tracees);
        tracees.check.lost = count_missing(tracees, timeout)?;
    }
    tracees.check.next = None;
    Ok(())
}

/// Returns how many accepts are known to have been missed.
pub(super) fn count_lost(tracees: &mut Tracees) -> u64 {
    if tracees.check.next.is_some()
        && let Ok(missing) = count_missing(tracees, READ_TIMEOUT)
    {
        tracees.check.lost = missing;
    }
    tracees.check.lost
}
