//! Compares the kernel's count of accepts with those that were seen.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;

use crate::sys::files;
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::Tid;

use super::Refused;
use super::accept_signal::AcceptSignal;
use super::events::Events;
use super::inherited::Inherited;
use super::tracepoint::Tracepoints;

/// Descriptors that are left for socket look-ups and files in /proc.
const SPARE_DESCRIPTORS: u64 = 24;

/// The events of all threads, each from its first stop to its end, with their counts.
#[derive(Debug)]
pub(crate) struct EventCounters {
    // Declared before the tracepoints, which must be dropped last to make closing fast.
    open: HashMap<Tid, Events>,
    /// Descriptors of events that were closed before their thread ended: a signal of theirs may
    /// still be pending.
    former: HashMap<Tid, [RawFd; 2]>,
    /// The counts of closed events.
    closed: u64,
    /// `None`: unavailable; only the events of each thread are compared.
    inherited: Option<Inherited>,
    tracepoints: Tracepoints,
    seen: u64,
}

/// Accepts that the kernel has counted and the tracer has not seen. Some may be in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// In threads whose events send signals.
    pub watched: u64,
    /// In these and in all their descendants.
    pub all: u64,
}

impl EventCounters {
    /// Finds the tracepoints. Nothing is counted yet.
    pub(crate) fn new(inherit: Inherit) -> Result<EventCounters, Refused> {
        Ok(EventCounters {
            inherited: Some(Inherited::new(inherit)),
            open: HashMap::new(),
            former: HashMap::new(),
            closed: 0,
            tracepoints: Tracepoints::find()?,
            seen: 0,
        })
    }

    /// Adds a thread that was not watched before. Also counts accepts of its descendants.
    pub(crate) fn open_first(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), Refused> {
        if self.open.contains_key(&tid) {
            return Ok(());
        }
        self.open_inherited(tid);
        self.open(tid, signal)?;
        if let (Some(inherited), Some(events)) = (&mut self.inherited, self.open.get(&tid)) {
            inherited.begin(tid, events);
        }
        Ok(())
    }

    /// Counts what a thread and its descendants accept from now on. The inherited counts are usable
    /// only if every thread has these events.
    pub(crate) fn open_inherited(&mut self, tid: Tid) {
        let Some(inherited) = &mut self.inherited else { return };
        let opened = match inherited.open(&self.tracepoints, tid) {
            Err(Refused::Files) if files::raise_limit() => inherited.open(&self.tracepoints, tid),
            result => result,
        };
        if opened.is_err_and(|why| !matches!(why, Refused::Gone)) {
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
    pub(crate) fn open(&mut self, tid: Tid, signal: AcceptSignal) -> Result<(), Refused> {
        if self.open.contains_key(&tid) {
            return Ok(());
        }
        let open = || Events::open(&self.tracepoints, tid, signal);
        let events = match open() {
            Err(Refused::Files) if files::raise_limit() => open()?,
            result => result?,
        };
        let [first, second] = events.descriptors();
        if !files::has_room(SPARE_DESCRIPTORS, first.max(second)) && !files::raise_limit() {
            return Err(Refused::Files);
        }
        self.open.insert(tid, events);
        Ok(())
    }

    /// Stops counting the accepts of a thread.
    pub(crate) fn close(&mut self, tid: Tid) {
        if let Some(events) = self.open.remove(&tid) {
            // Nothing that can happen to such an event makes the read fail.
            self.closed += events.count().unwrap_or(0);
            self.former.insert(tid, events.descriptors());
        }
    }

    /// Stops counting the accepts of a thread that has ended.
    pub(crate) fn forget(&mut self, tid: Tid) {
        self.close(tid);
        self.former.remove(&tid);
    }

    /// Closes all events and returns their descriptors by thread.
    pub(crate) fn close_all(mut self) -> HashMap<Tid, [RawFd; 2]> {
        self.former.extend(self.open.drain().map(|(tid, events)| (tid, events.descriptors())));
        self.former
    }

    /// The signal that a thread gets.
    pub(crate) fn signal(&self, tid: Tid) -> Option<AcceptSignal> {
        self.open.get(&tid).map(Events::signal)
    }

    /// Changes the signal that a thread gets.
    pub(crate) fn set_signal(&mut self, tid: Tid, signal: AcceptSignal) -> io::Result<()> {
        self.open.get_mut(&tid).map_or(Ok(()), |events| events.set_signal(signal))
    }

    /// Whether a signal with this descriptor comes from the events of a thread.
    pub(crate) fn owns(&self, tid: Tid, descriptor: RawFd) -> bool {
        self.open.get(&tid).is_some_and(|events| events.descriptors().contains(&descriptor))
            || self.former.get(&tid).is_some_and(|fds| fds.contains(&descriptor))
    }

    /// Whether a thread has events.
    pub(crate) fn has(&self, tid: Tid) -> bool {
        self.open.contains_key(&tid)
    }

    /// Notes that an accept of a thread was seen.
    pub(crate) fn see(&mut self, tid: Tid) {
        self.seen += u64::from(self.has(tid));
        if let Some(inherited) = &mut self.inherited {
            inherited.see();
        }
    }

    /// Returns how many accepts the kernel has counted that were not seen.
    pub(crate) fn missing(&self) -> io::Result<Missing> {
        let counted = self.open.values().map(Events::count).sum::<io::Result<u64>>()?;
        let watched = (self.closed + counted).saturating_sub(self.seen);
        let all = self.inherited.as_ref().map_or(Ok(0), Inherited::missing)?;
        Ok(Missing { watched, all: all.max(watched) })
    }

    /// Whether a watched thread or a descendant has set up an io_uring.
    pub(crate) fn has_seen_io_uring(&self) -> bool {
        self.inherited.as_ref().is_some_and(Inherited::has_seen_io_uring)
    }
}
