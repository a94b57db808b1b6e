//! [`Tracer`]: the loop that waits for stops, reads accepts and lets tracees run on.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Instant;

use crate::Account;
use crate::connection::{Connection, Wanted};
use crate::live::{Ending, Event, Live};
use crate::moment::Moment;
use crate::sys::ptrace::{self, Tid};
use crate::sys::wait;
use crate::sys::wake::{self, Signals};

use super::abi::{self, Arch, Call};
use super::accepted::Reader;
use super::attach::Targets;
use super::command::Command;
use super::engine::Engine;
use super::error::{Doing, Error};
use super::follow::Follow;
use super::procfs;
use super::registers::CallRegisters;
use super::setuid;
use super::spawn::{self, Start, Starting};
use super::stop::{EventStop, ExecStop, Stop, SyscallStop, Until};
use super::tracees::Tracees;

/// Signals to the tracer that mean something to it.
pub(super) const HANDLED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// What is watched, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fields of the connections that somebody will look at.
    pub wanted: Wanted,
    /// Only the given process counts: neither its children nor those it will have.
    pub no_children: bool,
    /// How tracees are made to stop; `None`: the cheapest that is safe and exact.
    pub engine: Option<Engine>,
}

/// Watches tracees. All calls must come from the thread that made it: ptrace(2) requests are
/// refused to any other. When that thread ends, the kernel lets the tracees of an attached
/// tracer go without stopping them; see [`let_go_at_end`](super::let_go_at_end).
#[derive(Debug)]
pub struct Tracer {
    options: Options,
    reader: Reader,
    tracees: Tracees,
    /// All that were ever in use.
    engines: BTreeSet<Engine>,
    follow: Follow,
    watched: Watched,
    account: Account,
    phase: Phase,
    deadline: Option<Instant>,
    asked: bool,
    /// Connections that were read on the way to something else.
    ready: VecDeque<Connection>,
    /// What was chosen, and why.
    notes: Vec<String>,
    attached: Option<String>,
}

/// How the tracees came to be ours.
#[derive(Debug)]
enum Watched {
    Spawned(Command),
    Attached(Targets),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counting,
    /// The tracees are ours until they end, but nothing counts any more.
    Supervising,
    /// What had been accepted has been read; the tracees are let go next.
    Leaving,
}

impl Tracer {
    fn new(options: Options, watched: Watched, tracees: Tracees) -> Result<Tracer, Error> {
        wake::install(&HANDLED).doing("installing signal handlers")?;
        let wanted = Wanted { pid: options.wanted.pid || options.no_children, ..options.wanted };
        let mut account = Account::new("trace");
        account.started = Some(Moment::now());
        Ok(Tracer {
            options,
            reader: Reader::new(wanted),
            engines: tracees.engines(),
            tracees,
            follow: Follow::default(),
            watched,
            account,
            phase: Phase::Counting,
            deadline: None,
            asked: false,
            ready: VecDeque::new(),
            notes: Vec::new(),
            attached: None,
        })
    }

    /// Starts a command and watches it and all its descendants. Returns when the command has
    /// been executed.
    pub fn spawn(start: Start, options: Options) -> Result<Tracer, Error> {
        let command = start.begin(options.engine)?;
        let watched = Watched::Spawned(Command::new(command.pid));
        let mut tracer = Tracer::new(options, watched, Tracees::Uniform(Engine::Syscall))?;
        tracer.see_exec(command)?;
        Ok(tracer)
    }

    /// Attaches to processes that run already.
    pub fn attach(targets: Targets, options: Options) -> Result<Tracer, Error> {
        let seized = targets.seize()?;
        let known = seized.threads.values().flatten().map(|t| (*t, Engine::Syscall)).collect();
        let mut tracer = Tracer::new(options, Watched::Attached(targets), Tracees::Known(known))?;
        for why in seized.refused.into_values() {
            tracer.account.complete = false;
            tracer.account.warn(format!("{why}; what it accepts is not counted"));
        }
        for tid in seized.threads.values().flatten() {
            // A thread that has ended needs no stop.
            let _ = ptrace::interrupt(*tid);
        }
        tracer.attached = Some(format!(
            "attached to {} and {}",
            plural(seized.threads.len(), "process", "processes"),
            plural(seized.threads.values().map(BTreeSet::len).sum(), "thread", "threads"),
        ));
        Ok(tracer)
    }

