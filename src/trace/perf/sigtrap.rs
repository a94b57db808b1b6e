//! Changes what processes do with SIGTRAP, several at a time, while their stops come in.

use std::collections::HashMap;
use std::io;

use crate::sys::ptrace::{self, Tid};
use crate::trace::stop::{EventStopState, Stop};

use super::inject::{self, Change, Disposition, Injection, Progress, Started};
use super::injection_site::{InjectError, InjectionSite};

/// How often a change is begun anew because something came between.
const TRIES: u32 = 20;

/// Changes under way, by process.
#[derive(Debug, Default)]
pub struct SigtrapChanges(HashMap<Tid, Task>);

#[derive(Debug)]
struct Task {
    site: InjectionSite,
    change: Change,
    tries: u32,
    injection: Option<Injection>,
}

/// A change that is over: with what SIGTRAP did before.
pub type Over = (Tid, Result<Disposition, InjectError>);

/// What is left of a stop.
#[derive(Debug, Default)]
pub struct Taken {
    /// The stop, to be taken like any other; `None`: its thread runs again.
    pub stop: Option<Stop>,
    /// The change that this stop brought to its end.
    pub over: Option<Over>,
}

impl SigtrapChanges {
    /// Begins a change; its end comes with a stop of the process' first thread.
    pub fn begin(&mut self, pid: Tid, change: Change) -> Result<(), InjectError> {
        let site = InjectionSite::find(pid)?;
        ptrace::interrupt(pid)?;
        self.0.insert(pid, Task { site, change, tries: 0, injection: None });
        Ok(())
    }

    /// The processes whose change is under way.
    pub fn under_way(&self) -> impl Iterator<Item = Tid> {
        self.0.keys().copied()
    }

    /// Gives up changes that have not begun to touch their process; the others must be seen to
    /// their end.
    pub fn give_up(&mut self) -> Vec<Tid> {
        let untouched = self.0.iter().filter(|t| t.1.injection.is_none());
        let untouched: Vec<Tid> = untouched.map(|t| *t.0).collect();
        for pid in &untouched {
            self.0.remove(pid);
        }
        untouched
    }

    /// Takes a stop of any thread.
    pub fn on_stop(&mut self, stop: Stop) -> io::Result<Taken> {
        let pid = stop.tid();
        let Some(mut task) = self.0.remove(&pid) else {
            return Ok(Taken { stop: Some(stop), over: None });
        };
        if let Some(injection) = task.injection.take() {
            return match injection.on_stop(stop) {
                Progress::Going(injection) => {
                    self.0.insert(pid, Task { injection: Some(injection), ..task });
                    Ok(Taken::default())
                }
                Progress::Done(stop, result) => {
                    Ok(Taken { stop: Some(stop), over: Some((pid, result)) })
                }
                // Another stop of the right kind has come before the call: one may have been asked
                // for twice.
                Progress::Undone(stop @ (Stop::Event(_) | Stop::Group(_)), change)
                    if task.tries < TRIES =>
                {
                    self.start(Task { change, tries: task.tries + 1, ..task }, stop)
                }
                Progress::Undone(stop, change) => Ok(self.again(Task { change, ..task }, stop)),
            };
        }
        self.start(task, stop)
    }

    fn start(&mut self, task: Task, stop: Stop) -> io::Result<Taken> {
        let pid = task.site.pid;
        let standing = match stop {
            Stop::Event(stop) => EventStopState::Running(stop),
            // Stopped by SIGSTOP, it may stay so for long.
            Stop::Group(stop) => EventStopState::Stopped(stop),
            stop @ (Stop::Exited(..) | Stop::Killed(..)) => {
                return Ok(Taken { stop: Some(stop), over: None });
            }
            // It came instead of the one that was asked for: ptrace(2), PTRACE_INTERRUPT.
            stop => return Ok(self.again(task, stop)),
        };
        match inject::start(standing, &task.site, task.change) {
            Started::Going(injection) => {
                self.0.insert(pid, Task { injection: Some(injection), ..task });
                Ok(Taken::default())
            }
            Started::NotNow(stop) => Ok(self.again(task, stop.into())),
            Started::InjectError(stop, unfit) => {
                Ok(Taken { stop: Some(stop.into()), over: Some((pid, Err(unfit))) })
            }
        }
    }

    fn again(&mut self, task: Task, stop: Stop) -> Taken {
        let pid = task.site.pid;
        let ended = matches!(stop, Stop::Exited(..) | Stop::Killed(..));
        let over = match stop {
            _ if ended => None,
            // It is another program now; where its code is must be found anew.
            Stop::Exec(_) => match self.begin(pid, task.change) {
                Ok(()) => None,
                Err(unfit) => Some((pid, Err(unfit))),
            },
            _ if task.tries >= TRIES => {
                Some((pid, Err(io::Error::from(io::ErrorKind::TimedOut).into())))
            }
            _ => match ptrace::interrupt(pid) {
                Ok(()) => {
                    self.0.insert(pid, Task { tries: task.tries + 1, ..task });
                    None
                }
                Err(e) => Some((pid, Err(e.into()))),
            },
        };
        Taken { stop: Some(stop), over }
    }
}
