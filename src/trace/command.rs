//! The spawned command: its end, its signals, and its job control.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use crate::model::event_source::Ending;
use crate::sys;
use crate::sys::ptrace::Tid;
use crate::sys::wait::{self, Change};
use crate::sys::wake::{self, Sent, Signals};

use super::error::{Doing, Error};
use super::procfs;
use super::signals::{self, STOPS};

/// A terminal sends a stop signal to the server and to the tracer at once: signals further apart
/// than this are two.
const SAME_KEYSTROKE: Duration = Duration::from_secs(2);

/// Within this time, a signal to the whole process group reaches the command as well. It is passed
/// on only if it does not.
const GROUP_DELIVERY: Duration = Duration::from_millis(20);
/// How much earlier the command may have received it, if the tracer was busy.
const SHOWN_BEFORE: Duration = Duration::from_millis(100);
/// Within this time, a signal that was passed on stops the command, unless it blocks the signal.
const PASSED_ON_BEFORE: Duration = Duration::from_secs(1);

/// A spawned command.
#[derive(Debug)]
pub(super) struct Command {
    /// Its process id.
    pub pid: Tid,
    /// How it ended, once it has.
    pub ending: Option<Ending>,
    in_group_stop: bool,
    stop_signal: Option<(i32, Instant)>,
    /// Signals that are passed on unless the command receives them by itself.
    waiting: Vec<(Sent, Instant)>,
    deliveries: Deliveries,
}

/// When each signal was last delivered to a tracee.
#[derive(Debug, Default)]
struct Deliveries {
    to_first_thread: HashMap<i32, Instant>,
    to_others: HashMap<i32, (Tid, Instant)>,
    /// Signals that were passed on and have not been delivered yet.
    passed_on: HashMap<i32, Instant>,
}

impl Command {
    /// Returns the state of a running command.
    pub(super) fn new(pid: Tid) -> Command {
        Command {
            pid,
            ending: None,
            in_group_stop: false,
            stop_signal: None,
            waiting: Vec::new(),
            deliveries: Deliveries::default(),
        }
    }

    /// Handles signals to the tracer. Those from the terminal reach the command as well, the others
    /// are passed on. Returns those that are ignored, because they would kill the command.
    pub(super) fn on_signals(&mut self, signals: Signals) -> io::Result<Vec<i32>> {
        let mut ignored = Vec::new();
        for signal in signals.numbers().filter(|s| *s != libc::SIGUSR1) {
            let sent = wake::sent(signal);
            let is_sent = signals.was_sent(signal);
            // On a hang-up, the kernel may signal only the leader of the session.
            if is_sent && signals::is_for_command(signal) || signal == libc::SIGHUP {
                self.waiting.push((sent, Instant::now() + GROUP_DELIVERY));
            } else if signals::is_other(signal) {
                if is_sent && self.handles(signal) {
                    self.waiting.push((sent, Instant::now() + GROUP_DELIVERY));
                } else {
                    ignored.push(signal);
                }
            }
            if STOPS.contains(&signal) {
                self.stop_signal = Some((signal, Instant::now()));
                self.stop_with_job()?;
            }
        }
        self.pass_on_due();
        Ok(ignored)
    }

