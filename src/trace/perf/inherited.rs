//! Counts the accepts of all descendants of watched threads, traced or not.
//!
//! These events are inherited and send no signal. A child created with CLONE_UNTRACED, which the
//! tracer does not see, inherits them, too; so does every thread and process, whatever it shares
//! with its creator. The sum of their counts minus the accepts that were seen is the number of
//! missed accepts. The events also detect io_uring_setup(2) in any descendant.
//!
//! A thread that is created while its creator gets the events may lack them. Its accepts are seen
//! but not counted here, so the difference may hide as many lost ones.

use std::io;
use std::time::Duration;

use crate::sys::capability;
use crate::sys::perf::{Event, Tracepoint};
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::Tid;
use crate::trace::procfs;

use super::PerfError;
use super::events::{Events, SUCCESS};
use super::tracepoint::Tracepoints;

/// How many times to try to read the counters at a moment at which the thread accepts nothing.
const TRIES: usize = 20;
/// How many such readings of a thread that runs are compared, and how much time lies between them.
const READINGS_OF_RUNNING: u32 = 4;
const READING_INTERVAL: Duration = Duration::from_micros(50);

/// The inherited events of each thread that existed at the start.
#[derive(Debug)]
pub(super) struct Inherited {
    families: Vec<Family>,
    inherit: Inherit,
    /// The number of accepts that were seen.
    seen: u64,
}

/// The events of one thread and of all its descendants.
#[derive(Debug)]
struct Family {
    tid: Tid,
    accepts: [Event; 2],
    io_uring: Option<Event>,
    /// Their count before the thread was watched.
    before: u64,
}

impl Inherited {
    /// Returns no events. `inherit` says whether child processes are watched.
    pub(super) fn new(inherit: Inherit) -> Inherited {
        Inherited { families: Vec::new(), inherit, seen: 0 }
    }

    /// Whether no events are open.
    pub(super) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Opens the events on a thread before it is watched.
    pub(super) fn open(&mut self, tracepoints: &Tracepoints, tid: Tid) -> Result<(), PerfError> {
        if self.families.iter().any(|family| family.tid == tid) {
            return Ok(());
        }
        self.open_again(tracepoints, tid)
    }

    /// Opens them on a thread whose former events the kernel has closed.
    pub(super) fn open_again(
        &mut self,
        tracepoints: &Tracepoints,
        tid: Tid,
    ) -> Result<(), PerfError> {
        let ids = tracepoints.ids();
        let _raised = capability::raised();
        let open = |id| {
            let inherit = Some(self.inherit);
            let event = Tracepoint { id, raw: false, notify: None, filter: Some(SUCCESS), inherit };
            Event::open(&event, tid).map_err(|e| PerfError::on_thread(e, tid))
        };
        let accepts = [open(ids.accept)?, open(ids.accept4)?];
        let io_uring = ids.io_uring_setup.map(open).transpose()?;
        self.families.push(Family { tid, accepts, io_uring, before: 0 });
        Ok(())
    }

    /// Notes that a thread got its own events. What was counted before is not compared.
    pub(super) fn begin(&mut self, tid: Tid, events: &Events) {
        let Some(family) = self.families.iter_mut().find(|family| family.tid == tid) else {
            return;
        };
        // An accept increments the thread's own events first, as the newest. A reading in between is too
        // small by one, which only a thread that runs can cause.
        let is_running = |tid| matches!(procfs::state_and_user_time(tid), Some(('R', _)));
        let mut wanted = if is_running(tid) { READINGS_OF_RUNNING } else { 1 };
        for _ in 0..TRIES {
            let counts = [family.count(), events.count().ok(), family.count()];
            if let [Some(first), Some(own), Some(last)] = counts {
                family.before = family.before.max(first.saturating_sub(own));
                if first == last {
                    wanted -= 1;
                    if wanted == 0 {
                        return;
                    }
                    std::thread::sleep(READING_INTERVAL);
                }
            }
        }
    }

    /// Closes the events of a thread and of all that have inherited them.
    pub(super) fn close(&mut self, tid: Tid) {
        self.families.retain(|family| family.tid != tid);
    }

    /// Notes that an accept was seen.
    pub(super) fn see(&mut self) {
        self.seen += 1;
    }

    /// Returns how many accepts were counted and not seen, including those in progress.
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
