//! Records that are still being written.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{NOON, line, tcptally, wait_at_most};

/// The program at work, and the lines that it prints.
struct AtWork {
    child: Child,
    lines: Receiver<String>,
}

impl AtWork {
    fn new(args: &[&str]) -> AtWork {
        let mut command = tcptally(&["parse"]);
        command.args(args);
        AtWork::spawn(command)
    }

    fn spawn(mut command: Command) -> AtWork {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        AtWork { child, lines }
    }

    fn feed(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line, while the record is still open.
    fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("a line in time")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        (self.lines.iter().collect(), status.code())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_shown_while_the_record_is_open() {
    let mut work = AtWork::new(&["-e", "-F", "csv"]);
    work.feed(&line(NOON, "192.0.2.7", 80));
    assert!(work.next().starts_with("time,"));
    assert!(work.next().ends_with(",127.0.0.1,80,192.0.2.7,40000,,,,,"));
    work.feed(&line(NOON + 1.0, "192.0.2.8", 80));
    assert!(work.next().ends_with(",192.0.2.8,40000,,,,,"));
    assert_eq!(work.end(), (vec![], Some(0)));
}

/// What every type of record that comes line by line shows when its first lines have come.
#[test]
fn events_of_every_type_are_shown_at_once() {
    let syn = "198.51.100.10.40755 > 192.0.2.77.80: Flags [S], seq 7, win 64240, length 0";
    for (name, text) in [
        (
            "netfilter",
            "Nov 22 10:58:42 gw1 kernel: IN=ens19 OUT= SRC=198.51.100.10 DST=192.0.2.77 LEN=60 \
             PROTO=TCP SPT=40755 DPT=80 WINDOW=64240 RES=0x00 SYN URGP=0\n"
                .to_owned(),
        ),
        ("tcpdump", format!("1795345122.200113 IP {syn}\n")),
        (
            "conntrack",
            "[1795345122.200888]\t    [NEW] tcp      6 120 SYN_SENT src=198.51.100.10 \
             dst=192.0.2.77 sport=40755 dport=80 [UNREPLIED] src=192.0.2.77 dst=198.51.100.10 \
             sport=80 dport=40755\n"
                .to_owned(),
        ),
        (
            "tcpaccept",
            "PID     COMM         IP RADDR            RPORT LADDR            LPORT\n4412    \
             python3      4  198.51.100.10    40755 192.0.2.77       80\n"
                .to_owned(),
        ),
        ("systemtap", "Sun Nov 22 10:59:07 2026 New connection from 198.51.100.10\n".to_owned()),
    ] {
        let mut work = AtWork::new(&["-e", "-F", "csv"]);
        work.feed(&text);
        assert!(work.next().starts_with("time,"), "{name}");
        assert!(work.next().contains("198.51.100.10"), "{name}");
        assert_eq!(work.end().1, Some(0), "{name}");
    }
}

#[test]
fn intervals_are_shown_when_they_have_passed() {
    let mut work = AtWork::new(&["-i", "10s", "-F", "plain"]);
    work.feed(&line(NOON + 1.0, "192.0.2.7", 80));
    work.feed(&line(NOON + 2.0, "192.0.2.7", 80));
    work.feed(&line(NOON + 31.0, "192.0.2.8", 80));
    assert_eq!(work.next(), "2026-11-22T11:30:00+00:00 192.0.2.7: 2");
    assert_eq!(work.next(), "2026-11-22T11:30:10+00:00 none: 0");
    assert_eq!(work.next(), "2026-11-22T11:30:20+00:00 none: 0");
    // Late.
    work.feed(&line(NOON + 3.0, "192.0.2.9", 80));
    let (rest, status) = work.end();
    assert_eq!(
        rest,
        [
            "2026-11-22T11:30:00+00:00 192.0.2.9: 1",
            "2026-11-22T11:30:30+00:00 192.0.2.8: 1",
            "192.0.2.7: 2",
            "192.0.2.8: 1",
            "192.0.2.9: 1",
        ]
    );
    assert_eq!(status, Some(0));
}

#[test]
fn an_interval_ends_by_the_clock_when_nothing_comes() {
    let mut work = AtWork::new(&["-i", "1s", "-F", "plain"]);
    let now = jiff::Timestamp::now().as_nanosecond() as f64 / 1e9;
    work.feed(&line(now, "192.0.2.7", 80));
    assert!(work.next().ends_with(" 192.0.2.7: 1"));
    assert!(work.next().ends_with(" none: 0"));
    assert_eq!(work.end().0.last().unwrap(), "192.0.2.7: 1");
}

#[test]
fn a_signal_ends_the_reading_with_the_report() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut work = AtWork::new(&["-i", "10s", "-F", "plain"]);
        work.feed(&line(NOON, "192.0.2.7", 80));
        work.feed(&line(NOON + 10.0, "192.0.2.8", 80));
        assert!(work.next().ends_with(" 192.0.2.7: 1"));
        // The record goes on, but the reading does not.
        work.signal(Signal::SIGUSR1);
        assert_eq!(work.next(), "192.0.2.7: 1");
        assert_eq!(work.next(), "192.0.2.8: 1");
        work.signal(signal);
        let status = work.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        let rest: Vec<String> = work.lines.iter().collect();
        assert!(rest[0].ends_with(" 192.0.2.8: 1"), "{rest:?}");
        assert_eq!(rest[1..], ["192.0.2.7: 1", "192.0.2.8: 1"]);
    }
}

