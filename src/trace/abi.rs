//! Looks up system calls by number, and recognises accept in registers.

use std::io;

use crate::sys::arch::{AUDIT_ARCHES, Arch, CALLS, Call, Registers};
use crate::sys::ptrace::Tid;

/// Returns the architecture of an `AUDIT_ARCH_*` (linux/audit.h).
pub(super) fn arch_of_audit(value: u32) -> Option<Arch> {
    AUDIT_ARCHES.into_iter().find(|a| a.1 == value).map(|a| a.0)
}

/// Returns the calls that have this number on any architecture.
pub(super) fn candidates(number: u64) -> impl Iterator<Item = (Arch, Call)> {
    CALLS.iter().filter(move |c| u64::from(c.1) == number).map(|c| (c.0, c.2))
}

/// Whether a tracee in signal-delivery-stop is at the exit from a successful 64-bit accept.
///
/// # Errors
/// ESRCH if the tracee was killed in its stop.
pub fn is_at_accept_exit(registers: &Registers, tid: Tid) -> io::Result<bool> {
    let mut calls = candidates(registers.number());
    Ok(registers.success().is_some()
        && calls.any(|c| c == (Arch::Native, Call::Accept))
        && registers.is_directly_after_call(tid)?)
}
