//! Looks up system calls by number, and recognises accept in registers.

use std::io;

use crate::sys::arch::{AUDIT_ARCHES, Arch, CALLS, Call, Registers};
use crate::sys::ptrace::Tid;

/// The system call of a tracee in a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallAt {
    /// One in the table.
    Known(Arch, Call),
    /// Its number is in the table, but its architecture, on which the meaning depends, is unknown.
    Ambiguous,
    Other,
}

impl From<Option<(Arch, Call)>> for CallAt {
    fn from(known: Option<(Arch, Call)>) -> CallAt {
        known.map_or(CallAt::Other, |(arch, call)| CallAt::Known(arch, call))
    }
}

/// Returns the call that a tracee is in. `audit_arch` is what PTRACE_GET_SYSCALL_INFO tells, if it is there.
///
/// # Errors
/// ESRCH if the tracee was killed in its stop.
pub(super) fn call_at(
    audit_arch: impl FnOnce() -> io::Result<u32>,
    tid: Tid,
    registers: &Registers,
) -> io::Result<CallAt> {
    let mut candidates = candidates(registers.number()).peekable();
    if candidates.peek().is_none() {
        return Ok(CallAt::Other);
    }
    let arch = match audit_arch() {
        Ok(value) => AUDIT_ARCHES.into_iter().find(|a| a.1 == value).map(|a| a.0),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::ENOSYS | libc::EPERM)) => {
            match registers.arch_by_instruction(tid)? {
                None => return Ok(CallAt::Ambiguous),
                arch => arch,
            }
        }
        Err(e) => return Err(e),
    };
    Ok(candidates.find(|c| Some(c.0) == arch).into())
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
