//! Counts in records that are still being written: rows and events are printed as soon as they are
//! final.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::model::plural;
use crate::parse::{self, Options, Outcome};
use crate::sys::wake::{means_reopen, reopen_at_hangup};
use crate::sys::{is_ignored, wait_for_signal};
use crate::{Connection, RecordTime, ShortfallKind, SourceStatus};
use crate::{Sink, Summary};
use anyhow::Context;
use jiff::SignedDuration;
use nix::sys::signal::{SigSet, Signal};

use super::events::Events;
use super::expected_hosts::{ExpectedHosts, expect};
use super::follow::Followed;
use super::lock::lock;
use super::message;
use super::notes::{Parsed, say_notes};
use super::output::Output;
use super::reporter::Reporter;
use super::request::{Request, Stream};
use super::resolve::name_clients;
use super::screen::Screen;

/// Maximum delay of a line on the output.
const TICK: Duration = Duration::from_millis(100);

/// Maximum delay of a line on the input. An interval is closed this long after its end.
const ON_THE_WAY: SignedDuration = SignedDuration::from_secs(1);

/// Time that a record has to end after a signal, which may have ended its writer too.
const GRACE: Duration = Duration::from_millis(300);

/// Whether any of the inputs may still grow: a pipe, a terminal, a socket.
pub(super) fn any_pipe(files: &[PathBuf]) -> bool {
    let is_pipe = |file: &PathBuf| {
        let path = if file.as_os_str() == "-" { "/dev/stdin".as_ref() } else { file.as_path() };
        path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir())
    };
    if files.is_empty() { is_pipe(&"-".into()) } else { files.iter().any(is_pipe) }
}

