//! Events count every accept, and stop the thread for each.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use tcptally::internals::sys::{self, Tid, wait};
use tcptally::internals::{
    AcceptSignal, Events, Stop, Tracepoints, Until, is_at_accept_exit, mask, status_field,
};

use super::support::{next_stop, resume, tracee};

const SEIZED: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC;

/// What a tracer saw of a program from its start to its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Stops on the way out of accept.
    stops: u64,
    /// Signals that came late, since they had been blocked.
    late: u64,
    /// The kernel's count.
    kernel: u64,
}

fn threads(pid: Tid) -> Vec<Tid> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut threads: Vec<Tid> =
        entries.map(|e| name(e).to_str().unwrap().parse().unwrap()).collect();
    threads.sort_unstable();
    threads
}

/// The least of a tracer, in a process of its own since it waits for any child.
#[test]
#[ignore = "the tracer that other tests start"]
fn watch() {
    let pid: Tid = std::env::var("TRACEE").unwrap().parse().unwrap();
    let has = |name| std::env::var_os(name).is_some();
    let tracepoints = Tracepoints::find().unwrap();
    let signal = AcceptSignal::choose(pid).unwrap();
    let open = |tid| Events::open(&tracepoints, tid, signal).unwrap();
    let threads = threads(pid);
    let mut events: HashMap<Tid, Events> = HashMap::new();
    for tid in threads {
        sys::seize(tid, SEIZED).unwrap();
        events.insert(tid, open(tid));
        if has("UNBLOCK") {
            sys::interrupt(tid).unwrap();
            let Stop::Event(stop) = next_stop(tid) else { panic!("not interrupted") };
            let former = mask::unblock(tid, signal.number()).unwrap();
            println!("{tid} had it blocked: {}", former.is_some());
            stop.resume(Until::AnyStop).unwrap();
        }
    }
    println!("watching");
    let mut seen = Seen::default();
    while let Some(change) = wait::any().unwrap() {
        match Stop::from(change) {
            Stop::Exited(..) | Stop::Killed(..) => {}
            Stop::Signal(stop) => {
                let tid = stop.tid();
                let fd = sys::signal_descriptor(tid).unwrap();
                if !fd.is_some_and(|fd| events[&tid].descriptors().contains(&fd)) {
                    stop.deliver(Until::AnyStop).unwrap();
                    continue;
                }
                if is_at_accept_exit(&stop.registers().unwrap(), tid).unwrap() {
                    seen.stops += 1;
                } else {
                    seen.late += 1;
                }
                stop.suppress(Until::AnyStop).unwrap();
            }
            Stop::Exec(stop) => {
                for tid in [stop.former_tid().unwrap(), stop.tid()] {
                    seen.kernel += events.remove(&tid).map_or(0, |e| e.count().unwrap());
                }
                events.insert(stop.tid(), open(stop.tid()));
                stop.resume(Until::AnyStop).unwrap();
            }
            Stop::Clone(stop) => stop.resume(Until::AnyStop).unwrap(),
            Stop::Event(stop) => {
                events.entry(stop.tid()).or_insert_with(|| open(stop.tid()));
                stop.resume(Until::AnyStop).unwrap();
            }
            Stop::Group(stop) => {
                let tid = stop.tid();
                stop.listen().unwrap();
                sys::kill(tid, libc::SIGCONT);
            }
            other => resume(other),
        }
    }
    seen.kernel += events.values().map(|e| e.count().unwrap()).sum::<u64>();
    println!("seen {} {} {}", seen.stops, seen.late, seen.kernel);
}

