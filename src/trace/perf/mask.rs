//! SIGTRAP out of a thread's signal mask while it is watched.
//!
//! A thread that blocks SIGTRAP does not stop: its first signal stays pending, further ones are
//! lost, and only the events' count tells.

use std::io;

use crate::sys::ptrace::Tid;
use crate::sys::tracee::{blocked, set_blocked};

/// Unblocks SIGTRAP in a stopped thread; whether it had been blocked.
///
/// The mask is the one that the thread has outside of calls such as sigsuspend(2), epoll_pwait(2)
/// and ppoll(2), which replace it while they last. No accept happens in them; but a SIGTRAP that
/// was pending before such a call and blocked in it as well is delivered after it.
pub fn unblock(tid: Tid) -> io::Result<bool> {
    let mask = blocked(tid)?;
    if !mask.contains(libc::SIGTRAP) {
        return Ok(false);
    }
    set_blocked(tid, mask.without(libc::SIGTRAP))?;
    Ok(true)
}

/// Blocks SIGTRAP again in a stopped thread that [`unblock`] changed. The other signals of the
/// mask stay as the thread has them now.
pub fn block_again(tid: Tid) -> io::Result<()> {
    set_blocked(tid, blocked(tid)?.with(libc::SIGTRAP))
}
