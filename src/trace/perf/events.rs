//! The events of a thread: the kernel's own count of its successful accepts, and a stop for each.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::sys::capability;
use crate::sys::perf::{Event, Inherit, Tracepoint};
use crate::sys::ptrace::{self, Tid};
use crate::sys::tracee::read_memory;
use crate::trace::stop::EventStop;

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
    /// A thread that has events twice gets one SIGTRAP all the same.
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

    /// The highest number of a descriptor that they use.
    pub fn highest_descriptor(&self) -> RawFd {
        self.0[0].as_raw_fd().max(self.0[1].as_raw_fd())
    }

    /// No more counts, and no more signals but for accepts already counted: of a thread that runs,
    /// the signal may be on its way.
    pub fn disable(&self) -> io::Result<()> {
        self.0.iter().try_for_each(Event::disable)
    }
}

const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;

/// Whether a thread, if it is a new one at its first stop, has inherited the events of the one
/// that made it: not if its signal handlers were cleared, clone(2), as posix_spawn(3) of newer
/// C libraries has it.
pub fn are_inherited(stop: &EventStop) -> io::Result<bool> {
    // It still has its maker's registers but for the result, and the maker's memory or a copy.
    let registers = ptrace::registers(stop.tid())?;
    if registers.orig_rax != libc::SYS_clone3 as u64 || registers.rax != 0 {
        return Ok(true);
    }
    let mut flags = [0; 8];
    read_memory(stop.tid(), registers.rdi, &mut flags)?;
    Ok(u64::from_ne_bytes(flags) & CLONE_CLEAR_SIGHAND == 0)
}
