//! [`Perf`]: the processes that the engine `perf` stops, from the first touch to the last.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use crate::sys::perf::Inherit;
use crate::sys::ptrace::{self, Tid};
use crate::sys::tracee::{self, SignalSet};
use crate::trace::procfs;
use crate::trace::stop::{EventStop, SignalStop, Stop};

use super::counters::{COOKIE, EventCounters};
use super::inject::{Change, Disposition};
use super::sigtrap::SigtrapChanges;
use super::{Refused, events, mask};

/// A thread that is born so soon after its creator's events were opened may have been cloned
/// before that, and lack them.
const DOUBT: Duration = Duration::from_secs(1);

/// Its signals and ours would be taken for each other.
pub const HANDLES: &str = "it handles SIGTRAP itself";

/// The processes under the engine `perf`.
#[derive(Debug)]
pub struct Perf {
    ledger: EventCounters,
    traps: SigtrapChanges,
    /// What SIGTRAP did in each process before.
    former: HashMap<Tid, Disposition>,
    /// Threads that blocked SIGTRAP before, with their masks.
    unblocked: HashMap<Tid, SignalSet>,
    /// Threads that were interrupted for their mask.
    awaited: HashSet<Tid>,
    /// New processes that did not inherit the events, and got their own.
    without_inherited: HashSet<Tid>,
    /// Whether there are threads that block SIGTRAP, so that new ones may come to.
    blocks: bool,
    opened: Option<Instant>,
    leaving: bool,
    /// Processes that could not be put back, and why.
    failed: HashMap<Tid, String>,
}

/// A process that is decided on: it has its events now, or cannot be under this engine.
#[derive(Debug)]
pub struct Decided {
    /// The process.
    pub pid: Tid,
    /// Why not.
    pub result: Result<(), String>,
}

/// What is left of a stop.
#[derive(Debug, Default)]
pub struct Taken {
    /// The stop, to be taken like any other; `None`: its thread runs again.
    pub stop: Option<Stop>,
    /// The process that was decided on.
    pub decided: Option<Decided>,
}

/// What a SIGTRAP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The thread stands where its accept has returned. [`Perf::see`] is to be told once it has
    /// been read.
    Accept,
    /// An accept that was seen otherwise; or it returned while the thread blocked SIGTRAP, and what
    /// it gave cannot be told any more.
    Late,
    /// It is the tracee's own.
    Foreign,
}

impl Perf {
    /// Finds the tracepoints; no process is touched yet.
    pub fn new(children: bool) -> Result<Perf, Refused> {
        Ok(Perf {
            ledger: EventCounters::new(if children { Inherit::All } else { Inherit::Threads })?,
            traps: SigtrapChanges::default(),
            former: HashMap::new(),
            unblocked: HashMap::new(),
            awaited: HashSet::new(),
            without_inherited: HashSet::new(),
            blocks: false,
            opened: None,
            leaving: false,
            failed: HashMap::new(),
        })
    }

    /// Begins to make a seized process ready; a later stop decides.
    pub fn begin(&mut self, pid: Tid) -> Result<(), String> {
        if procfs::is_32_bit(pid) == Some(true) {
            return Err("it is a 32-bit program".into());
        }
        if procfs::signals(pid, "SigCgt").is_some_and(handles_sigtrap) {
            return Err(HANDLES.into());
        }
        self.traps.begin(pid, Change::Ignore).map_err(|unfit| unfit.to_string())
    }

    /// A process that ignores SIGTRAP already by our doing, having been spawned so.
    pub fn spawned(&mut self, pid: Tid, former: Disposition) {
        self.former.insert(pid, former);
    }

    /// Whether every process is decided on and every mask as it must be.
    pub fn is_settled(&self) -> bool {
        self.awaited.is_empty() && self.traps.under_way().next().is_none()
    }

    /// Gives up on processes that do not stop, having waited long enough.
    pub fn give_up(&mut self) -> Vec<Tid> {
        self.awaited.clear();
        self.traps.give_up()
    }

    /// Takes a stop of any thread, before anybody else.
    pub fn on_stop(&mut self, stop: Stop) -> io::Result<Taken> {
        let taken = self.traps.on_stop(stop)?;
        let decided = match taken.over {
            None => None,
            Some((_, Ok(_))) if self.leaving => None,
            Some((pid, Ok(former))) => {
                self.former.insert(pid, former);
                Some(Decided { pid, result: self.open(pid) })
            }
            Some((pid, Err(unfit))) if self.leaving => {
                self.failed.insert(pid, unfit.to_string());
                None
            }
            Some((pid, Err(unfit))) => Some(Decided { pid, result: Err(unfit.to_string()) }),
        };
        Ok(Taken { stop: taken.stop, decided })
    }

