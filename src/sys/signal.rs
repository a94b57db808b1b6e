//! Sends signals to other processes and to this one.
#![allow(unsafe_code)]

use std::io;

use nix::sys::signal::SigSet;

use super::ptrace::Tid;

/// Sends a signal. A process that does not exist is ignored.
pub fn kill(pid: Tid, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal with a value: sigqueue(3).
pub(crate) fn queue(pid: Tid, signal: i32, value: u64) {
    let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
    // SAFETY: takes numbers only: the kernel passes the pointer on without dereferencing it.
    unsafe { libc::sigqueue(pid, signal, value) };
}

/// Kills this process with `signal`, like the command, so that a shell sees the same status as
/// without tcptally (wait(2)). No core is dumped. Returns the exit status to use if the signal does
/// not kill.
pub(crate) fn die_of(signal: i32) -> i32 {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: setrlimit, signal and sigprocmask get valid pointers to values that live during
    // the calls; the set is initialised by sigemptyset.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
    128 + signal
}

/// Ends this process without destructors and without a core dump: _exit(2).
pub(crate) fn exit_at_once(status: i32) -> ! {
    // SAFETY: takes a number only.
    unsafe { libc::_exit(status) }
}

/// Whether this process ignores `signal`: nohup(1) and shells set that for background jobs.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: all-zero is a valid sigaction; the kernel fills it, and changes nothing.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// A signal that [`wait`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether a process sent it, with kill(2) for example. A terminal's signals come from the
    /// kernel.
    pub(crate) is_sent: bool,
}

/// Waits for one of `signals`, which every thread must block: sigwaitinfo(2). A blocked signal
/// arrives here even if the process ignores it.
pub(crate) fn wait(signals: &SigSet) -> io::Result<Received> {
    loop {
        // SAFETY: all-zero is a valid siginfo_t, and the kernel fills it. The set is valid.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigwaitinfo(signals.as_ref(), &raw mut info), info)
        };
        if signal > 0 {
            // Zero or less: SI_USER, SI_QUEUE, SI_TKILL and the like (sigaction(2)).
            return Ok(Received { signal, is_sent: info.si_code <= 0 });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
