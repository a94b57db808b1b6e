//! The one module with `unsafe` code: system calls that no library wraps, behind safe functions.
//!
//! Errors are [`std::io::Error`]s with the kernel's errno; each function names its man page.

pub mod aside;
pub mod capability;
mod die;
pub mod fork;
pub mod netlink;
pub mod perf;
pub mod pidfd;
pub mod ptrace;
pub mod tracee;
pub mod wait;
pub mod wake;

pub use die::die_of;

/// Sends a signal; a process that is gone needs none.
#[allow(unsafe_code)]
pub fn kill(pid: ptrace::Tid, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid, signal) };
}
