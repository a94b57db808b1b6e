//! Traces processes and reports the connections that they accept: ptrace(2), perf_event_open(2).
//!
//! [`Tracer`] is the main loop. A [`PtraceEngine`] decides how tracees are stopped. Each engine stops a
//! thread whose accept has returned; `accepted` then reads the connection from the tracee's memory
//! (`sockaddr`) or asks the kernel about the socket (`socket`). [`Sampler`] is the engine `sample`,
//! which stops nothing.
//!
//! Linux 5.3 or newer, with 32-bit tracees. What depends on the architecture is in `sys::arch`.

pub(crate) mod abi;
mod accept_buffer;
mod accepted;
mod attach;
mod attach_engine;
mod attach_error;
mod auto_engine;
mod command;
mod cpu_affinity;
mod engine;
mod error;
mod known_programs;
mod listening;
mod other_listeners;
pub(crate) mod perf;
mod port_owners;
pub(crate) mod procfs;
mod sample;
mod seccomp;
mod signals;
mod sockaddr;
mod socket;
mod spawn;
pub(crate) mod stop;
mod tracer;
mod untraced;
mod user_cache;
mod waiting;

/// The shortfall if io_uring is used: accepts through a ring make no system call.
const IO_URING_SEEN: &str = "io_uring seen: connections accepted through it cannot be seen and are \
                             not counted; a server started with 'tcptally trace --deny-io-uring -- \
                             COMMAND' usually works without it";

#[cfg(feature = "internals")]
pub use sample::decode_samples;
#[cfg(feature = "internals")]
pub use sockaddr::decode_peer;

pub use attach::Targets;
pub(crate) use attach_engine::Attach;
pub use attach_error::{AttachError, AttachErrorKind, ListenerError};
pub use auto_engine::AutoEngine;
pub(crate) use command::supervise;
pub use engine::PtraceEngine;
pub use error::{Error, ExecError};
pub(crate) use other_listeners::{Newcomer, WatchedPort};
pub use perf::error::PerfError;
pub use port_owners::{PortOwner, PortOwners, port_owners};
pub(crate) use port_owners::{creators as creators_of_owners, describe as describe_owners};
pub use sample::Sampler;
pub use spawn::Start;
pub use tracer::{Options, Remark, Tracer};
pub(crate) use waiting::{Say, WaitFor, Waiting};

/// Checks that not every process of the system descends from one of these.
///
/// # Errors
/// [`Error::NothingAttached`], with the remedy.
pub(crate) fn check_not_whole_system(pids: &std::collections::BTreeSet<i32>) -> Result<(), Error> {
    match attach_error::whole_system(pids) {
        Some(why) => Err(Error::nothing_attached(vec![why])),
        None => Ok(()),
    }
}

/// Runs `f`, which creates and drops a [`Tracer`], in a thread of its own. When the thread ends,
/// the kernel detaches the tracees without stopping them (ptrace(2), "Death under ptrace").
/// Detaching them one by one would stop each first, which interrupts the system calls they wait in.
///
/// # Errors
/// That no thread can be started: then `f` has not run.
pub fn detach_at_end<T: Send>(f: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    detach_at_end_and(f, || ())
}

/// The same. The calling thread does `meanwhile` before it waits.
pub(crate) fn detach_at_end_and<T: Send>(
    f: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce(),
) -> std::io::Result<T> {
    let result = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tracer".into()).spawn_scoped(scope, f)?;
        meanwhile();
        Ok::<_, std::io::Error>(thread.join())
    })?;
    Ok(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
