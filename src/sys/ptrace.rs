//! ptrace(2) requests that nix lacks, or that must carry real-time signals.
#![allow(unsafe_code)]

use std::io;

/// A thread, as ptrace(2) names tracees.
pub type Tid = libc::pid_t;

/// The `PTRACE_O_*` options of [`seize`].
pub(crate) use libc::{
    PTRACE_O_EXITKILL, PTRACE_O_TRACECLONE, PTRACE_O_TRACEEXEC, PTRACE_O_TRACEFORK,
    PTRACE_O_TRACESECCOMP, PTRACE_O_TRACESYSGOOD, PTRACE_O_TRACEVFORK,
};

/// Makes a ptrace(2) request.
pub(super) fn request(
    op: libc::c_uint,
    tid: Tid,
    addr: usize,
    data: usize,
) -> io::Result<libc::c_long> {
    // SAFETY: the callers pass `addr` and `data` either as numbers or as the address of a live
    // object of the type and size that `op` reads or fills; ptrace touches no other memory of this
    // process.
    let r = unsafe { libc::ptrace(op, tid, addr, data) };
    if r == -1 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

/// Becomes the tracer of `tid` without stopping it (Linux 3.4).
pub fn seize(tid: Tid, options: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

/// Replaces the options of a stopped tracee.
pub(crate) fn set_options(tid: Tid, options: i32) -> io::Result<()> {
    request(libc::PTRACE_SETOPTIONS as libc::c_uint, tid, 0, options as usize).map(drop)
}

/// Asks a seized tracee to stop; its PTRACE_EVENT_STOP is reported by wait.
pub fn interrupt(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Leaves a tracee in its group-stop, but reports when SIGCONT ends it: PTRACE_LISTEN.
pub(crate) fn listen(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0, 0).map(drop)
}

/// Resumes a stopped tracee, delivering `signal` if it is not 0.
pub(crate) fn cont(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

/// Like [`cont`], until the next entry to or exit from a system call.
pub(crate) fn syscall(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

/// Detaches from a stopped tracee, delivering `signal` if it is not 0.
pub(crate) fn detach(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_DETACH, tid, 0, signal as usize).map(drop)
}

/// The message of a ptrace event: the new thread's or process' id, the former id at an exec, or
/// the data of a seccomp filter's RET_TRACE.
pub(crate) fn event_message(tid: Tid) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message) as usize)?;
    Ok(message)
}

/// Writes a word to a stopped tracee's memory, also where that is mapped read-only and private.
pub(crate) fn poke(tid: Tid, address: u64, value: u64) -> io::Result<()> {
    request(libc::PTRACE_POKEDATA, tid, address as usize, value as usize).map(drop)
}

/// The `AUDIT_ARCH_*` of the system call that a tracee is in (Linux 5.3). The registers do not show
/// whether 64-bit code makes a 32-bit call.
pub(crate) fn syscall_arch(tid: Tid) -> io::Result<u32> {
    // SAFETY: the structure is plain numbers, for which zeroes are valid.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    request(libc::PTRACE_GET_SYSCALL_INFO, tid, size, (&raw mut info) as usize)?;
    Ok(info.arch)
}