    /// Opens the events of all threads of a process.
    fn open(&mut self, pid: Tid) -> Result<(), String> {
        let mut known = HashSet::new();
        loop {
            let news: Vec<Tid> =
                procfs::threads(pid).into_iter().filter(|t| !known.contains(t)).collect();
            if news.is_empty() {
                self.opened = Some(Instant::now());
                self.interrupt_blocked(known.into_iter());
                return Ok(());
            }
            let is_doubtful = !known.is_empty();
            for tid in news {
                known.insert(tid);
                match self.ledger.open(tid, is_doubtful) {
                    Ok(()) | Err(Refused::Gone) => {}
                    Err(refused) => return Err(refused.to_string()),
                }
            }
        }
    }

    /// Interrupts the threads that block SIGTRAP, so that their masks can be changed.
    pub fn interrupt_blocked(&mut self, tids: impl Iterator<Item = Tid>) -> usize {
        let before = self.awaited.len();
        for tid in tids.filter(|tid| procfs::blocks(*tid, libc::SIGTRAP)) {
            if ptrace::interrupt(tid).is_ok() {
                self.awaited.insert(tid);
            }
        }
        self.awaited.len() - before
    }

    /// Whether a thread was interrupted for its mask.
    pub fn awaits(&self, tid: Tid) -> bool {
        !self.awaited.is_empty() && self.awaited.contains(&tid)
    }

    /// A process that was made without its creator's signal handlers has no events either.
    pub fn open_missing_events(&mut self, stop: &EventStop) {
        // Where its registers cannot be read, it has been killed.
        if !self.leaving
            && self.opened.is_some()
            && !events::are_inherited(stop).unwrap_or(true)
            && self.without_inherited.insert(stop.tid())
        {
            // Nor can one that has been killed get events.
            let _ = self.ledger.open(stop.tid(), false);
        }
    }

