//! The events of a thread: the kernel's own count of its successful accepts, and a stop for each.

use std::ffi::CStr;
use std::io;

use crate::sys::capability;
use crate::sys::perf::{Event, Inherit, Tracepoint};
use crate::sys::ptrace::{self, Tid};
use crate::sys::tracee::read_memory;
use crate::trace::stop::EventStop;

use super::Refused;
use super::tracepoint::{Ids, Tracepoints};

/// accept's errors are negative; what it may return besides is a descriptor.
const SUCCESS: &CStr = c"ret >= 0";

/// The events of accept and accept4 on a thread and its heirs.
///
/// They end when this is dropped, for the heirs too; so keep it until the last of these has ended,
/// not only the thread itself. At exec they end by themselves, and keep their count.
#[derive(Debug)]
pub struct Events {
    opening: Opening,
    events: [Event; 2],
    /// What those counted that these replace.
    before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    ids: Ids,
    tid: Tid,
    inherit: Inherit,
    cookie: u64,
}

impl Opening {
    fn open(self) -> Result<[Event; 2], Refused> {
        let _raised = capability::raised();
        let open = |id| {
            let event = Tracepoint {
                id,
                raw: false,
                sigtrap: Some(self.cookie),
                inherit: self.inherit,
                filter: Some(SUCCESS),
            };
            Event::open(&event, self.tid).map_err(|e| Refused::on_thread(e, self.tid))
        };
        Ok([open(self.ids.accept)?, open(self.ids.accept4)?])
    }
}

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
        let opening = Opening { ids: tracepoints.ids(), tid, inherit, cookie };
        Ok(Events { opening, events: opening.open()?, before: 0 })
    }

    /// How many accepts of the thread and its heirs have succeeded, by the kernel's count. Those
    /// of heirs that have ended are in it, and those whose signal could not be delivered.
    pub fn count(&self) -> io::Result<u64> {
        Ok(self.before + self.events[0].count()? + self.events[1].count()?)
    }

    /// No more counts, and no more signals but for accepts already counted: of a thread that runs,
    /// the signal may be on its way.
    pub fn disable(&self) -> io::Result<()> {
        self.events.iter().try_for_each(Event::disable)
    }

    /// Opens them anew on their thread, and on a new thread or process of which it is not known
    /// whether it has inherited them; both stand still, and there are no other heirs.
    ///
    /// That is the case of the first child that a thread reports after [`Events::open`], if it
    /// has reported no other stop before: the call that made the child may have begun before.
    ///
    /// # Errors
    /// [`Refused`]; the thread or the child may be without events then.
    pub fn settle_with(&mut self, child: Tid) -> Result<Events, Refused> {
        let of_child = Opening { tid: child, ..self.opening };
        let before = self.count()?;
        // In place of the old ones, which end here, also in the child.
        self.events = self.opening.open()?;
        self.before = before;
        Ok(Events { opening: of_child, events: of_child.open()?, before: 0 })
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
