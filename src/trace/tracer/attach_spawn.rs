//! How a tracer comes to its tracees: by starting a command, or by attaching.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::sys::perf_ring::Inherit;
use crate::sys::ptrace::{self, Tid};
use crate::sys::wait;
use crate::sys::wake;
use crate::trace::attach::Targets;
use crate::trace::command::Command;
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::perf::Refused;
use crate::trace::perf::watch::Perf;
use crate::trace::procfs;
use crate::trace::spawn::{self, Start, Started, Starting};
use crate::trace::stop::{ExecStop, Stop};
use crate::trace::tracees::Tracees;
use crate::{RecordTime, ShortfallKind};

use super::{Options, Phase, Tracer, Watched};

/// How long an attached process may take to stop once: threads in vfork(2) or an
/// uninterruptible sleep do not.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Tracer {
    /// Starts a command and watches it and all its descendants. Returns when the command has
    /// been executed.
    pub fn spawn(start: Start, options: Options) -> Result<Tracer, Error> {
        let perf = match options.engine {
            Some(Engine::Perf) => Some(Perf::new(Inherit::All).map_err(perf_error)?),
            _ => None,
        };
        let command = start.begin(options.engine)?;
        let watched = Watched::Spawned(Command::new(command.pid));
        let mut tracer = Tracer::new(options, watched, Tracees::Uniform(Engine::Syscall))?;
        tracer.perf = perf;
        tracer.see_exec(command)?;
        Ok(tracer)
    }

    /// Waits until the spawned command is executed, or has failed to be.
    fn see_exec(&mut self, starting: Starting) -> Result<(), Error> {
        loop {
            match wait::one(starting.pid) {
                Ok(Some(change)) => match Stop::from(change) {
                    Stop::Exec(stop) => return self.begin_command(stop, starting.finish()?),
                    stop @ (Stop::Exited(..) | Stop::Killed(..)) => {
                        self.on_stop(stop).doing("starting the command")?;
                        return starting.finish().map(drop);
                    }
                    stop => drop(self.on_stop(stop).doing("starting the command")?),
                },
                Ok(None) => return starting.finish().map(drop),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for the command"),
            }
        }
    }

    fn begin_command(&mut self, stop: ExecStop, started: Started) -> Result<(), Error> {
        let pid = stop.tid();
        self.tracees = match started.engine {
            Engine::Perf => Tracees::Known([(pid, Engine::Perf)].into()),
            engine => Tracees::Uniform(engine),
        };
        self.engines = self.tracees.engines();
        for warning in started.warnings {
            self.status.warn(warning);
        }
        self.detail(format!("the command is watched with the engine {}", started.engine));
        if started.engine != Engine::Seccomp {
            stop.set_options(spawn::OPTIONS).doing("setting ptrace options")?;
        }
        if self.perf.is_some() {
            self.check.begin();
            self.check.begin_process(pid);
        }
        self.on_exec(stop).doing("starting the command")
    }

    /// Attaches to processes that run already. When this returns, what they accept counts.
    pub fn attach(mut targets: Targets, options: Options) -> Result<Tracer, Error> {
        let inherit = if targets.children { Inherit::All } else { Inherit::Threads };
        // Before anything is touched: it may be refused.
        let perf = match options.engine {
            Some(Engine::Syscall | Engine::Seccomp) => None,
            _ => Some(Perf::new(inherit)),
        };
        let perf = match (perf, options.engine) {
            (Some(Err(refused)), Some(_)) => {
                return Err(Error::NothingAttached {
                    causes: vec![perf_error(refused).to_string()],
                });
            }
            (perf, _) => perf,
        };
        let notes = targets.resolve_threads();
        let seized = targets.seize()?;
        let tracees = Tracees::Known(
            seized.threads.values().flatten().map(|tid| (*tid, Engine::Syscall)).collect(),
        );
        let mut tracer = Tracer::new(options, Watched::Attached(targets), tracees)?;
        tracer.engines.clear();
        notes.into_iter().for_each(|note| tracer.remark(note));
        for (pid, why) in seized.refused {
            let text = format!("not watched: {why}");
            if procfs::exists(pid) {
                tracer.status.record_shortfall(ShortfallKind::Unobservable, 1, text);
            } else {
                tracer.status.warn(text);
            }
            tracer.remark(why);
        }
        match perf {
            Some(Ok(perf)) => {
                tracer.perf = Some(perf);
                tracer.check.begin();
            }
            Some(Err(refused)) => tracer.remark(format!(
                "the engine perf cannot be had: {refused}. The engine syscall is used, which stops \
                 the server at every system call instead of once per connection"
            )),
            None => {}
        }
        tracer.choose(&seized.threads)?;
        tracer.settle()?;
        tracer.look_for_io_uring(seized.threads.keys().copied());
        tracer.status.started = Some(RecordTime::now());
        tracer.remark(format!(
            "attached to {} and {}",
            plural(seized.threads.len(), "process", "processes"),
            plural(seized.threads.values().map(BTreeSet::len).sum(), "thread", "threads"),
        ));
        Ok(tracer)
    }

    /// A ring that is open already was set up unseen.
    pub(super) fn look_for_io_uring(&mut self, mut processes: impl Iterator<Item = Tid>) {
        if processes.any(procfs::has_io_uring) {
            self.warn_of_io_uring();
        }
    }

    /// Chooses an engine for each process, and begins with it. That takes a while for each, so
    /// those that have stopped by then are not kept waiting.
    fn choose(&mut self, processes: &BTreeMap<Tid, BTreeSet<Tid>>) -> Result<(), Error> {
        for (&pid, threads) in processes {
            let begun = self.perf.as_mut().map(|perf| perf.begin(pid));
            match begun {
                Some(Ok(())) => {
                    threads.iter().for_each(|tid| self.use_engine(*tid, Engine::Perf));
                    self.check.begin_process(pid);
                    self.detail(format!("process {pid}: engine perf"));
                }
                Some(Err(why)) => {
                    if let Some(perf) = &mut self.perf {
                        perf.begin_at_first_stop(threads);
                    }
                    self.fall_back(pid, &why);
                }
                None => self.step(threads.iter().copied()),
            }
            self.drain()?;
        }
        Ok(())
    }

    /// Waits until every process is ready.
    fn settle(&mut self) -> Result<(), Error> {
        let end = Instant::now() + STOP_TIMEOUT;
        wake::at(Some(end));
        while self.phase == Phase::Counting && !self.is_settled() {
            if wake::is_due() {
                self.on_signals(wake::take())?;
                wake::at(Some(end));
            }
            if Instant::now() >= end {
                let refused = self.perf.as_mut().map(Perf::give_up).unwrap_or_default();
                for (tid, why) in refused {
                    self.tell_of_fall(tid, &why);
                    self.step([tid].into_iter());
                }
                break;
            }
            match self.wait()? {
                Some(connection) => self.ready.extend::<Option<Connection>>(connection),
                None => break,
            }
        }
        self.arm();
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.interrupted.is_empty() && self.perf.as_ref().is_none_or(Perf::is_settled)
    }

    /// The engine `syscall` for a process that cannot have `perf`.
    pub(super) fn fall_back(&mut self, pid: Tid, why: &str) {
        self.tell_of_fall(pid, why);
        self.step(procfs::threads(pid).into_iter());
    }

    /// It is a detail unless another engine was asked for.
    pub(super) fn tell_of_fall(&mut self, pid: Tid, why: &str) {
        let text = format!("process {pid}: engine syscall, since {why}");
        if self.options.engine == Some(Engine::Perf) {
            self.remark(text);
        } else {
            self.detail(text);
        }
    }

    /// Stops threads once, and from then on at every system call.
    pub(super) fn step(&mut self, threads: impl Iterator<Item = Tid>) {
        for tid in threads {
            self.use_engine(tid, Engine::Syscall);
            self.awaiting_accept.remove(&tid);
            // A thread that has ended needs no stop.
            if ptrace::interrupt(tid).is_ok() {
                self.interrupted.insert(tid);
                if let Some(perf) = &mut self.perf {
                    perf.give_away(tid);
                    self.switching.insert(tid);
                }
            }
        }
    }
}

fn perf_error(refused: Refused) -> Error {
    Error::Engine { engine: "perf", cause: refused.to_string() }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