/// Lets selfserve.c accept `times` in the given manner; what it said last, and what was seen.
fn watched(how: &str, times: u32, environment: &[(&str, &str)]) -> Option<(String, Seen)> {
    let Some(program) = tracee("selfserve.c") else {
        eprintln!("skipped: no cc");
        return None;
    };
    if let Err(refused) = Tracepoints::find() {
        eprintln!("skipped: {refused}");
        return None;
    }
    let mut server = Command::new(program)
        .args([how, &times.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let mut tracer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "events::watch", "--ignored", "--nocapture"])
        .env("TRACEE", server.id().to_string())
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tracer.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|l| l.contains("watching")));
    server.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let seen = lines.find(|l| l.starts_with("seen")).expect("the tracer's result");
    let mut numbers = seen.split(' ').skip(1).map(|n| n.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    let seen = Seen { stops: next(), late: next(), kernel: next() };
    tracer.wait().unwrap();
    server.wait().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    Some((rest, seen))
}

fn sees_all(how: &str, environment: &[(&str, &str)]) {
    let Some((said, seen)) = watched(how, 20, environment) else { return };
    assert_eq!(seen, Seen { stops: 20, late: 0, kernel: 20 }, "{how}");
    assert_eq!(said, "done\n", "{how}");
}

#[test]
fn every_accept_counts_and_stops_once() {
    for how in ["plain", "threads", "nested", "forks", "vforks", "cloexec", "ppoll", "stopped"] {
        sees_all(how, &[]);
    }
}

#[test]
fn accepts_after_exec_count_and_stop() {
    for how in ["exec", "threadexec"] {
        sees_all(how, &[]);
    }
}

#[test]
fn signals_that_the_program_sends_itself_reach_it() {
    sees_all("urgents", &[]);
}

#[test]
fn blocked_signals_are_missed_but_counted() {
    for (how, stops, late) in [("blocked", 0, 0), ("blocks", 0, 0), ("pending", 17, 1)] {
        let Some((_, seen)) = watched(how, 20, &[]) else { return };
        assert_eq!(seen, Seen { stops, late, kernel: 20 }, "{how}");
    }
}

#[test]
fn threads_with_the_signal_unblocked_stop() {
    sees_all("blocked", &[("UNBLOCK", "1")]);
}

/// A program of selfserve.c that has said the first line.
fn started(how: &str, times: u32) -> Option<(Child, BufReader<ChildStdout>)> {
    started_from("selfserve.c", how, times)
}

fn started_from(source: &str, how: &str, times: u32) -> Option<(Child, BufReader<ChildStdout>)> {
    let mut child = Command::new(tracee(source)?)
        .args([how, &times.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next_line(&mut said), "ready");
    Some((child, said))
}

fn next_line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// What the command reports of a program of selfserve.c; `None` where it cannot use perf events.
fn reported(how: &str, times: u32, command: &mut Command) -> Option<serde_json::Value> {
    reported_of(started(how, times), command)
}

/// The same of a program that has been started, and must end well.
fn reported_of(
    started: Option<(Child, BufReader<ChildStdout>)>,
    command: &mut Command,
) -> Option<serde_json::Value> {
    let Some((mut child, _said)) = started else {
        eprintln!("skipped: no cc");
        return None;
    };
    let mut tracer = command
        .args(["trace", "--engine", "perf", "--format", "json", "-p", &child.id().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut messages = BufReader::new(tracer.stderr.take().unwrap());
    while !next_line(&mut messages).contains("attached to") {}
    child.stdin.take().unwrap().write_all(b"g").unwrap();
    let report = tracer.wait_with_output().unwrap().stdout;
    assert!(child.wait().unwrap().success());
    if let Err(refused) = Tracepoints::find() {
        eprintln!("skipped: {refused}");
        return None;
    }
    Some(serde_json::from_slice(&report).unwrap())
}

/// The process has ended before anybody compares.
#[test]
fn a_report_says_how_many_accepts_were_missed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported("blocks", 3, &mut command) else { return };
    assert_eq!(report["total"].as_u64().unwrap() + report["lost"].as_u64().unwrap(), 3);
    assert_eq!(report["complete"], report["lost"] == 0);
}

#[test]
fn more_threads_than_files_may_be_open_are_watched() {
    let mut command = Command::new("sh");
    let limited = "ulimit -Sn 64 && exec \"$0\" \"$@\"";
    command.args(["-c", limited, env!("CARGO_BIN_EXE_tcptally")]);
    let Some(report) = reported("crowd", 100, &mut command) else { return };
    assert_eq!(report["engine"], "perf");
    assert_eq!(report["total"], 100);
    assert_eq!(report["complete"], true);
}

/// A thread can be gone, in the middle of its stop, before anything of it is read.
#[test]
fn processes_that_end_during_accepts_cause_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported("rushes", 100, &mut command) else { return };
    assert!(report["total"].as_u64().unwrap() >= 100 * 20, "{report}");
    assert_eq!(report["engine"], "perf", "it has no reason to give up: {report}");
    assert!(!report["warnings"].to_string().contains("failed"), "{report}");
}

#[test]
fn a_thread_is_watched_when_its_creators_have_ended() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported_of(started_from("descendants.c", "", 20), &mut command) else {
        return;
    };
    assert_eq!(report["total"], 20);
    assert_eq!(report["complete"], true);
}