    /// Sees to the mask of a thread under this engine, which stands still. What a `newborn` one
    /// blocks says nothing of it: glibc blocks all signals while it makes a thread.
    pub fn see_to_mask(&mut self, tid: Tid, newborn: bool) -> io::Result<()> {
        self.awaited.remove(&tid);
        let result = if !self.leaving {
            mask::unblock(tid).map(|former| {
                if let Some(former) = former {
                    self.blocks |= !newborn;
                    self.unblocked.insert(tid, former);
                }
            })
        } else if let Some(former) = self.unblocked.remove(&tid) {
            mask::block_again(tid, former)
        } else {
            Ok(())
        };
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// A thread has made another.
    pub fn inherited(&mut self, parent: Tid) {
        self.ledger.inherited(parent);
    }

    /// A new thread or process stops for the first time. It has inherited the events, as a rule.
    pub fn appear(&mut self, child: Tid) {
        if self.opened.is_some_and(|t| t.elapsed() < DOUBT) {
            // A child that has ended needs none.
            let _ = self.ledger.open(child, true);
        }
    }

    /// A process executes another program: its events have ended.
    pub fn exec(&mut self, pid: Tid) -> Result<(), String> {
        if let Some(former) = self.former.get_mut(&pid)
            && former.is_handler()
        {
            *former = Disposition::DEFAULT;
        }
        if procfs::is_32_bit(pid) == Some(true) {
            return Err("it is a 32-bit program".into());
        }
        self.ledger.open_at_exec(pid).map_err(|refused| refused.to_string())
    }

    /// Whether a new thread must be followed up to its first accept, since it may block SIGTRAP
    /// itself before that.
    pub fn distrusts_new_threads(&self) -> bool {
        self.blocks && !self.leaving
    }

    /// Whether what was changed is being put back.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// A thread goes over to another engine.
    pub fn give_away(&mut self, tid: Tid) {
        self.awaited.remove(&tid);
    }

    /// A process has ended by itself, or by a signal.
    pub fn ended(&mut self, pid: Tid, by_itself: bool) {
        if by_itself { self.ledger.exited(pid) } else { self.ledger.killed(pid) }
    }

    /// A thread has ended.
    pub fn forget(&mut self, tid: Tid) {
        self.former.remove(&tid);
        self.unblocked.remove(&tid);
        self.awaited.remove(&tid);
        self.without_inherited.remove(&tid);
    }

    /// Tells what a SIGTRAP is; an accept is one only where it `counts`. The stop is the caller's
    /// to resume.
    pub fn trap(&mut self, stop: &SignalStop, counts: bool) -> io::Result<Trap> {
        Ok(match tracee::perf_signal(stop.tid())? {
            Some(signal) if signal.data != COOKIE => Trap::Foreign,
            Some(signal) if signal.was_blocked => Trap::Late,
            Some(_) if counts => Trap::Accept,
            // At the exit from the call.
            Some(_) => {
                self.see();
                Trap::Late
            }
            None => Trap::Foreign,
        })
    }

    /// An accept was seen.
    pub fn see(&mut self) {
        self.ledger.see();
    }

    /// How many accepts the kernel has counted that nobody saw; some may be under way just now.
    pub fn missing(&self) -> io::Result<u64> {
        self.ledger.missing()
    }

    /// Counts no more.
    pub fn close(&mut self) {
        self.ledger.close();
    }

    /// The processes that have come to handle SIGTRAP themselves.
    pub fn handlers(&self) -> Vec<Tid> {
        let handles = |pid: &Tid| procfs::signals(*pid, "SigCgt").is_some_and(handles_sigtrap);
        self.former.keys().copied().filter(handles).collect()
    }

    /// Begins to put back what threads block; [`Perf::is_settled`] tells when all is put back.
    pub fn put_back_masks(&mut self) {
        self.leaving = true;
        self.awaited.clear();
        // Most that blocked it did so only while they were made: they have another mask now.
        self.unblocked.retain(|tid, former| {
            procfs::signals(*tid, "SigBlk") == Some(former.without(libc::SIGTRAP))
        });
        for &tid in self.unblocked.keys() {
            if ptrace::interrupt(tid).is_ok() {
                self.awaited.insert(tid);
            }
        }
    }

    /// Begins to put back what SIGTRAP does in a process.
    pub fn put_back(&mut self, pid: Tid) {
        let former = self.former_of(pid);
        if !former.is_ignore()
            && let Err(unfit) = self.traps.begin(pid, Change::PutBack(former))
        {
            self.failed.insert(pid, unfit.to_string());
        }
    }

    /// Whether a process ignores SIGTRAP, and by our doing.
    pub fn must_change(&self, pid: Tid) -> bool {
        procfs::signals(pid, "SigIgn").is_some_and(|ignored| ignored.contains(libc::SIGTRAP))
            && self.known_former_of(pid).is_some()
            && !self.former_of(pid).is_ignore()
    }

    /// Why a process could not be put back.
    pub fn failure(&self, pid: Tid) -> &str {
        self.failed.get(&pid).map_or("its first thread does not stop", String::as_str)
    }

    /// What SIGTRAP would do, had we not come.
    fn former_of(&self, pid: Tid) -> Disposition {
        match self.known_former_of(pid) {
            // Left by a tracer that was killed; or its parent, from whom it has it, is gone.
            Some(Disposition::IGNORED) | None => Disposition::DEFAULT,
            Some(former) => former,
        }
    }

    /// A child inherits it.
    fn known_former_of(&self, pid: Tid) -> Option<Disposition> {
        let mut at = Some(pid);
        while let Some(process) = at.filter(|p| *p > 1) {
            if let Some(former) = self.former.get(&process) {
                return Some(*former);
            }
            at = procfs::parent(process);
        }
        None
    }
}

/// Whether a process that catches these signals may have a use for SIGTRAP. Go's runtime catches
/// all there are, SIGSTKFLT and SIGPWR too, and dies of this one.
fn handles_sigtrap(caught: SignalSet) -> bool {
    let catches_all = [libc::SIGSTKFLT, libc::SIGPWR].iter().all(|s| caught.contains(*s));
    caught.contains(libc::SIGTRAP) && !catches_all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_handle_sigtrap_are_told_from_go() {
        let sigtrap = SignalSet::default().with(libc::SIGTRAP);
        assert!(handles_sigtrap(sigtrap.with(libc::SIGSEGV)));
        assert!(!handles_sigtrap(SignalSet::default().with(libc::SIGUSR1)));
        // What /proc says of a program made by Go 1.19.
        assert!(!handles_sigtrap(SignalSet(0xffff_fffd_7fc1_fefd)));
    }
}
