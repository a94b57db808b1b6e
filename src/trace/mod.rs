//! Watches processes with ptrace(2) and gives the connections they accept.
//!
//! [`Tracer`] is the loop. An [`engine::Engine`] decides how tracees are made to stop; whichever
//! it is, the same stop comes of it: a thread whose accept has returned. [`accepted`] reads the
//! connection from there, from the tracee's memory ([`sockaddr`]) or from the socket itself
//! ([`socket`]).
//!
//! Linux 5.3 or newer, x86-64, with 32-bit and x32 tracees.

pub mod abi;
pub mod accepted;
pub mod engine;
pub mod error;
pub mod procfs;
pub mod refusal;
pub mod registers;
pub mod seccomp;
mod setuid;
pub mod sockaddr;
pub mod socket;
pub mod spawn;
pub mod stop;
pub mod tracer;

pub use error::Error;
pub use tracer::{Options, Tracer};
