//! Why perf events are unavailable: causes and remedies.

use std::io::{self, BufRead, BufReader};

use crate::sys::perf_access::{PerfAccessError, Scope};

/// Why perf events are unavailable.
#[derive(Debug, thiserror::Error)]
pub enum PerfError {
    /// This process may not open them.
    #[error("{0}")]
    NotPermitted(PerfAccessError),
    /// EACCES for one thread.
    #[error(
        "no perf event on thread {0}: it belongs to another user or is more privileged than tcptally"
    )]
    Thread(i32),
    /// The kernel does not implement the system call.
    #[error("this kernel has no perf events: they need CONFIG_PERF_EVENTS")]
    Kernel,
    /// The kernel does not know an attribute of the event.
    #[error(
        "this kernel does not know an attribute of the perf events ({0}); to watch a process \
         without its children needs Linux 5.13"
    )]
    Attribute(io::Error),
    /// Events get lost uncounted, and their signals do harm.
    #[error(
        "this kernel is PREEMPT_RT and older than Linux 6.12, where perf events miss some accepts, and \
         their signals make the kernel fail (\"BUG: scheduling while atomic\"); 'tcptally watch \
         --port' counts without them"
    )]
    Realtime,
    /// The signal came after the call had returned.
    #[error(
        "this kernel does not deliver the signals of perf events before the system call returns \
         (usually a PREEMPT_RT kernel)"
    )]
    NotAtOnce,
    /// No tracepoint counts the accepts of this process.
    #[error("{0}")]
    Tracepoints(TracepointsError),
    /// Each thread needs two descriptors.
    #[error("too many open files: each traced thread needs two descriptors; raise 'ulimit -n'")]
    Files,
    /// mmap(2) of a ring buffer: perf_event_open(2), /proc/sys/kernel/perf_event_mlock_kb.
    #[error(
        "no memory can be locked for its ring buffers: other perf events of this user have used up \
         'ulimit -l' and kernel.perf_event_mlock_kb; raise either, or end those tools"
    )]
    LockedMemory,
    /// The search for the tracepoints needs a process.
    #[error(
        "the tracepoints of accept could not be searched: no process can be started ({0}); raise \
         'ulimit -u', or pids.max of the control group"
    )]
    Processes(io::Error),
    /// The thread has ended.
    #[error("the thread has ended")]
    Gone,
    /// Anything else.
    #[error("perf_event_open failed: {0}")]
    Other(#[from] io::Error),
}

/// Why no tracepoint of accept is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TracepointsError {
    /// The kernel was built without them.
    #[error(
        "this kernel has no tracepoints of accept (sys_exit_accept, sys_exit_accept4): they need \
         CONFIG_FTRACE_SYSCALLS"
    )]
    NotInKernel,
    /// The kernel has them, and they do not count.
    #[error(
        "the kernel's tracepoints of accept do not count accepts of tcptally itself: a seccomp filter \
         may answer accept in place of the kernel (in a container or systemd unit), or the kernel is \
         in a bad state ('dmesg' shows that)"
    )]
    Silent,
    /// It is not known whether the kernel has them.
    #[error(
        "no tracepoints of accept (sys_exit_accept, sys_exit_accept4) were found: the kernel lacks \
         CONFIG_FTRACE_SYSCALLS, or a seccomp filter answers accept in place of the kernel"
    )]
    NotFound,
}

impl TracepointsError {
    /// Determines the reason: /proc/kallsyms names the functions of the kernel.
    pub fn reason() -> TracepointsError {
        match std::fs::File::open("/proc/kallsyms") {
            Ok(file) => TracepointsError::by_symbols(BufReader::new(file)),
            Err(_) => TracepointsError::NotFound,
        }
    }

    fn by_symbols(symbols: impl BufRead) -> TracepointsError {
        let mut is_empty = true;
        // kernel/trace/trace_syscalls.c
        let has = symbols.lines().map_while(Result::ok).any(|line| {
            is_empty = false;
            line.split_ascii_whitespace().nth(2) == Some("perf_syscall_exit")
        });
        match (has, is_empty) {
            (true, _) => TracepointsError::Silent,
            (false, false) => TracepointsError::NotInKernel,
            (false, true) => TracepointsError::NotFound,
        }
    }
}

impl PerfError {
    /// Returns why an event on a thread of tcptally itself failed.
    pub fn own(error: io::Error) -> PerfError {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => PerfError::Kernel,
            // The error of an older kernel for an unknown attribute or flag.
            Some(libc::E2BIG | libc::EINVAL) => PerfError::Attribute(error),
            Some(libc::EMFILE | libc::ENFILE) => PerfError::Files,
            _ => PerfAccessError::of(&error, Scope::OwnProcesses)
                .map_or_else(|| PerfError::Other(error), PerfError::NotPermitted),
        }
    }

    /// Whether this process lacks a permission.
    pub(crate) fn is_permission(&self) -> bool {
        matches!(self, PerfError::NotPermitted(_) | PerfError::Thread(_))
    }

    /// Returns why ring buffers cannot be mapped, while events on tcptally itself work.
    pub fn rings(error: io::Error) -> PerfError {
        match error.raw_os_error() {
            Some(libc::EPERM) => PerfError::LockedMemory,
            _ => PerfError::own(error),
        }
    }

    /// Returns why an event on thread `tid` failed, while events on tcptally itself work.
    pub fn on_thread(error: io::Error, tid: i32) -> PerfError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PerfError::Thread(tid),
            Some(libc::ESRCH) => PerfError::Gone,
            _ => PerfError::own(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_the_kernel_tell_why_tracepoints_are_unusable() {
        let with = "0000000000000000 T sys_bpf\n0000000000000000 t perf_syscall_exit\n";
        let without = "0000000000000000 T sys_bpf\n0000000000000000 t perf_syscall_exit_x\n";
        let reason = |text: &str| TracepointsError::by_symbols(text.as_bytes());
        assert_eq!(reason(with), TracepointsError::Silent);
        assert_eq!(reason(without), TracepointsError::NotInKernel);
        assert_eq!(reason(""), TracepointsError::NotFound);
    }

    #[test]
    fn errors_of_perf_event_open_are_distinguished() {
        let own = |errno| PerfError::own(io::Error::from_raw_os_error(errno)).to_string();
        assert!(own(libc::ENOSYS).contains("CONFIG_PERF_EVENTS"));
        assert!(own(libc::EINVAL).contains("Linux 5.13"));
        assert!(own(libc::EMFILE).contains("ulimit -n"));
        assert!(own(libc::ENODEV).contains("perf_event_open failed"));
    }
}
