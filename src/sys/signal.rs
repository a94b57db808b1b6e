//! Signals to this process: death by one, and which are ignored.
#![allow(unsafe_code)]

/// Ends this process by `signal`, as the process ended that it stands for: a shell then sees
/// what it would have seen without us (signal(7), wait(2)). No core is dumped, which would be
/// ours and not that process's. Returns the exit status to end with if the signal does not kill.
pub fn die_of(signal: i32) -> i32 {
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

/// Whether this process was told to ignore `signal`, as nohup(1) and shells do for what runs in
/// the background (sigaction(2)).
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: all-zero is a valid sigaction; the kernel fills it, and changes nothing.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}
