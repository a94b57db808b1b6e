//! The engine `sample`: counts accepts of running servers without stopping them.
//!
//! Perf events on `sys_exit_accept` and `sys_exit_accept4` make the kernel write a sample into a
//! ring buffer as a successful accept returns: the user registers, and the top of the user stack.
//! The registers still hold the arguments, and most servers have the buffer for the peer's
//! address on the stack, so the sample has the address as the kernel has just written it. No
//! thread is stopped, no signal is sent, nothing is attached by ptrace(2); when tcptally is
//! killed, the kernel closes the events and nothing is left. perf_event_open(2) asks for
//! PTRACE_MODE_READ, which Yama's `ptrace_scope` 1 and 2 allow, and a debugger may be attached.
//!
//! * [`events`]: one event for each thread, CPU and call. Threads and processes inherit them.
//!   Events that are inherited can be mapped only where they belong to one CPU, hence the CPUs.
//! * `rings`: the ring buffers. `record`: what is in them. `threads`: who is watched.
//! * `same_accept`: recognises several samples of one accept.
//! * `learning`: how large samples must be. `renew`: opens events anew where that changes.
//! * `socket_queries`: the peer, where the sample does not tell it. `evidence`: whether the sample can
//!   be believed. `listeners`: the local port.
//! * `covered`: threads that a tracer watches as well. `executions`: processes that lose their events.
//! * `exits`: threads that have ended, also where the record of it was lost.
//! * [`sampler`]: the source of connections.
//!
//! # Complete
//!
//! The kernel counts the accepts of each event, whether or not their samples found room in the
//! ring. All samples of an event are counted, too; the difference is `lost`.
//!
//! # Off-stack buffers
//!
//! haproxy has its buffers on the heap, node passes NULL. There the new descriptor is duplicated
//! by pidfd_getfd(2) as soon as the sample is read, and its socket is asked for the peer. It may
//! have been closed by then, and the number may be another socket's. So an answer counts only
//! where the socket has a local port that the process listens on, and where no later accept has
//! returned the same descriptor by the time of the answer. Otherwise the peer is unknown.

mod attach;
mod checks;
mod counters;
mod covered;
mod events;
mod evidence;
mod executed;
mod executions;
mod exits;
mod handover;
mod learning;
mod listeners;
mod record;
mod renew;
mod renewals;
mod rings;
mod rounds;
mod same_accept;
mod sampler;
mod socket_queries;
mod spawn;
mod threads;
mod unsuitable;

/// Decodes the records of a ring buffer, and returns how many there are.
#[cfg(feature = "internals")]
pub fn decode_samples(bytes: &[u8]) -> usize {
    let mut records = 0;
    record::decode_all(bytes, |_| false, |_| records += 1);
    records
}

pub(super) use learning::can_reach;
pub(super) use rounds::SEVERAL_PORTS;
pub use sampler::Sampler;
pub(super) use unsuitable::LASTING_CAUSES;
