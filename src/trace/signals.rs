//! Classifies the signals that the tracer receives: signal(7).

use nix::sys::signal::Signal;

/// Signals with which a terminal stops a job.
pub(super) const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Signals that end the tracing of attached processes.
pub(super) const ENDS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// Signals to the tracer of a spawned command that are passed on to the command.
const FOR_COMMAND: [i32; 4] = [libc::SIGUSR2, libc::SIGWINCH, libc::SIGCONT, libc::SIGABRT];

/// Signals that would kill the tracer and are rarely meant for a server: resource limits, timers
/// set before this program was executed, faults.
const OTHERS: [i32; 14] = [
    libc::SIGALRM,
    libc::SIGPROF,
    libc::SIGVTALRM,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGBUS,
];

fn real_time() -> impl Iterator<Item = i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// The signals that the tracer of a spawned command handles: if a filter binds the command to its
/// tracer, the death of the tracer would kill the command, too.
pub(super) fn handled_for_command() -> Vec<i32> {
    let fixed = [&ENDS[..], &STOPS, &FOR_COMMAND, &OTHERS, &[libc::SIGUSR1]].concat();
    fixed.into_iter().chain(real_time()).collect()
}

/// The signals that the tracer of attached processes handles: it must restore what it has changed
/// in them before it ends.
pub(super) fn handled_for_attached() -> Vec<i32> {
    let fixed =
        [&ENDS[..], &STOPS, &OTHERS, &[libc::SIGUSR1, libc::SIGUSR2, libc::SIGABRT]].concat();
    fixed.into_iter().chain(real_time()).collect()
}

/// Whether a signal that a process sends to the tracer is passed on to the command.
pub(super) fn is_for_command(signal: i32) -> bool {
    ENDS.contains(&signal)
        || STOPS.contains(&signal)
        || FOR_COMMAND.contains(&signal)
        || signal >= libc::SIGRTMIN()
}

/// Whether a signal is ignored unless the command handles it.
pub(super) fn is_other(signal: i32) -> bool {
    OTHERS.contains(&signal)
}

/// Whether the tracer of attached processes tells that it ignores a signal. The terminal sends SIGTTIN and
/// SIGTTOU to a job in the background, which goes on.
pub(super) fn is_ignored_while_attached(signal: i32) -> bool {
    let has_effect = [libc::SIGUSR1, libc::SIGXCPU];
    let is_silent = [libc::SIGTTIN, libc::SIGTTOU];
    !ENDS.contains(&signal) && !has_effect.contains(&signal) && !is_silent.contains(&signal)
}

/// The name of a signal.
pub(super) fn name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().into(),
        Err(_) if signal >= libc::SIGRTMIN() => format!("SIGRTMIN+{}", signal - libc::SIGRTMIN()),
        Err(_) => format!("signal {signal}"),
    }
}

/// The message about a signal that was ignored.
pub(super) fn describe_ignored(signal: i32, command: Option<i32>) -> String {
    let name = name(signal);
    match (signal, command) {
        (libc::SIGXFSZ, _) => format!(
            "{name} ignored: an output file has reached the size limit (ulimit -f) and will be \
             incomplete; counting continues"
        ),
        (libc::SIGXCPU, _) => format!(
            "{name} ignored: tcptally has reached its CPU time limit (ulimit -t); at the hard limit \
             the kernel kills it. Raise the limit in the shell that starts it"
        ),
        (libc::SIGTSTP, None) => format!(
            "{name} (Ctrl-Z) ignored: while tcptally is stopped, it would lose connections or the server would \
             wait for it; Ctrl-C ends tcptally and prints the report"
        ),
        (_, Some(pid)) => format!(
            "{name} ignored: the command does not handle it and would be killed; to kill it: kill \
             -{} {pid}",
            name.trim_start_matches("SIG")
        ),
        (_, None) => format!("{name} ignored: SIGINT or SIGTERM detaches"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_would_kill_a_tracer_is_handled() {
        // SIGPIPE is ignored by Rust, and SIGKILL and SIGSTOP cannot be handled.
        let left_out = [libc::SIGPIPE, libc::SIGKILL, libc::SIGSTOP];
        // Ignored by default.
        let harmless = [libc::SIGCHLD, libc::SIGURG];
        let handled = handled_for_command();
        for signal in (1..32).filter(|s| !left_out.contains(s) && !harmless.contains(s)) {
            assert!(handled.contains(&signal), "{}", name(signal));
        }
        assert!(handled.contains(&libc::SIGRTMIN()) && handled.contains(&libc::SIGRTMAX()));
    }

    #[test]
    fn signals_have_their_usual_names() {
        assert_eq!(name(libc::SIGUSR2), "SIGUSR2");
        assert_eq!(name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
    }
}
