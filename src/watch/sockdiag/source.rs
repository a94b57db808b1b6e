//! [`SockDiagWatcher`]: counts connections by dumps and destroy events of sock_diag(7).

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use crate::model::connection::{Connection, Transport, canonical};
use crate::model::event_source::{Ending, Event, EventSource};
use crate::sys::snmp::PassiveOpens;
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::age::{Bounds, MAX_EVENT_DELAY};
use super::dump::{Nanos, Span, was_discarded};
use super::dumper::Dumper;
use super::flush_probe;
use super::missing::Missing;
use super::receiver::{DestroyEvent, Receiver};
use super::tracker::{ObservedSocket, SocketTracker};
use crate::sys::perf_ring::monotonic_now;
use crate::sys::sock_diag::Info;
use crate::watch::error::{Doing, Error};
use crate::watch::handover::Handover;
use crate::watch::options::Options;
use crate::watch::ports::PortSet;
use crate::watch::signals::{self, Requests};

/// Dumps use at most one part in this many of the time.
const DUTY: u32 = 20;

/// The minimum time between dumps, however urgent they are.
const SOONEST: Duration = Duration::from_millis(5);

/// The minimum and the maximum interval of checks for waiting destroy events.
const EVENT_CHECK: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// The rounding error of times and durations in whole microseconds.
const ROUNDING: Nanos = 2_000;

/// How long to wait for connections that the kernel has counted, after the flush probes have
/// arrived.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// Watches ports by sock_diag(7).
#[derive(Debug)]
pub(in crate::watch) struct SockDiagWatcher {
    options: Options,
    ports: PortSet,
    receiver: Receiver,
    dumper: Dumper,
    tracker: SocketTracker,
    opens: Option<(PassiveOpens, u64)>,
    status: SourceStatus,
    events: Vec<DestroyEvent>,
    ready: VecDeque<Connection>,
    /// The time between dumps.
    spacing: Duration,
    due: Instant,
    /// The minimum time between dumps.
    pause: Duration,
    drops_before: u64,
    /// When the last dump before counting was requested, by CLOCK_MONOTONIC.
    started: u64,
    /// Whether no other port had a listener at the start.
    alone: bool,
    missing: Missing,
    /// Whether all destroy events had arrived at the last flush.
    all_arrived: bool,
    stopped: bool,
    requests: Requests,
}

impl SockDiagWatcher {
    /// Starts to watch, in the network namespace of the calling thread. Connections that are open
    /// when this returns do not count; later ones do.
    pub(in crate::watch) fn start(options: Options) -> Result<SockDiagWatcher, Error> {
        let ports: PortSet = options.ports.iter().cloned().collect();
        if ports.is_empty() {
            return Err(Error::NoPort);
        }
        signals::install()?;
        let mut dumper = Dumper::open(ports.clone())?;
        // The first dump also loads the kernel module, without which no destroy events are sent.
        dumper.dump(false)?;
        let receiver = Receiver::start(&ports, options.buffer, event_check(options.resolution))?;
        let tracker = SocketTracker::new(options.transport);
        let mut watcher = SockDiagWatcher {
            ports,
            receiver,
            dumper,
            tracker,
            opens: None,
            status: SourceStatus::new("watch"),
            events: Vec::new(),
            ready: VecDeque::new(),
            spacing: options.resolution,
            due: Instant::now(),
            pause: SOONEST,
            drops_before: 0,
            started: 0,
            alone: false,
            missing: Missing::default(),
            all_arrived: true,
            stopped: false,
            requests: Requests::default(),
            options,
        };
        watcher.begin()?;
        Ok(watcher)
    }

    /// Records which connections are open already. Takes two dumps: while one is taken, a socket
    /// may move in the kernel's table and be left out.
    fn begin(&mut self) -> Result<(), Error> {
        let mut opens = PassiveOpens::open();
        let before = opens.as_mut().and_then(PassiveOpens::read);
        self.tracker.open_before(self.dumper.dump(false)?);
        self.started = monotonic_now();
        let dump = self.dumper.dump(false)?;
        self.status.started = Some(RecordTime::Clock(dump.start));
        self.tracker.open_before(dump);
        self.await_destroy_events()?;
        self.receiver.take(&mut self.events);
        self.events.iter().for_each(|event| self.tracker.ended_before(&event.socket));
        self.opens = opens.zip(before);
        self.drops_before = self.receiver.drops();
        self.alone = !self.dumper.listens_elsewhere()?;
        self.due = Instant::now() + self.spacing;
        Ok(())
    }

