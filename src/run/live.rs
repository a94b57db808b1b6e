//! Counts what a [`Live`] source gives, until it ends.

use std::io;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tcptally::live::{Ending, Event, Live};
use tcptally::period::Bound;
use tcptally::{Account, Connection, Moment, trace};

use super::message;
use super::metrics::Metrics;
use super::outlet::Outlet;
use super::output::Output;
use super::reporter::Reporter;
use super::request::Request;

/// How old an [`Account`] may be in metrics.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is to be done with the connections.
pub struct Watch {
    /// What is counted, and how it is shown.
    pub request: Request,
    /// Where.
    pub output: Output,
    /// When counting ends, from now.
    pub duration: Option<SignedDuration>,
    /// Who else wants to know.
    pub metrics: Option<Metrics>,
}

/// Watches what `start` gives until that ends, and returns the exit status.
///
/// The source lives in a thread of its own, which has ended before the last report is written:
/// what was watched is free by then, however slow the report's reader is.
pub fn watch<L: Live>(
    start: impl FnOnce() -> Result<L, L::Error> + Send,
    what: Watch,
) -> anyhow::Result<i32> {
    let duration = what.duration;
    let mut state = State::new(what)?;
    let (ending, account) = trace::let_go_at_end(|| -> anyhow::Result<_> {
        let mut live = start()?;
        state.begin(duration);
        let ending = follow(&mut live, &mut state);
        let mut account = live.account();
        if ending.is_err() {
            account.complete = false;
            account.warn("watching failed before its end; what came after that is not counted");
        }
        Ok((ending, account))
    })?;
    let written = state.finish(account);
    let ending = match ending? {
        Ending::LetGo(pid) => trace::attend(pid)?,
        ending => ending,
    };
    Ok(match ending {
        // Nothing but the report is left that could tell.
        Ending::Detached | Ending::LetGo(_) => i32::from(!written) * 125,
        Ending::Exited(status) => status,
        Ending::Killed(signal) => tcptally::sys::die_of(signal),
    })
}

fn follow<L: Live>(live: &mut L, state: &mut State) -> anyhow::Result<Ending> {
    state.tell(live);
    loop {
        state.lateness = live.lateness();
        match live.next(state.deadline())? {
            Event::Connection(c) => state.take(c),
            Event::Deadline => {}
            Event::Asked => state.show(live.account()),
            Event::Ended(ending) => return Ok(ending),
        }
        state.tell(live);
        state.show_intervals(Moment::now());
        if state.is_over() {
            for connection in live.stop_counting()? {
                state.take(connection);
            }
            state.end(live.account());
        }
    }
}

struct State {
    reporter: Reporter,
    outlet: Outlet,
    /// What the output is called.
    place: String,
    metrics: Option<Metrics>,
    /// When metrics are told again how the source fares.
    tell_at: Option<Instant>,
    /// When counting ends.
    end: Option<Bound>,
    stop_at: Option<Instant>,
    /// How long after its end connections of an interval may come.
    lateness: Duration,
    counting: bool,
}

impl State {
    fn new(what: Watch) -> anyhow::Result<State> {
        let Watch { mut request, output, metrics, .. } = what;
        let format = request.format(output.stream(), !output.continues());
        let events = request.format(output.stream(), !output.continues());
        let place = output.name();
        let outlet = Outlet::new(output, events)?;
        let end = request.count.filter.period.until.take();
        let reporter = Reporter::new(request, format, Some(Moment::now()));
        Ok(State {
            reporter,
            outlet,
            place,
            metrics,
            tell_at: None,
            end,
            stop_at: None,
            lateness: Duration::ZERO,
            counting: true,
        })
    }

    /// The source has arrived: to get there may have taken a while.
    fn begin(&mut self, duration: Option<SignedDuration>) {
        self.stop_at =
            duration.and_then(|d| Instant::now().checked_add(Duration::try_from(d).ok()?));
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.counting {
            return None;
        }
        let until = match &self.end {
            Some(Bound::At(t)) => instant(*t),
            _ => None,
        };
        let close =
            self.reporter.next_end().and_then(|end| instant(end)?.checked_add(self.lateness));
        [self.stop_at, self.tell_at, until, close].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        let past = |bound: &Bound| matches!(bound, Bound::At(t) if *t <= Moment::now());
        self.counting
            && (self.outlet.closed()
                || self.stop_at.is_some_and(|t| t <= Instant::now())
                || self.end.as_ref().is_some_and(past))
    }

