//! The events of a thread: the kernel's own count of its successful accepts, and a stop for each.

use std::ffi::CStr;
use std::io;

use crate::sys::capability;
use crate::sys::perf::{Event, Inherit, Tracepoint};
use crate::sys::ptrace::Tid;

use super::Refused;
use super::tracepoint::Tracepoints;

/// accept's errors are negative; what it may return besides is a descriptor.
const SUCCESS: &CStr = c"ret >= 0";

/// The events of accept and accept4 on a thread and its heirs.
///
/// They end when this is dropped, for the heirs too; so keep it until the last of these has ended,
/// not only the thread itself. At exec they end by themselves, and keep their count.
#[derive(Debug)]
pub struct Events([Event; 2]);

impl Events {
    /// Opens them on a thread. From now on each successful accept of it counts, and sends it a
    /// SIGTRAP with `cookie` in it: ptrace must be there to catch that, or the thread ignore it.
    ///
    /// # Errors
    /// [`Refused`], in which the remedy stands.
    pub fn open(
        tracepoints: &Tracepoints,
        tid: Tid,
        inherit: Inherit,
        cookie: u64,
    ) -> Result<Events, Refused> {
        let ids = tracepoints.ids();
        let _raised = capability::raised();
        let open = |id| {
            let event = Tracepoint {
                id,
                raw: false,
                sigtrap: Some(cookie),
                inherit,
                filter: Some(SUCCESS),
            };
            Event::open(&event, tid).map_err(|e| Refused::on_thread(e, tid))
        };
        Ok(Events([open(ids.accept)?, open(ids.accept4)?]))
    }

    /// How many accepts of the thread and its heirs have succeeded, by the kernel's count. Those
    /// of heirs that have ended are in it, and those whose signal could not be delivered.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.0[0].count()? + self.0[1].count()?)
    }

    /// No more counts and signals. A signal may still be on its way to a thread that runs.
    pub fn disable(&self) -> io::Result<()> {
        self.0.iter().try_for_each(Event::disable)
    }
}
