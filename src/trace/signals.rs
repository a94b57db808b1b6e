//! What the tracer does with each signal that comes to itself: signal(7).

use nix::sys::signal::Signal;

/// Signals by which a terminal stops a job.
pub(super) const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Signals that end the watching of attached processes.
pub(super) const ENDS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// Signals that, sent to the tracer of a spawned command, are meant for the command.
const FOR_COMMAND: [i32; 4] = [libc::SIGUSR2, libc::SIGWINCH, libc::SIGCONT, libc::SIGABRT];

/// Signals that would end the tracer and are seldom meant for a server: resource limits, timers
/// that were set before this program was executed, faults.
const OTHERS: [i32; 10] = [
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
];

fn real_time() -> impl Iterator<Item = i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// The signals that the tracer of a spawned command handles: its end would end the command too,
/// where a filter binds it to its tracer.
pub(super) fn handled_for_command() -> Vec<i32> {
    let fixed = [&ENDS[..], &STOPS, &FOR_COMMAND, &OTHERS, &[libc::SIGUSR1]].concat();
    fixed.into_iter().chain(real_time()).collect()
}

/// The signals that the tracer of attached processes handles: at its end it puts back what it
/// has changed in them.
pub(super) fn handled_for_attached() -> Vec<i32> {
    let fixed = [&ENDS[..], &STOPS, &OTHERS, &[libc::SIGUSR1, libc::SIGUSR2]].concat();
    fixed.into_iter().chain(real_time()).collect()
}

/// Whether a signal that a process sends to the tracer is passed on to the command.
pub(super) fn is_for_command(signal: i32) -> bool {
    ENDS.contains(&signal)
        || STOPS.contains(&signal)
        || FOR_COMMAND.contains(&signal)
        || signal >= libc::SIGRTMIN()
}

/// Whether a signal is of those that are ignored unless the command handles them.
pub(super) fn is_other(signal: i32) -> bool {
    OTHERS.contains(&signal)
}

/// What a signal is called.
pub(super) fn name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().into(),
        Err(_) if signal >= libc::SIGRTMIN() => format!("SIGRTMIN+{}", signal - libc::SIGRTMIN()),
        Err(_) => format!("signal {signal}"),
    }
}

/// What is said of a signal that has been ignored.
pub(super) fn describe_ignored(signal: i32, command: Option<i32>) -> String {
    let name = name(signal);
    match (signal, command) {
        (libc::SIGXFSZ, _) => format!(
            "{name} ignored: an output file has reached the size limit (ulimit -f), and what is \
             written to it from now on is missing; counting goes on"
        ),
        (libc::SIGXCPU, _) => format!(
            "{name} ignored: tcptally has used the CPU time that it may (ulimit -t); at the hard \
             limit the kernel kills it. Raise the limit in the shell that starts it"
        ),
        (_, Some(pid)) => format!(
            "{name} ignored: the command does not handle it, so that it would be killed; if that \
             is meant: kill -{} {pid}",
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
        // The kernel sends these for faults of the program itself; SIGPIPE is ignored by Rust,
        // and SIGKILL and SIGSTOP cannot be handled.
        let left_out = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGPIPE,
            libc::SIGKILL,
            libc::SIGSTOP,
        ];
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