    fn take(&mut self, mut c: Connection) {
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
            self.reporter.take(c);
        } else if self.reporter.request.count.passes(&c) {
            c.machine.clone_from(&self.reporter.request.event_host);
            self.outlet.event(c);
        }
    }

    /// Tells metrics how the source fares, once in a while.
    fn tell(&mut self, live: &mut impl Live) {
        let Some(metrics) = self.metrics.as_ref().filter(|_| self.counting) else { return };
        let now = Instant::now();
        if self.tell_at.is_none_or(|at| at <= now) {
            metrics.update(live.account());
            self.tell_at = now.checked_add(TELL_EVERY);
        }
    }

    /// Shows the intervals that have ended.
    fn show_intervals(&mut self, now: Moment) {
        let lateness = SignedDuration::try_from(self.lateness).unwrap_or(SignedDuration::MAX);
        let now = now.shifted(-lateness);
        if self.counting && self.reporter.next_end().is_some_and(|end| end <= now) {
            self.outlet.text(self.reporter.ended(now));
        }
    }

    /// Shows the tally so far.
    fn show(&mut self, mut account: Account) {
        let request = &self.reporter.request;
        if request.events {
            let total = request.count.sums.total;
            message::note(request.quiet, format_args!("{total} connections so far"));
            return;
        }
        account.ended.get_or_insert_with(Moment::now);
        let mut text = Vec::new();
        if self.reporter.report(&account, &mut text).is_ok() {
            self.outlet.text(text);
        }
    }

    /// Shows the tally, and counts no more.
    fn end(&mut self, account: Account) {
        self.outlet.text(self.reporter.rest(Some(Moment::now())));
        if self.reporter.request.events {
            self.reporter.say_notes(&account);
        } else {
            self.show(account);
        }
        self.counting = false;
    }

    /// Shows the tally, unless that has been done, and waits until all is written. Says whether
    /// it is.
    fn finish(self, mut account: Account) -> bool {
        account.ended.get_or_insert_with(Moment::now);
        let State { mut reporter, mut outlet, place, counting, .. } = self;
        if counting {
            outlet.text(reporter.rest(Some(Moment::now())));
        }
        let dropped = outlet.dropped;
        let (output, mut error) = outlet.finish();
        if counting && reporter.request.events {
            reporter.say_notes(&account);
        } else if let (true, Some(mut output)) = (counting, output)
            && !error.as_ref().is_some_and(closed)
        {
            error = output.write(|out| reporter.report(&account, out)).err().or(error);
        }
        if dropped > 0 {
            message::error(format_args!(
                "{dropped} events or interval rows were dropped, because whoever reads the \
                 output was too slow"
            ));
        }
        match error {
            Some(e) if !closed(&e) => {
                message::error(format_args!("the report could not be written to {place}: {e}"));
                false
            }
            _ => true,
        }
    }
}

