//! [`Tracer`]: waits for stops, reads accepts and lets tracees run on.

mod attach_spawn;
mod check;
mod detach;
mod on_signals;
mod pending_threads;
mod stops;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::time::Instant;

use crate::model::connection::{Connection, RequestedFields};
use crate::model::live::{Ending, Event, Live};
use crate::model::record_time::RecordTime;
use crate::sys::ptrace::Tid;
use crate::sys::wait;
use crate::sys::wake;
use crate::{ShortfallKind, SourceStatus};

use super::accepted::Reader;
use super::attach::Targets;
use super::command::Command;
use super::cpu_affinity::CpuAffinity;
use super::engine::Engine;
use super::error::{Doing, Error};
use super::perf::watch::Perf;
use super::signals;
use super::tracees::Tracees;
use super::untraced::UntracedClones;
use check::Check;
use on_signals::Notices;
use pending_threads::PendingThreads;

/// What is watched, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fields of the connections that somebody will look at.
    pub requested: RequestedFields,
    /// Only the spawned process counts: neither its children nor those it will have.
    pub no_children: bool,
    /// How tracees are made to stop; `None`: the cheapest that is safe and exact.
    pub engine: Option<Engine>,
}

/// Watches tracees. All calls must come from the thread that made it: ptrace(2) requests are
/// refused to any other. When that thread ends, the kernel lets the tracees go without stopping
/// them, unless a filter binds them to their tracer; see
/// [`detach_at_end`](super::detach_at_end).
#[derive(Debug)]
pub struct Tracer {
    options: Options,
    reader: Reader,
    tracees: Tracees,
    perf: Option<Perf>,
    check: Check,
    /// Threads that were interrupted to be under the engine `syscall`, until their first stop.
    interrupted: HashSet<Tid>,
    /// Those of them that may have a signal of the engine `perf` on the way, until their first
    /// system call.
    switching: HashSet<Tid>,
    pending_threads: PendingThreads,
    /// New threads under the engine `perf` that are followed up to their first accept.
    awaiting_accept: HashSet<Tid>,
    /// Threads under the engine `syscall` in a call of no interest: its exit need not be read. An
    /// exit that is taken for an entry costs no accept, for then it is the entry after it that is
    /// not read.
    passing: HashSet<Tid>,
    untraced_clones: UntracedClones,
    /// All that were ever in use.
    engines: BTreeSet<Engine>,
    cpu_affinity: CpuAffinity,
    watched: Watched,
    status: SourceStatus,
    phase: Phase,
    deadline: Option<Instant>,
    asked: bool,
    notices: Notices,
    /// Connections that were read on the way to something else.
    ready: VecDeque<Connection>,
    remarks: Vec<Remark>,
}

/// What the user may want to know before the first connection comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it is for those only who ask for more.
    pub is_detail: bool,
    /// A sentence.
    pub text: String,
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
        let handled = match &watched {
            Watched::Spawned(_) => signals::handled_for_command(),
            Watched::Attached(_) => signals::handled_for_attached(),
        };
        wake::install(&handled).doing("installing signal handlers")?;
        let requested = RequestedFields {
            pid: options.requested.pid || options.no_children,
            ..options.requested
        };
        let mut status = SourceStatus::new("trace");
        status.started = Some(RecordTime::now());
        Ok(Tracer {
            options,
            reader: Reader::new(requested),
            engines: tracees.engines(),
            tracees,
            perf: None,
            check: Check::default(),
            interrupted: HashSet::new(),
            switching: HashSet::new(),
            pending_threads: PendingThreads::default(),
            awaiting_accept: HashSet::new(),
            passing: HashSet::new(),
            untraced_clones: UntracedClones::default(),
            cpu_affinity: CpuAffinity::default(),
            watched,
            status,
            phase: Phase::Counting,
            deadline: None,
            asked: false,
            notices: Notices::default(),
            ready: VecDeque::new(),
            remarks: Vec::new(),
        })
    }

    /// What was chosen and why, and what was attached to.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: false, text: text.into() });
    }

    fn detail(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: true, text: text.into() });
    }

    /// Takes the stops that have come already, and gives what they brought.
    pub(super) fn take_stopped(&mut self) -> Result<Vec<Connection>, Error> {
        self.drain()?;
        Ok(self.ready.drain(..).collect())
    }

    fn use_engine(&mut self, tid: Tid, engine: Engine) {
        self.tracees.set(tid, engine);
        self.passing.remove(&tid);
        self.engines.insert(engine);
    }

    /// Deals with the signals and deadlines that are due.
    fn due(&mut self) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.on_signals(wake::take())?;
            let now = Instant::now();
            if self.check.is_due(now) {
                self.compare()?;
            }
            let over = self.deadline.is_some_and(|d| d <= now);
            if over {
                self.deadline = None;
            }
            self.arm();
            if over {
                return Ok(Some(Event::Deadline));
            }
        }
        if let Some(notice) = self.notices.next() {
            return Ok(Some(Event::Notice(notice)));
        }
        Ok(std::mem::take(&mut self.asked).then_some(Event::Asked))
    }

    fn arm(&self) {
        let pass_on = match &self.watched {
            Watched::Spawned(command) => command.next_due(),
            Watched::Attached(_) => None,
        };
        wake::at([self.deadline, self.check.next(), pass_on].into_iter().flatten().min());
    }

    /// Waits for a stop and takes it; `None`: there are no tracees any more.
    fn wait(&mut self) -> Result<Option<Option<Connection>>, Error> {
        match wait::any() {
            Ok(Some(change)) => self.on_stop(change.into()).doing("tracing").map(Some),
            Ok(None) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Some(None)),
            Err(e) => Err(e).doing("waiting for tracees"),
        }
    }

    fn ending(&self) -> Ending {
        match &self.watched {
            Watched::Spawned(command) => {
                command.ending.unwrap_or(Ending::CommandDetached(command.pid))
            }
            Watched::Attached(_) => Ending::Detached,
        }
    }
}

impl Live for Tracer {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        if deadline != self.deadline {
            self.deadline = deadline;
            self.arm();
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
            match self.wait()? {
                Some(Some(connection)) => return Ok(Event::Connection(connection)),
                Some(None) => {}
                None => return Ok(Event::Ended(self.ending())),
            }
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.detach()?;
        Ok(self.ready.drain(..).collect())
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = self.status.clone();
        let names: Vec<String> = self.engines.iter().map(ToString::to_string).collect();
        status.engine = Some(names.join("+"));
        status.ended = Some(RecordTime::now());
        status.lost = self.lost();
        let unwatched = self.check.unwatched;
        status.record_shortfall(ShortfallKind::LostConnections, unwatched, check::UNWATCHED);
        status.tracees = self.tracees.count();
        status
    }
}
