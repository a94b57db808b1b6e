//! [`TracepointWatcher`]: takes new connections from the ring buffers.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::model::connection::{Connection, canonical};
use crate::model::event_source::{Ending, Event};
use crate::model::plural;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::sys::realtime;
use crate::sys::snmp::PassiveOpens;
use crate::sys::sock_diag::state;
use crate::sys::tracefs;
use crate::watch::error::{Doing, Error};
use crate::watch::handover::Handover;
use crate::watch::options::Options;
use crate::watch::ports::PortSet;
use crate::watch::signals::{self, Requests};
use crate::watch::sockdiag::dumper::Dumper;
use crate::watch::sockdiag::tracker::SocketTracker;
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::capture::{Capture, Purpose, Record};
use super::error::{ForeignListener, NamespacesError, TracepointError};
use super::filter;
use super::layout::Layout;
use super::namespaces;
use super::proof::prove;

/// The folder of the tracepoint in tracefs.
const NAME: &str = "sock/inet_sock_set_state";

/// The interval at which the rings are read. They wake the reader earlier when they are a quarter
/// full.
const READ_EVERY: Duration = Duration::from_millis(100);
/// The interval of comparisons with the kernel's own counts.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The maximum delay of a reported connection, if the machine is not busy.
const LATENESS: Duration = Duration::from_millis(150);

const READING: &str = "reading the tracepoint's counts";

/// Why counting by the tracepoint cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopReason {
    /// Another network namespace has a listener now.
    #[error(
        "another network namespace ({}) now has a listener on port {}",
        .0.namespace.display(), .0.port
    )]
    Foreign(ForeignListener),
    /// It is no longer known whether another namespace has one.
    #[error("other network namespaces can no longer be seen ({0})")]
    Unseen(NamespacesError),
    /// The set of online CPUs has changed.
    #[error("the CPUs that are online have changed")]
    Cpus,
}

/// The result of [`TracepointWatcher::next`].
#[derive(Debug)]
pub(crate) enum Step {
    /// An event for the caller.
    Event(Event),
    /// Another engine must continue.
    Stopped(StopReason),
}

/// A new listener.
#[derive(Clone, Copy, Debug)]
struct Listened {
    /// Its port; 0 if it has none yet.
    port: u16,
    tid: Tid,
}

/// Watches ports by the tracepoint.
#[derive(Debug)]
pub(crate) struct TracepointWatcher {
    ports: PortSet,
    capture: Capture,
    /// The sockets that were open at the start.
    before: SocketTracker,
    opens: Option<(PassiveOpens, u64)>,
    /// The start, by CLOCK_MONOTONIC.
    started: u64,
    ended: Option<u64>,
    /// What the engine that replaces this one reports.
    handover: Option<Handover>,
    /// Sockets in a simultaneous open.
    outbound: HashSet<u64>,
    /// New listeners whose network namespace has not been checked yet.
    listened: Vec<Listened>,
    ready: VecDeque<Connection>,
    /// Connections that came after those listeners.
    unsure: VecDeque<Connection>,
    counted: u64,
    status: SourceStatus,
    read_at: Instant,
    check_at: Instant,
    lost_others: u64,
    stopped: bool,
    requests: Requests,
}

