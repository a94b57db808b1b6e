//! Starts a command as a tracee.

use std::io;

use crate::sys::perf_ring::Inherit;
use crate::sys::wait;
use crate::trace::command::Command;
use crate::trace::engine::PtraceEngine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::watch::Perf;
use crate::trace::spawn::{self, Start, Started, Starting};
use crate::trace::stop::{ExecStop, Stop};

use super::options::Options;
use super::threads::Threads;
use super::tracees::{Tracees, Watched};

/// Starts a command. Returns when the command has been executed.
pub(super) fn spawn(start: Start, options: Options) -> Result<Tracees, Error> {
    let perf = match options.engine {
        Some(PtraceEngine::Perf) => Some(
            Perf::new(Inherit::All).map_err(|cause| Error::PerfEvents { engine: "perf", cause })?,
        ),
        _ => None,
    };
    let command = start.begin(options.engine)?;
    let watched = Watched::Spawned(Command::new(command.pid));
    let threads = Threads::with_common_engine(PtraceEngine::Syscall);
    let mut tracees = Tracees::new(options, watched, threads)?;
    tracees.perf = perf;
    wait_for_exec(&mut tracees, command)?;
    Ok(tracees)
}

/// Waits until the command has been executed or has failed.
fn wait_for_exec(tracees: &mut Tracees, starting: Starting) -> Result<(), Error> {
    loop {
        match wait::one(starting.pid) {
            Ok(Some(change)) => match Stop::from(change) {
                Stop::Exec(stop) => return begin(tracees, stop, starting.finish()?),
                stop @ (Stop::Exited(..) | Stop::Killed(..)) => {
                    tracees.on_stop(stop).doing("starting the command")?;
                    return starting.finish().map(drop);
                }
                stop => drop(tracees.on_stop(stop).doing("starting the command")?),
            },
            Ok(None) => return starting.finish().map(drop),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).doing("waiting for the command"),
        }
    }
}

/// Starts to trace the command with its engine. It is stopped at its exec.
fn begin(tracees: &mut Tracees, stop: ExecStop, started: Started) -> Result<(), Error> {
    let pid = stop.tid();
    if started.engine == PtraceEngine::Perf {
        tracees.threads = Threads::recorded([pid]);
        tracees.threads.set_engine(pid, PtraceEngine::Perf);
    } else {
        tracees.threads = Threads::with_common_engine(started.engine);
    }
    for warning in started.warnings {
        tracees.status.warn(warning);
    }
    let reason = match started.engine {
        _ if tracees.options.engine.is_some() => "as requested",
        PtraceEngine::Seccomp => "a filter stops the command at its accepts only",
        _ => "no seccomp filter could be installed",
    };
    tracees.detail(format!("the command is traced with engine {}: {reason}", started.engine));
    if started.engine != PtraceEngine::Seccomp {
        stop.set_options(spawn::OPTIONS).doing("setting ptrace options")?;
    }
    if tracees.perf.is_some() {
        tracees.check.postpone();
        tracees.check.add_process(pid);
    }
    tracees.on_exec(stop).doing("starting the command")
}
