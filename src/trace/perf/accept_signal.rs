//! Chooses the signal that perf events send at an accept: one that has no effect on a process that
//! does not handle it.
//!
//! While a thread is traced, the signal stops it, and the tracer suppresses the signal. If the
//! tracer is killed first, the kernel delivers the signal, and its default action is to be ignored
//! (signal(7), "Ign"). So nothing has to be changed in the process, and what the process does with
//! other signals does not matter, not even a handler reset or an exec.

use crate::sys::capability;
use crate::sys::ptrace::Tid;
use crate::sys::tracee::SignalSet;
use crate::trace::procfs;

/// Signals that are ignored by default and rarely used, the rarest first. The other ignored
/// signals, SIGCHLD and SIGCONT, are in general use.
const CANDIDATES: [i32; 2] = [libc::SIGURG, libc::SIGWINCH];
/// The signal that Go's runtime handles without effect. It sends SIGURG to its own threads.
const GO: i32 = libc::SIGWINCH;

/// A signal that a process does not handle. It can be created only by checking the process, and
/// events that send signals can be opened only with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptSignal(i32);

/// Why events cannot send signals to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptSignalError {
    /// A spurious signal might have an effect.
    #[error("it handles SIGURG and SIGWINCH itself")]
    Handled,
    /// The kernel checks the user of each signal: fcntl(2), F_SETOWN.
    #[error(
        "its user is, or may become, another one than that of tcptally, and then the events may \
         not signal it; run tcptally as that user, or as root of the host"
    )]
    User,
}

impl AcceptSignal {
    /// Chooses the signal for a process, its threads and the children that it creates.
    pub fn choose(pid: Tid) -> Result<AcceptSignal, AcceptSignalError> {
        if !may_always_signal(pid) {
            return Err(AcceptSignalError::User);
        }
        let caught = procfs::signals(pid, "SigCgt").unwrap_or_default();
        if is_go(caught) {
            return Ok(AcceptSignal(GO));
        }
        let free: Vec<i32> = CANDIDATES.into_iter().filter(|s| !caught.contains(*s)).collect();
        let masks = procfs::threads(pid).into_iter().filter_map(|t| procfs::signals(t, "SigBlk"));
        let blocked = masks.fold(SignalSet::default(), |all, one| SignalSet(all.0 | one.0));
        // While a signal is unblocked for tracing, it does not reach a signalfd.
        let unread = || {
            let read = procfs::signalfd_masks(pid);
            free.iter().find(|s| !read.iter().any(|mask| mask.contains(**s)))
        };
        let unblocked = free.iter().find(|s| !blocked.contains(**s));
        unblocked.or_else(unread).map(|s| AcceptSignal(*s)).ok_or(AcceptSignalError::Handled)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Whether the process now handles it.
    pub fn is_handled(self, pid: Tid) -> bool {
        let caught = procfs::signals(pid, "SigCgt").unwrap_or_default();
        caught.contains(self.0) && !(is_go(caught) && self.0 == GO)
    }

    /// Whether a signal is one that events may send.
    pub fn is_candidate(signal: i32) -> bool {
        CANDIDATES.contains(&signal)
    }
}

/// Go's runtime catches all signals, even SIGSTKFLT and SIGPWR.
fn is_go(caught: SignalSet) -> bool {
    [libc::SIGSTKFLT, libc::SIGPWR, libc::SIGURG, GO].iter().all(|s| caught.contains(*s))
}

/// Whether the kernel lets events of this process signal the target, whatever users the target
/// changes to. fcntl(2) does not report it; a forbidden signal is just not sent.
fn may_always_signal(pid: Tid) -> bool {
    const CAP_SETUID: u32 = 7;
    let me = std::process::id() as Tid;
    let Some(mine) = effective_user(me) else { return false };
    if mine == 0 && capability::is_initial_user_namespace() {
        return true;
    }
    let may_change = procfs::status_field(pid, "CapPrm")
        .and_then(|c| u64::from_str_radix(&c, 16).ok())
        .is_none_or(|c| c & 1 << CAP_SETUID != 0);
    let users = procfs::status_field(pid, "Uid").unwrap_or_default();
    let mut users = users.split_whitespace().map(str::parse::<u32>);
    !may_change && users.clone().count() == 4 && users.all(|u| u == Ok(mine))
}

fn effective_user(pid: Tid) -> Option<u32> {
    procfs::status_field(pid, "Uid")?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_is_recognised_by_catching_all_signals() {
        // What /proc says of a program made by Go 1.19.
        assert!(is_go(SignalSet(0xffff_fffd_7fc1_fefd)));
        let some = SignalSet(1 << (libc::SIGURG - 1) | 1 << (libc::SIGWINCH - 1));
        assert!(!is_go(some));
    }

    #[test]
    fn a_process_that_handles_nothing_gets_sigurg() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let chosen = AcceptSignal::choose(child.id() as Tid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(chosen.map(AcceptSignal::number), Ok(libc::SIGURG));
    }
}