    /// When the next signal has to be passed on.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|w| w.1).min()
    }

    /// Passes on the signals that are due and that the command has not received.
    fn pass_on_due(&mut self) {
        let now = Instant::now();
        let (due, waiting) = self.waiting.drain(..).partition(|w| w.1 <= now);
        self.waiting = waiting;
        let due: Vec<(Sent, Instant)> = due;
        for (sent, due) in due {
            if !self.has_received(sent.signal, due.checked_sub(GROUP_DELIVERY).unwrap_or(due)) {
                self.deliveries.passed_on.insert(sent.signal, now);
                send(self.pid, sent);
            }
        }
    }

    /// Whether the command has received a signal that came to the tracer at time `came`. Each
    /// delivery counts for one signal.
    fn has_received(&mut self, signal: i32, came: Instant) -> bool {
        let is_same = |shown: Instant| shown + SHOWN_BEFORE >= came;
        let Deliveries { to_first_thread, to_others, .. } = &mut self.deliveries;
        if to_first_thread.remove(&signal).is_some_and(is_same) {
            return true;
        }
        let (tid, shown) = to_others.remove(&signal).unzip();
        shown.is_some_and(is_same) && tid.and_then(procfs::process_of) == Some(self.pid)
            || procfs::signals(self.pid, "ShdPnd").is_some_and(|pending| pending.contains(signal))
    }

    /// Whether the command would survive a signal.
    fn handles(&self, signal: i32) -> bool {
        let has = |set| procfs::signals(self.pid, set).is_some_and(|s| s.contains(signal));
        has("SigCgt") || has("SigBlk")
    }

    /// Notes that a signal is delivered to a tracee.
    pub(super) fn note_delivery(&mut self, tid: Tid, signal: i32) {
        if !signals::is_for_command(signal) && !signals::is_other(signal) {
            return;
        }
        let now = Instant::now();
        let Deliveries { to_first_thread, to_others, passed_on } = &mut self.deliveries;
        let is_ours = passed_on.remove(&signal).is_some_and(|t| now < t + PASSED_ON_BEFORE);
        if is_ours {
        } else if tid == self.pid {
            to_first_thread.insert(signal, now);
        } else {
            to_others.insert(signal, (tid, now));
        }
    }

    /// Sends a signal to the processes of [`Command::remaining`], and returns their ids.
    pub(super) fn send_to_remaining(&self, sent: Sent) -> Vec<Tid> {
        let pids = self.remaining();
        pids.iter().for_each(|pid| send(*pid, sent));
        pids
    }

    /// Returns the processes that the command left behind, without those whose parent is among them.
    pub(super) fn remaining(&self) -> Vec<Tid> {
        let processes = procfs::processes().into_iter();
        let traced: Vec<Tid> = processes.filter(|p| procfs::is_traced_by_us(*p)).collect();
        let has_parent = |pid: &Tid| procfs::parent(*pid).is_some_and(|p| traced.contains(&p));
        traced.iter().copied().filter(|pid| !has_parent(pid)).collect()
    }

    /// Notes that a group-stop of this tracee has begun or ended.
    pub(super) fn set_group_stop(&mut self, tid: Tid, stopped: bool) -> io::Result<()> {
        if tid == self.pid {
            self.in_group_stop = stopped;
            self.stop_with_job()?;
        }
        Ok(())
    }

    /// Stops the tracer if the terminal has stopped the command: a shell regards its job as stopped
    /// only if the process that it started is stopped, which is the tracer. If the command ignores
    /// the signal, the tracer continues, too. If only the command is stopped, not from the
    /// terminal, the tracer continues, because only the command may be continued.
    fn stop_with_job(&mut self) -> io::Result<()> {
        let Some((signal, since)) = self.stop_signal else { return Ok(()) };
        if since.elapsed() > SAME_KEYSTROKE {
            self.stop_signal = None;
        } else if self.in_group_stop {
            self.stop_signal = None;
            wake::stop_self(signal)?;
        }
        Ok(())
    }
}

fn send(pid: Tid, sent: Sent) {
    for _ in 0..sent.times {
        match sent.value {
            Some(value) => sys::queue(pid, sent.signal, value),
            None => sys::kill(pid, sent.signal),
        }
    }
}

/// Waits for the end of a detached command. Passes signals on to it as while it was traced.
pub(crate) fn supervise(pid: Tid) -> Result<Ending, Error> {
    wake::install(&signals::handled_for_command()).doing("installing signal handlers")?;
    let mut command = Command::new(pid);
    loop {
        if wake::is_due() {
            let signals = wake::take();
            command.on_signals(signals).doing("stopping with the job")?;
            wake::at(command.next_due());
        }
        let change = wait::child(pid);
        if change.as_ref().is_ok_and(Option::is_none) {
            return Ok(Ending::Detached);
        }
        command.on_change(change)?;
        if let Some(ending) = command.ending {
            return Ok(ending);
        }
    }
}

impl Command {
    /// Collects what has become of a command that is not traced. Does not wait.
    pub(super) fn collect(&mut self) -> Result<(), Error> {
        match self.ending {
            Some(_) => Ok(()),
            None => self.on_change(wait::child_now(self.pid)),
        }
    }

    /// Handles a change of a command that is not traced.
    fn on_change(&mut self, change: io::Result<Option<Change>>) -> Result<(), Error> {
        match change {
            Ok(Some(Change::Exited(_, status))) => self.ending = Some(Ending::Exited(status)),
            Ok(Some(Change::Killed(_, signal))) => self.ending = Some(Ending::Killed(signal)),
            // Who stopped the command does not matter: it can be continued without the tracer.
            Ok(Some(Change::Stopped(_, signal, _))) if STOPS.contains(&signal) => {
                wake::stop_self(signal).doing("stopping with the job")?;
            }
            Ok(Some(Change::Stopped(..)) | None) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).doing("waiting for the command"),
        }
        Ok(())
    }
}