impl TracepointWatcher {
    /// Starts to watch, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Tracepoint`] if another engine can be used.
    pub(crate) fn start(options: &Options) -> Result<TracepointWatcher, Error> {
        if realtime::loses_perf_events() {
            return Err(TracepointError::Realtime.into());
        }
        let ports: PortSet = options.ports.iter().cloned().collect();
        let description = tracefs::describe(NAME).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => TracepointError::NotInKernel,
            _ => TracepointError::Tracefs(e),
        })?;
        let layout = Layout::parse(&description.format).ok_or(TracepointError::Fields)?;
        let mut capture =
            Capture::map(layout, options.buffer).map_err(TracepointError::PerfEvents)?;
        let proven = prove(&mut capture, description.id)?;
        signals::install()?;
        let mut before = SocketTracker::new(false);
        before.open_before(Dumper::open(ports.clone())?.dump(false)?);
        let mut opens = PassiveOpens::open();
        let passive = opens.as_mut().and_then(PassiveOpens::read);
        let (connections, others) = (filter::connections(&ports), filter::others(&ports));
        let filters = [(Purpose::Connections, &*connections), (Purpose::Others, &*others)];
        capture.open(description.id, &filters).map_err(TracepointError::PerfEvents)?;
        drop(proven);
        let mut status = SourceStatus::new("watch");
        status.started = Some(RecordTime::now());
        let now = Instant::now();
        let watcher = TracepointWatcher {
            capture,
            before,
            opens: opens.zip(passive),
            started: monotonic_now(),
            ended: None,
            handover: None,
            outbound: HashSet::new(),
            listened: Vec::new(),
            ready: VecDeque::new(),
            unsure: VecDeque::new(),
            counted: 0,
            status,
            read_at: now,
            check_at: now + CHECK_EVERY,
            lost_others: 0,
            stopped: false,
            requests: Requests::default(),
            ports,
        };
        // After the events are open: a later listener makes a record.
        let found = namespaces::look(&watcher.ports).map_err(TracepointError::Unseen)?;
        match found.listener {
            Some(listener) => Err(TracepointError::Foreign(listener).into()),
            None => Ok(watcher),
        }
    }

    /// The number of connections that were open at the start. They do not count.
    pub(crate) fn opened_before(&self) -> u64 {
        self.before.opened_before()
    }

    /// The watched ports without a listener.
    pub(crate) fn unused(&self) -> Vec<(u16, u16)> {
        self.before.unused(&self.ports)
    }

    /// The total size of the ring buffers in bytes.
    pub(crate) fn buffers(&self) -> usize {
        self.capture.ring_bytes()
    }

    /// Waits for the next event or a reason to stop, at most until `deadline`.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<Step, Error> {
        loop {
            if self.requests.take_signals() {
                self.stop()?;
            }
            if let Some(connection) = self.ready.pop_front() {
                return Ok(Step::Event(Event::Connection(connection)));
            }
            if self.stopped {
                return Ok(Step::Event(Event::Ended(Ending::Detached)));
            }
            let now = Instant::now();
            if let Some(event) = self.requests.answer(deadline, self.read_at) {
                return Ok(Step::Event(event));
            }
            // Otherwise connections until the deadline are read before it is reported.
            if !self.requests.is_due(deadline, now) {
                let until = (now + READ_EVERY).min(deadline.unwrap_or(now + READ_EVERY));
                self.capture.wait(until - now);
            }
            let reason = match self.check_at <= now {
                true => self.check()?,
                false => {
                    self.read(None);
                    self.look_at_listeners()
                }
            };
            if let Some(reason) = reason {
                return Ok(Step::Stopped(reason));
            }
        }
    }

    /// Stops counting.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        if !self.stopped {
            self.status.ended = Some(RecordTime::now());
            self.ended = Some(monotonic_now());
            if let Some(reason) = self.close()? {
                self.leave_out_unsure(&reason);
            }
        }
        Ok(())
    }

    /// Stops for a reason, after another engine has started. Returns the connections that the other one
    /// does not report.
    pub(crate) fn give_up(
        &mut self,
        reason: &StopReason,
        handover: Handover,
    ) -> Result<Vec<Connection>, Error> {
        self.handover = Some(handover);
        let more = self.close()?;
        self.leave_out_unsure(more.as_ref().unwrap_or(reason));
        Ok(self.ready.drain(..).collect())
    }

    /// Removes and returns the next connection that is ready.
    pub(crate) fn next_ready(&mut self) -> Option<Connection> {
        self.ready.pop_front()
    }

    /// Removes and returns the connections that are ready.
    pub(crate) fn take_ready(&mut self) -> Vec<Connection> {
        self.ready.drain(..).collect()
    }

    /// The maximum delay of a reported connection.
    pub(crate) fn lateness(&self) -> Duration {
        let age = |c: &Connection| match (c.time, RecordTime::now()) {
            (Some(RecordTime::Clock(then)), RecordTime::Clock(now)) => {
                Duration::from_nanos(now.saturating_sub(then).try_into().unwrap_or_default())
            }
            _ => Duration::ZERO,
        };
        let oldest = self.ready.front().map(age).unwrap_or_default();
        LATENESS.max(oldest + LATENESS)
    }

    /// Returns the status so far.
    pub(crate) fn status(&mut self) -> Result<SourceStatus, Error> {
        if !self.stopped {
            self.compare()?;
        }
        Ok(self.status.clone())
    }

    /// Reads the rings up to the present, or to the end.
    fn read(&mut self, until: Option<u64>) {
        self.read_at = Instant::now();
        let horizon = self.capture.drain();
        let offset = RecordTime::now().nanoseconds().wrapping_sub(monotonic_now() as i64);
        while let Some(record) = self.capture.next_until(until.unwrap_or(horizon)) {
            self.see(&record, offset);
        }
    }

    fn see(&mut self, record: &Record, clock_offset: i64) {
        let change = &record.change;
        match (record.purpose, u8::try_from(change.new_state)) {
            (Purpose::Others, Ok(state::LISTEN)) => {
                self.listened.push(Listened { port: change.local.1, tid: record.tid });
            }
            (Purpose::Others, _) if change.old_state == i32::from(state::SYN_SENT) => {
                self.outbound.insert(change.socket);
            }
            (Purpose::Others, _) => {
                self.outbound.remove(&change.socket);
            }
            (Purpose::Connections, _) => {
                let is_outbound = self.outbound.remove(&change.socket);
                let is_early = record.time < self.started;
                let is_late = self.ended.is_some_and(|ended| record.time > ended);
                if is_outbound || is_early || is_late || !self.ports.contains(change.local.1) {
                    return;
                }
                self.counted += 1;
                if let Some(handover) = &mut self.handover
                    && handover.is_reported(record.time, change.local, change.peer)
                {
                    return;
                }
                let connection = Connection {
                    time: Some(RecordTime::Clock((record.time as i64).wrapping_add(clock_offset))),
                    ip: Some(canonical(change.peer.0)),
                    port: Some(change.peer.1),
                    local_ip: Some(canonical(change.local.0)),
                    local_port: Some(change.local.1),
                    ..Connection::default()
                };
                match self.listened.is_empty() {
                    true => self.ready.push_back(connection),
                    false => self.unsure.push_back(connection),
                }
            }
        }
    }

    /// Checks whether the new listeners are in another network namespace.
    fn look_at_listeners(&mut self) -> Option<StopReason> {
        if self.listened.is_empty() {
            return None;
        }
        let found = match namespaces::look(&self.ports) {
            Ok(found) => found,
            Err(why) => return Some(StopReason::Unseen(why)),
        };
        if let Some(listener) = found.listener {
            return Some(StopReason::Foreign(listener));
        }
        // A listener that has closed again may have been in another namespace.
        let is_ours = |l: &Listened| namespaces::is_in_ours(l.tid) == Some(true);
        let unknown: Vec<Listened> =
            self.listened.drain(..).filter(|l| found.others > 0 && !is_ours(l)).collect();
        let may_be_foreign =
            |c: &&Connection| unknown.iter().any(|l| l.port == 0 || c.local_port == Some(l.port));
        let doubtful = self.unsure.iter().filter(may_be_foreign).count() as u64;
        self.status.record_shortfall(
            ShortfallKind::Unobservable,
            doubtful,
            "a listener was closed before its network namespace was known: some connections in \
             this report may belong to another namespace; --engine sockdiag counts \
             those of one namespace only",
        );
        self.ready.append(&mut self.unsure);
        None
    }

    /// Compares the records with the kernel's own counts, and reads the rings.
    fn check(&mut self) -> Result<Option<StopReason>, Error> {
        self.check_at = Instant::now() + CHECK_EVERY;
        self.compare()?;
        if self.capture.have_cpus_changed() {
            self.status.record_shortfall(
                ShortfallKind::Unobservable,
                1,
                "the CPUs that are online have changed: connections of a new CPU may be missing \
                 for up to a second",
            );
            return Ok(Some(StopReason::Cpus));
        }
        Ok(self.look_at_listeners())
    }

    fn compare(&mut self) -> Result<(), Error> {
        let counts = self.capture.counts().doing(READING)?;
        self.read(None);
        let lost = self.capture.missing(&counts, Purpose::Connections);
        self.status.lost = self.status.lost.max(lost);
        let lost = self.capture.missing(&counts, Purpose::Others);
        if lost > self.lost_others {
            self.lost_others = lost;
            // They may include a listener or the end of a simultaneous open.
            self.outbound.clear();
            self.listened.push(Listened { port: 0, tid: 0 });
        }
        Ok(())
    }

    /// Disables the events and reads all records.
    fn close(&mut self) -> Result<Option<StopReason>, Error> {
        self.stopped = true;
        self.capture.disable().doing("stopping the tracepoint")?;
        self.read(Some(u64::MAX));
        self.compare()?;
        let reason = self.look_at_listeners();
        self.say_what_is_missing();
        Ok(reason)
    }

    fn say_what_is_missing(&mut self) {
        if self.status.lost > 0 {
            let kib = self.buffers() / 1024;
            self.status.warn(format!(
                "the ring buffers ({kib} KiB) were full, because tcptally did not get enough CPU \
                 time to read them"
            ));
        }
        let unreadable = self.capture.unreadable();
        self.status.record_shortfall(
            ShortfallKind::Unobservable,
            unreadable,
            "some records of the tracepoint could not be decoded",
        );
        let all = self
            .opens
            .as_mut()
            .and_then(|(opens, before)| opens.read().map(|now| now.wrapping_sub(*before)));
        let foreign = all.map_or(0, |all| self.counted.saturating_sub(all));
        self.status.record_shortfall(
            ShortfallKind::Unobservable,
            foreign,
            "more connections are counted than this network namespace has accepted, so another \
             one has a listener that was not found; --engine sockdiag counts those of one \
             namespace only",
        );
    }

    /// Drops the connections that may belong to another network namespace.
    fn leave_out_unsure(&mut self, reason: &StopReason) {
        let is_unsure = |c: &Connection| match reason {
            StopReason::Foreign(listener) => c.local_port == Some(listener.port),
            StopReason::Unseen(_) => true,
            StopReason::Cpus => false,
        };
        let (left_out, counted): (Vec<_>, Vec<_>) = self.unsure.drain(..).partition(is_unsure);
        self.ready.extend(counted);
        self.status.record_shortfall(
            ShortfallKind::Unobservable,
            left_out.len() as u64,
            format!(
                "{} left out: they came when a listener on the port had just started in another \
                 network namespace, and may belong to it",
                plural(left_out.len() as u64, "connection was", "connections were")
            ),
        );
    }
}
