//! CAP_PERFMON (Linux 5.8, capabilities(7)), held ready and raised only where it is needed.
//!
//! A binary that carries it as a file capability (`setcap cap_perfmon+ep`) starts with it
//! effective. What such a process executes gains nothing from it: neither the inheritable nor
//! the ambient set is touched, and both are empty unless whoever started it arranged otherwise.

use std::io;

use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// The sets of the calling thread.
fn get() -> io::Result<CapabilitySets> {
    Ok(capabilities(None)?)
}

fn set(sets: CapabilitySets) -> io::Result<()> {
    Ok(set_capabilities(None, sets)?)
}

/// Takes CAP_PERFMON out of the calling thread's effective set, keeping it for [`raised`]. To be
/// called first thing, before there are other threads. Root keeps what it has.
pub(crate) fn lower() -> io::Result<()> {
    if geteuid().is_root() || !is_permitted() {
        return Ok(());
    }
    // A process that got capabilities of its file is not "dumpable", nor are its children until
    // they execute something: they could not be traced. Whoever would trace or read this process
    // still needs the capability himself: ptrace(2), "Ptrace access mode checking".
    let dumpable = set_dumpable_behavior(DumpableBehavior::Dumpable);
    lower_here()?;
    Ok(dumpable?)
}

fn lower_here() -> io::Result<()> {
    let mut sets = get()?;
    if !sets.effective.contains(CapabilitySet::PERFMON) {
        return Ok(());
    }
    sets.effective.remove(CapabilitySet::PERFMON);
    set(sets)
}

/// Takes out of the calling thread's effective set what makes every tracepoint readable.
pub(crate) fn renounce() -> io::Result<()> {
    let mut sets = get()?;
    sets.effective.remove(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN);
    set(sets)
}

/// Makes effective what [`renounce`] took, where it is permitted.
pub(crate) fn resume() -> io::Result<()> {
    let mut sets = get()?;
    sets.effective |= sets.permitted & (CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN);
    set(sets)
}

/// Whether the calling thread may raise CAP_PERFMON.
pub(crate) fn is_permitted() -> bool {
    get().is_ok_and(|sets| sets.permitted.contains(CapabilitySet::PERFMON))
}

/// CAP_PERFMON is effective in this thread while this lives.
#[derive(Debug)]
#[must_use = "it is lowered again when this is dropped"]
pub(crate) struct Raised {
    /// A guard belongs to the thread that made it, as capabilities do.
    was_lowered: bool,
    not_send: std::marker::PhantomData<*const ()>,
}

/// Raises CAP_PERFMON where the thread has it in its permitted set; does nothing elsewhere.
pub(crate) fn raised() -> Raised {
    let was_lowered = get().is_ok_and(|mut sets| {
        let is_lowered = sets.permitted.contains(CapabilitySet::PERFMON)
            && !sets.effective.contains(CapabilitySet::PERFMON);
        sets.effective.insert(CapabilitySet::PERFMON);
        is_lowered && set(sets).is_ok()
    });
    Raised { was_lowered, not_send: std::marker::PhantomData }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if self.was_lowered {
            // Taking a bit out of one's own effective set cannot be refused.
            let _ = lower_here();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_effective() -> bool {
        get().unwrap().effective.contains(CapabilitySet::PERFMON)
    }

    /// In a thread of its own: capabilities are a thread's.
    #[test]
    fn is_effective_only_while_raised() {
        std::thread::spawn(|| {
            if !is_permitted() {
                drop(raised());
                assert!(!is_effective());
                return;
            }
            lower_here().unwrap();
            assert!(!is_effective());
            let guard = raised();
            assert!(is_effective());
            drop(guard);
            assert!(!is_effective());
            assert!(is_permitted());
        })
        .join()
        .unwrap();
    }
}
