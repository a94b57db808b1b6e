//! CAP_PERFMON (Linux 5.8) and CAP_SYS_ADMIN (capabilities(7)), raised only where they are needed.
//!
//! A binary that has one as a file capability (`setcap cap_perfmon+ep`) starts with it effective.
//! Programs that such a process executes gain nothing from it: the inheritable and the ambient set
//! are not changed, and both are empty unless the caller set them.

use std::io;

use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// The sets of the calling thread.
fn get() -> io::Result<CapabilitySets> {
    Ok(capabilities(None)?)
}

fn set(sets: CapabilitySets) -> io::Result<()> {
    Ok(set_capabilities(None, sets)?)
}

/// The capabilities that perf_event_open(2) may ask for.
const PERF: CapabilitySet = CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN);

/// Takes CAP_PERFMON and CAP_SYS_ADMIN out of the calling thread's effective set and keeps them for
/// [`raised`]. To be called first, before there are other threads. Root keeps what it has.
pub(crate) fn lower() -> io::Result<()> {
    if geteuid().is_root() || !get()?.permitted.intersects(PERF) {
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
    if !sets.effective.intersects(PERF) {
        return Ok(());
    }
    sets.effective.remove(PERF);
    set(sets)
}

/// What a thread still has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Observe processes, sockets and the kernel, and read and write files.
    Observe,
    /// Read and write files.
    Files,
    /// Write to streams that are open: answers to clients, messages.
    Answer,
}

/// What root needs to read and to write the files of others.
const FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// What an observer needs besides: perf_event_open(2) and its limits, ptrace(2), setns(2), signals to processes of
/// others, large receive buffers, a port below 1024 for metrics.
const OBSERVE: CapabilitySet = FILES
    .union(PERF)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

/// Gives up for ever, in the calling thread and in those that it starts later, the capabilities that `duty` does not
/// need.
pub(crate) fn give_up_beyond(duty: Duty) -> io::Result<()> {
    let mut sets = get()?;
    let needed = match duty {
        // Without CAP_SYS_PTRACE, a process may observe those only that have no more capabilities than itself: ptrace(2),
        // "Ptrace access mode checking".
        Duty::Observe if !sets.effective.contains(CapabilitySet::SYS_PTRACE) => return Ok(()),
        Duty::Observe => OBSERVE,
        Duty::Files => FILES,
        Duty::Answer => CapabilitySet::empty(),
    };
    if needed.contains(sets.permitted | sets.inheritable) {
        return Ok(());
    }
    sets.effective &= needed;
    sets.permitted &= needed;
    sets.inheritable &= needed;
    set(sets)
}

/// Lets no program that this process executes gain privileges (prctl(2), PR_SET_NO_NEW_PRIVS). Not for a
/// process that starts a command of the user: set-user-ID programs would lose their privileges.
pub(crate) fn renounce_new() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// Takes out of the calling thread's effective set what makes every tracepoint readable.
pub(crate) fn renounce() -> io::Result<()> {
    lower_here()
}

/// Makes effective what [`renounce`] took, where it is permitted.
pub(crate) fn resume() -> io::Result<()> {
    let mut sets = get()?;
    sets.effective |= sets.permitted & PERF;
    set(sets)
}

/// Whether the calling thread may raise CAP_SYS_ADMIN.
pub(crate) fn has_sys_admin() -> bool {
    get().is_ok_and(|sets| sets.permitted.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether the calling thread may raise CAP_PERFMON.
pub(crate) fn has_perfmon() -> bool {
    get().is_ok_and(|sets| sets.permitted.contains(CapabilitySet::PERFMON))
}

/// Whether this process is in the initial user namespace, in which user 0 is root of the host: it maps
/// all IDs to themselves (user_namespaces(7)).
pub(crate) fn is_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The capabilities are effective in this thread while this lives.
#[derive(Debug)]
#[must_use = "they are lowered again when this is dropped"]
pub(crate) struct Raised {
    /// What was lowered before.
    lowered: CapabilitySet,
    /// A guard belongs to the thread that made it, as capabilities do.
    not_send: std::marker::PhantomData<*const ()>,
}

/// Raises CAP_PERFMON and CAP_SYS_ADMIN where the thread has them in its permitted set. Does nothing
/// elsewhere.
pub(crate) fn raised() -> Raised {
    let raise = || {
        let mut sets = get()?;
        let lowered = (sets.permitted & PERF).difference(sets.effective);
        if !lowered.is_empty() {
            sets.effective |= lowered;
            set(sets)?;
        }
        io::Result::Ok(lowered)
    };
    let lowered = raise().unwrap_or(CapabilitySet::empty());
    Raised { lowered, not_send: std::marker::PhantomData }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if !self.lowered.is_empty()
            && let Ok(mut sets) = get()
        {
            sets.effective.remove(self.lowered);
            // Removal from one's own effective set cannot be refused.
            let _ = set(sets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_effective() -> bool {
        get().unwrap().effective.contains(PERF)
    }

    /// In a thread of its own: capabilities are a thread's.
    #[test]
    fn are_effective_only_while_raised() {
        std::thread::spawn(|| {
            if !get().unwrap().permitted.contains(PERF) {
                drop(raised());
                assert!(!are_effective());
                return;
            }
            lower_here().unwrap();
            assert!(!get().unwrap().effective.intersects(PERF));
            let guard = raised();
            assert!(are_effective());
            drop(guard);
            assert!(!get().unwrap().effective.intersects(PERF));
            assert!(has_sys_admin());
        })
        .join()
        .unwrap();
    }
}
