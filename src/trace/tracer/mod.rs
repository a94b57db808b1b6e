//! [`Tracer`]: waits for stops, reads accepts and resumes the tracees.
//!
//! `Tracees` holds the state of the traced threads, and `stops` handles their stops.
//! `spawn` and `attach` create a tracer, `detach` ends it.
//! `completeness` compares what was seen with what the kernel counted.

mod attach;
mod check;
mod clones;
mod completeness;
mod coverage;
mod detach;
mod options;
mod signals;
mod spawn;
mod stops;
mod threads;
mod tracees;

use std::time::Instant;

use crate::model::connection::Connection;
use crate::model::event_source::{Ending, Event, EventSource};
use crate::model::plural;
use crate::model::record_time::RecordTime;
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::{ShortfallKind, SourceStatus};

use super::attach::Targets;
use super::error::Error;
use super::procfs;
use super::spawn::Start;
use signals::SignalHandler;
use tracees::{Phase, Tracees, Watched};

pub(super) use coverage::CoverageLog;
pub use options::{Options, Remark};

/// Traces processes and returns the connections that they accept.
///
/// All calls must come from the thread that created it, because ptrace(2) requests from other
/// threads fail. When that thread ends, the kernel detaches the tracees without stopping them,
/// unless a filter binds them to their tracer; see [`detach_at_end`](super::detach_at_end).
#[derive(Debug)]
pub struct Tracer {
    tracees: Tracees,
    deadline: Option<Instant>,
    signals: SignalHandler,
}

impl Tracer {
    /// Starts a command and traces it and all its descendants. Returns when the command has been
    /// executed.
    pub fn spawn(start: Start, options: Options) -> Result<Tracer, Error> {
        Ok(Tracer::new(spawn::spawn(start, options)?, SignalHandler::default()))
    }

    /// Attaches to running processes. When this returns, their accepts are counted.
    pub fn attach(targets: Targets, options: Options) -> Result<Tracer, Error> {
        Tracer::attach_and(targets, options, false)
    }

    /// The same beside a sampler that watches these processes as well:
    /// [`take_coverage`](Tracer::take_coverage).
    pub(super) fn attach_beside(targets: Targets, options: Options) -> Result<Tracer, Error> {
        Tracer::attach_and(targets, options, true)
    }

    fn attach_and(targets: Targets, options: Options, beside: bool) -> Result<Tracer, Error> {
        let mut signals = SignalHandler::default();
        let tracees = attach::attach(targets, options, &mut signals, beside)?;
        let tracer = Tracer::new(tracees, signals);
        tracer.arm();
        Ok(tracer)
    }

    /// Attaches to more processes.
    pub(super) fn attach_more(&mut self, targets: &Targets) -> Result<(), Error> {
        let result = attach::attach_more(&mut self.tracees, targets, &mut self.signals);
        self.arm();
        result
    }

    /// Which threads have come to be traced, and which have stopped, since this was last called.
    pub(super) fn take_coverage(&mut self) -> CoverageLog {
        self.tracees.coverage.take()
    }

    /// Whether a signal has ended the count.
    pub(super) fn is_leaving(&self) -> bool {
        self.tracees.phase == Phase::Leaving
    }

    /// Whether a process is traced.
    pub(super) fn watches(&self, pid: Tid) -> bool {
        procfs::threads(pid).into_iter().any(procfs::is_traced_by_us)
    }

    fn new(tracees: Tracees, signals: SignalHandler) -> Tracer {
        Tracer { tracees, deadline: None, signals }
    }

    /// Which processes are traced, with which engines, and why.
    pub fn remarks(&self) -> &[Remark] {
        &self.tracees.remarks
    }

    /// Handles the stops that have been reported already. Does not wait.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        self.tracees.drain()
    }

    /// Handles the signals and deadlines that are due.
    fn handle_due(&mut self) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.signals.handle(&mut self.tracees, wake::take())?;
            let now = Instant::now();
            if self.tracees.check.is_due(now) {
                completeness::compare(&mut self.tracees)?;
            }
            let is_over = self.deadline.is_some_and(|d| d <= now);
            if is_over {
                self.deadline = None;
            }
            self.arm();
            if is_over {
                return Ok(Some(Event::Deadline));
            }
        }
        if let Some(notice) = self.signals.next_notice() {
            return Ok(Some(Event::Notice(notice)));
        }
        Ok(self.signals.take_request())
    }

    /// Sets the timer to the next deadline.
    fn arm(&self) {
        let pass_on = match &self.tracees.watched {
            Watched::Spawned(command) => command.next_due(),
            Watched::Attached(_) => None,
        };
        let deadlines = [self.deadline, self.tracees.check.next, pass_on];
        wake::at(deadlines.into_iter().flatten().min());
    }

    fn ending(&self) -> Ending {
        match &self.tracees.watched {
            Watched::Spawned(command) => {
                command.ending.unwrap_or(Ending::CommandDetached(command.pid))
            }
            Watched::Attached(_) => Ending::Detached,
        }
    }
}

impl EventSource for Tracer {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        if deadline != self.deadline {
            self.deadline = deadline;
            self.arm();
        }
        loop {
            if let Some(event) = self.handle_due()? {
                return Ok(event);
            }
            if let Some(connection) = self.tracees.ready.pop_front() {
                return Ok(Event::Connection(connection));
            }
            if self.tracees.phase == Phase::Leaving {
                return Ok(Event::Ended(self.ending()));
            }
            match self.tracees.wait()? {
                Some(Some(connection)) => return Ok(Event::Connection(connection)),
                Some(None) => {}
                None => return Ok(Event::Ended(self.ending())),
            }
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        detach::detach(&mut self.tracees)?;
        Ok(self.tracees.ready.drain(..).collect())
    }

    fn status(&mut self) -> SourceStatus {
        let tracees = &mut self.tracees;
        let lost = completeness::count_lost(tracees);
        let mut status = tracees.status.clone();
        let names: Vec<String> =
            tracees.threads.engines_used().iter().map(ToString::to_string).collect();
        status.engine = Some(names.join("+"));
        status.ended = Some(RecordTime::now());
        status.record_shortfall(ShortfallKind::LostConnections, lost, completeness::MISSED);
        let untraced = tracees.check.untraced;
        status.record_shortfall(ShortfallKind::LostConnections, untraced, completeness::UNTRACED);
        status.tracees = tracees.threads.count();
        if tracees.accepts_of_children > 0 {
            status.warn(format!(
                "not counted: {} that children of the command accepted",
                plural(tracees.accepts_of_children, "connection", "connections")
            ));
        }
        status
    }
}
