//! Keeps the tracer on the CPU of its tracees: to wake a thread on another CPU, there and back,
//! can cost ten times the stop itself, above all in virtual machines.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::sys::ptrace::Tid;

use super::procfs;

/// A look at a tracee's CPU costs as much as half a stop, so it is not taken at every stop: after
/// so many at first, and twice as many each time that it has shown nothing new.
const STOPS_PER_LOOK: std::ops::RangeInclusive<u32> = 16..=256;
/// So many looks in a row must show the same CPU: tracees that run on several at once are not
/// followed.
const LOOKS: usize = 3;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Where the tracer runs.
#[derive(Debug)]
pub struct CpuAffinity {
    stops: u32,
    stops_per_look: u32,
    looks: [Option<usize>; LOOKS],
    allowed: Option<CpuSet>,
    on: Option<usize>,
}

impl Default for CpuAffinity {
    fn default() -> CpuAffinity {
        let stops_per_look = *STOPS_PER_LOOK.start();
        CpuAffinity { stops: 0, stops_per_look, looks: [None; LOOKS], allowed: None, on: None }
    }
}

impl CpuAffinity {
    /// To be called at each stop, before the tracee is resumed.
    pub fn stopped(&mut self, tid: Tid) {
        self.stops += 1;
        if self.stops >= self.stops_per_look {
            self.stops = 0;
            self.look(tid);
        }
    }

    fn look(&mut self, tid: Tid) {
        let cpu = procfs::last_cpu(tid);
        self.stops_per_look = if cpu == self.looks[LOOKS - 1] {
            (self.stops_per_look * 2).min(*STOPS_PER_LOOK.end())
        } else {
            *STOPS_PER_LOOK.start()
        };
        self.looks.rotate_left(1);
        self.looks[LOOKS - 1] = cpu;
        let same = self.looks.iter().all(|cpu| *cpu == self.looks[0]);
        let to = if same { self.looks[0] } else { None };
        if to != self.on && self.go(to).is_ok() {
            self.on = to;
        }
    }

    /// Moves to one CPU, or (`None`) back to all that were allowed at first. Never to one that
    /// was not: an administrator may have had reasons.
    fn go(&mut self, to: Option<usize>) -> nix::Result<()> {
        if self.allowed.is_none() {
            self.allowed = Some(sched_getaffinity(THIS_THREAD)?);
        }
        let Some(allowed) = &self.allowed else { return Ok(()) };
        match to {
            Some(cpu) if allowed.is_set(cpu)? => {
                let mut one = CpuSet::new();
                one.set(cpu)?;
                sched_setaffinity(THIS_THREAD, &one)
            }
            _ => sched_setaffinity(THIS_THREAD, allowed),
        }
    }
}
