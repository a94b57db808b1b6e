//! System calls that no library wraps, and processor instructions, behind safe functions. The only
//! module with `unsafe` code.
//!
//! Errors are [`std::io::Error`]s with the kernel's errno; each function names its man page.

pub mod capability;
pub mod cpu;
pub mod detached_process;
pub mod digits;
pub mod files;
pub mod fork;
pub mod netlink;
pub mod perf;
pub mod perf_access;
pub mod perf_ring;
pub mod pidfd;
pub mod ptrace;
mod signal;
pub mod sockaddr;
pub mod tracee;
pub mod tracefs;
pub mod wait;
pub mod wake;

pub use signal::{die_of, is_ignored, kill, queue};
