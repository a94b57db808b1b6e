//! Unblocks the signal of the events in a thread's signal mask while the thread is watched.
//!
//! A thread that blocks the signal does not stop: the first signal stays pending and further ones
//! are lost. Only the count of the events shows those accepts.

use std::io;

use crate::sys::ptrace::Tid;
use crate::sys::tracee::{SignalSet, blocked, set_blocked};

/// Unblocks the signal in a stopped thread. Returns the former mask if the signal was blocked.
///
/// This is the mask that the thread has outside of calls such as sigsuspend(2), epoll_pwait(2) and
/// ppoll(2), which replace it temporarily. No accept happens in those calls. A signal that was
/// pending before such a call and is blocked in it is delivered after it.
pub fn unblock(tid: Tid, signal: i32) -> io::Result<Option<SignalSet>> {
    let mask = blocked(tid)?;
    if !mask.contains(signal) {
        return Ok(None);
    }
    set_blocked(tid, mask.without(signal))?;
    Ok(Some(mask))
}

/// Restores the `former` mask of a stopped thread if it still has the mask that [`unblock`] set. It
/// may have been in a signal handler at that time, which has a mask of its own.
pub fn block_again(tid: Tid, signal: i32, former: SignalSet) -> io::Result<()> {
    if blocked(tid)? == former.without(signal) {
        set_blocked(tid, former)?;
    }
    Ok(())
}
