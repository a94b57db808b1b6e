//! [`State`]: what has been counted and written, and the next deadline.

use std::io;
use std::time::{Duration, Instant};

use crate::model::plural;
use crate::sys::wake;
use crate::time::Bound;
use crate::{Connection, RecordTime, SourceStatus};
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use super::any_source::AnySource;
use crate::cli::event_writer::EventWriter;
use crate::cli::message;
use crate::cli::metrics::Metrics;
use crate::cli::notes::is_complete;
use crate::cli::output::Output;
use crate::cli::reporter::Reporter;
use crate::cli::request::{Request, Stream};
use crate::cli::resolve::{NOT_NOW, name_clients};
use crate::cli::rotation::Rotation;
use crate::cli::screen::{REQUEST_INTERVAL, Screen};
use crate::cli::service_manager::ServiceManager;
use crate::cli::status_line::StatusLine;

/// Maximum age of the [`SourceStatus`] in metrics.
const STATUS_MAX_AGE: Duration = Duration::from_secs(1);

/// What to do with the connections of a source.
pub(crate) struct Observation {
    /// What is counted, and the report.
    pub request: Request,
    /// The output of the report.
    pub output: Output,
    /// When the output begins a new file.
    pub rotation: Option<Rotation>,
    /// Time after which counting ends.
    pub duration: Option<SignedDuration>,
    /// The metrics server.
    pub metrics: Option<Metrics>,
    /// Whether the source is a command that tcptally starts.
    pub has_command: bool,
}

/// What has been counted and written, and the next deadline.
pub(super) struct State {
    reporter: Reporter,
    pub event_writer: EventWriter,
    /// The name of the output in messages.
    place: String,
    metrics: Option<Metrics>,
    screen: Option<Screen>,
    has_command: bool,
    rotation: Option<Rotation>,
    /// When a report in one document is written again.
    refresh_at: Option<RecordTime>,
    service_manager: ServiceManager,
    /// `None` if there is no terminal, or if the command uses the terminal.
    status_line: Option<StatusLine>,
    /// Whether the report or the events go to a terminal.
    writes_to_terminal: bool,
    /// When the status in metrics is updated next.
    update_at: Option<Instant>,
    /// When counting ends.
    end: Option<Bound>,
    stop_at: Option<Instant>,
    /// How late connections may be reported.
    pub lateness: Duration,
    counting: bool,
    /// Whether `--strict` was not met when counting ended.
    incomplete: bool,
    /// The counts at the end, if the report is written after the source has ended because names are looked up.
    deferred: Option<SourceStatus>,
}

/// How much of the output has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it, or as much as its reader wanted.
    Completely,
    /// Events, interval rows or reports were dropped, because the reader was too slow.
    InPart,
    /// Writing failed.
    Failed,
}

impl State {
    pub(super) fn new(what: Observation) -> anyhow::Result<State> {
        let Observation { mut request, output, metrics, rotation, has_command, .. } = what;
        let format = request.format(output.stream(), !output.continues());
        let mut events = request.format(output.stream(), !output.continues());
        let place = output.name();
        let interval = request.count.tally.interval.as_ref();
        let refreshes = request.count.tally.has_intervals() && output.is_replaced();
        let refresh_at =
            interval.filter(|_| refreshes).map(|interval| interval.around(RecordTime::now()).1);
        wake::reopen_at_hangup(output.can_reopen());
        let writes_to_terminal = output.stream().is_some_and(Stream::is_terminal);
        let mut headings = Vec::new();
        if request.events {
            events.event_headings(&mut headings)?;
        }
        let mut event_writer = EventWriter::new(output, events).context(message::NO_THREAD)?;
        event_writer.text(headings);
        let end = request.count.filter.period.until.take();
        let reporter = Reporter::new(request, format, Some(RecordTime::now()));
        Ok(State {
            reporter,
            event_writer,
            place,
            metrics,
            screen: None,
            has_command,
            rotation,
            refresh_at,
            service_manager: ServiceManager::new(has_command),
            status_line: None,
            writes_to_terminal,
            update_at: None,
            end,
            stop_at: None,
            lateness: Duration::ZERO,
            counting: true,
            incomplete: false,
            deferred: None,
        })
    }

