//! Types for the kinds of ptrace-stop: each kind allows other requests, and a stop is resumed
//! exactly once.

use std::io;

use crate::sys::arch::{self, Registers};
use crate::sys::ptrace::{self, Tid};
use crate::sys::wait::Change;

/// Until when a resumed tracee runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The next stop that needs no request: a signal, an event, a seccomp stop.
    AnyStop,
    /// The next entry to or exit from a system call, at the latest.
    SyscallStop,
}

/// A stopped tracee.
#[derive(Debug)]
#[must_use = "a stopped tracee that is not resumed hangs"]
struct Stopped(Tid);

impl Stopped {
    /// A tracee that was killed in its stop cannot be resumed; wait reports its end.
    fn forgive_death(result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            r => r,
        }
    }

    fn resume(self, until: Until, signal: i32) -> io::Result<()> {
        Stopped::forgive_death(match until {
            Until::AnyStop => ptrace::cont(self.0, signal),
            Until::SyscallStop => ptrace::syscall(self.0, signal),
        })
    }

    fn detach(self) -> io::Result<()> {
        Stopped::forgive_death(ptrace::detach(self.0, 0))
    }
}

macro_rules! stops {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Stopped);

        impl $name {
            /// The thread that stopped.
            pub fn tid(&self) -> Tid {
                self.0.0
            }

            /// Resumes the tracee.
            pub fn resume(self, until: Until) -> io::Result<()> {
                self.0.resume(until, 0)
            }
        }
    )* };
}

stops! {
    /// Entry to or exit from a system call.
    SyscallStop;
    /// The seccomp filter returned RET_TRACE, at the entry of a system call.
    SeccompStop;
    /// PTRACE_EVENT_STOP that is not a group-stop: the first stop of a new tracee, the answer to
    /// PTRACE_INTERRUPT, or SIGCONT to a tracee in group-stop.
    EventStop;
    /// PTRACE_EVENT_EXEC: a new program was executed, and all other threads have ended.
    ExecStop;
}

impl SyscallStop {
    /// The general registers.
    pub fn registers(&self) -> io::Result<Registers> {
        arch::registers(self.tid())
    }

    /// The `AUDIT_ARCH_*` of the call.
    pub fn arch(&self) -> io::Result<u32> {
        ptrace::syscall_arch(self.tid())
    }
}

impl SeccompStop {
    /// The general registers.
    pub fn registers(&self) -> io::Result<Registers> {
        arch::registers(self.tid())
    }

    /// The `AUDIT_ARCH_*` of the call.
    pub fn arch(&self) -> io::Result<u32> {
        ptrace::syscall_arch(self.tid())
    }

    /// The data of the filter's RET_TRACE.
    pub fn data(&self) -> io::Result<u64> {
        ptrace::event_message(self.tid())
    }

    /// Makes the call fail with ENOSYS, as the kernel does if nobody traces: seccomp(2).
    pub fn fail_call(&self) -> io::Result<()> {
        arch::fail_call(self.tid())
    }
}

impl EventStop {
    /// Makes a call wait again that this stop alone has interrupted: [`arch::wait_again`].
    pub fn wait_again(&self) -> io::Result<()> {
        arch::wait_again(self.tid())
    }

    /// Detaches from the tracee.
    pub fn detach(self) -> io::Result<()> {
        self.0.detach()
    }
}

impl ExecStop {
    /// Replaces the tracee's ptrace options.
    pub fn set_options(&self, options: i32) -> io::Result<()> {
        ptrace::set_options(self.tid(), options)
    }

    /// The thread that called exec. It continues with the id of its process.
    pub fn former_tid(&self) -> io::Result<Tid> {
        ptrace::event_message(self.tid()).map(|m| m as Tid)
    }
}

/// PTRACE_EVENT_CLONE, FORK or VFORK.
#[derive(Debug)]
pub struct CloneStop {
    stopped: Stopped,
    /// FORK or VFORK: a process was created, not a thread of the same process.
    pub is_process: bool,
}

impl CloneStop {
    /// The thread that stopped.
    pub fn tid(&self) -> Tid {
        self.stopped.0
    }

