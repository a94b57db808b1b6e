//! Keeps the tracer on the CPU of its tracees. Waking a thread on another CPU and back can take ten
//! times as long as the stop itself, especially in virtual machines.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::sys::ptrace::Tid;

use super::procfs;

/// How many stops there are between two look-ups of a tracee's CPU, each of which takes half as long
/// as a stop: the minimum at first, doubled each time that the CPU is unchanged.
const STOPS_PER_LOOKUP: std::ops::RangeInclusive<u32> = 16..=256;
/// How many look-ups in a row must show the same CPU before the tracer moves there: it does not
/// follow tracees that run on several CPUs at once.
const LOOKUPS: usize = 3;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Moves the tracer to the CPU of its tracees.
#[derive(Debug)]
pub(super) struct CpuAffinity {
    stops: u32,
    stops_per_lookup: u32,
    recent: [Option<usize>; LOOKUPS],
    allowed: Option<CpuSet>,
    current: Option<usize>,
}

impl Default for CpuAffinity {
    fn default() -> CpuAffinity {
        let stops_per_lookup = *STOPS_PER_LOOKUP.start();
        CpuAffinity {
            stops: 0,
            stops_per_lookup,
            recent: [None; LOOKUPS],
            allowed: None,
            current: None,
        }
    }
}

impl CpuAffinity {
    /// Counts a stop, and looks up the CPU if it is time. To be called before the tracee is resumed.
    pub(super) fn note_stop(&mut self, tid: Tid) {
        self.stops += 1;
        if self.stops >= self.stops_per_lookup {
            self.stops = 0;
            self.look_up(tid);
        }
    }

    fn look_up(&mut self, tid: Tid) {
        let cpu = procfs::last_cpu(tid);
        self.stops_per_lookup = if cpu == self.recent[LOOKUPS - 1] {
            (self.stops_per_lookup * 2).min(*STOPS_PER_LOOKUP.end())
        } else {
            *STOPS_PER_LOOKUP.start()
        };
        self.recent.rotate_left(1);
        self.recent[LOOKUPS - 1] = cpu;
        let same = self.recent.iter().all(|cpu| *cpu == self.recent[0]);
        let to = if same { self.recent[0] } else { None };
        if to != self.current && self.move_to(to).is_ok() {
            self.current = to;
        }
    }

    /// Moves to one CPU, or (`None`) back to all CPUs that were allowed at first. Does not move to a
    /// CPU that was not allowed.
    fn move_to(&mut self, to: Option<usize>) -> nix::Result<()> {
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
