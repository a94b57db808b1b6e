//! System calls that no library wraps, and processor instructions, behind safe functions. The only
//! module with `unsafe` code.
//!
//! Errors are [`std::io::Error`]s with the kernel's errno; each function names its man page.

pub(crate) mod arch;
pub(crate) mod capability;
pub(crate) mod cpu;
pub(crate) mod detached_process;
pub(crate) mod digits;
pub(crate) mod files;
pub(crate) mod fork;
pub(crate) mod memory;
pub(crate) mod netlink;
pub(crate) mod perf;
pub(crate) mod perf_access;
pub(crate) mod perf_ring;
pub(crate) mod pidfd;
pub(crate) mod ptrace;
pub(crate) mod realtime;
mod signal;
pub(crate) mod snmp;
pub(crate) mod sock_diag;
pub(crate) mod sockaddr;
#[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
mod static_program;
pub(crate) mod tracee;
pub(crate) mod tracefs;
pub mod wait;
pub(crate) mod wake;

pub use signal::kill;
pub(crate) use signal::{die_of, exit_at_once, is_ignored, queue, wait as wait_for_signal};
