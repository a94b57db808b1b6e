//! Why perf_event_open(2) was refused: causes and remedies in words.

use std::fs;
use std::io;

/// Why there are no perf events to be had.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The sysctl forbids it: Debian's kernels know a level 3, Ubuntu's a level 4.
    #[error(
        "kernel.perf_event_paranoid is {0}, which keeps perf events from users; either of these \
         allows them: 'sysctl kernel.perf_event_paranoid=2', or 'setcap cap_perfmon+ep' on the \
         binary of tcptally"
    )]
    Paranoid(i32),
    /// EPERM or EACCES, and not for the sysctl.
    #[error(
        "a seccomp filter or security module forbids perf_event_open (in a container, as a rule); \
         run tcptally outside of it, or the container with '--cap-add=PERFMON' or a seccomp \
         profile that allows perf_event_open"
    )]
    Forbidden,
    /// EACCES for one thread.
    #[error("no perf event on thread {0}: it is another user's, or more privileged than tcptally")]
    Thread(i32),
    /// The call is missing.
    #[error("this kernel has no perf events: that needs CONFIG_PERF_EVENTS")]
    Kernel,
    /// PREEMPT_RT sends them from a thread of the kernel, when the accepting thread has run on.
    #[error(
        "this kernel does not deliver the signals of perf events at once (a real-time kernel, as \
         a rule)"
    )]
    NotAtOnce,
    /// No tracepoint counts this process' own accepts.
    #[error(
        "this kernel has no usable tracepoints of accept (sys_exit_accept, sys_exit_accept4): \
         they need CONFIG_FTRACE_SYSCALLS"
    )]
    Tracepoints,
    /// Two descriptors a thread are needed.
    #[error("no more files may be open, and each traced thread needs two; raise 'ulimit -n'")]
    Files,
    /// The thread has ended.
    #[error("the thread has ended")]
    Gone,
    /// Anything else.
    #[error("perf_event_open failed: {0}")]
    Other(#[from] io::Error),
}

/// What stands in `/proc/sys/kernel/perf_event_paranoid`.
pub(super) fn paranoid() -> Option<i32> {
    let text = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok()
}

/// Upstream kernels know no level above this one.
const HIGHEST_UPSTREAM: i32 = 2;

impl Refused {
    /// Why an event on a thread of tcptally itself was refused.
    pub fn own(error: io::Error) -> Refused {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match paranoid() {
                Some(level) if level > HIGHEST_UPSTREAM => Refused::Paranoid(level),
                _ => Refused::Forbidden,
            },
            // What an older kernel says of an attribute or flag that it does not know.
            Some(libc::ENOSYS | libc::E2BIG | libc::EINVAL) => Refused::Kernel,
            Some(libc::EMFILE | libc::ENFILE) => Refused::Files,
            _ => Refused::Other(error),
        }
    }

    /// Why an event on thread `tid` was refused, where tcptally gets events on itself.
    pub fn on_thread(error: io::Error, tid: i32) -> Refused {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Refused::Thread(tid),
            Some(libc::ESRCH) => Refused::Gone,
            _ => Refused::own(error),
        }
    }
}