    /// What this engine reports of the connections that began at the time of the start. Called before the
    /// first event.
    pub(in crate::watch) fn handover(&self) -> Handover {
        let closed = self.events.iter().map(|event| &event.socket);
        let closed = closed.filter(|s| !was_discarded(s)).map(|s| (s.local, s.peer));
        Handover::new(self.started, self.tracker.ignored().chain(closed))
    }

    /// The number of connections that were open at the start. They do not count.
    pub(in crate::watch) fn opened_before(&self) -> u64 {
        self.tracker.opened_before()
    }

    /// The watched ports without a listener.
    pub(in crate::watch) fn unused(&self) -> Vec<(u16, u16)> {
        self.tracker.unused(&self.ports)
    }

    /// The total size of the receive buffers in bytes, as the kernel counts them.
    pub(in crate::watch) fn buffers(&self) -> usize {
        self.receiver.buffers()
    }

    /// Waits until the destroy events of all sockets closed so far have been received.
    fn await_destroy_events(&mut self) -> Result<(), Error> {
        self.all_arrived = flush_probe::wait().doing("waiting for the kernel's messages")?;
        self.receiver.flush();
        while !self.receiver.flushed() {
            self.wait(Instant::now() + self.spacing)?;
            // The buffer may be full of destroy events already.
            let _ = self.receiver.filled().read();
        }
        Ok(())
    }

    /// Waits for destroy events, a signal, or the given time.
    fn wait(&self, until: Instant) -> Result<(), Error> {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the time has passed when the wait ends.
        let left = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut filled = [PollFd::new(self.receiver.filled().as_fd(), PollFlags::POLLIN)];
        match poll(&mut filled, left) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e).doing("waiting for the kernel's messages"),
        }
    }

    fn on_destroy_events(&mut self) {
        self.receiver.take(&mut self.events);
        for event in &self.events {
            let notified = Span { after: event.since, before: event.at };
            self.tracker.ended(&event.socket, notified);
        }
        self.queue_reported();
    }

    /// Returns how many connections it could not show.
    fn dump(&mut self, info: bool) -> Result<u64, Error> {
        self.on_destroy_events();
        let before = busy();
        let dump = self.dumper.dump(info)?;
        let took = nanoseconds(dump.end - dump.start).min(busy().saturating_sub(before));
        let hidden = dump.hidden();
        self.tracker.dumped(dump);
        self.queue_reported();
        self.pause = SOONEST.max(took * DUTY);
        self.spacing = self.options.resolution.max(self.pause);
        self.due = Instant::now() + self.spacing;
        if self.drops() > self.missing.drops {
            self.look_for_missing();
        }
        Ok(hidden)
    }

    /// Compares the counted connections with the kernel's own counter.
    fn look_for_missing(&mut self) {
        self.missing.drops = self.missing.drops.max(self.drops());
        self.missing.vanished = self.tracker.vanished();
        self.missing.uncounted = self.uncounted();
        self.status.lost = self.missing.lost();
    }

    /// Returns how many destroy events were lost since counting began.
    fn drops(&self) -> u64 {
        // The kernel may not show it, which is no loss.
        self.receiver.drops().saturating_sub(self.drops_before)
    }

    /// Returns how many more connections, to any port, the kernel has counted.
    fn uncounted(&mut self) -> Option<u64> {
        Some(self.opened()?.saturating_sub(self.tracker.counted_by_kernel()))
    }

    /// Returns how many connections, to any port, the kernel has counted.
    fn opened(&mut self) -> Option<u64> {
        let (opens, before) = self.opens.as_mut()?;
        Some(opens.read()?.wrapping_sub(*before))
    }

    fn queue_reported(&mut self) {
        let Options { transport, uncertainty, .. } = self.options;
        let transport = |seen: &ObservedSocket| match (transport, uncertainty) {
            (true, _) => Some(tcp_transport(seen)),
            (false, true) => Some(Transport {
                time_uncertainty: middle(seen.began.after, seen.began.before).1,
                ..Transport::default()
            }),
            (false, false) => None,
        };
        self.ready.extend(self.tracker.take().map(|seen| connection(&seen, transport(&seen))));
    }

    fn stop(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        self.status.ended = Some(RecordTime::now());
        let opened = self.opened();
        let mut hidden = u64::MAX;
        for _ in 0..2 {
            hidden = hidden.min(self.dump(self.options.transport)?);
        }
        self.missing.hidden = hidden;
        self.await_destroy_events()?;
        self.on_destroy_events();
        let until = Instant::now() + STRAGGLERS;
        while self.uncounted().is_some_and(|n| n > 0) && Instant::now() < until {
            self.wait(until)?;
            self.on_destroy_events();
        }
        self.tracker.finish();
        self.queue_reported();
        self.missing.alone = self.alone && !self.dumper.listens_elsewhere()?;
        self.missing.uncounted_before =
            opened.map(|n| n.saturating_sub(self.tracker.counted_by_kernel()));
        self.look_for_missing();
        if !self.all_arrived {
            self.status.record_shortfall(
                ShortfallKind::Unobservable,
                1,
                "this machine was so busy that the kernel had not yet reported all closed \
                 connections",
            );
        }
        self.missing.reasons().into_iter().for_each(|reason| self.status.warn(reason));
        Ok(())
    }
}

