//! The command that was spawned: how it ended, its signals, its place in the shell's job.

use std::io;
use std::time::{Duration, Instant};

use crate::model::live::Ending;
use crate::sys;
use crate::sys::ptrace::Tid;
use crate::sys::wait::{self, Change};
use crate::sys::wake::{self, Signals};

use super::error::{Doing, Error};
use super::procfs;
use super::signals::HANDLED;

/// A terminal's stop signal comes to the server and to the tracer at once; this much apart they
/// are two.
const SAME_KEYSTROKE: Duration = Duration::from_secs(2);

/// Signals by which a terminal stops a job.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// A spawned command.
#[derive(Debug)]
pub struct Command {
    /// Its process.
    pub pid: Tid,
    /// How it ended, once it has.
    pub ending: Option<Ending>,
    in_group_stop: bool,
    stop_signal: Option<(i32, Instant)>,
}

impl Command {
    /// A command that runs.
    pub fn new(pid: Tid) -> Command {
        Command { pid, ending: None, in_group_stop: false, stop_signal: None }
    }

    /// Signals have come to the tracer: those of the terminal have come to the command as well,
    /// the others are passed on.
    pub fn on_signals(&mut self, signals: Signals) -> io::Result<()> {
        for signal in [libc::SIGTERM, libc::SIGHUP] {
            if signals.has(signal) {
                self.pass_on(signal);
            }
        }
        for signal in STOPS {
            if signals.has(signal) {
                self.stop_signal = Some((signal, Instant::now()));
                self.stop_with_job()?;
            }
        }
        Ok(())
    }

    /// Sends a signal to the command, or, when that has ended, to what it left behind.
    fn pass_on(&self, signal: i32) {
        if self.ending.is_none() {
            sys::kill(self.pid, signal);
            return;
        }
        for pid in procfs::processes() {
            if procfs::is_traced_by_us(pid) {
                sys::kill(pid, signal);
            }
        }
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

/// Waits for the end of a command that was let go, and passes signals on to it as before.
pub fn supervise(pid: Tid) -> Result<Ending, Error> {
    wake::install(&HANDLED).doing("installing signal handlers")?;
    let mut command = Command::new(pid);
    loop {
        if wake::is_due() {
            let signals = wake::take();
            wake::at(None);
            command.on_signals(signals).doing("stopping with the job")?;
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
