//! The events of a thread: the kernel's own count of its successful accepts, and a stop for each.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::sys::capability;
use crate::sys::perf::{Event, Notify, Tracepoint};
use crate::sys::ptrace::Tid;

use super::Refused;
use super::accept_signal::AcceptSignal;
use super::tracepoint::Tracepoints;

/// accept's errors are negative; what it may return besides is a descriptor.
pub(super) const SUCCESS: &CStr = c"ret >= 0";

/// The events of accept and accept4 on one thread. Nobody inherits them, and they end when this is
/// dropped.
#[derive(Debug)]
pub struct Events {
    pair: [Event; 2],
    signal: AcceptSignal,
}

impl Events {
    /// Opens them on a thread. From now on each successful accept of it counts, and sends it the
    /// signal before it returns from the call.
    ///
    /// # Errors
    /// [`Refused`], in which the remedy stands.
    pub fn open(
        tracepoints: &Tracepoints,
        tid: Tid,
        signal: AcceptSignal,
    ) -> Result<Events, Refused> {
        let ids = tracepoints.ids();
        let _raised = capability::raised();
        let notify = Some(Notify { tid, signal: signal.number() });
        let open = |id| {
            let event = Tracepoint { id, raw: false, notify, filter: Some(SUCCESS), inherit: None };
            Event::open(&event, tid).map_err(|e| Refused::on_thread(e, tid))
        };
        Ok(Events { pair: [open(ids.accept)?, open(ids.accept4)?], signal })
    }

    /// How many accepts of the thread have succeeded, by the kernel's count. Those whose signal
    /// could not be delivered are in it. It stays readable when the thread has ended.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.pair[0].count()? + self.pair[1].count()?)
    }

    /// The signal that they send.
    pub fn signal(&self) -> AcceptSignal {
        self.signal
    }

    /// Sends another signal from now on.
    pub fn set_signal(&mut self, signal: AcceptSignal) -> io::Result<()> {
        self.signal = signal;
        self.pair.iter().try_for_each(|event| event.set_signal(signal.number()))
    }

    /// Their descriptors, which their signals name.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.pair[0].as_raw_fd(), self.pair[1].as_raw_fd()]
    }
}