impl EventSource for SockDiagWatcher {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if self.requests.take_signals() {
                self.stop()?;
            }
            if let Some(connection) = self.ready.pop_front() {
                return Ok(Event::Connection(connection));
            }
            if self.stopped {
                return Ok(Event::Ended(Ending::Detached));
            }
            let now = Instant::now();
            if let Some(event) = self.requests.answer(deadline, now) {
                return Ok(event);
            }
            if self.receiver.overrun() {
                // Takes a dump early, but not so often that this adds to the load.
                self.due = self.due.min(now + self.pause);
            }
            if self.due <= now {
                self.dump(false)?;
                continue;
            }
            self.wait(deadline.map_or(self.due, |d| d.min(self.due)))?;
            self.on_destroy_events();
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.stop()?;
        Ok(self.ready.drain(..).collect())
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn lateness(&self) -> Duration {
        // A connection without a known listener waits for two more dumps.
        let dumps = if self.tracker.is_undecided() { 3 } else { 1 };
        let check = event_check(self.options.resolution) + nanoseconds(MAX_EVENT_DELAY);
        self.spacing * dumps + self.spacing / DUTY + check
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = self.status.clone();
        status.engine = Some("sock_diag".into());
        let kept = if self.stopped { 0 } else { self.tracker.kept() };
        if kept > 0 {
            status.warn(format!(
                "connections still open: {kept}; they are counted when they close, with their final \
                 statistics"
            ));
        }
        status.ended.get_or_insert_with(RecordTime::now);
        status
    }
}

/// Converts to the connection type of all sources.
fn connection(seen: &ObservedSocket, transport: Option<Transport>) -> Connection {
    let (time, _) = middle(seen.began.after, seen.began.before);
    Connection {
        time: Some(RecordTime::Clock(time)),
        ip: Some(canonical(seen.peer.0)),
        port: Some(seen.peer.1).filter(|port| *port != 0),
        local_ip: Some(canonical(seen.local.0)).filter(|ip| !ip.is_unspecified()),
        local_port: Some(seen.local.1),
        transport: transport.map(Box::new),
        ..Connection::default()
    }
}

/// Converts the statistics of tcp_info.
fn tcp_transport(seen: &ObservedSocket) -> Transport {
    let info = seen.info;
    // A connection that was closed regularly has sent and received a FIN.
    let fin = |i: &Info| u64::from(i.acked > i.sent.saturating_sub(i.resent));
    let duration = seen.duration.map(|Bounds { least, most }| middle(least, most));
    Transport {
        time_uncertainty: middle(seen.began.after, seen.began.before).1,
        duration: duration.map(|(duration, _)| nanoseconds(duration)),
        duration_uncertainty: duration.map(|(_, error)| error).unwrap_or_default(),
        bytes_in: info.map(|i| i.received.saturating_sub(fin(&i))),
        bytes_out: info.map(|i| i.acked - fin(&i)),
        rtt: info.filter(|i| i.rtt > 0).map(|i| Duration::from_micros(i.rtt.into())),
    }
}

/// Returns the middle of two bounds, and the maximum error in either direction.
fn middle(least: Nanos, most: Nanos) -> (Nanos, Duration) {
    let half = (most - least).max(0) / 2;
    (least + half, nanoseconds(half + ROUNDING))
}

/// The interval of checks of the receive buffers while no destroy event arrives.
fn event_check(resolution: Duration) -> Duration {
    let [least, most] = EVENT_CHECK;
    (resolution / 10).clamp(least, most)
}

/// The CPU time of the calling thread, including the kernel's. On a busy CPU, a dump takes longer
/// than the CPU time that it costs.
fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn nanoseconds(n: Nanos) -> Duration {
    Duration::from_nanos(n.try_into().unwrap_or_default())
}
