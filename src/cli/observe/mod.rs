//! Counts the connections of an [`EventSource`] until it ends.

mod any_source;
mod state;

use std::sync::mpsc::channel;

use anyhow::Context;

use crate::model::event_source::{Ending, Event, EventSource};
use crate::sys::capability::{self, Duty};
use crate::sys::wake;
use crate::{RecordTime, ShortfallKind, trace};

use self::any_source::AnySource;
pub(super) use self::state::Observation;
use self::state::{State, Written};
use super::message;
use super::notes::INCOMPLETE;

/// How many connections are taken before deadlines are checked: some 100 µs of work.
const MAX_AT_ONCE: usize = 256;

/// Runs the source that `start` creates until it ends, and returns the exit status.
///
/// The source runs in a thread of its own. That thread has ended before the last report is written,
/// so that a server is detached by then, however slow the reader of the report is.
pub(super) fn observe<L: EventSource>(
    start: impl FnOnce() -> Result<L, L::Error> + Send,
    what: Observation,
) -> anyhow::Result<i32> {
    let duration = what.duration;
    let has_output_file = what.output.stream().is_none();
    let mut state = State::new(what)?;
    let (has_started, started) = channel();
    let run = || -> anyhow::Result<_> {
        // Dropped here if the start fails.
        let has_started = has_started;
        let mut started_source = start()?;
        let source: &mut dyn AnySource = &mut started_source;
        give_up_privileges();
        // The other thread waits for it.
        let _ = has_started.send(());
        state.begin(duration, source.status().source)?;
        let ending = follow(source, &mut state);
        let mut status = source.status();
        if ending.is_err() {
            let text = "observing failed before its end; later connections are not counted";
            status.record_shortfall(ShortfallKind::Unobservable, 1, text);
        }
        Ok((ending, status))
    };
    // A started command has inherited the privileges of this process. They are not needed from here on.
    let meanwhile = move || {
        if started.recv().is_ok() {
            give_up_privileges();
        }
    };
    let (ending, status) =
        trace::detach_at_end_and(run, meanwhile).context(message::NO_THREAD)??;
    let (incomplete, strict) = (state.fails_strict(&status), state.is_strict());
    let written = state.finish(status);
    let incomplete = incomplete || strict && written == Written::InPart;
    let written = written != Written::Failed;
    let ending = match ending? {
        Ending::CommandDetached(pid) => {
            wake::reopen_at_hangup(false);
            trace::supervise(pid)?
        }
        ending => ending,
    };
    Ok(match ending {
        Ending::Detached | Ending::CommandDetached(_) | Ending::Exited(_)
            if written && incomplete =>
        {
            INCOMPLETE
        }
        Ending::Detached => i32::from(!written),
        // The command's own status may be 1.
        Ending::CommandDetached(_) => i32::from(!written) * 125,
        // If the report goes to stderr, its reader may have exited before the command ended.
        Ending::Exited(0) if has_output_file && !written => 125,
        Ending::Exited(status) => status,
        Ending::Killed(signal) => crate::sys::die_of(signal),
    })
}

/// Drops the privileges of the calling thread that only the start needed. Failure is harmless: nothing is executed.
fn give_up_privileges() {
    let _ = capability::renounce_new();
    let _ = capability::give_up_beyond(Duty::Observe);
}

