//! The engine `perf`: stops a thread once per successful accept and at no other time.
//!
//! The kernel's tracepoints of accept (`tracepoint`) are opened on each thread as events
//! (`events`). They count, and send the thread a signal when its accept returns. ptrace reports the
//! signal before the thread runs code of its own. The signal is one that has no effect on a process
//! that does not handle it (`accept_signal`), so it is ignored if the tracer has been killed. If a
//! thread blocks the signal, it is unblocked (`mask`).
//!
//! The events are not inherited, because the signals of inherited events go to the thread of the
//! first one. A new thread stops before its first instruction and gets its own events there.
//!
//! Each thread that exists at the start has a second pair of events, which are inherited and send
//! no signal (`inherited`). They also count the accepts of threads and processes that the tracer
//! does not see.
//!
//! # Why not `sigtrap`
//!
//! `perf_event_attr.sigtrap` sends SIGTRAP, which kills by default. The process would have to be
//! made to ignore it, and a process that resets its handlers would be killed by the next accept.
//! Inherited events would have to be closed before SIGTRAP is restored.
//!
//! # What a connection costs the tracer
//!
//! Five system calls: wait4, PTRACE_GETSIGINFO, one that reads the registers, process_vm_readv,
//! PTRACE_CONT; and PTRACE_PEEKDATA where the registers do not show that the thread is directly
//! after a call. Why none can be omitted:
//!
//! * The registers do not distinguish the signal of an event from another one with the same number.
//!   A signal sent while the thread is at the exit from accept stops it again with the same
//!   registers, and would be a second connection. Nothing that survives PTRACE_CONT shows whether
//!   the thread has run since.
//! * The kernel's count shows it, but read(2) is a system call, too. A mapped count or sample
//!   buffer needs a mapping for each thread, and a sample does not show where the thread is now.
//! * The address is in the tracee's memory at the place that a register gives. The place of the
//!   previous call may still hold the previous peer.

pub(crate) mod accept_signal;
pub(crate) mod counters;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod inherited;
pub(crate) mod mask;
mod search;
pub(crate) mod tracepoint;
mod tracepoint_ids;
pub(crate) mod watch;

pub(crate) use error::PerfError;
