//! The command that was spawned: how it ended, its signals, its place in the shell's job.

use std::io;
use std::time::{Duration, Instant};

use crate::live::Ending;
use crate::sys;
use crate::sys::ptrace::Tid;
use crate::sys::wake;

use super::procfs;

/// A terminal's stop signal comes to the server and to the tracer at once; this much apart they
/// are two.
const SAME_KEYSTROKE: Duration = Duration::from_secs(2);

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

    /// Sends a signal to the command, or, when that has ended, to what it left behind.
    pub fn pass_on(&self, signal: i32) {
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

    /// The terminal asks the job to stop.
    pub fn asked_to_stop(&mut self, signal: i32) -> io::Result<()> {
        self.stop_signal = Some((signal, Instant::now()));
        self.stop_with_job()
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
