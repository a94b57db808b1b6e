//! What signals to the tracer lead to.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::sys::wake::{self, Sent, Signals};
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::signals::{self, ENDS, STOPS};

use super::{Tracer, Watched};

/// timeout(1) and the like send a signal to the process and then to its group: within this time
/// it is the same one.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// What is to be said, and what has been.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: VecDeque<String>,
    /// Ignored signals of which it has been said.
    signals: HashSet<i32>,
    /// When what the command left behind was asked to end, at first.
    end_asked: Option<Instant>,
}

impl Notices {
    /// The next one to be said.
    pub fn next(&mut self) -> Option<String> {
        self.waiting.pop_front()
    }

    fn say(&mut self, notice: String) {
        self.waiting.push_back(notice);
    }

    fn ignored(&mut self, signal: i32, command: Option<i32>) {
        if self.signals.insert(signal) {
            self.say(signals::ignored(signal, command));
        }
    }
}

impl Tracer {
    pub(super) fn on_signals(&mut self, signals: Signals) -> Result<(), Error> {
        self.asked |= signals.has(libc::SIGUSR1);
        match &mut self.watched {
            Watched::Spawned(command) if command.ending.is_some() => {
                self.on_signals_after_command(signals)
            }
            Watched::Spawned(command) => {
                let pid = command.pid;
                let ignored = command.on_signals(signals).doing("stopping with the job")?;
                ignored.into_iter().for_each(|s| self.notices.ignored(s, Some(pid)));
                Ok(())
            }
            Watched::Attached(_) => {
                // At the hard limit of CPU time the kernel kills: what is known by then is told.
                if ENDS.into_iter().chain([libc::SIGXCPU]).any(|s| signals.has(s)) {
                    self.detach()?;
                }
                let told = |s: &i32| {
                    let is_means = ENDS.contains(s) || STOPS.contains(s);
                    !is_means && ![libc::SIGUSR1, libc::SIGXCPU].contains(s)
                };
                signals.numbers().filter(told).for_each(|s| self.notices.ignored(s, None));
                Ok(())
            }
        }
    }

    /// The command has ended, and processes that it left behind are still tracees: a server that
    /// has made itself a daemon, as a rule. There is nobody any more to whom signals could be
    /// left.
    fn on_signals_after_command(&mut self, signals: Signals) -> Result<(), Error> {
        let Watched::Spawned(command) = &self.watched else { return Ok(()) };
        let ends = ENDS.into_iter().filter(|s| signals.has(*s)).collect::<Vec<_>>();
        if !ends.is_empty() && !self.engines.contains(&Engine::Seccomp) {
            return self.detach();
        }
        for signal in signals.numbers() {
            let sent = wake::sent(signal);
            if STOPS.contains(&signal) {
                self.notices.say(format!(
                    "{} ignored: the command has ended, and the server that it left behind \
                     ({}) would stand still while tcptally is stopped",
                    signals::name(signal),
                    list(&command.remaining())
                ));
            } else if ends.contains(&signal) || signal == libc::SIGUSR1 {
                continue;
            } else if signals.was_sent(signal) && signals::is_for_command(signal) {
                command.send_to_remaining(sent);
            } else if signals::is_other(signal) {
                self.notices.ignored(signal, command.remaining().first().copied());
            }
        }
        if !ends.is_empty() {
            self.end_remaining(&ends);
        }
        Ok(())
    }

    /// Detaching would leave a server that cannot accept: the first request is answered by words,
    /// the second by SIGTERM.
    fn end_remaining(&mut self, ends: &[i32]) {
        let Watched::Spawned(command) = &self.watched else { return };
        let remaining = command.remaining();
        if remaining.is_empty() {
            return;
        }
        let now = Instant::now();
        match self.notices.end_asked {
            Some(first) if now < first + SAME_REQUEST => {}
            // The terminal is gone, which does not concern a daemon.
            _ if ends == [libc::SIGHUP] => {}
            Some(_) => {
                let term = Sent { signal: libc::SIGTERM, times: 1, value: None };
                let pids = command.send_to_remaining(term);
                self.notices.say(format!(
                    "SIGTERM sent to {}; if it does not end: kill -KILL {}",
                    list(&pids),
                    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                ));
            }
            None => {
                self.notices.end_asked = Some(now);
                self.notices.say(format!(
                    "the command has ended, and the server that it left behind ({}) cannot be \
                     detached from: with the engine seccomp it can accept only under tcptally. A \
                     second Ctrl-C or SIGTERM ends it with SIGTERM; otherwise tcptally goes on \
                     counting. With '--engine syscall' Ctrl-C detaches",
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