    /// Starts the time of `duration`. Called when the source is ready, because attaching may take long.
    pub(super) fn begin(
        &mut self,
        duration: Option<SignedDuration>,
        source: &str,
    ) -> anyhow::Result<()> {
        if self.reporter.request.live {
            // Prevents earlier messages from appearing on the screen.
            message::finish();
            let screen = Screen::start(&self.reporter.request, source, self.has_command);
            self.screen = Some(screen?);
        }
        self.stop_at =
            duration.and_then(|d| Instant::now().checked_add(Duration::try_from(d).ok()?));
        self.service_manager.ready();
        let request = &self.reporter.request;
        let is_seen_elsewhere = self.screen.is_some() || request.events && self.writes_to_terminal;
        if !self.has_command && !request.quiet && !is_seen_elsewhere {
            self.status_line = StatusLine::start(request.zone.clone());
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.counting {
            return None;
        }
        let until = match &self.end {
            Some(Bound::At(t)) => instant(*t),
            _ => None,
        };
        let close =
            self.reporter.next_end().and_then(|end| instant(end)?.checked_add(self.lateness));
        let late = |t: RecordTime| instant(t)?.checked_add(self.lateness);
        let rotate = self.rotation.as_ref().and_then(|rotation| late(rotation.end()));
        let refresh = self.refresh_at.and_then(late);
        [
            self.stop_at,
            self.update_at,
            self.service_manager.deadline(),
            until,
            close,
            rotate,
            refresh,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn is_over(&self) -> bool {
        let past = |bound: &Bound| matches!(bound, Bound::At(t) if *t <= RecordTime::now());
        self.counting
            && (self.event_writer.closed()
                || self.screen.as_ref().is_some_and(Screen::quits)
                || self.stop_at.is_some_and(|t| t <= Instant::now())
                || self.end.as_ref().is_some_and(past))
    }

    pub(super) fn take(&mut self, mut c: Connection) {
        if !self.counting {
            return;
        }
        if let Some(time) = c.time {
            self.show_intervals(time);
        }
        if let Some(metrics) = &self.metrics {
            metrics.take(&c);
        }
        if !self.reporter.request.events {
            let shown = self.screen.as_ref().map(|screen| (screen, c.clone()));
            let before = self.reporter.request.count.sums.total;
            self.reporter.take(c);
            if let Some((screen, c)) = shown
                && self.reporter.request.count.sums.total > before
            {
                screen.take(c);
            }
        } else if self.reporter.request.count.passes(&c) {
            c.machine = Some(self.reporter.request.event_host.clone());
            self.event_writer.event(c);
        }
        if let Some(line) = &self.status_line {
            line.set(self.reporter.request.count.sums.total);
        }
    }

    /// Updates the status in metrics, if it is too old.
    pub(super) fn update_status(&mut self, source: &mut dyn AnySource) {
        self.service_manager.alive();
        let is_shown = self.metrics.is_some() || self.screen.is_some();
        let now = Instant::now();
        if !is_shown || !self.counting || self.update_at.is_some_and(|at| at > now) {
            return;
        }
        let status = source.status();
        self.update_at = now.checked_add(STATUS_MAX_AGE);
        if let Some(screen) = &self.screen {
            self.update_at = now.checked_add(REQUEST_INTERVAL);
            screen.update(&status);
            if let Some(path) = screen.wants_report() {
                let Request { count, order, zone, .. } = &self.reporter.request;
                let mut status = status.clone();
                status.ended.get_or_insert_with(RecordTime::now);
                screen.write_report(path, count.clone(), *order, status, zone.clone());
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.update(status);
        }
    }

    /// Writes the intervals that have ended.
    pub(super) fn show_intervals(&mut self, now: RecordTime) {
        let lateness = SignedDuration::try_from(self.lateness).unwrap_or(SignedDuration::MAX);
        let now = now.shifted(-lateness);
        if self.counting && self.reporter.next_end().is_some_and(|end| end <= now) {
            if self.event_writer.take_is_new() {
                self.reporter.begin_file();
            }
            self.event_writer.text(self.reporter.ended(now));
        }
    }

    /// Begins a new output file, or writes the report so far, if it is time.
    pub(super) fn renew(&mut self, source: &mut dyn AnySource) {
        let lateness = SignedDuration::try_from(self.lateness).unwrap_or(SignedDuration::MAX);
        let now = RecordTime::now().shifted(-lateness);
        if !self.counting {
            return;
        }
        if let Some(rotation) = self.rotation.as_mut().filter(|rotation| rotation.end() <= now) {
            let former = rotation.advance(now);
            let headings = self.headings();
            self.event_writer.rotate(headings, former);
            self.reporter.begin_file();
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            let interval = self.reporter.request.count.tally.interval.as_ref();
            self.refresh_at = interval.map(|interval| interval.around(now).1);
            let mut status = source.status();
            status.ended.get_or_insert_with(RecordTime::now);
            let mut text = Vec::new();
            // Its notes are in the last one, too.
            if self.reporter.write(&status, &mut text).is_ok() {
                self.event_writer.text(text);
            }
        }
    }

    /// Reopens the output file. A new one begins with the headings of its format.
    pub(super) fn reopen(&mut self) {
        let headings = self.headings();
        self.event_writer.reopen(headings);
    }

    /// What a new file of events begins with.
    fn headings(&self) -> Vec<u8> {
        let mut headings = Vec::new();
        if self.reporter.request.events {
            // Writing to a vector does not fail.
            let _ = self.reporter.request.format(None, true).event_headings(&mut headings);
        }
        headings
    }

    /// Writes the tally so far.
    pub(super) fn show(&mut self, mut status: SourceStatus) {
        let request = &self.reporter.request;
        if request.events {
            let total = request.count.sums.total;
            message::notice_in_background(
                request.quiet,
                format_args!("{} so far", plural(total, "connection", "connections")),
            );
            return;
        }
        if request.resolve {
            status.warn(NOT_NOW);
        }
        status.ended.get_or_insert_with(RecordTime::now);
        let mut text = Vec::new();
        if self.reporter.report(&status, &mut text).is_ok() {
            self.event_writer.text(text);
        }
    }

    /// Whether `--strict` is given.
    pub(super) fn is_strict(&self) -> bool {
        self.reporter.request.strict
    }

    /// Whether `--strict` is given and the report lacks connections, or may.
    pub(super) fn fails_strict(&self, status: &SourceStatus) -> bool {
        let request = &self.reporter.request;
        self.incomplete || self.counting && request.strict && !is_complete(status, &request.count)
    }

    /// Writes the tally and stops counting.
    pub(super) fn end(&mut self, mut status: SourceStatus) {
        self.screen = None;
        // It would be drawn below the report, and say that there is none yet.
        self.status_line = None;
        self.incomplete = self.fails_strict(&status);
        self.event_writer.text(self.reporter.rest(Some(RecordTime::now())));
        let request = &self.reporter.request;
        if request.events {
            self.reporter.say_notes(&status);
        } else if request.resolve && !self.has_command {
            status.ended.get_or_insert_with(RecordTime::now);
            self.deferred = Some(status);
        } else {
            self.show(status);
        }
        self.counting = false;
        wake::reopen_at_hangup(false);
    }

    /// Tells that a command continues after counting has ended.
    pub(super) fn tell_of_command(&self) {
        if self.has_command {
            let text = "counting has ended; the command continues, and Ctrl-C ends it";
            message::notice_in_background(self.reporter.request.quiet, text);
        }
    }

    /// Writes the tally unless that has been done, and waits until everything is written.
    pub(super) fn finish(self, mut status: SourceStatus) -> Written {
        status.ended.get_or_insert_with(RecordTime::now);
        let State { mut reporter, screen, status_line, mut event_writer, place, counting, .. } =
            self;
        let deferred = self.deferred;
        let is_written = !counting && deferred.is_none();
        status = deferred.unwrap_or(status);
        // The report follows on the terminal that the screen was on.
        drop(screen);
        drop(status_line);
        if counting {
            event_writer.text(reporter.rest(Some(RecordTime::now())));
        }
        let dropped = event_writer.dropped;
        let finished = event_writer.finish();
        let is_reported = finished.as_ref().is_some_and(|f| f.is_reported);
        let (output, error) = finished.map(|f| (f.output, f.error)).unzip();
        let mut error = error.flatten();
        if counting && reporter.request.events {
            reporter.say_notes(&status);
        } else if let (false, Some(mut output)) = (is_written, output)
            && !error.as_ref().is_some_and(closed)
        {
            if reporter.request.resolve {
                name_clients(&mut reporter.request, &mut status);
            }
            let start = output.stream().map(Stream::line_start).unwrap_or_default();
            let written = output.write(|out| {
                out.write_all(start.as_bytes())?;
                reporter.report(&status, out)
            });
            error = written.err().or(error);
        }
        if dropped > 0 {
            message::error(format_args!(
                "{dropped} events or interval rows were dropped, because the reader of the \
                 output was too slow"
            ));
        }
        match error {
            Some(e) if !closed(&e) => {
                if !is_reported {
                    message::error(format_args!("cannot write the report to {place}: {e}"));
                }
                Written::Failed
            }
            _ if dropped > 0 => Written::InPart,
            _ => Written::Completely,
        }
    }
}

/// Whether the reader has closed the pipe, which is no failure.
fn closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The instant of a clock time, if the clock is not set until then.
fn instant(t: RecordTime) -> Option<Instant> {
    let wait = t.timestamp()?.duration_since(Timestamp::now());
    Instant::now().checked_add(Duration::try_from(wait).unwrap_or_default())
}