/// Whether the reader wanted no more, which is no failure.
fn closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// When the clock will show this time, if nobody sets it.
fn instant(t: Moment) -> Option<Instant> {
    let wait = t.timestamp()?.duration_since(Timestamp::now());
    Instant::now().checked_add(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use clap::Parser;
    use tcptally::cli::{Cli, Command};

    use super::*;
    use crate::run::request::Times;

    /// Gives what it was told to. A deadline passes as soon as it is asked for.
    struct Script {
        events: VecDeque<Event>,
        stopped: bool,
    }

    impl Live for Script {
        type Error = io::Error;

        fn next(&mut self, deadline: Option<Instant>) -> io::Result<Event> {
            if let Some(Event::Deadline) = self.events.front() {
                let deadline = deadline.expect("there is something to wait for");
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            }
            let end = Event::Ended(Ending::Exited(3));
            Ok(self.events.pop_front().unwrap_or(end))
        }

        fn stop_counting(&mut self) -> io::Result<Vec<Connection>> {
            self.stopped = true;
            Ok(Vec::new())
        }

        fn account(&mut self) -> Account {
            Account::new("script")
        }
    }

    fn connection(n: u8) -> Event {
        Event::Connection(Connection {
            time: Some(Moment::now()),
            ip: Some([127, 0, 0, n].into()),
            ..Connection::default()
        })
    }

    /// What `tcptally trace` with these options is asked for.
    fn asked(args: &[&str], output: Output) -> Watch {
        let args = [&["tcptally", "trace"], args, &["--", "true"]].concat();
        let Command::Trace(args) = Cli::parse_from(args).command else { unreachable!() };
        let request = Request::new(&args.count, &Times::Live).unwrap();
        Watch { request, output, duration: args.duration, metrics: None }
    }

    /// What it writes with the script in place of a server, and the exit status.
    fn show(args: &[&str], events: Vec<Event>) -> (String, i32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let file = File::create(&path).unwrap();
        let output = Output::Direct { path: path.clone(), file };
        let script = Script { events: events.into(), stopped: false };
        let status = watch(|| Ok(script), asked(args, output)).unwrap();
        (std::fs::read_to_string(path).unwrap(), status)
    }

    #[test]
    fn the_report_and_the_status() {
        let (text, status) =
            show(&["-F", "plain"], vec![connection(1), connection(2), connection(1)]);
        assert_eq!((text.as_str(), status), ("127.0.0.1: 2\n127.0.0.2: 1\n", 3));
    }

    #[test]
    fn who_asks_sees_the_tally_so_far() {
        let events = vec![connection(1), Event::Asked, connection(2)];
        let (text, _) = show(&["-F", "plain"], events);
        assert_eq!(text, "127.0.0.1: 1\n127.0.0.1: 1\n127.0.0.2: 1\n");
    }

    #[test]
    fn what_comes_after_the_duration_does_not_count() {
        let events = vec![connection(1), Event::Deadline, connection(2), Event::Asked];
        let (text, status) = show(&["-F", "plain", "-d", "50ms"], events.clone());
        assert_eq!((text.as_str(), status), ("127.0.0.1: 1\n127.0.0.1: 1\n", 3), "asked once more");
        let (text, _) = show(&["-F", "plain", "--until", "+0.05s"], events[..3].to_vec());
        assert_eq!(text, "127.0.0.1: 1\n");
    }

    #[test]
    fn the_duration_begins_when_the_source_has_arrived() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let output = Output::Direct { file: File::create(&path).unwrap(), path };
        let duration = Duration::from_millis(50);
        let mut arrived = Instant::now();
        let start = || {
            std::thread::sleep(duration);
            arrived = Instant::now();
            Ok(Script { events: vec![Event::Deadline].into(), stopped: false })
        };
        watch(start, asked(&["-d", "50ms"], output)).unwrap();
        assert!(arrived.elapsed() >= duration);
    }

    #[test]
    fn each_interval_is_shown_when_it_ends_also_if_nothing_came() {
        let events = vec![Event::Deadline, connection(1), Event::Deadline, Event::Deadline];
        let (text, _) = show(&["-F", "plain", "-i", "100ms"], events);
        // How many there are depends on how fast this machine is today.
        let (rows, whole): (Vec<_>, Vec<_>) = text.lines().partition(|l| l.contains('T'));
        assert_eq!(whole, ["127.0.0.1: 1"], "{text}");
        assert_eq!(rows.iter().filter(|l| l.ends_with(" 127.0.0.1: 1")).count(), 1, "{text}");
        assert!(rows.iter().filter(|l| l.ends_with(" none: 0")).count() >= 2, "{text}");
    }

    #[test]
    fn intervals_in_one_document_go_from_the_beginning_to_the_end() {
        let events = vec![connection(1), Event::Asked, connection(2)];
        let (text, _) = show(&["-F", "json", "-i", "1h"], events);
        let reports: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let totals: Vec<_> = reports.iter().map(|r| &r["intervals"][0]["total"]).collect();
        assert_eq!(totals, [1, 2]);
    }

    #[test]
    fn events_are_not_held_up_by_a_reader_that_does_not_read() {
        const MANY: usize = 200_000;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let output = Output::Direct { path: "pipe".into(), file };
        let mut state = State::new(asked(&["-e", "-F", "plain"], output)).unwrap();
        // Nobody reads: were it to wait, it would wait for ever.
        let mut script = Script { events: vec![connection(1); MANY].into(), stopped: false };
        follow(&mut script, &mut state).unwrap();
        let dropped = state.outlet.dropped as usize;
        let text = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(state.finish(Account::new("script")));
        let lines = text.join().unwrap().lines().count();
        assert!(dropped > 0);
        assert_eq!(lines + dropped, MANY, "each is shown, or said to be dropped");
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_watching() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            Output::Direct { path: "pipe".into(), file: File::from(OwnedFd::from(writer)) };
        let mut state = State::new(asked(&["-e"], output)).unwrap();
        let mut script = Script { events: VecDeque::new(), stopped: false };
        while !script.stopped {
            script.events.push_back(connection(1));
            follow(&mut script, &mut state).unwrap();
        }
        assert!(state.finish(Account::new("script")), "that is no failure");
    }
}
