//! Compares the kernel's count of accepts with those that were seen.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;

use crate::sys::files;
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::Tid;

use super::PerfError;
use super::accept_signal::AcceptSignal;
use super::events::Events;
use super::inherited::Inherited;
use super::tracepoint::Tracepoints;

/// Descriptors that are left for socket look-ups and files in /proc.
const SPARE_DESCRIPTORS: u64 = 24;

/// The events of all threads, each from its first stop to its end, with their counts.
#[derive(Debug)]
pub(crate) struct EventCounters {
    open: HashMap<Tid, Counted>,
    /// Descriptors of events that were closed before their thread ended: a signal of theirs may
    /// still be pending.
    former: HashMap<Tid, [RawFd; 2]>,
    /// Accepts that closed events have counted and the tracer has not seen.
    lost: u64,
    /// `None`: unavailable; only the events of each thread are compared.
    inherited: Option<Inherited>,
    tracepoints: Tracepoints,
}

/// The events of one thread, and which part of their count is explained.
#[derive(Debug)]
struct Counted {
    events: Events,
    /// Accepts that the tracer has seen.
    seen: u64,
    /// Accepts that the tracer has missed.
    lost: u64,
}

impl Counted {
    /// Returns how many accepts the kernel has counted that are neither seen nor lost. Some may be in
    /// progress. Takes back a loss that was seen after all.
    fn unexplained(&mut self) -> io::Result<u64> {
        let unseen = self.events.count()?.saturating_sub(self.seen);
        self.lost = self.lost.min(unseen);
        Ok(unseen - self.lost)
    }
}

/// What the kernel had counted at one moment and the tracer had not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Threads with accepts that are neither seen nor lost: how many the thread will have when they
    /// are seen.
    pub due: Vec<(Tid, u64)>,
    /// Accepts of descendants that have no events of their own.
    pub untraced: u64,
    /// Whether `untraced` is exact. If not, accepts during the reading make it too small.
    pub is_exact: bool,
}

impl EventCounters {
    /// Finds the tracepoints. Nothing is counted yet.
    pub(crate) fn new(inherit: Inherit) -> Result<EventCounters, PerfError> {
        Ok(EventCounters {
            inherited: Some(Inherited::new(inherit)),
            open: HashMap::new(),
            former: HashMap::new(),
            lost: 0,
            tracepoints: Tracepoints::find()?,
        })
    }

    /// Adds a thread that was not watched before. Also counts accepts of its descendants.
    pub(crate) fn open_first(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), PerfError> {
        if self.open.contains_key(&tid) {
            return Ok(());
        }
        self.open_inherited(tid);
        self.open(tid, signal)?;
        if let (Some(inherited), Some(counted)) = (&mut self.inherited, self.open.get(&tid)) {
            inherited.begin(tid, &counted.events);
        }
        Ok(())
    }

    /// Counts what a thread and its descendants accept from now on. The inherited counts are usable
    /// only if every thread has these events.
    pub(crate) fn open_inherited(&mut self, tid: Tid) {
        let Some(inherited) = &mut self.inherited else { return };
        let opened = match inherited.open(&self.tracepoints, tid) {
            Err(PerfError::Files) if files::raise_limit() => inherited.open(&self.tracepoints, tid),
            result => result,
        };
        if opened.is_err_and(|why| !matches!(why, PerfError::Gone)) {
            self.inherited = None;
        }
    }

    /// Replaces inherited events that the kernel has closed, because the thread executes a program
    /// that is not dumpable.
    pub(crate) fn open_inherited_again(&mut self, tid: Tid) {
        if let Some(inherited) = &mut self.inherited
            && inherited.open_again(&self.tracepoints, tid).is_err()
        {
            self.inherited = None;
        }
    }

    /// Whether no thread has inherited events yet.
    pub(crate) fn is_first(&self) -> bool {
        self.inherited.as_ref().is_some_and(Inherited::is_empty)
    }

    /// Closes all events of a thread that another engine watches from now on.
    pub(crate) fn close_inherited(&mut self, tid: Tid) {
        if let Some(inherited) = &mut self.inherited {
            inherited.close(tid);
        }
    }

