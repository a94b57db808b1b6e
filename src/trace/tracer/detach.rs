//! Stops counting, and restores what was changed in the tracees.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::sys::ptrace::Tid;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::Error;
use crate::trace::perf::watch::Perf;
use crate::trace::procfs;

use super::completeness;
use super::tracees::{Phase, Tracees};

/// In debug builds, names a directory: the detach announces each of its steps by a file there and
/// continues when `NAME.go` exists.
const STEPS_VARIABLE: &str = "TCPTALLY_DETACH_STEPS";
/// How long a step waits: a failed test must not leave a tracer running.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the restoring of signal masks may take.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Stops counting. Detaches unless the filter of the tracees needs a tracer; then they stay
/// supervised.
pub(super) fn detach(tracees: &mut Tracees) -> Result<(), Error> {
    if tracees.phase != Phase::Counting {
        return Ok(());
    }
    if tracees.threads.engines_used().contains(&PtraceEngine::Seccomp) {
        tracees.phase = Phase::Supervising;
        return Ok(());
    }
    if tracees.perf.is_some() {
        detach_perf(tracees)?;
    }
    tracees.drain()?;
    tracees.phase = Phase::Leaving;
    Ok(())
}

fn detach_perf(tracees: &mut Tracees) -> Result<(), Error> {
    // The count ends at a moment at which all that the kernel has counted has been seen. This
    // comes before the events are closed, because closing them drops pending signals.
    completeness::finish(tracees)?;
    test_step("counted");
    if let Some(perf) = &mut tracees.perf {
        perf.close_all();
    }
    test_step("closed");
    let is_process = |tid: &Tid| procfs::process_of(*tid) == Some(*tid);
    let threads = tracees.threads.with_engine(PtraceEngine::Perf);
    // The engine perf does not see io_uring_setup.
    tracees.check_io_uring(threads.into_iter().filter(is_process));
    if let Some(perf) = &mut tracees.perf {
        perf.put_back_masks();
    }
    let end = Instant::now() + RESTORE_TIMEOUT;
    loop {
        tracees.drain()?;
        if tracees.perf.as_ref().is_none_or(Perf::is_settled) || Instant::now() >= end {
            break;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    test_step("restored");
    Ok(())
}

/// Lets a test act between two steps.
fn test_step(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(directory) = std::env::var_os(STEPS_VARIABLE).map(PathBuf::from) else { return };
    // If the directory is not writable, no test waits.
    if fs::write(directory.join(name), "").is_err() {
        return;
    }
    let end = Instant::now() + STEP_TIMEOUT;
    while !directory.join(format!("{name}.go")).exists() && Instant::now() < end {
        std::thread::sleep(POLL_INTERVAL);
    }
}
