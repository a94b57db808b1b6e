//! How tracees are made to stop when accept returns.

use std::fmt;

use super::stop::Until;

/// A way to make tracees stop at the return from accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PtraceEngine {
    /// One stop per accept that succeeds: the signal of a perf event.
    Perf,
    /// Two stops per accept call: the seccomp filter's, and the exit from the call.
    Seccomp,
    /// Two stops per system call of any kind.
    Syscall,
}

impl PtraceEngine {
    /// Until when a tracee runs after a stop.
    pub(crate) fn until(self) -> Until {
        match self {
            PtraceEngine::Perf | PtraceEngine::Seccomp => Until::AnyStop,
            PtraceEngine::Syscall => Until::SyscallStop,
        }
    }
}

impl fmt::Display for PtraceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PtraceEngine::Perf => "perf",
            PtraceEngine::Seccomp => "seccomp",
            PtraceEngine::Syscall => "syscall",
        })
    }
}
