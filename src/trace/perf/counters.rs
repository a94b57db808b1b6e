//! The kernel's own count of accepts, against those that were seen.

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

/// Descriptors that events leave to others, who look up sockets and read /proc.
const SPARE_DESCRIPTORS: u64 = 24;

/// The events of all threads, each from its first stop to its end, and what they have counted.
#[derive(Debug)]
pub(crate) struct EventCounters {
    // Before the tracepoints, which must be dropped last to make closing quick.
    open: HashMap<Tid, Events>,
    /// The descriptors of events that are closed while their thread lives: a signal of theirs may
    /// still be on its way.
    former: HashMap<Tid, [RawFd; 2]>,
    /// What events counted that are closed.
    closed: u64,
    /// `None`: they cannot be had, and the events of each thread have to do.
    inherited: Option<Inherited>,
    tracepoints: Tracepoints,
    seen: u64,
}

/// Accepts that the kernel has counted and nobody saw; some may be under way just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// In threads that have events which send signals.
    pub watched: u64,
    /// In these, and in all that descend from them.
    pub all: u64,
}

impl EventCounters {
    /// Finds the tracepoints; nothing is counted yet.
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

    /// Does so for a thread that nobody watched before, and counts what it and its descendants
    /// accept.
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

    /// Counts what a thread and its descendants accept from now on, and only that. Without these
    /// events of every thread, those of the others would say nothing.
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

    /// The same for a thread whose events the kernel has ended: it executes a program that is not
    /// dumpable.
    pub(crate) fn open_inherited_again(&mut self, tid: Tid) {
        if let Some(inherited) = &mut self.inherited
            && inherited.open_again(&self.tracepoints, tid).is_err()
        {
            self.inherited = None;
        }
    }

    /// Whether no thread has such events yet.
    pub(crate) fn is_first(&self) -> bool {
        self.inherited.as_ref().is_some_and(Inherited::is_empty)
    }

    /// Closes all events of a thread that is to be watched in another way.
    pub(crate) fn close_inherited(&mut self, tid: Tid) {
        if let Some(inherited) = &mut self.inherited {
            inherited.close(tid);
        }
    }

    /// Counts the accepts of a thread from now on; once it is enough.
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

    /// Counts the accepts of a thread no more.
    pub(crate) fn close(&mut self, tid: Tid) {
        if let Some(events) = self.open.remove(&tid) {
            // The read fails for nothing that can happen to such an event.
            self.closed += events.count().unwrap_or(0);
            self.former.insert(tid, events.descriptors());
        }
    }

    /// The same for a thread that has ended.
    pub(crate) fn forget(&mut self, tid: Tid) {
        self.close(tid);
        self.former.remove(&tid);
    }

    /// Closes all, and gives the descriptors by thread.
    pub(crate) fn close_all(mut self) -> HashMap<Tid, [RawFd; 2]> {
        self.former.extend(self.open.drain().map(|(tid, events)| (tid, events.descriptors())));
        self.former
    }

    /// The signal that a thread is sent.
    pub(crate) fn signal(&self, tid: Tid) -> Option<AcceptSignal> {
        self.open.get(&tid).map(Events::signal)
    }

    /// Sends a thread another signal from now on.
    pub(crate) fn set_signal(&mut self, tid: Tid, signal: AcceptSignal) -> io::Result<()> {
        self.open.get_mut(&tid).map_or(Ok(()), |events| events.set_signal(signal))
    }

    /// Whether a signal of a thread about this descriptor comes from its events.
    pub(crate) fn owns(&self, tid: Tid, descriptor: RawFd) -> bool {
        self.open.get(&tid).is_some_and(|events| events.descriptors().contains(&descriptor))
            || self.former.get(&tid).is_some_and(|fds| fds.contains(&descriptor))
    }

    /// Whether a thread has events.
    pub(crate) fn has(&self, tid: Tid) -> bool {
        self.open.contains_key(&tid)
    }

    /// An accept of a thread was seen.
    pub(crate) fn see(&mut self, tid: Tid) {
        self.seen += u64::from(self.has(tid));
        if let Some(inherited) = &mut self.inherited {
            inherited.see();
        }
    }

    /// How many accepts the kernel has counted that nobody saw.
    pub(crate) fn missing(&self) -> io::Result<Missing> {
        let counted = self.open.values().map(Events::count).sum::<io::Result<u64>>()?;
        let watched = (self.closed + counted).saturating_sub(self.seen);
        let all = self.inherited.as_ref().map_or(Ok(0), Inherited::missing)?;
        Ok(Missing { watched, all: all.max(watched) })
    }

    /// Whether an io_uring was set up by a watched thread or a descendant of one.
    pub(crate) fn has_seen_io_uring(&self) -> bool {
        self.inherited.as_ref().is_some_and(Inherited::has_seen_io_uring)
    }
}
