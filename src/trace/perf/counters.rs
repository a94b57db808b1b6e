//! The kernel's own count of accepts, against those that were seen.

use std::collections::HashMap;
use std::io;

use crate::sys::ptrace::Tid;
use crate::trace::files;

use super::Refused;
use super::events::Events;
use super::tracepoint::Tracepoints;
use crate::sys::perf::Inherit;

/// In each signal of an event of ours.
pub const COOKIE: u64 = u64::from_be_bytes(*b"tcptally");

/// Descriptors that events leave to others, who look up sockets and read /proc.
const SPARE: u64 = 24;

/// All events, and what they have brought.
#[derive(Debug)]
pub struct EventCounters {
    // Before the tracepoints, which must be dropped last to make closing quick.
    counted: Vec<Events>,
    /// On threads that may have inherited their creator's events as well: what these count may
    /// have been counted already, so it proves nothing missing.
    doubtful: Vec<Events>,
    /// Those of programs that have created no thread or process, which would have inherited them.
    childless: HashMap<Tid, Events>,
    /// What events counted that are closed.
    closed: u64,
    tracepoints: Tracepoints,
    inherit: Inherit,
    seen: u64,
}

impl EventCounters {
    /// Finds the tracepoints; nothing is counted yet.
    pub fn new(inherit: Inherit) -> Result<EventCounters, Refused> {
        Ok(EventCounters {
            counted: Vec::new(),
            doubtful: Vec::new(),
            childless: HashMap::new(),
            closed: 0,
            tracepoints: Tracepoints::find()?,
            inherit,
            seen: 0,
        })
    }

    /// Counts the accepts of a thread and its heirs from now on.
    pub fn open(&mut self, tid: Tid, is_doubtful: bool) -> Result<(), Refused> {
        let events = self.events(tid)?;
        if is_doubtful { &mut self.doubtful } else { &mut self.counted }.push(events);
        Ok(())
    }

    /// The same for a process that has just executed a program.
    pub fn open_at_exec(&mut self, pid: Tid) -> Result<(), Refused> {
        let events = self.events(pid)?;
        if let Some(former) = self.childless.insert(pid, events) {
            self.counted.push(former);
        }
        Ok(())
    }

    fn events(&self, tid: Tid) -> Result<Events, Refused> {
        let open = || Events::open(&self.tracepoints, tid, self.inherit, COOKIE);
        let events = match open() {
            Err(Refused::Files) if files::allow_more() => open()?,
            result => result?,
        };
        if !files::leaves(SPARE, events.highest_descriptor()) && !files::allow_more() {
            return Err(Refused::Files);
        }
        Ok(events)
    }

    /// A thread has created another, which inherits its events: these must stay open.
    pub fn inherited(&mut self, parent: Tid) {
        if let Some(events) = self.childless.remove(&parent) {
            self.counted.push(events);
        }
    }

    /// A process has exited. Events that nobody can have inherited are closed: a server that
    /// executes a program per connection would use up our descriptors.
    pub fn exited(&mut self, pid: Tid) {
        if let Some(events) = self.childless.remove(&pid) {
            match events.count() {
                Ok(count) => self.closed += count,
                Err(_) => self.counted.push(events),
            }
        }
    }

    /// A process was killed, in the middle of a fork perhaps.
    pub fn killed(&mut self, pid: Tid) {
        self.inherited(pid);
    }

    /// An accept was seen.
    pub fn see(&mut self) {
        self.seen += 1;
    }

    /// Counts no more.
    pub fn close(&self) {
        for events in self.counted.iter().chain(&self.doubtful).chain(self.childless.values()) {
            // Where it fails the events go on until they are dropped, which does no harm.
            let _ = events.disable();
        }
    }

    /// How many accepts the kernel has counted that nobody saw. What is under way just now is
    /// among them.
    pub fn missing(&self) -> io::Result<u64> {
        let events = self.counted.iter().chain(self.childless.values());
        let counted = events.map(Events::count).sum::<io::Result<u64>>()?;
        Ok((self.closed + counted).saturating_sub(self.seen))
    }
}