    /// What was chosen, and why: for users who ask.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many processes and threads were attached to, in words; `None` for a command.
    pub fn attached(&self) -> Option<&str> {
        self.attached.as_deref()
    }

    /// Waits until the spawned command is executed, or has failed to be.
    fn see_exec(&mut self, starting: Starting) -> Result<(), Error> {
        loop {
            match wait::one(starting.pid) {
                Ok(Some(change)) => match Stop::from(change) {
                    Stop::Exec(stop) => {
                        let started = starting.finish()?;
                        self.tracees = Tracees::Uniform(started.engine);
                        self.engines = self.tracees.engines();
                        for warning in started.warnings {
                            self.account.warn(warning);
                        }
                        if started.engine != Engine::Seccomp {
                            stop.set_options(spawn::OPTIONS).doing("setting ptrace options")?;
                        }
                        return self.on_exec(stop).doing("starting the command");
                    }
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

    /// Lets the tracee of a stop run on, and gives the connection it accepted, if it did.
    fn on_stop(&mut self, stop: Stop) -> io::Result<Option<Connection>> {
        match stop {
            Stop::Syscall(stop) => return self.on_syscall(stop),
            Stop::Seccomp(stop) => stop.resume(match self.phase {
                Phase::Counting => Until::SyscallStop,
                _ => Until::AnyStop,
            })?,
            Stop::Signal(stop) => {
                let until = self.until(stop.tid());
                stop.deliver(until)?;
            }
            Stop::Group(stop) => {
                let tid = stop.tid();
                stop.listen()?;
                if let Watched::Spawned(command) = &mut self.watched {
                    command.group_stop(tid, true)?;
                }
            }
            Stop::Event(stop) => self.on_event(stop)?,
            Stop::Birth(stop) => {
                if let Ok(child) = stop.child() {
                    self.tracees.born(stop.tid(), child);
                }
                let until = self.until(stop.tid());
                stop.resume(until)?;
            }
            Stop::Exec(stop) => self.on_exec(stop)?,
            Stop::Exited(tid, status) => self.on_end(tid, Ending::Exited(status)),
            Stop::Killed(tid, signal) => self.on_end(tid, Ending::Killed(signal)),
        }
        Ok(None)
    }

    fn until(&mut self, tid: Tid) -> Until {
        match self.phase {
            Phase::Counting => self.tracees.engine(tid).until(),
            _ => Until::AnyStop,
        }
    }

    fn on_syscall(&mut self, stop: SyscallStop) -> io::Result<Option<Connection>> {
        let engine = self.tracees.engine(stop.tid());
        let connection = match self.accept_at(&stop, engine) {
            Ok(connection) => connection,
            // Killed in its stop: nothing of it can be read any more.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => None,
            Err(e) => return Err(e),
        };
        self.follow.stopped(stop.tid());
        let until = self.until(stop.tid());
        stop.resume(until)?;
        Ok(connection)
    }

    fn accept_at(&mut self, stop: &SyscallStop, engine: Engine) -> io::Result<Option<Connection>> {
        if self.phase != Phase::Counting {
            return Ok(None);
        }
        let registers = CallRegisters(stop.registers()?);
        if registers.success().is_none() {
            return Ok(None);
        }
        let Some((arch, call)) = call_at(stop, engine, &registers)? else { return Ok(None) };
        if call == Call::IoUringSetup {
            self.account.complete = false;
            self.account.warn(
                "io_uring seen: connections accepted through it cannot be seen and are not \
                 counted (--deny-io-uring makes most servers do without)",
            );
            return Ok(None);
        }
        let connection = self.reader.read(stop.tid(), &registers, arch, call);
        Ok(connection.filter(|c| self.counts(c)))
    }

    /// Whether a connection is of a process that was asked about.
    fn counts(&self, connection: &Connection) -> bool {
        match &self.watched {
            Watched::Spawned(command) if self.options.no_children => {
                connection.pid == Some(command.pid as u32)
            }
            _ => true,
        }
    }

    fn on_event(&mut self, stop: EventStop) -> io::Result<()> {
        let tid = stop.tid();
        match &mut self.watched {
            Watched::Spawned(command) => command.group_stop(tid, false)?,
            // A process made with clone(2) and without SIGCHLD comes with the threads.
            Watched::Attached(targets) if !targets.children && !self.tracees.knows(tid) => {
                if procfs::process_of(tid).is_some_and(|pid| !targets.include(pid)) {
                    return stop.detach();
                }
            }
            Watched::Attached(_) => {}
        }
        let until = self.until(tid);
        stop.resume(until)
    }

    fn on_exec(&mut self, stop: ExecStop) -> io::Result<()> {
        let tid = stop.tid();
        let former = stop.former_tid().unwrap_or(tid);
        self.reader.forget(tid);
        if former != tid {
            self.forget(former);
        }
        if let Some(program) = setuid::lost(tid) {
            self.account.warn(format!(
                "{program} is setuid or setgid, and runs without those privileges because it is \
                 traced; start it with them, or attach as root"
            ));
        }
        let until = self.until(tid);
        stop.resume(until)
    }

    fn on_end(&mut self, tid: Tid, ending: Ending) {
        self.forget(tid);
        if let Watched::Spawned(command) = &mut self.watched
            && command.pid == tid
        {
            command.ending = Some(ending);
        }
    }

    fn forget(&mut self, tid: Tid) {
        self.reader.forget(tid);
        self.tracees.forget(tid);
    }

    fn on_signals(&mut self, signals: Signals) -> Result<(), Error> {
        self.asked |= signals.has(libc::SIGUSR1);
        match &mut self.watched {
            Watched::Spawned(command) => {
                command.on_signals(signals).doing("stopping with the job")?;
            }
            Watched::Attached(_) => {
                let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
                if ends.into_iter().any(|s| signals.has(s)) {
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// Deals with the signals and the deadline that are due.
    fn due(&mut self) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.on_signals(wake::take())?;
            wake::at(self.deadline);
            if self.deadline.is_some_and(|d| d <= Instant::now()) {
                self.deadline = None;
                wake::at(None);
                return Ok(Some(Event::Deadline));
            }
        }
        Ok(std::mem::take(&mut self.asked).then_some(Event::Asked))
    }

    /// Counts no more, and lets the tracees go unless their filter needs a tracer.
    fn leave(&mut self) -> Result<(), Error> {
        if self.phase != Phase::Counting {
            return Ok(());
        }
        let filtered = self.engines.contains(&Engine::Seccomp);
        if !filtered {
            self.drain()?;
        }
        self.phase = if filtered { Phase::Supervising } else { Phase::Leaving };
        Ok(())
    }

    /// Reads what has been accepted already, for the tracees are let go next.
    fn drain(&mut self) -> Result<(), Error> {
        loop {
            match wait::any_now() {
                Ok(Some(change)) => {
                    let connection = self.on_stop(change.into()).doing("tracing")?;
                    self.ready.extend(connection);
                }
                Ok(None) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for tracees"),
            }
        }
    }

    fn ending(&self) -> Ending {
        match &self.watched {
            Watched::Spawned(command) => command.ending.unwrap_or(Ending::LetGo(command.pid)),
            Watched::Attached(_) => Ending::Detached,
        }
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Which call the tracee is in, if it is one that matters.
fn call_at(
    stop: &SyscallStop,
    engine: Engine,
    registers: &CallRegisters,
) -> io::Result<Option<(Arch, Call)>> {
    let mut candidates = abi::candidates(registers.number()).peekable();
    match (engine, candidates.peek()) {
        (_, None) => Ok(None),
        // The filter has compared architecture and number; no number means two things.
        (Engine::Seccomp, Some(_)) => Ok(candidates.next()),
        (_, Some(_)) => {
            let arch = Arch::from_audit(stop.arch()?);
            Ok(candidates.find(|c| Some(c.0) == arch))
        }
    }
}

impl Live for Tracer {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        if deadline != self.deadline {
            self.deadline = deadline;
            wake::at(deadline);
        }
        loop {
            if let Some(event) = self.due()? {
                return Ok(event);
            }
            if let Some(connection) = self.ready.pop_front() {
                return Ok(Event::Connection(connection));
            }
            if self.phase == Phase::Leaving {
                return Ok(Event::Ended(self.ending()));
            }
            match wait::any() {
                Ok(Some(change)) => {
                    if let Some(c) = self.on_stop(change.into()).doing("tracing")? {
                        return Ok(Event::Connection(c));
                    }
                }
                Ok(None) => return Ok(Event::Ended(self.ending())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for tracees"),
            }
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.leave()?;
        Ok(self.ready.drain(..).collect())
    }

    fn account(&mut self) -> Account {
        let mut account = self.account.clone();
        let names: Vec<String> = self.engines.iter().map(ToString::to_string).collect();
        account.engine = Some(names.join("+"));
        account.ended = Some(Moment::now());
        account
    }
}