fn blocks_urgent(tid: Tid) -> bool {
    let set = status_field(tid, "SigBlk").unwrap();
    u64::from_str_radix(&set, 16).unwrap() >> (libc::SIGURG - 1) & 1 == 1
}

#[test]
fn a_signal_mask_is_restored() {
    let Some((mut child, _said)) = started("blocked", 3) else {
        return eprintln!("skipped: no cc");
    };
    let pid = child.id() as Tid;
    let tid = threads(pid)[1];
    assert!(blocks_urgent(tid));
    sys::seize(tid, SEIZED).unwrap();
    sys::interrupt(tid).unwrap();
    let stop = next_stop(tid);
    let former = mask::unblock(tid, libc::SIGURG).unwrap().unwrap();
    assert!(!blocks_urgent(tid));
    assert_eq!(mask::unblock(tid, libc::SIGURG).unwrap(), None);
    mask::block_again(tid, libc::SIGURG, former).unwrap();
    assert!(blocks_urgent(tid));
    resume(stop);
    child.kill().unwrap();
    while !matches!(next_stop(tid), Stop::Killed(..)) {}
    child.wait().unwrap();
}

#[test]
fn a_signal_pending_at_the_end_has_no_effect() {
    let Some((mut child, mut said)) = started("later", 3) else {
        return eprintln!("skipped: no cc");
    };
    let tracepoints = match Tracepoints::find() {
        Ok(tracepoints) => tracepoints,
        Err(refused) => {
            child.kill().unwrap();
            child.wait().unwrap();
            return eprintln!("skipped: {refused}");
        }
    };
    let pid = child.id() as Tid;
    let signal = AcceptSignal::choose(pid).unwrap();
    sys::seize(pid, SEIZED).unwrap();
    let events = Events::open(&tracepoints, pid, signal).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"g").unwrap();
    assert_eq!(next_line(&mut said), "accepted");
    assert_eq!(events.count().unwrap(), 3);
    sys::interrupt(pid).unwrap();
    let Stop::Event(stop) = next_stop(pid) else { panic!("not interrupted") };
    let pending = sys::pending_descriptor(pid, signal.number()).unwrap();
    assert!(pending.is_some_and(|fd| events.descriptors().contains(&fd)), "{pending:?}");
    drop(events);
    stop.detach().unwrap();
    stdin.write_all(b"g").unwrap();
    assert_eq!(next_line(&mut said), "done");
    assert!(child.wait().unwrap().success());
}

/// A handler that runs between the return of accept and the signal's stop has changed the registers
/// by then.
#[test]
fn an_accept_followed_by_a_signal_handler_counts() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported("alarms", 3000, &mut command) else { return };
    assert_eq!(report["engine"], "perf", "{report}");
    assert_eq!(report["total"], 3000, "{report}");
    assert_eq!(report["rows"][0]["ip"], "127.0.0.1", "{report}");
    assert_eq!(report["addresses"], 1, "{report}");
    assert_eq!(report["complete"], true, "{report}");
}
