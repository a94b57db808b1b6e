//! Where things run, and how long they have run.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs this process may use.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD)?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Does `start` on one CPU, where what it starts stays.
pub fn on<T>(cpu: Option<usize>, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpu) = cpu else { return start() };
    let before = sched_getaffinity(THIS_THREAD)?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &one).with_context(|| format!("moving to CPU {cpu}"))?;
    let result = start();
    sched_setaffinity(THIS_THREAD, &before)?;
    result
}

/// The CPU time that processes have used, with all their threads, also those that have ended.
/// Exact, where /proc has hundredths of a second. What has ended counts for nothing.
pub fn time(pids: &[i32]) -> Duration {
    let of = |pid: &i32| {
        let now = clock_getcpuclockid(Pid::from_raw(*pid)).ok()?.now().ok()?;
        Some(Duration::from(now))
    };
    pids.iter().filter_map(of).sum()
}
