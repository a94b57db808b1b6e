//! Counts what everybody accepts who descends from a watched thread, watched or not.
//!
//! These events are inherited and send no signal. A child that the tracer does not get, since it
//! was made with CLONE_UNTRACED, has them all the same; so has every thread and process that shares
//! memory, files or nothing with its creator. Their sum, less what was seen, is what nobody saw.
//! The same way io_uring_setup(2) is noticed, wherever it is called.
//!
//! A thread that is made in the moment in which its creator gets the events may lack them. What it
//! accepts is seen and not counted here, and then the sum may hide as many that were lost.

use std::io;

use crate::sys::capability;
use crate::sys::perf::{Event, Tracepoint};
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::Tid;

use super::Refused;
use super::events::{Events, SUCCESS};
use super::tracepoint::Tracepoints;

/// So often a thread is looked at for a moment in which it accepts nothing.
const TRIES: usize = 20;

/// The inherited events of each thread that was there when the watch began.
#[derive(Debug)]
pub(super) struct Inherited {
    families: Vec<Family>,
    inherit: Inherit,
    /// Accepts that were seen.
    seen: u64,
}

/// The events of one thread, and of all that descends from it.
#[derive(Debug)]
struct Family {
    tid: Tid,
    accepts: [Event; 2],
    io_uring: Option<Event>,
    /// What they counted before the thread was watched.
    before: u64,
}

impl Inherited {
    /// No events yet. `inherit` says whether child processes are watched.
    pub(super) fn new(inherit: Inherit) -> Inherited {
        Inherited { families: Vec::new(), inherit, seen: 0 }
    }

    /// Whether no events are open.
    pub(super) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Opens the events on a thread that is about to be watched.
    pub(super) fn open(&mut self, tracepoints: &Tracepoints, tid: Tid) -> Result<(), Refused> {
        if self.families.iter().any(|family| family.tid == tid) {
            return Ok(());
        }
        self.open_again(tracepoints, tid)
    }

    /// Opens them on a thread whose former ones the kernel has ended.
    pub(super) fn open_again(
        &mut self,
        tracepoints: &Tracepoints,
        tid: Tid,
    ) -> Result<(), Refused> {
        let ids = tracepoints.ids();
        let _raised = capability::raised();
        let open = |id| {
            let inherit = Some(self.inherit);
            let event = Tracepoint { id, raw: false, notify: None, filter: Some(SUCCESS), inherit };
            Event::open(&event, tid).map_err(|e| Refused::on_thread(e, tid))
        };
        let accepts = [open(ids.accept)?, open(ids.accept4)?];
        let io_uring = ids.io_uring_setup.map(open).transpose()?;
        self.families.push(Family { tid, accepts, io_uring, before: 0 });
        Ok(())
    }

    /// A thread has got its own events: what was counted before that is not to be seen.
    pub(super) fn begin(&mut self, tid: Tid, events: &Events) {
        let Some(family) = self.families.iter_mut().find(|family| family.tid == tid) else {
            return;
        };
        for _ in 0..TRIES {
            let counts = [family.count(), events.count().ok(), family.count()];
            if let [Some(first), Some(own), Some(last)] = counts {
                family.before = first.saturating_sub(own);
                if first == last {
                    return;
                }
            }
        }
    }

    /// Closes the events of a thread, and of all that have inherited them.
    pub(super) fn close(&mut self, tid: Tid) {
        self.families.retain(|family| family.tid != tid);
    }

    /// An accept was seen.
    pub(super) fn see(&mut self) {
        self.seen += 1;
    }

    /// How many accepts were counted that nobody saw. What is under way just now is among them.
    pub(super) fn missing(&self) -> io::Result<u64> {
        let mut counted = 0;
        for family in &self.families {
            let events = &family.accepts;
            counted += (events[0].count()? + events[1].count()?).saturating_sub(family.before);
        }
        Ok(counted.saturating_sub(self.seen))
    }

    /// Whether an io_uring was set up.
    pub(super) fn has_seen_io_uring(&self) -> bool {
        let mut events = self.families.iter().filter_map(|family| family.io_uring.as_ref());
        events.any(|event| event.count().is_ok_and(|n| n > 0))
    }
}

impl Family {
    fn count(&self) -> Option<u64> {
        Some(self.accepts[0].count().ok()? + self.accepts[1].count().ok()?)
    }
}
