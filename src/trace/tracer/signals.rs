//! Handles signals that are sent to the tracer.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::model::event_source::Event;
use crate::sys::wake::{self, Sent, Signals};
use crate::trace::command::Command;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::{Doing, Error};
use crate::trace::signals::{self, ENDS, STOPS, is_ignored_while_attached};

use super::detach::detach;
use super::tracees::{Tracees, Watched};

/// timeout(1) and similar programs send a signal to the process and then to its group: within this
/// time it is the same signal.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// Handles signals to the tracer, and collects the notices about them.
#[derive(Debug, Default)]
pub(super) struct SignalHandler {
    notices: VecDeque<String>,
    is_report_requested: bool,
    is_reopen_requested: bool,
    /// Ignored signals that a notice was printed for.
    reported: HashSet<i32>,
    /// When the first request came to end the processes that the command left behind.
    first_end_request: Option<Instant>,
}

impl SignalHandler {
    /// Removes and returns the next notice for the user.
    pub(super) fn next_notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }

    /// Removes and returns what a signal asked for since the last call: the tally so far, or new output files.
    pub(super) fn take_request(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.is_reopen_requested) {
            Some(Event::Reopen)
        } else {
            std::mem::take(&mut self.is_report_requested).then_some(Event::Asked)
        }
    }

    fn report_ignored(&mut self, signal: i32, command: Option<i32>) {
        if self.reported.insert(signal) {
            self.notices.push_back(signals::describe_ignored(signal, command));
        }
    }

    /// Handles the signals that have come.
    pub(super) fn handle(&mut self, tracees: &mut Tracees, signals: Signals) -> Result<(), Error> {
        self.is_report_requested |= signals.has(libc::SIGUSR1);
        self.is_reopen_requested |= signals.asks_to_reopen();
        match &mut tracees.watched {
            Watched::Spawned(command) if command.ending.is_some() => {
                self.handle_after_command(tracees, signals)
            }
            Watched::Spawned(command) => {
                let pid = command.pid;
                let ignored = command.on_signals(signals).doing("stopping with the job")?;
                ignored.into_iter().for_each(|s| self.report_ignored(s, Some(pid)));
                Ok(())
            }
            Watched::Attached(_) => {
                // At the hard CPU time limit the kernel kills this process: report before that.
                if ENDS.into_iter().chain([libc::SIGXCPU]).any(|s| signals.has(s)) {
                    detach(tracees)?;
                }
                let ignored = signals.numbers().filter(|s| is_ignored_while_attached(*s));
                ignored.for_each(|s| self.report_ignored(s, None));
                Ok(())
            }
        }
    }

    /// Handles signals after the command has ended, while processes that it left behind are still
    /// traced: usually a server that has become a daemon. The command cannot handle them any more.
    fn handle_after_command(
        &mut self,
        tracees: &mut Tracees,
        signals: Signals,
    ) -> Result<(), Error> {
        let ends = ENDS.into_iter().filter(|s| signals.has(*s)).collect::<Vec<_>>();
        if !ends.is_empty() && !tracees.threads.engines_used().contains(&PtraceEngine::Seccomp) {
            return detach(tracees);
        }
        let Watched::Spawned(command) = &tracees.watched else { return Ok(()) };
        for signal in signals.numbers() {
            let sent = wake::sent(signal);
            if STOPS.contains(&signal) {
                self.notices.push_back(format!(
                    "{} ignored: the command has ended, and the server that it left behind \
                     ({}) would not run while tcptally is stopped",
                    signals::name(signal),
                    list(&command.remaining())
                ));
            } else if ends.contains(&signal) || signal == libc::SIGUSR1 {
                continue;
            } else if signals.was_sent(signal) && signals::is_for_command(signal) {
                command.send_to_remaining(sent);
            } else if signals::is_other(signal) {
                self.report_ignored(signal, command.remaining().first().copied());
            }
        }
        if !ends.is_empty() {
            self.end_remaining(command, &ends);
        }
        Ok(())
    }

    /// Handles a request to end. Detaching would leave a server that cannot accept, so the first
    /// request gives a notice and the second one sends SIGTERM.
    fn end_remaining(&mut self, command: &Command, ends: &[i32]) {
        let remaining = command.remaining();
        if remaining.is_empty() {
            return;
        }
        let now = Instant::now();
        match self.first_end_request {
            Some(first) if now < first + SAME_REQUEST => {}
            // The terminal has gone, which does not concern a daemon.
            _ if ends == [libc::SIGHUP] => {}
            Some(_) => {
                let term = Sent { signal: libc::SIGTERM, times: 1, value: None };
                let pids = command.send_to_remaining(term);
                self.notices.push_back(format!(
                    "SIGTERM sent to {}; if it does not end: kill -KILL {}",
                    list(&pids),
                    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                ));
            }
            None => {
                self.first_end_request = Some(now);
                self.notices.push_back(format!(
                    "the command has ended, and tcptally cannot detach from the server that it \
                     left behind ({}): with the engine seccomp, the server can accept only under \
                     tcptally. A second Ctrl-C or SIGTERM ends it with SIGTERM; otherwise \
                     tcptally continues to count. With '--engine syscall', Ctrl-C detaches",
                    list(&remaining)
                ));
            }
        }
    }
}

fn list(pids: &[i32]) -> String {
    let numbers: Vec<String> = pids.iter().map(ToString::to_string).collect();
    format!("process{} {}", if pids.len() == 1 { "" } else { "es" }, numbers.join(", "))
}
