//! [`Tracer`]: the loop that waits for stops, reads accepts and lets tracees run on.

use std::io;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Wanted};
use crate::live::{Ending, Event, Live};
use crate::moment::Moment;
use crate::sys::ptrace::Tid;
use crate::sys::wait;
use crate::sys::wake::{self, Signals};
use crate::{Account, sys};

use super::abi::{self, Arch, Call};
use super::accepted::Reader;
use super::engine::Engine;
use super::error::{Doing, Error};
use super::procfs;
use super::registers::CallRegisters;
use super::setuid;
use super::spawn::{self, Start, Started, Starting};
use super::stop::{ExecStop, GroupStop, Stop, SyscallStop, Until};

/// Signals to the tracer that mean something to it.
const HANDLED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// A terminal's stop signal comes to the server and to the tracer at once; this much apart they
/// are two.
const SAME_KEYSTROKE: Duration = Duration::from_secs(2);

/// What is watched, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fields of the connections that somebody will look at.
    pub wanted: Wanted,
    /// Only the given process counts: neither its children nor those it will have.
    pub no_children: bool,
}

/// Watches tracees. All calls must come from the thread that made it: ptrace(2) requests are
/// refused to any other.
#[derive(Debug)]
pub struct Tracer {
    options: Options,
    engine: Engine,
    reader: Reader,
    root: Tid,
    started: Started,
    account: Account,
    counting: bool,
    ending: Option<Ending>,
    job: Job,
    deadline: Option<Instant>,
    asked: bool,
}

/// The shell's view of the server: its job is stopped when we are.
#[derive(Debug, Default)]
struct Job {
    root_in_group_stop: bool,
    stop_signal: Option<(i32, Instant)>,
}

impl Tracer {
    /// Starts a command and watches it and all its descendants. Returns when the command has
    /// been executed.
    pub fn spawn(start: Start, options: Options) -> Result<Tracer, Error> {
        wake::install(&HANDLED).doing("installing signal handlers")?;
        let starting = start.begin()?;
        let root = starting.pid;
        let wanted = Wanted { pid: options.wanted.pid || options.no_children, ..options.wanted };
        let mut tracer = Tracer {
            options,
            engine: Engine::Syscall,
            reader: Reader::new(wanted),
            root,
            started: Started::default(),
            account: Account::new("trace"),
            counting: true,
            ending: None,
            job: Job::default(),
            deadline: None,
            asked: false,
        };
        tracer.account.started = Some(Moment::now());
        tracer.see_exec(starting)?;
        Ok(tracer)
    }

