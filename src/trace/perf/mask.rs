//! A signal out of a thread's signal mask while the thread is watched.
//!
//! A thread that blocks the signal of its events does not stop: its first signal stays pending,
//! further ones are lost, and only the events' count tells.

use std::io;

use crate::sys::ptrace::Tid;
use crate::sys::tracee::{SignalSet, blocked, set_blocked};

/// Unblocks the signal in a stopped thread; gives the former mask if it had been blocked.
///
/// The mask is the one that the thread has outside of calls such as sigsuspend(2), epoll_pwait(2)
/// and ppoll(2), which replace it while they last. No accept happens in them; but a signal that
/// was pending before such a call and blocked in it as well is delivered after it.
pub fn unblock(tid: Tid, signal: i32) -> io::Result<Option<SignalSet>> {
    let mask = blocked(tid)?;
    if !mask.contains(signal) {
        return Ok(None);
    }
    set_blocked(tid, mask.without(signal))?;
    Ok(Some(mask))
}

/// Gives a stopped thread its `former` mask back, if it still has the one that [`unblock`] gave
/// it: it may have been in a signal handler then, which has a mask of its own.
pub fn block_again(tid: Tid, signal: i32, former: SignalSet) -> io::Result<()> {
    if blocked(tid)? == former.without(signal) {
        set_blocked(tid, former)?;
    }
    Ok(())
}
