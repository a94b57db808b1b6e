//! Compares, as time goes on, what was seen with what the kernel counted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::ShortfallKind;
use crate::sys::ptrace::Tid;
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::counters::Missing;

use super::{Perf, Phase, Tracer};

const EVERY: Duration = Duration::from_secs(1);
/// While threads are new: some block all signals when they begin.
const SOON: Duration = Duration::from_millis(100);
/// So many new threads are looked at in one go; a server with a thread per connection makes more,
/// but those are like each other.
const FRESH: usize = 64;
/// So often more may be missing before the engine is held to be unfit.
const MAX_SHORTFALLS: u32 = 3;

/// How long to look for a moment at which nothing is under way.
const LOOK: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Said where the kernel's count of a process tree is higher than what was seen.
pub(super) const UNWATCHED: &str = "connections were accepted by processes of the server that \
                                    tcptally does not trace (made with CLONE_UNTRACED), or by \
                                    threads that were killed as they accepted; '--engine syscall' \
                                    takes that flag out, so that such processes count";

/// When and what to compare.
#[derive(Debug, Default)]
pub(super) struct Check {
    next: Option<Instant>,
    fresh: Vec<Tid>,
    processes: HashSet<Tid>,
    /// A process has ended since the last time. What its other threads were about to show, as one
    /// of them ended it, is missing.
    has_one_ended: bool,
    /// Accepts of watched threads that are known to have been missed.
    pub lost: u64,
    /// Accepts by others that descend from watched threads.
    pub unwatched: u64,
    has_seen_io_uring: bool,
    times: u32,
}

impl Check {
    /// Begins to compare.
    pub fn begin(&mut self) {
        self.next = Some(Instant::now() + EVERY);
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.next = None;
    }

    /// When it is to be done next.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it is to be done.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|t| t <= now)
    }

    /// A process comes under the engine `perf`.
    pub fn begin_process(&mut self, pid: Tid) {
        if self.next.is_some() {
            self.processes.insert(pid);
        }
    }

    /// A thread has ended, the first of a process perhaps: that is the last of it to be reported.
    pub fn end_process(&mut self, tid: Tid) {
        self.has_one_ended |= self.processes.remove(&tid);
    }

    /// A thread under the engine `perf` is new.
    pub fn added(&mut self, tid: Tid) {
        if self.next.is_some() && self.fresh.len() < FRESH {
            self.fresh.push(tid);
            let soon = Instant::now() + SOON;
            self.next = self.next.map(|t| t.min(soon));
        }
    }
}

impl Tracer {
    /// Compares, and mends what can be mended.
    pub(super) fn compare(&mut self) -> Result<(), Error> {
        self.check.next = Some(Instant::now() + EVERY);
        let fresh = std::mem::take(&mut self.check.fresh);
        let Some(perf) = &mut self.perf else { return Ok(()) };
        let alive = fresh.into_iter().filter(|tid| self.tracees.knows(*tid));
        perf.interrupt_blocked(alive);
        for (pid, why) in perf.change_handled_signals() {
            if self.tracees.engine(pid) == Engine::Perf {
                self.fall_back(pid, &why);
            }
        }
        for pid in self.notice_int80() {
            self.fall_back(pid, "it accepts by int 0x80");
        }
        let missing = self.deficit(LOOK)?;
        let more = missing > self.check.lost;
        self.check.lost = missing;
        let has_one_ended = std::mem::take(&mut self.check.has_one_ended);
        if !more || self.phase != Phase::Counting {
            return Ok(());
        }
        let threads = self.tracees.under(Engine::Perf);
        let Some(perf) = &mut self.perf else { return Ok(()) };
        if perf.interrupt_blocked(threads.iter().copied()) > 0 || !has_one_ended {
            self.check.times += 1;
        }
        if self.check.times >= MAX_SHORTFALLS {
            self.check.end();
            self.status.warn(
                "the server blocks signals again and again, so that the engine perf missed \
                 connections; it was given up for the engine syscall",
            );
            self.step(threads.into_iter());
        }
        Ok(())
    }

    /// The processes that have come to accept by int 0x80, each once. Their accepts before this
    /// moment were not seen.
    fn notice_int80(&mut self) -> Vec<Tid> {
        let threads = self.tracees.under(Engine::Perf);
        let Some(perf) = &mut self.perf else { return Vec::new() };
        let processes = perf.new_int80_processes(&threads);
        for pid in &processes {
            let text = format!(
                "process {pid} calls accept by int 0x80, as 32-bit code does, which the engine perf \
                 does not see; what it accepted so before that was noticed is not counted; \
                 '--engine syscall' counts it"
            );
            self.status.record_shortfall(ShortfallKind::Unobservable, 1, text);
        }
        processes
    }

    fn notice_io_uring(&mut self) {
        let is_seen = self.perf.as_ref().is_some_and(Perf::has_seen_io_uring);
        if is_seen && !std::mem::replace(&mut self.check.has_seen_io_uring, true) {
            self.warn_of_io_uring();
        }
    }

    /// What the engine perf could not see, at the end of the count: notes it, and gives how many
    /// accepts of watched threads are missing.
    pub(super) fn last_deficit(&mut self, patience: Duration) -> Result<u64, Error> {
        self.notice_int80();
        self.deficit(patience)
    }

    /// How many accepts of watched threads the kernel has counted that nobody saw, save those under
    /// way: the least of several looks. Notes those of others.
    fn deficit(&mut self, patience: Duration) -> Result<u64, Error> {
        self.notice_io_uring();
        let begin = Instant::now();
        let mut least = Missing { watched: u64::MAX, all: u64::MAX };
        loop {
            self.drain()?;
            let Some(perf) = &self.perf else { return Ok(0) };
            let missing = perf.missing().doing("reading the kernel's count of accepts")?;
            least.watched = least.watched.min(missing.watched);
            least.all = least.all.min(missing.all);
            let spent = begin.elapsed();
            if least.all == 0 || spent >= patience {
                self.check.unwatched = least.all.saturating_sub(least.watched);
                return Ok(least.watched);
            }
            // Under load the right moment is short and comes often; else it comes when it comes.
            if spent >= LOOK {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// How many accepts are known to have been missed.
    pub(super) fn lost(&mut self) -> u64 {
        if self.check.next.is_some()
            && let Ok(missing) = self.deficit(LOOK)
        {
            self.check.lost = missing;
        }
        self.check.lost
    }
}