    /// The new thread or process.
    pub fn child(&self) -> io::Result<Tid> {
        ptrace::event_message(self.tid()).map(|m| m as Tid)
    }

    /// Resumes the creator.
    pub fn resume(self, until: Until) -> io::Result<()> {
        self.stopped.resume(until, 0)
    }
}

/// signal-delivery-stop: a signal is about to be delivered.
#[derive(Debug)]
pub struct SignalStop {
    stopped: Stopped,
    /// The signal.
    pub signal: i32,
}

impl SignalStop {
    /// The general registers.
    pub fn registers(&self) -> io::Result<Registers> {
        arch::registers(self.tid())
    }

    /// The thread that stopped.
    pub fn tid(&self) -> Tid {
        self.stopped.0
    }

    /// See [`EventStop::wait_again`]: for a signal without a handler, which reaches nothing but a tracee.
    pub fn wait_again(&self) -> io::Result<()> {
        arch::wait_again(self.tid())
    }

    /// Resumes the tracee and delivers the signal.
    pub fn deliver(self, until: Until) -> io::Result<()> {
        let signal = self.signal;
        self.stopped.resume(until, signal)
    }

    /// Resumes the tracee without the signal.
    pub fn suppress(self, until: Until) -> io::Result<()> {
        self.stopped.resume(until, 0)
    }
}

/// group-stop: a stopping signal took effect.
#[derive(Debug)]
pub struct GroupStop(Stopped);

impl GroupStop {
    /// The thread that stopped.
    pub fn tid(&self) -> Tid {
        self.0.0
    }

    /// Leaves it stopped until SIGCONT, as if it were not traced.
    pub fn listen(self) -> io::Result<()> {
        Stopped::forgive_death(ptrace::listen(self.0.0))
    }
}

/// What wait reported of a tracee or child.
#[derive(Debug)]
pub enum Stop {
    /// See [`SyscallStop`].
    Syscall(SyscallStop),
    /// See [`SeccompStop`].
    Seccomp(SeccompStop),
    /// See [`SignalStop`].
    Signal(SignalStop),
    /// See [`GroupStop`].
    Group(GroupStop),
    /// See [`EventStop`].
    Event(EventStop),
    /// See [`CloneStop`].
    Clone(CloneStop),
    /// See [`ExecStop`].
    Exec(ExecStop),
    /// Not a stop: the thread exited with this status.
    Exited(Tid, i32),
    /// Not a stop: this signal killed the thread.
    Killed(Tid, i32),
}

impl Stop {
    /// The thread that it concerns.
    pub fn tid(&self) -> Tid {
        match self {
            Stop::Syscall(s) => s.tid(),
            Stop::Seccomp(s) => s.tid(),
            Stop::Signal(s) => s.tid(),
            Stop::Group(s) => s.tid(),
            Stop::Event(s) => s.tid(),
            Stop::Clone(s) => s.tid(),
            Stop::Exec(s) => s.tid(),
            Stop::Exited(tid, _) | Stop::Killed(tid, _) => *tid,
        }
    }
}

impl From<Change> for Stop {
    fn from(change: Change) -> Stop {
        let (tid, signal, event) = match change {
            Change::Exited(tid, status) => return Stop::Exited(tid, status),
            Change::Killed(tid, signal) => return Stop::Killed(tid, signal),
            Change::Stopped(tid, signal, event) => (tid, signal, event),
        };
        let stopped = Stopped(tid);
        const SYSGOOD: i32 = libc::SIGTRAP | 0x80;
        match (event, signal) {
            (0, SYSGOOD) => Stop::Syscall(SyscallStop(stopped)),
            (0, _) => Stop::Signal(SignalStop { stopped, signal }),
            (libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Stop::Event(EventStop(stopped)),
            (libc::PTRACE_EVENT_STOP, _) => Stop::Group(GroupStop(stopped)),
            (libc::PTRACE_EVENT_SECCOMP, _) => Stop::Seccomp(SeccompStop(stopped)),
            (libc::PTRACE_EVENT_EXEC, _) => Stop::Exec(ExecStop(stopped)),
            _ => {
                let is_process = event != libc::PTRACE_EVENT_CLONE;
                Stop::Clone(CloneStop { stopped, is_process })
            }
        }
    }
}
