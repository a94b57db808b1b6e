//! The pieces of the engine `perf`: one stop per successful accept, and none else.
//!
//! The kernel's tracepoints of accept ([`tracepoint`]) are opened on each thread as events that
//! count, and that send the thread a signal as its accept returns ([`events`]); ptrace reports that
//! signal before the thread runs any of its own code. The signal is one that does nothing in a
//! process that has not asked for it ([`accept_signal`]): untraced, as after the tracer has been
//! killed, it is ignored. Where a thread blocks it, it is unblocked ([`mask`]).
//!
//! The events are not inherited, since the signals of inherited ones would go to the thread that
//! has the first. A new thread stops before its first instruction and gets its own there.
//!
//! A second pair of events on each thread that is there at the start is inherited and sends no
//! signal ([`inherited`]): it also counts what threads and processes accept that the tracer does
//! not get.
//!
//! # Why not `sigtrap`
//!
//! `perf_event_attr.sigtrap` sends SIGTRAP, by default a deadly signal. The process would have to be
//! made to ignore it; a process that resets its handlers would be killed by the next accept; and
//! what is inherited would have to be closed before SIGTRAP is put back.
//!
//! # What a connection costs the tracer
//!
//! Five system calls: wait4, PTRACE_GETSIGINFO, PTRACE_GETREGS, process_vm_readv, PTRACE_CONT. What
//! stands against each way to do with less:
//!
//! * The registers do not tell our signal from another of the same number: one that somebody sends
//!   while the thread stands at the exit from accept stops it once more with the same registers,
//!   and would be a second connection. Nothing that survives PTRACE_CONT says whether the thread has
//!   run since.
//! * The kernel's count tells, but read(2) is a call. A page with the count or a buffer of samples
//!   needs a mapping for each thread, and a sample does not say where the thread is by now.
//! * The address lies in the tracee's memory where a register says; the place of the last time may
//!   still hold that connection's.

pub(crate) mod accept_signal;
pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod inherited;
pub(crate) mod mask;
mod realtime;
pub(crate) mod refused;
pub(crate) mod tracepoint;
pub(crate) mod watch;

pub(crate) use refused::Refused;