fn follow(source: &mut dyn AnySource, state: &mut State) -> anyhow::Result<Ending> {
    state.event_writer.waits = source.can_wait();
    state.update_status(source);
    loop {
        state.lateness = source.lateness();
        let event = source.next(state.deadline())?;
        // Earlier connections may have become known while it waited.
        state.lateness = source.lateness().max(state.lateness);
        match event {
            Event::Connection(c) => {
                state.take(c);
                // Deadlines are checked once for all of them.
                let known = std::iter::from_fn(|| source.next_known());
                known.take(MAX_AT_ONCE).for_each(|c| state.take(c));
            }
            Event::Deadline => {}
            Event::Asked => state.show(source.status()),
            Event::Reopen => state.reopen(),
            Event::Notice(text) => message::notice_in_background(false, text),
            Event::Ended(ending) => return Ok(ending),
        }
        state.update_status(source);
        state.show_intervals(RecordTime::now());
        state.renew(source);
        if state.is_over() {
            for connection in source.stop_counting()? {
                state.take(connection);
            }
            state.end(source.status());
            state.tell_of_command();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::Sender;
    use std::time::{Duration, Instant};

    use crate::cli::args::{Cli, Command};
    use crate::{Connection, SourceStatus};
    use clap::Parser;

    use super::*;
    use crate::cli::output::Output;
    use crate::cli::request::{Request, Times};

    /// A source of these events. A deadline passes as soon as it is requested.
    struct Script {
        events: VecDeque<Event>,
        stopped: bool,
        can_wait: bool,
        /// Disconnected when the source is dropped.
        _alive: Option<Sender<()>>,
    }

    impl Script {
        fn new(events: Vec<Event>) -> Script {
            Script { events: events.into(), stopped: false, can_wait: false, _alive: None }
        }
    }

    impl EventSource for Script {
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

        fn can_wait(&self) -> bool {
            self.can_wait
        }

        fn status(&mut self) -> SourceStatus {
            SourceStatus::new("script")
        }
    }

    fn connection(n: u8) -> Event {
        Event::Connection(Connection {
            time: Some(RecordTime::now()),
            ip: Some([127, 0, 0, n].into()),
            ..Connection::default()
        })
    }

    /// What `tcptally trace` with these options is asked for.
    fn asked(args: &[&str], output: Output) -> Observation {
        let args = [&["tcptally", "trace"], args, &["--", "true"]].concat();
        let Command::Trace(args) = Cli::parse_from(args).command else { unreachable!() };
        let request = Request::new(&args.count, &Times::Now).unwrap();
        Observation {
            request,
            output,
            rotation: None,
            duration: args.duration,
            metrics: None,
            has_command: true,
        }
    }

    /// What it writes with the script in place of a server, and the exit status.
    fn show(args: &[&str], events: Vec<Event>) -> (String, i32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let file = File::create(&path).unwrap();
        let output = Output::Direct { path: path.clone(), file };
        let script = Script::new(events);
        let status = observe(|| Ok(script), asked(args, output)).unwrap();
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
    fn connections_after_the_duration_do_not_count() {
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
            Ok(Script::new(vec![Event::Deadline]))
        };
        observe(start, asked(&["-d", "50ms"], output)).unwrap();
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
        // Nothing reads the output, so waiting would never end.
        let mut script = Script::new(vec![connection(1); MANY]);
        follow(&mut script, &mut state).unwrap();
        let dropped = state.event_writer.dropped as usize;
        let text = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(state.finish(SourceStatus::new("script")), Written::InPart);
        let lines = text.join().unwrap().lines().count();
        assert!(dropped > 0);
        assert_eq!(lines + dropped, MANY, "each is shown, or said to be dropped");
    }

    #[test]
    fn dropped_events_fail_strict() {
        const MANY: usize = 200_000;
        for (options, expected) in [(&["-e", "--strict"][..], INCOMPLETE), (&["-e"], 0)] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let output =
                Output::Direct { path: "pipe".into(), file: File::from(OwnedFd::from(writer)) };
            let mut events = vec![connection(1); MANY];
            events.push(Event::Ended(Ending::Detached));
            let (alive, ended) = channel();
            let script = Script { _alive: Some(alive), ..Script::new(events) };
            let reading = std::thread::spawn(move || {
                assert!(ended.recv().is_err(), "the source has ended");
                std::io::copy(&mut reader, &mut std::io::sink()).unwrap()
            });
            let status = observe(|| Ok(script), asked(options, output)).unwrap();
            assert_eq!(status, expected, "{options:?}");
            assert!(reading.join().unwrap() > 0);
        }
    }

    #[test]
    fn a_slow_reader_gets_all_events_of_a_source_that_can_wait() {
        const MANY: usize = 200_000;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let output = Output::Direct { path: "pipe".into(), file };
        let (tell, done) = std::sync::mpsc::channel();
        let watching = std::thread::spawn(move || {
            let script = Script { can_wait: true, ..Script::new(vec![connection(1); MANY]) };
            observe(|| Ok(script), asked(&["-e", "-F", "plain"], output)).unwrap();
            tell.send(()).unwrap();
        });
        // Time enough to drop most, were it not to wait.
        assert!(done.recv_timeout(Duration::from_millis(500)).is_err());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), MANY);
        watching.join().unwrap();
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_watching() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            Output::Direct { path: "pipe".into(), file: File::from(OwnedFd::from(writer)) };
        let mut state = State::new(asked(&["-e"], output)).unwrap();
        let mut script = Script::new(Vec::new());
        while !script.stopped {
            script.events.push_back(connection(1));
            follow(&mut script, &mut state).unwrap();
        }
        let written = state.finish(SourceStatus::new("script"));
        assert_ne!(written, Written::Failed, "that is no failure");
    }
}
