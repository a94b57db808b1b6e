//! Watches processes with ptrace(2) and gives the connections they accept.
//!
//! [`Tracer`] is the loop. An [`engine::Engine`] decides how tracees are made to stop; whichever
//! it is, the same stop comes of it: a thread whose accept has returned. [`accepted`] reads the
//! connection from there, from the tracee's memory ([`sockaddr`]) or from the socket itself
//! ([`socket`]).
//!
//! Linux 5.3 or newer, x86-64, with 32-bit and x32 tracees.

pub mod abi;
mod accept_buffer;
pub mod accepted;
pub mod attach;
pub mod attached;
mod command;
mod cpu_affinity;
pub mod engine;
pub mod error;
pub mod perf;
pub mod procfs;
pub mod refusal;
pub mod registers;
pub mod sample;
pub mod seccomp;
mod setuid;
mod signals;
pub mod sockaddr;
pub mod socket;
pub mod spawn;
pub mod stop;
pub mod target;
pub mod tracer;
mod untraced;

/// Accepts through a ring pass no system call.
const IO_URING_SEEN: &str = "io_uring seen: connections accepted through it cannot be seen and are \
                             not counted; a server started with 'tcptally trace --deny-io-uring -- \
                             COMMAND' does without, as a rule";

pub use command::supervise;
pub use error::Error;
pub use tracer::{Options, Tracer};

/// Runs `f`, which makes a [`Tracer`] and uses it up, in a thread of its own. When that ends,
/// the kernel lets the tracees go where they are (ptrace(2), "death under ptrace" of the
/// tracer); to be detached one by one they would have to be stopped first, which interrupts the
/// system calls they wait in.
pub fn detach_at_end<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let result = std::thread::scope(|scope| scope.spawn(f).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
