//! Events that count the successful accepts of one thread and stop it at each.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::sys::capability;
use crate::sys::perf::{Event, Notify, Tracepoint};
use crate::sys::ptrace::Tid;

use super::PerfError;
use super::accept_signal::AcceptSignal;
use super::tracepoint::Tracepoints;

/// accept returns a negative error or a descriptor.
pub(super) const SUCCESS: &CStr = c"ret >= 0";

/// The events of accept and accept4 on one thread. They are not inherited, and are closed when this
/// is dropped.
#[derive(Debug)]
pub struct Events {
    pair: [Event; 2],
    signal: AcceptSignal,
}

impl Events {
    /// Opens the events on a thread. From then on each successful accept is counted, and sends the
    /// signal before the call returns.
    ///
    /// # Errors
    /// [`PerfError`], with the remedy.
    pub fn open(
        tracepoints: &Tracepoints,
        tid: Tid,
        signal: AcceptSignal,
    ) -> Result<Events, PerfError> {
        let ids = tracepoints.ids();
        let _raised = capability::raised();
        let notify = Some(Notify { tid, signal: signal.number() });
        let open = |id| {
            let event = Tracepoint { id, raw: false, notify, filter: Some(SUCCESS), inherit: None };
            Event::open(&event, tid).map_err(|e| PerfError::on_thread(e, tid))
        };
        Ok(Events { pair: [open(ids.accept)?, open(ids.accept4)?], signal })
    }

    /// The kernel's count of successful accepts of the thread, with those whose signal could not be
    /// delivered. It stays readable when the thread has ended.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.pair[0].count()? + self.pair[1].count()?)
    }

    /// The signal that they send.
    pub fn signal(&self) -> AcceptSignal {
        self.signal
    }

    /// Changes the signal that the events send.
    pub fn set_signal(&mut self, signal: AcceptSignal) -> io::Result<()> {
        self.signal = signal;
        self.pair.iter().try_for_each(|event| event.set_signal(signal.number()))
    }

    /// Their descriptors, which their signals contain.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.pair[0].as_raw_fd(), self.pair[1].as_raw_fd()]
    }
}
