//! The command that was spawned: how it ended, its signals, its place in the shell's job.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use crate::model::live::Ending;
use crate::sys;
use crate::sys::ptrace::Tid;
use crate::sys::wait::{self, Change};
use crate::sys::wake::{self, Sent, Signals};

use super::error::{Doing, Error};
use super::procfs;
use super::signals::{self, STOPS};

/// A terminal's stop signal comes to the server and to the tracer at once; this much apart they
/// are two.
const SAME_KEYSTROKE: Duration = Duration::from_secs(2);

/// A signal to a whole process group comes to the command as well, before this time is over. It
/// is passed on only if it has not.
const GROUP_DELIVERY: Duration = Duration::from_millis(20);
/// How much earlier the command may have shown it: the tracer may have been busy.
const SHOWN_BEFORE: Duration = Duration::from_millis(100);
/// A signal that was passed on shows itself within this time, unless the command blocks it.
const PASSED_ON_BEFORE: Duration = Duration::from_secs(1);

/// A spawned command.
#[derive(Debug)]
pub struct Command {
    /// Its process.
    pub pid: Tid,
    /// How it ended, once it has.
    pub ending: Option<Ending>,
    in_group_stop: bool,
    stop_signal: Option<(i32, Instant)>,
    /// Signals to be passed on, unless the command turns out to have them already.
    waiting: Vec<(Sent, Instant)>,
    deliveries: Deliveries,
}

/// When tracees were last about to get each signal.
#[derive(Debug, Default)]
struct Deliveries {
    to_first_thread: HashMap<i32, Instant>,
    to_others: HashMap<i32, (Tid, Instant)>,
    /// Signals that were passed on and have not shown themselves since.
    passed_on: HashMap<i32, Instant>,
}

impl Command {
    /// A command that runs.
    pub fn new(pid: Tid) -> Command {
        Command {
            pid,
            ending: None,
            in_group_stop: false,
            stop_signal: None,
            waiting: Vec::new(),
            deliveries: Deliveries::default(),
        }
    }

    /// Signals have come to the tracer. Those of the terminal have come to the command as well,
    /// the others are passed on. Gives those that are neither: they would kill the command.
    pub fn on_signals(&mut self, signals: Signals) -> io::Result<Vec<i32>> {
        let mut ignored = Vec::new();
        for signal in signals.numbers().filter(|s| *s != libc::SIGUSR1) {
            let sent = wake::sent(signal);
            let is_sent = signals.was_sent(signal);
            // A terminal's hang-up may come to the session's leader alone.
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

    /// When signals are to be passed on next.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|w| w.1).min()
    }

    /// Passes on the signals that the command has not got otherwise.
    fn pass_on_due(&mut self) {
        let now = Instant::now();
        let (due, waiting) = self.waiting.drain(..).partition(|w| w.1 <= now);
        self.waiting = waiting;
        let due: Vec<(Sent, Instant)> = due;
        for (sent, due) in due {
            if !self.has_got(sent.signal, due.checked_sub(GROUP_DELIVERY).unwrap_or(due)) {
                self.deliveries.passed_on.insert(sent.signal, now);
                send(self.pid, sent);
            }
        }
    }

    /// Whether the command gets a signal that came to the tracer at this time. One delivery
    /// answers for one signal.
    fn has_got(&mut self, signal: i32, came: Instant) -> bool {
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

    /// A tracee is about to get a signal.
    pub fn delivered(&mut self, tid: Tid, signal: i32) {
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

    /// Sends a signal to what the command left behind: to processes whose parents are not
    /// among them, as those pass it on as they see fit.
    pub fn send_to_remaining(&self, sent: Sent) -> Vec<Tid> {
        let pids = self.remaining();
        pids.iter().for_each(|pid| send(*pid, sent));
        pids
    }

    /// The processes that the command left behind, without those whose parents are among them.
    pub fn remaining(&self) -> Vec<Tid> {
        let processes = procfs::processes().into_iter();
        let traced: Vec<Tid> = processes.filter(|p| procfs::is_traced_by_us(*p)).collect();
        let has_parent = |pid: &Tid| procfs::parent(*pid).is_some_and(|p| traced.contains(&p));
        traced.iter().copied().filter(|pid| !has_parent(pid)).collect()
    }

    /// A stopping signal took effect on this tracee, or SIGCONT ended it.
    pub fn group_stop(&mut self, tid: Tid, stopped: bool) -> io::Result<()> {
        if tid == self.pid {
            self.in_group_stop = stopped;
            self.stop_with_job()?;
        }
        Ok(())
    }

    /// A shell sees its job stop only when the process that it started does: this one. A command
    /// that does not obey the signal goes on, and we with it; and one that is stopped alone, not
    /// from the terminal, may be continued alone, which must find us at work.
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

/// Waits for the end of a command that was let go, and passes signals on to it as before.
pub fn supervise(pid: Tid) -> Result<Ending, Error> {
    wake::install(&signals::handled_for_command()).doing("installing signal handlers")?;
    let mut command = Command::new(pid);
    loop {
        if wake::is_due() {
            let signals = wake::take();
            command.on_signals(signals).doing("stopping with the job")?;
            wake::at(command.next_due());
        }
        match wait::child(pid) {
            Ok(Some(Change::Exited(_, status))) => return Ok(Ending::Exited(status)),
            Ok(Some(Change::Killed(_, signal))) => return Ok(Ending::Killed(signal)),
            // It does not need us to be continued, so there is no need to ask who stopped it.
            Ok(Some(Change::Stopped(_, signal, _))) if STOPS.contains(&signal) => {
                wake::stop_self(signal).doing("stopping with the job")?;
            }
            Ok(Some(Change::Stopped(..))) => {}
            Ok(None) => return Ok(Ending::Detached),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).doing("waiting for the command"),
        }
    }
}
