//! The signals that the tracer itself handles.

/// Signals to the tracer that mean something to it.
pub(super) const HANDLED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];
