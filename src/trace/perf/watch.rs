//! [`Perf`]: the processes under the engine `perf`, from attach to detach.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::RawFd;

use crate::sys::arch::Registers;
use crate::sys::perf_ring::{Inherit, monotonic_now};
use crate::sys::ptrace::{self, Tid};
use crate::sys::tracee::{self, SignalSet};
use crate::trace::abi::is_at_accept_exit;
use crate::trace::procfs;
use crate::trace::stop::SignalStop;

use super::accept_signal::{AcceptSignal, AcceptSignalError};
use super::counters::{EventCounters, Snapshot};
use super::{PerfError, mask};

/// A thread, and between which times its events were opened: CLOCK_MONOTONIC.
pub(crate) type Opening = (Tid, (u64, u64));

/// The processes under the engine `perf`.
#[derive(Debug)]
pub(crate) struct Perf {
    /// `None` after counting has stopped. Then no event can be opened.
    counters: Option<EventCounters>,
    /// The descriptors of all events after they were closed: signals may still be pending.
    former: HashMap<Tid, [RawFd; 2]>,
    /// The signal of each process that was attached to or has executed a program. Children have the
    /// signal of their parent.
    signals: HashMap<Tid, AcceptSignal>,
    /// Threads that blocked their signal, with their former masks.
    unblocked: HashMap<Tid, (AcceptSignal, SignalSet)>,
    /// Threads that were interrupted to change their mask. Those without events get them at the
    /// stop.
    awaited: HashMap<Tid, AcceptSignal>,
    /// Threads whose accept was read before its signal was delivered.
    read_early: HashSet<Tid>,
    /// Whether a thread blocked its signal, so new ones may, too.
    has_blocking_threads: bool,
    /// Threads under the engine `syscall` from the start, until their first stop.
    uncounted: HashSet<Tid>,
    /// Processes that call accept by int 0x80.
    by_int80: HashSet<Tid>,
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and an allocation costs more")]
pub(crate) enum AcceptNotice {
    /// The thread is at the exit from an accept, with these registers.
    Accept(Registers),
    /// It comes from an event and is not a new accept: the accept was seen in another way, or it
    /// returned while the thread blocked the signal, so its result is no longer available.
    Late,
    /// It does not come from an event.
    Foreign,
}

/// Why this engine cannot watch a process or thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PerfWatchError {
    /// The tracepoints of accept do not see such calls.
    #[error("it accepts by int 0x80")]
    Int80,
    /// The tracepoints of accept do not see calls of 32-bit programs.
    #[error("it is a 32-bit program")]
    Program32,
    /// So the signal of its process is unknown, too.
    #[error("its parent is unknown")]
    UnknownParent,
    /// No signal can be sent to it.
    #[error(transparent)]
    Signal(#[from] AcceptSignalError),
    /// Its events cannot be opened.
    #[error(transparent)]
    Event(#[from] PerfError),
}

fn choose_signal(pid: Tid) -> Result<AcceptSignal, PerfWatchError> {
    if procfs::is_32_bit(pid) == Some(true) {
        return Err(PerfWatchError::Program32);
    }
    Ok(AcceptSignal::choose(pid)?)
}

impl Perf {
    /// Finds the tracepoints. No process is affected yet.
    pub(crate) fn new(inherit: Inherit) -> Result<Perf, PerfError> {
        Ok(Perf {
            counters: Some(EventCounters::new(inherit)?),
            former: HashMap::new(),
            signals: HashMap::new(),
            unblocked: HashMap::new(),
            awaited: HashMap::new(),
            read_early: HashSet::new(),
            has_blocking_threads: false,
            uncounted: HashSet::new(),
            by_int80: HashSet::new(),
        })
    }

    /// Why this engine cannot watch a process, as far as that shows before it is touched.
    pub(crate) fn unsupported(pid: Tid) -> Option<PerfWatchError> {
        if procfs::threads(pid).into_iter().any(procfs::accepts_by_int80) {
            return Some(PerfWatchError::Int80);
        }
        choose_signal(pid).err()
    }

    /// Opens the events of all threads of a seized process. Threads that it creates in the meantime
    /// stop at their start. Returns the threads that have events, and the times between which these
    /// were opened.
    pub(crate) fn begin(&mut self, pid: Tid) -> Result<Vec<Opening>, PerfWatchError> {
        if procfs::threads(pid).into_iter().any(procfs::accepts_by_int80) {
            return Err(PerfWatchError::Int80);
        }
        let mut opened = Vec::new();
        let Some(signal) = self.assign_signal(pid)? else { return Ok(opened) };
        let mut known = HashSet::new();
        loop {
            let threads = procfs::threads(pid).into_iter();
            let is_first = known.is_empty();
            let news: Vec<Tid> = threads.filter(|tid| known.insert(*tid)).collect();
            if news.is_empty() {
                break;
            }
            for tid in news {
                if self.interrupt_if_blocked(tid, signal).is_some() {
                    continue;
                }
                // A thread created in the meantime has inherited them from its creator.
                let open = if is_first { Perf::open_first } else { Perf::open };
                let begin = monotonic_now();
                if let Err(refused) = open(self, tid, signal) {
                    known.into_iter().for_each(|tid| self.leave(tid));
                    self.signals.remove(&pid);
                    return Err(refused.into());
                }
                opened.push((tid, (begin, monotonic_now())));
            }
        }
        Ok(opened)
    }

    /// Adds threads that are under the engine `syscall` from their first stop. Accepts of them and
    /// their descendants after that stop are counted.
    pub(crate) fn begin_at_first_stop(&mut self, threads: &BTreeSet<Tid>) {
        let Some(counters) = &mut self.counters else { return };
        threads.iter().for_each(|tid| counters.close_inherited(*tid));
        self.uncounted.extend(threads);
    }

    /// Handles a stop of a thread, which may be the first one since the start.
    pub(crate) fn count_from_first_stop(&mut self, tid: Tid) {
        if !self.uncounted.is_empty()
            && self.uncounted.remove(&tid)
            && let Some(counters) = &mut self.counters
        {
            counters.open_inherited(tid);
        }
    }

    fn open_first(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), PerfError> {
        let Some(counters) = &mut self.counters else { return Ok(()) };
        match counters.open_first(tid, signal) {
            Err(PerfError::Gone) => Ok(()),
            result => result,
        }
    }

    /// Chooses the signal for a process with a new program, and keeps it. `None`: counting has stopped.
    fn assign_signal(&mut self, pid: Tid) -> Result<Option<AcceptSignal>, PerfWatchError> {
        if self.counters.is_none() {
            return Ok(None);
        }
        let signal = choose_signal(pid)?;
        self.signals.insert(pid, signal);
        Ok(Some(signal))
    }

    fn open(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), PerfError> {
        let Some(counters) = &mut self.counters else { return Ok(()) };
        match counters.open(tid, signal) {
            // A thread that has ended needs none.
            Err(PerfError::Gone) => Ok(()),
            result => result,
        }
    }

    fn close(&mut self, tid: Tid) {
        if let Some(counters) = &mut self.counters {
            counters.close(tid);
        }
    }

    /// Handles the first stop of a new thread or process, before its first instruction.
    pub(crate) fn add(&mut self, tid: Tid) -> Result<(), PerfWatchError> {
        let Some(signal) = self.inherited_signal(tid) else {
            return Err(PerfWatchError::UnknownParent);
        };
        self.open(tid, signal).map_err(PerfWatchError::from)
    }

    /// A new thread has the signal handlers of its process, a child process those of its parent.
    fn inherited_signal(&self, tid: Tid) -> Option<AcceptSignal> {
        let mut all = self.signals.values();
        let first = *all.next()?;
        if all.all(|signal| *signal == first) {
            return Some(first);
        }
        let mut at = procfs::process_of(tid);
        while let Some(process) = at.filter(|p| *p > 1) {
            if let Some(signal) = self.signals.get(&process) {
                return Some(*signal);
            }
            at = procfs::parent(process);
        }
        None
    }

    /// Handles an exec by thread `former` of a process. Some programs end the events of a thread,
    /// and the id of the thread may have changed, so it gets new events.
    pub(crate) fn exec(&mut self, pid: Tid, former: Tid) -> Result<(), PerfWatchError> {
        self.close(former);
        self.close(pid);
        let is_first = self.counters.as_ref().is_some_and(EventCounters::is_first);
        self.signals.remove(&pid);
        if let Some(counters) = &mut self.counters
            && !is_first
            && procfs::is_undumpable(pid)
        {
            counters.open_inherited_again(pid);
        }
        let Some(signal) = self.assign_signal(pid)? else { return Ok(()) };
        // The spawned command.
        let open = if is_first { Perf::open_first } else { Perf::open };
        open(self, pid, signal).map_err(PerfWatchError::from)
    }

    /// Whether every mask is as required.
    pub(crate) fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Gives up waiting for threads that do not stop. What they accept while they block their
    /// signal is reported as missing.
    pub(crate) fn give_up(&mut self) -> Vec<(Tid, PerfWatchError)> {
        let late: Vec<Tid> = self.awaited.keys().copied().collect();
        late.into_iter().filter_map(|tid| Some((tid, self.open_awaited(tid).err()?))).collect()
    }

    /// Interrupts a thread that blocks its signal, so that its mask can be changed. Returns the
    /// signals that it blocked.
    fn interrupt_if_blocked(&mut self, tid: Tid, signal: AcceptSignal) -> Option<SignalSet> {
        let blocked = procfs::signals(tid, "SigBlk").filter(|b| b.contains(signal.number()))?;
        ptrace::interrupt(tid).ok()?;
        self.awaited.insert(tid, signal);
        Some(blocked)
    }

    /// Interrupts those of these threads that have events and block their signal. Returns how many may block the signal
    /// permanently: the C library also blocks its own signals while it creates a thread or process.
    pub(crate) fn interrupt_blocked(&mut self, tids: impl Iterator<Item = Tid>) -> usize {
        const LIBC_SIGNAL: i32 = 33;
        let mut lasting = 0;
        for tid in tids {
            let signal = self.counters.as_ref().and_then(|counters| counters.signal(tid));
            let blocked = signal.and_then(|signal| self.interrupt_if_blocked(tid, signal));
            lasting += usize::from(blocked.is_some_and(|b| !b.contains(LIBC_SIGNAL)));
        }
        lasting
    }

    /// Opens the events of a thread that was interrupted and has the required mask.
    pub(crate) fn open_awaited(&mut self, tid: Tid) -> Result<(), PerfWatchError> {
        let Some(signal) = self.awaited.remove(&tid) else { return Ok(()) };
        self.open_first(tid, signal).map_err(PerfWatchError::from)
    }

    /// Whether a thread was interrupted to change its mask.
    pub(crate) fn awaits(&self, tid: Tid) -> bool {
        !self.awaited.is_empty() && self.awaited.contains_key(&tid)
    }

    /// Changes the mask of a stopped thread if necessary. The mask of a new thread (`is_new`) means
    /// nothing: glibc blocks all signals while it creates a thread.
    pub(crate) fn adjust_mask(&mut self, tid: Tid, is_new: bool) -> io::Result<()> {
        let result = match &self.counters {
            Some(counters) => {
                let awaited = self.awaited.get(&tid).copied();
                let Some(signal) = awaited.or_else(|| counters.signal(tid)) else { return Ok(()) };
                mask::unblock(tid, signal.number()).map(|former| {
                    if let Some(former) = former {
                        self.has_blocking_threads |= !is_new;
                        self.unblocked.insert(tid, (signal, former));
                    }
                })
            }
            None => match self.unblocked.remove(&tid) {
                Some((signal, former)) => mask::block_again(tid, signal.number(), former),
                None => Ok(()),
            },
        };
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Whether a new thread must be stopped at system calls until its first accept, because it may
    /// block its signal before that.
    pub(crate) fn distrusts_new_threads(&self) -> bool {
        self.has_blocking_threads && self.counters.is_some()
    }

    /// Whether masks are being restored.
    pub(crate) fn is_detaching(&self) -> bool {
        self.counters.is_none()
    }

    /// Notes that a thread switches to another engine. Its events end with [`Perf::leave`].
    pub(crate) fn give_away(&mut self, tid: Tid) {
        self.awaited.remove(&tid);
    }

    /// Notes that a thread stops at its system calls from now on.
    pub(crate) fn leave(&mut self, tid: Tid) {
        self.awaited.remove(&tid);
        self.close(tid);
        self.read_early.remove(&tid);
    }

    /// Removes a thread that has ended.
    pub(crate) fn forget(&mut self, tid: Tid) {
        if let Some(counters) = &mut self.counters {
            counters.forget(tid);
        }
        self.former.remove(&tid);
        self.signals.remove(&tid);
        self.unblocked.remove(&tid);
        self.awaited.remove(&tid);
        self.read_early.remove(&tid);
    }

    /// Returns the meaning of a signal. The caller must resume the stop.
    pub(crate) fn notice(&mut self, stop: &SignalStop) -> io::Result<AcceptNotice> {
        if !AcceptSignal::is_candidate(stop.signal) {
            return Ok(AcceptNotice::Foreign);
        }
        let tid = stop.tid();
        let Some(fd) = tracee::signal_descriptor(tid)? else { return Ok(AcceptNotice::Foreign) };
        let Some(counters) = &mut self.counters else {
            let is_ours = self.former.get(&tid).is_some_and(|fds| fds.contains(&fd));
            return Ok(if is_ours { AcceptNotice::Late } else { AcceptNotice::Foreign });
        };
        if !counters.owns(tid, fd) {
            return Ok(AcceptNotice::Foreign);
        }
        if !counters.has(tid) || self.read_early.remove(&tid) {
            return Ok(AcceptNotice::Late);
        }
        let registers = stop.registers()?;
        if !is_at_accept_exit(&registers, tid)? {
            return Ok(AcceptNotice::Late);
        }
        counters.see(tid);
        Ok(AcceptNotice::Accept(registers))
    }

    /// Returns the registers of a thread that is about to handle another signal at the exit from an
    /// accept whose own signal is still pending: the handler would change them.
    pub(crate) fn accept_before_handler(
        &mut self,
        stop: &SignalStop,
    ) -> io::Result<Option<Registers>> {
        let tid = stop.tid();
        let Some(counters) = &mut self.counters else { return Ok(None) };
        let Some(signal) = counters.signal(tid) else { return Ok(None) };
        if self.read_early.contains(&tid) {
            return Ok(None);
        }
        let registers = stop.registers()?;
        let is_pending = || tracee::pending_descriptor(tid, signal.number());
        if !is_at_accept_exit(&registers, tid)?
            || !is_pending()?.is_some_and(|fd| counters.owns(tid, fd))
        {
            return Ok(None);
        }
        counters.see(tid);
        self.read_early.insert(tid);
        Ok(Some(registers))
    }

    /// Notes that an accept of a thread was seen at a syscall-stop.
    pub(crate) fn see_at_exit(&mut self, tid: Tid) {
        if let Some(counters) = &mut self.counters {
            counters.see(tid);
        }
    }

    /// Reads what the kernel has counted.
    pub(crate) fn snapshot(&mut self) -> io::Result<Snapshot> {
        self.counters.as_mut().map_or(Ok(Snapshot::default()), EventCounters::snapshot)
    }

    /// Whether the first `due` accepts of a thread are seen or known to be lost, or it has ended.
    pub(crate) fn is_explained(&self, tid: Tid, due: u64) -> bool {
        self.counters.as_ref().is_none_or(|counters| counters.is_explained(tid, due))
    }

    /// Whether a thread will stop, or has stopped, for an accept that the tracer has not handled yet.
    pub(crate) fn is_in_progress(&self, tid: Tid) -> bool {
        let signal = self.counters.as_ref().and_then(|counters| counters.signal(tid));
        let Some(signal) = signal.map(AcceptSignal::number) else { return false };
        let has = |field| procfs::signals(tid, field).is_some_and(|set| set.contains(signal));
        // "t (tracing stop)": proc_pid_status(5).
        let is_stopped = || procfs::status_field(tid, "State").is_some_and(|s| s.starts_with('t'));
        has("SigPnd") && !has("SigBlk") || is_stopped()
    }

    /// Records the unexplained accepts of a thread among the first `due` as lost.
    pub(crate) fn record_lost(&mut self, tid: Tid, due: u64) {
        if let Some(counters) = &mut self.counters {
            counters.record_lost(tid, due);
        }
    }

    /// How many accepts are known to be lost.
    pub(crate) fn lost(&self) -> u64 {
        self.counters.as_ref().map_or(0, EventCounters::lost)
    }

    /// Whether a watched thread or a descendant has set up an io_uring.
    pub(crate) fn has_seen_io_uring(&self) -> bool {
        self.counters.as_ref().is_some_and(EventCounters::has_seen_io_uring)
    }

    /// Returns those processes of these threads that have started to call accept by int 0x80, each
    /// once. No tracepoint of accept sees such calls; a thread that is blocked in one shows it.
    pub(crate) fn new_int80_processes(&mut self, threads: &[Tid]) -> Vec<Tid> {
        if self.counters.is_none() {
            return Vec::new();
        }
        let accepting = threads.iter().filter(|tid| procfs::accepts_by_int80(**tid));
        let processes = accepting.filter_map(|tid| procfs::process_of(*tid));
        processes.filter(|pid| self.by_int80.insert(*pid)).collect()
    }

    /// Changes the signal of processes that have started to handle theirs. Returns those for which
    /// no signal is left, with the reason.
    pub(crate) fn change_handled_signals(&mut self) -> Vec<(Tid, AcceptSignalError)> {
        let handled = self.signals.iter().filter(|(pid, signal)| signal.is_handled(**pid));
        let handled: Vec<Tid> = handled.map(|(pid, _)| *pid).collect();
        let mut unsupported = Vec::new();
        for pid in handled {
            match AcceptSignal::choose(pid) {
                Ok(signal) => self.change_signal(pid, signal),
                Err(why) => unsupported.push((pid, why)),
            }
        }
        unsupported
    }

    fn change_signal(&mut self, pid: Tid, signal: AcceptSignal) {
        let Some(counters) = &mut self.counters else { return };
        self.signals.insert(pid, signal);
        let threads = procfs::threads(pid);
        for tid in &threads {
            // Cannot fail: the descriptor is open and the signal number is valid.
            let _ = counters.set_signal(*tid, signal);
        }
        self.interrupt_blocked(threads.into_iter());
    }

    /// Stops counting and closes all events. A pending signal is ignored.
    pub(crate) fn close_all(&mut self) {
        if let Some(counters) = self.counters.take() {
            self.former = counters.close_all();
        }
    }

    /// Starts to restore the masks of threads. [`Perf::is_settled`] says when all are restored.
    pub(crate) fn put_back_masks(&mut self) {
        self.close_all();
        self.awaited.clear();
        // Most threads that blocked it did so only while they were created, and have another mask
        // now.
        self.unblocked.retain(|tid, (signal, former)| {
            procfs::signals(*tid, "SigBlk") == Some(former.without(signal.number()))
        });
        for (&tid, (signal, _)) in &self.unblocked {
            if ptrace::interrupt(tid).is_ok() {
                self.awaited.insert(tid, *signal);
            }
        }
    }
}
