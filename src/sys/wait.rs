//! waitpid(2) for tracees. nix's waitpid returns EINVAL for a stop by a real-time signal, and the
//! stop is lost.
#![allow(unsafe_code)]

use std::io;

use super::ptrace::Tid;

/// A change of state of a child or tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It exited with this status.
    Exited(Tid, i32),
    /// This signal killed it.
    Killed(Tid, i32),
    /// It stopped: the signal and the `PTRACE_EVENT_*` (0: none).
    Stopped(Tid, i32, i32),
}

/// Waits for any child or tracee. `None`: no child or tracee exists.
///
/// # Errors
/// EINTR if a signal handler ran.
pub fn any() -> io::Result<Option<Change>> {
    wait(-1, libc::__WALL)
}

/// Returns a change of any child or tracee without waiting. `None`: nothing has changed.
pub fn any_now() -> io::Result<Option<Change>> {
    wait(-1, libc::__WALL | libc::WNOHANG)
}

/// Waits for one thread. `None`: it is neither a child nor a tracee of this process.
///
/// # Errors
/// EINTR if a signal handler ran.
pub fn one(tid: Tid) -> io::Result<Option<Change>> {
    wait(tid, libc::__WALL)
}

/// Waits until a child that is not a tracee ends or is stopped. `None`: it is not a child.
///
/// # Errors
/// EINTR if a signal handler ran.
pub fn child(pid: Tid) -> io::Result<Option<Change>> {
    wait(pid, libc::WUNTRACED | libc::__WALL)
}

/// The same without waiting. `None`: nothing has become of it, or it is not a child.
pub(crate) fn child_now(pid: Tid) -> io::Result<Option<Change>> {
    wait(pid, libc::WUNTRACED | libc::__WALL | libc::WNOHANG)
}

fn wait(which: Tid, flags: i32) -> io::Result<Option<Change>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let tid = unsafe { libc::waitpid(which, &raw mut status, flags) };
    if tid == -1 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) { Ok(None) } else { Err(error) };
    }
    if tid == 0 {
        return Ok(None);
    }
    Ok(Some(if libc::WIFEXITED(status) {
        Change::Exited(tid, libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Change::Killed(tid, libc::WTERMSIG(status))
    } else {
        Change::Stopped(tid, libc::WSTOPSIG(status), status >> 16)
    }))
}