#[test]
fn a_report_on_a_record_that_is_still_read_is_not_complete() {
    let mut work = AtWork::new(&["-i", "10s", "-F", "jsonl", "--strict"]);
    work.feed(&line(NOON, "192.0.2.7", 80));
    work.feed(&line(NOON + 10.0, "192.0.2.8", 80));
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    // It handles signals when it has printed something.
    assert_eq!(parse(&work.next())["ip"], "192.0.2.7");
    work.signal(Signal::SIGUSR1);
    let lines = std::iter::repeat_with(|| parse(&work.next()));
    let report = lines.take(20).find(|line| line["kind"] == "report").expect("a report");
    assert_eq!((&report["total"], &report["complete"]), (&2.into(), &false.into()), "{report}");
    assert!(report["warnings"].to_string().contains("is still being read"), "{report}");
    let (lines, status) = work.end();
    let last = parse(lines.last().unwrap());
    assert_eq!((&last["complete"], status), (&true.into(), Some(0)), "{last}");
}

#[test]
fn hangup_reopens_the_output_file() {
    let folder = tempfile::tempdir().unwrap();
    let [file, former] = ["events", "events.1"].map(|name| folder.path().join(name));
    let lines = |path: &std::path::Path, count: usize| {
        let mut text = String::new();
        let found = wait_at_most(Duration::from_secs(20), || {
            text = std::fs::read_to_string(path).unwrap_or_default();
            (text.lines().count() == count).then_some(())
        });
        assert!(found.is_some(), "{count} lines in {path:?}: {text}");
        text
    };
    let mut work = AtWork::new(&["-e", "-F", "csv", "-o", file.to_str().unwrap()]);
    work.feed(&line(NOON, "192.0.2.7", 80));
    lines(&file, 2);
    std::fs::rename(&file, &former).unwrap();
    work.signal(Signal::SIGHUP);
    lines(&file, 1);
    work.feed(&line(NOON + 1.0, "192.0.2.8", 80));
    let text = lines(&file, 2);
    assert!(text.starts_with("time,") && text.contains("192.0.2.8"), "{text}");
    assert_eq!(work.end().1, Some(0));
    assert!(lines(&former, 2).contains("192.0.2.7"));
}

/// A shell without job control ignores SIGINT in what it starts in the background.
#[test]
fn an_interrupt_ignored_at_start_ends_the_reading_when_it_is_sent() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" INT; exec "$0" parse -i 10s -F plain"#]);
    command.arg(env!("CARGO_BIN_EXE_tcptally"));
    let mut work = AtWork::spawn(command);
    work.feed(&line(NOON, "192.0.2.7", 80));
    work.feed(&line(NOON + 10.0, "192.0.2.8", 80));
    assert!(work.next().ends_with(" 192.0.2.7: 1"));
    work.signal(Signal::SIGINT);
    let rest: Vec<String> =
        std::iter::from_fn(|| work.lines.recv_timeout(Duration::from_secs(20)).ok()).collect();
    assert_eq!(rest.last().map(String::as_str), Some("192.0.2.8: 1"), "{rest:?}");
    assert_eq!(work.child.wait().unwrap().code(), Some(0));
}

/// The line disappears at the end, and in a pipe there is none.
#[test]
fn progress_on_a_terminal_has_the_connections_so_far() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: script(1) is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("log");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let command = format!("{} parse -F plain {}", env!("CARGO_BIN_EXE_tcptally"), fifo.display());
    let mut script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = script.stdout.take().unwrap();
    let shown = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let reader = std::thread::spawn({
        let shown = shown.clone();
        move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = out.read(&mut bytes) {
                if n == 0 {
                    break;
                }
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        }
    });
    let mut log = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let begin = Instant::now();
    let lines = line(NOON, "192.0.2.7", 80).repeat(2000);
    while !shown.lock().unwrap().contains("000 connections") {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", shown.lock().unwrap());
        log.write_all(lines.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(log);
    assert!(script.wait().unwrap().success());
    reader.join().unwrap();
    assert!(shown.lock().unwrap().contains("192.0.2.7: "));
}
