//! The pieces of the engine `perf`: one stop per successful accept, and none else.
//!
//! The kernel's tracepoints of accept ([`tracepoint`]) are opened on a thread as events that count
//! and send it SIGTRAP as its accept returns ([`events`]); ptrace reports that signal before the
//! thread runs any of its own code. Untraced, the signal would kill the process, and a tracer can
//! be killed itself, so the process is made to ignore SIGTRAP first ([`inject`]); and where a
//! thread blocks SIGTRAP, it is unblocked ([`mask`]).
//!
//! # What a connection costs the tracer
//!
//! Five system calls: wait4, PTRACE_GETSIGINFO, PTRACE_GETREGS, process_vm_readv, PTRACE_CONT. What
//! stands against each way to do with less:
//!
//! * The registers do not tell our signal from another SIGTRAP: one that somebody sends while the
//!   thread stands at the exit from accept stops it once more with the same registers, and would be
//!   a second connection. Only where they differ from those of the thread's last stop is it a new
//!   accept for certain; a server that closes before it accepts again always has the same.
//!   Nothing that survives PTRACE_CONT says whether the thread has run since: wait4's times are
//!   those of the whole process, and to write a mark into a register is a call as well.
//! * The kernel's count tells, but read(2) is a call. A page with the count or a buffer of
//!   samples (which could hold the registers, too) can be mapped for an event that is inherited
//!   only if it is bound to a CPU: two descriptors for each thread on each CPU, each of which the
//!   kernel looks after at every switch, and a way for samples that were lost. And a sample does
//!   not say where the thread is by now: one that had blocked the signal has run on, and its
//!   buffer may hold another address.
//! * The address lies in the tracee's memory where a register says; the place of the last time may
//!   still hold that connection's.

pub mod counters;
pub mod events;
mod frame;
pub mod inject;
pub mod injection_site;
pub mod mask;
pub mod refused;
pub mod sigtrap;
pub mod tracepoint;
pub mod watch;

pub use events::Events;
pub use refused::Refused;