    /// Waits until the spawned command is executed, or has failed to be.
    fn see_exec(&mut self, starting: Starting) -> Result<(), Error> {
        loop {
            match wait::one(self.root) {
                Ok(Some(change)) => match Stop::from(change) {
                    Stop::Exec(stop) => {
                        (self.engine, self.started) = starting.finish()?;
                        for warning in std::mem::take(&mut self.started.warnings) {
                            self.account.warn(warning);
                        }
                        if self.engine != Engine::Seccomp {
                            stop.set_options(spawn::OPTIONS).doing("setting ptrace options")?;
                        }
                        return self.on_exec(stop).doing("starting the command");
                    }
                    Stop::Exited(..) | Stop::Killed(..) => {
                        self.on_stop(Stop::from(change)).doing("starting the command")?;
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
        let until = self.until();
        match stop {
            Stop::Syscall(stop) => return self.on_syscall(stop),
            Stop::Seccomp(stop) => {
                stop.resume(if self.counting { Until::SyscallStop } else { Until::AnyStop })?
            }
            Stop::Signal(stop) => stop.deliver(until)?,
            Stop::Group(stop) => self.on_group_stop(stop)?,
            Stop::Event(stop) => {
                if stop.tid() == self.root {
                    self.job.root_in_group_stop = false;
                }
                stop.resume(until)?;
            }
            Stop::Birth(stop) => stop.resume(until)?,
            Stop::Exec(stop) => self.on_exec(stop)?,
            Stop::Exited(tid, status) => self.on_end(tid, Ending::Exited(status)),
            Stop::Killed(tid, signal) => self.on_end(tid, Ending::Killed(signal)),
        }
        Ok(None)
    }

    fn until(&self) -> Until {
        if self.counting { self.engine.until() } else { Until::AnyStop }
    }

    fn on_syscall(&mut self, stop: SyscallStop) -> io::Result<Option<Connection>> {
        let connection = match self.accept_at(&stop) {
            Ok(connection) => connection,
            // Killed in its stop: nothing of it can be read any more.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => None,
            Err(e) => return Err(e),
        };
        stop.resume(self.until())?;
        Ok(connection)
    }

    fn accept_at(&mut self, stop: &SyscallStop) -> io::Result<Option<Connection>> {
        if !self.counting {
            return Ok(None);
        }
        let registers = CallRegisters(stop.registers()?);
        if registers.success().is_none() {
            return Ok(None);
        }
        let Some((arch, call)) = self.call_at(stop, &registers)? else { return Ok(None) };
        if call == Call::IoUringSetup {
            self.account.warn(
                "io_uring seen: connections accepted through it cannot be seen and are not \
                 counted (--deny-io-uring makes most servers do without)",
            );
            self.account.complete = false;
            return Ok(None);
        }
        let connection = self.reader.read(stop.tid(), &registers, arch, call);
        Ok(connection.filter(|c| !self.options.no_children || c.pid == Some(self.root as u32)))
    }

    /// Which call the tracee is in, if it is one that matters.
    fn call_at(
        &self,
        stop: &SyscallStop,
        registers: &CallRegisters,
    ) -> io::Result<Option<(Arch, Call)>> {
        let mut candidates = abi::candidates(registers.number()).peekable();
        match (self.engine, candidates.peek()) {
            (_, None) => Ok(None),
            // The filter has compared architecture and number; no number means two things.
            (Engine::Seccomp, Some(_)) => Ok(candidates.next()),
            (Engine::Syscall, Some(_)) => {
                let arch = Arch::from_audit(stop.arch()?);
                Ok(candidates.find(|c| Some(c.0) == arch))
            }
        }
    }

    fn on_group_stop(&mut self, stop: GroupStop) -> io::Result<()> {
        if stop.tid() == self.root {
            self.job.root_in_group_stop = true;
        }
        stop.listen()?;
        self.stop_with_job()
    }

    /// A shell sees its job stop only when the process that it started does: this one.
    fn stop_with_job(&mut self) -> io::Result<()> {
        let Some((signal, since)) = self.job.stop_signal else { return Ok(()) };
        if since.elapsed() > SAME_KEYSTROKE {
            self.job.stop_signal = None;
        } else if self.job.root_in_group_stop {
            self.job.stop_signal = None;
            wake::stop_self(signal)?;
        }
        Ok(())
    }

    fn on_exec(&mut self, stop: ExecStop) -> io::Result<()> {
        let tid = stop.tid();
        self.reader.forget(tid);
        self.reader.forget(stop.former_tid().unwrap_or(tid));
        if let Some(program) = setuid::lost(tid) {
            self.account.warn(format!(
                "{program} is setuid or setgid, and runs without those privileges because it is \
                 traced; start it with them, or attach as root"
            ));
        }
        stop.resume(self.until())
    }

    fn on_end(&mut self, tid: Tid, ending: Ending) {
        self.reader.forget(tid);
        if tid == self.root {
            self.ending = Some(ending);
        }
    }

    fn on_signals(&mut self, signals: Signals) -> Result<(), Error> {
        for signal in [libc::SIGTERM, libc::SIGHUP] {
            if signals.has(signal) {
                self.pass_on(signal);
            }
        }
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            if signals.has(signal) {
                self.job.stop_signal = Some((signal, Instant::now()));
                self.stop_with_job().doing("stopping with the job")?;
            }
        }
        self.asked |= signals.has(libc::SIGUSR1);
        Ok(())
    }

    /// Sends a signal to the command, or, when that has ended, to what it left behind.
    fn pass_on(&self, signal: i32) {
        if self.ending.is_none() {
            sys::kill(self.root, signal);
            return;
        }
        let me = std::process::id().to_string();
        for pid in procfs::processes() {
            if procfs::status_field(pid, "TracerPid").is_some_and(|t| t == me) {
                sys::kill(pid, signal);
            }
        }
    }

    /// An event that is due without any tracee's doing.
    fn due(&mut self) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.on_signals(wake::take())?;
            wake::at(self.deadline);
        }
        if std::mem::take(&mut self.asked) {
            return Ok(Some(Event::Asked));
        }
        Ok(None)
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
            let woken = wake::is_due();
            if let Some(event) = self.due()? {
                return Ok(event);
            }
            if woken && self.deadline.is_some_and(|d| d <= Instant::now()) {
                self.deadline = None;
                wake::at(None);
                return Ok(Event::Deadline);
            }
            match wait::any() {
                Ok(Some(change)) => {
                    if let Some(c) = self.on_stop(change.into()).doing("tracing")? {
                        return Ok(Event::Connection(c));
                    }
                }
                Ok(None) => return Ok(Event::Ended(self.ending.unwrap_or(Ending::Detached))),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for tracees"),
            }
        }
    }

    fn stop_counting(&mut self) -> Result<(), Error> {
        self.counting = false;
        Ok(())
    }

    fn account(&mut self) -> Account {
        let mut account = self.account.clone();
        account.engine = Some(self.engine.to_string());
        account.ended = Some(Moment::now());
        account
    }
}