/// Counts in records while they are written, until they or a signal end it.
pub(super) fn run(
    files: Vec<PathBuf>,
    options: Options,
    request: Request,
    output: Output,
    expected: Option<ExpectedHosts>,
    followed: Option<Followed>,
) -> anyhow::Result<Parsed> {
    // A shell without job control ignores SIGINT in its background jobs, to keep the terminal's
    // from them. It still ends them when it is sent.
    let ignores_interrupt = is_ignored(Signal::SIGINT as i32);
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1]
        .into_iter()
        .filter(|signal| *signal == Signal::SIGINT || !is_ignored(*signal as i32))
        .collect();
    // Threads inherit the mask, so that only the waiting thread takes these signals.
    signals.thread_block()?;
    let started = RecordTime::now();
    let quiet = request.quiet;
    reopen_at_hangup(output.can_reopen());
    let live = request.live;
    let shared = Arc::new(Mutex::new(Feed::new(request, output)?));
    let files = followed.as_ref().map_or(files, |followed| followed.paths.clone());
    let (sender, news) = channel();
    spawn("signals", {
        let sender = sender.clone();
        move || wait_for_signals(&signals, ignores_interrupt, &sender)
    })?;
    spawn("parse", {
        let mut tap = Tap(shared.clone());
        move || {
            let outcome = parse::parse(&files, &options, &mut tap);
            drop(sender.send(News::Ended(Box::new(outcome))));
        }
    })?;

    let mut interrupted = false;
    let mut outcome = loop {
        match news.recv_timeout(if interrupted { GRACE } else { TICK }) {
            Ok(News::Ended(outcome)) => break *outcome,
            Ok(News::Signal(Signal::SIGUSR1)) => lock(&shared).show(quiet)?,
            Ok(News::Reopen) => lock(&shared).reopen(),
            Ok(News::Signal(_)) => {
                interrupted = !followed.as_ref().is_some_and(Followed::stop);
            }
            Err(RecvTimeoutError::Timeout) if interrupted => break unfinished(),
            Err(RecvTimeoutError::Timeout) => {
                let mut feed = lock(&shared);
                feed.tick(started)?;
                if live && feed.quits() {
                    interrupted = !followed.as_ref().is_some_and(Followed::stop);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break unfinished(),
        }
    };
    for failure in followed.iter().flat_map(Followed::take_failures) {
        let status = &mut outcome.status;
        status.record_shortfall(ShortfallKind::FailedInput, 1, failure.to_string());
        outcome.failures.push(failure);
    }
    expect(expected.as_ref(), &mut outcome);
    lock(&shared).finish(&mut outcome, quiet)
}

/// The status of a record that has not been read to its end.
fn unread(reason: &str) -> SourceStatus {
    let mut status = SourceStatus::new("parse");
    status.record_shortfall(ShortfallKind::UnreadInput, 1, reason);
    status
}

/// The status of a report on a record that is still being read.
fn so_far() -> SourceStatus {
    unread(
        "the record is still being read; the report at its end says what could not be read of it",
    )
}

fn unfinished() -> Outcome {
    let status = unread("a signal ended the reading before the end of the record");
    Outcome { status, failures: Vec::new(), read_as: Vec::new() }
}

enum News {
    Ended(Box<Outcome>),
    Signal(Signal),
    /// SIGHUP asks to reopen the output file.
    Reopen,
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

fn wait_for_signals(signals: &SigSet, ignores_interrupt: bool, news: &Sender<News>) {
    let mut ending = false;
    while let Ok(received) = wait_for_signal(signals) {
        let Ok(signal) = Signal::try_from(received.signal) else { continue };
        if signal == Signal::SIGINT && ignores_interrupt && !received.is_sent {
            continue;
        }
        if signal == Signal::SIGHUP && means_reopen(received.is_sent) {
            if news.send(News::Reopen).is_err() {
                return;
            }
            continue;
        }
        if ending && signal != Signal::SIGUSR1 {
            // A second signal ends the program without waiting for the reader of the report.
            std::process::exit(128 + signal as i32);
        }
        ending |= signal != Signal::SIGUSR1;
        if news.send(News::Signal(signal)).is_err() {
            return;
        }
    }
}

/// The counts or events so far.
enum Feed {
    Events(Box<Events>),
    Tally { reporter: Box<Reporter>, output: Output, screen: Option<Screen> },
}

impl Feed {
    fn new(mut request: Request, output: Output) -> anyhow::Result<Feed> {
        if request.events {
            let count = std::mem::take(&mut request.count);
            return Ok(Feed::Events(Box::new(Events::new(count, &request, output))));
        }
        let format = request.format(output.stream(), !output.continues());
        let screen = request.live.then(|| Screen::start(&request, "parse", false)).transpose()?;
        let reporter = Box::new(Reporter::new(request, format, None));
        Ok(Feed::Tally { reporter, output, screen })
    }

    /// Whether the user has ended the screen. Writes the report that the user wants.
    fn quits(&self) -> bool {
        let Feed::Tally { reporter, screen: Some(screen), .. } = self else { return false };
        if let Some(path) = screen.wants_report() {
            let Request { count, order, zone, .. } = &reporter.request;
            screen.write_report(path, count.clone(), *order, so_far(), zone.clone());
        }
        screen.quits()
    }

    /// Writes what is final. An interval before `started` ends by the record's times only; a later
    /// one also by the machine's clock.
    fn tick(&mut self, started: RecordTime) -> anyhow::Result<()> {
        match self {
            Feed::Events(events) => events.flush(),
            Feed::Tally { reporter, output, .. } => {
                let now = RecordTime::now().shifted(-ON_THE_WAY);
                match reporter.next_end() {
                    Some(end) if started < end && end <= now => {
                        let text = reporter.ended(now);
                        let written = output.write(|out| out.write_all(&text));
                        written.with_context(|| output.cannot_write())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Writes what is final, and reopens the output file. A new one begins with the headings of its format.
    fn reopen(&mut self) {
        let result = match self {
            Feed::Events(events) => events.reopen(),
            Feed::Tally { reporter, output, .. } => {
                output.reopen().with_context(|| output.cannot_reopen()).map(|()| {
                    if !output.continues() {
                        reporter.begin_file();
                    }
                })
            }
        };
        if let Err(error) = result {
            message::error(format_args!("{error:#}"));
        }
    }

    /// Writes the tally so far.
    fn show(&mut self, quiet: bool) -> anyhow::Result<()> {
        match self {
            Feed::Events(events) => {
                let total = events.count().sums.total;
                message::notice(
                    quiet,
                    format_args!("{} so far", plural(total, "connection", "connections")),
                );
                Ok(())
            }
            Feed::Tally { reporter, output, .. } => {
                let written = output.write(|out| reporter.report(&so_far(), out));
                written.with_context(|| output.cannot_write())
            }
        }
    }

    /// Writes everything that is left.
    fn finish(&mut self, outcome: &mut Outcome, quiet: bool) -> anyhow::Result<Parsed> {
        let parsed = match self {
            Feed::Events(events) => {
                events.finish()?;
                let parsed = Parsed::new(outcome, events.count());
                say_notes(&outcome.status, events.count(), quiet);
                parsed
            }
            Feed::Tally { reporter, output, screen } => {
                // The report follows on the terminal that the screen was on.
                *screen = None;
                let parsed = Parsed::new(outcome, &reporter.request.count);
                let start = output.stream().map(Stream::line_start).unwrap_or_default();
                let rest = reporter.rest(None);
                if reporter.request.resolve {
                    name_clients(&mut reporter.request, &mut outcome.status);
                }
                let written = output.write(|out| {
                    out.write_all(start.as_bytes())?;
                    out.write_all(&rest)?;
                    reporter.report(&outcome.status, out)
                });
                written.with_context(|| output.cannot_write())?;
                parsed
            }
        };
        Ok(parsed)
    }
}

/// The one output, shared by the threads that read pipes. Regular files among the inputs are read
/// in parts, which have sinks of their own.
struct Tap(Arc<Mutex<Feed>>);

impl Sink for Tap {
    fn take(&mut self, c: Connection) {
        match &mut *lock(&self.0) {
            Feed::Events(events) => events.take(c),
            Feed::Tally { reporter, output, screen } => {
                if let Some(time) = c.time
                    && reporter.next_end().is_some_and(|end| end <= time)
                {
                    let text = reporter.ended(time);
                    // A failed write is reported at the end.
                    let _ = output.write(|out| out.write_all(&text));
                }
                let shown = screen.as_ref().map(|screen| (screen, c.clone()));
                let before = reporter.request.count.sums.total;
                reporter.take(c);
                if let Some((screen, c)) = shown
                    && reporter.request.count.sums.total > before
                {
                    screen.take(c);
                }
            }
        }
    }

    fn pause(&mut self) {
        if let Feed::Events(events) = &mut *lock(&self.0) {
            events.pause();
        }
    }

    fn take_many(&mut self, c: Connection, count: u64, last: Option<RecordTime>) {
        match &mut *lock(&self.0) {
            Feed::Events(events) => events.take_many(c, count, last),
            Feed::Tally { reporter, screen, .. } => {
                let before = reporter.request.count.sums.total;
                let shown = screen.as_ref().map(|screen| (screen, c.clone()));
                reporter.request.count.take_many(c, count, last);
                if let Some((screen, c)) = shown
                    && reporter.request.count.sums.total > before
                {
                    (0..count).for_each(|_| screen.take(c.clone()));
                }
            }
        }
    }

    fn take_summary(&mut self) -> Summary {
        match &mut *lock(&self.0) {
            Feed::Events(events) => events.take_summary(),
            Feed::Tally { reporter, .. } => reporter.request.count.take_summary(),
        }
    }

    fn set_machine(&mut self, machine: Option<Arc<str>>) {
        match &mut *lock(&self.0) {
            Feed::Events(events) => events.set_machine(machine),
            Feed::Tally { reporter, .. } => reporter.request.count.set_machine(machine),
        }
    }

    fn part(&self) -> Box<dyn Sink> {
        match &*lock(&self.0) {
            Feed::Events(events) => events.part(),
            Feed::Tally { reporter, .. } => reporter.request.count.part(),
        }
    }

    fn merge(&mut self, later: Box<dyn Sink>) {
        match &mut *lock(&self.0) {
            Feed::Events(events) => events.merge(later),
            Feed::Tally { reporter, .. } => reporter.request.count.merge(later),
        }
    }

    fn is_ordered(&self) -> bool {
        matches!(*lock(&self.0), Feed::Events(_))
    }
}