    /// Counts the accepts of a thread from now on. Does nothing if it is counted already.
    pub(crate) fn open(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), PerfError> {
        if self.open.contains_key(&tid) {
            return Ok(());
        }
        let open = || Events::open(&self.tracepoints, tid, signal);
        let events = match open() {
            Err(PerfError::Files) if files::raise_limit() => open()?,
            result => result?,
        };
        let [first, second] = events.descriptors();
        if !files::has_room(SPARE_DESCRIPTORS, first.max(second)) && !files::raise_limit() {
            return Err(PerfError::Files);
        }
        self.open.insert(tid, Counted { events, seen: 0, lost: 0 });
        Ok(())
    }

    /// Stops counting the accepts of a thread.
    pub(crate) fn close(&mut self, tid: Tid) {
        if let Some(mut counted) = self.open.remove(&tid) {
            // Nothing that can happen to such an event makes the read fail.
            self.lost += counted.unexplained().unwrap_or(0) + counted.lost;
            self.former.insert(tid, counted.events.descriptors());
        }
    }

    /// Stops counting the accepts of a thread that has ended.
    pub(crate) fn forget(&mut self, tid: Tid) {
        self.close(tid);
        self.former.remove(&tid);
    }

    /// Closes all events and returns their descriptors by thread.
    pub(crate) fn close_all(mut self) -> HashMap<Tid, [RawFd; 2]> {
        self.former
            .extend(self.open.drain().map(|(tid, counted)| (tid, counted.events.descriptors())));
        self.former
    }

    /// The signal that a thread gets.
    pub(crate) fn signal(&self, tid: Tid) -> Option<AcceptSignal> {
        self.open.get(&tid).map(|counted| counted.events.signal())
    }

    /// Changes the signal that a thread gets.
    pub(crate) fn set_signal(&mut self, tid: Tid, signal: AcceptSignal) -> io::Result<()> {
        self.open.get_mut(&tid).map_or(Ok(()), |counted| counted.events.set_signal(signal))
    }

    /// Whether a signal with this descriptor comes from the events of a thread.
    pub(crate) fn owns(&self, tid: Tid, descriptor: RawFd) -> bool {
        let is_open = |counted: &Counted| counted.events.descriptors().contains(&descriptor);
        self.open.get(&tid).is_some_and(is_open)
            || self.former.get(&tid).is_some_and(|fds| fds.contains(&descriptor))
    }

    /// Whether a thread has events.
    pub(crate) fn has(&self, tid: Tid) -> bool {
        self.open.contains_key(&tid)
    }

    /// Notes that an accept of a thread was seen.
    pub(crate) fn see(&mut self, tid: Tid) {
        if let Some(counted) = self.open.get_mut(&tid) {
            counted.seen += 1;
        }
        if let Some(inherited) = &mut self.inherited {
            inherited.see();
        }
    }

    /// Reads all counts.
    pub(crate) fn snapshot(&mut self) -> io::Result<Snapshot> {
        // In this order, an accept during the reading makes `untraced` too small, never too large.
        let all = self.inherited.as_ref().map(Inherited::missing).transpose()?;
        let mut due = Vec::new();
        let mut unseen = self.lost;
        for (tid, counted) in &mut self.open {
            let unexplained = counted.unexplained()?;
            unseen += unexplained + counted.lost;
            if unexplained > 0 {
                due.push((*tid, counted.seen + counted.lost + unexplained));
            }
        }
        let again = self.inherited.as_ref().map(Inherited::missing).transpose()?;
        Ok(Snapshot {
            due,
            untraced: all.unwrap_or(0).saturating_sub(unseen),
            is_exact: all == again,
        })
    }

    /// Whether a thread has no unexplained accepts among the first `due`, or has ended.
    pub(crate) fn is_explained(&self, tid: Tid, due: u64) -> bool {
        self.open.get(&tid).is_none_or(|counted| counted.seen + counted.lost >= due)
    }

    /// Records the unexplained accepts of a thread among the first `due` as lost.
    pub(crate) fn record_lost(&mut self, tid: Tid, due: u64) {
        if let Some(counted) = self.open.get_mut(&tid) {
            counted.lost += due.saturating_sub(counted.seen + counted.lost);
        }
    }

    /// How many accepts are known to be lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost + self.open.values().map(|counted| counted.lost).sum::<u64>()
    }

    /// Whether a watched thread or a descendant has set up an io_uring.
    pub(crate) fn has_seen_io_uring(&self) -> bool {
        self.inherited.as_ref().is_some_and(Inherited::has_seen_io_uring)
    }
}
