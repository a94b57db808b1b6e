//! Events count every accept, and stop the thread for each.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use tcptally::sys::perf::Inherit;
use tcptally::sys::ptrace::{self, Tid};
use tcptally::sys::{tracee as sys_tracee, wait};
use tcptally::trace::perf::Events;
use tcptally::trace::perf::events::are_inherited;
use tcptally::trace::perf::inject::{Change, Disposition};
use tcptally::trace::perf::mask;
use tcptally::trace::perf::tracepoint::Tracepoints;
use tcptally::trace::procfs::status_field;
use tcptally::trace::stop::{Stop, Until};

use super::support::{inject, next_stop, resume, tracee};

const SEIZED: i32 = ptrace::PTRACE_O_TRACESYSGOOD
    | ptrace::PTRACE_O_TRACECLONE
    | ptrace::PTRACE_O_TRACEFORK
    | ptrace::PTRACE_O_TRACEVFORK
    | ptrace::PTRACE_O_TRACEEXEC;
const COOKIE: u64 = 0x7463_7074_616c_6c79;

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
#[expect(clippy::too_many_lines, reason = "to be split by kind of stop")]
fn watch() {
    let pid: Tid = std::env::var("TRACEE").unwrap().parse().unwrap();
    let has = |name| std::env::var_os(name).is_some();
    let tracepoints = Tracepoints::find().unwrap();
    let inherit = if has("THREADS_ONLY") { Inherit::Threads } else { Inherit::All };
    let open = |tid| Events::open(&tracepoints, tid, inherit, COOKIE).unwrap();
    let options = if has("THREADS_ONLY") {
        SEIZED & !ptrace::PTRACE_O_TRACEFORK & !ptrace::PTRACE_O_TRACEVFORK
    } else {
        SEIZED
    };
    let threads = threads(pid);
    for tid in &threads {
        ptrace::seize(*tid, options).unwrap();
    }
    if !has("NO_INJECTION") {
        resume(inject(pid, Change::Ignore).0);
    }
    let mut events: Vec<Events> = threads.iter().map(|tid| open(*tid)).collect();
    if has("TWICE") {
        events.extend(threads.iter().map(|tid| open(*tid)).collect::<Vec<_>>());
    }
    if has("UNBLOCK") {
        for tid in &threads {
            ptrace::interrupt(*tid).unwrap();
            let Stop::Event(stop) = next_stop(*tid) else { panic!("not interrupted") };
            println!("{tid} had it blocked: {}", mask::unblock(*tid).unwrap().is_some());
            stop.resume(Until::AnyStop).unwrap();
        }
    }
    println!("watching");
    let mut seen = Seen::default();
    let mut known: HashSet<Tid> = threads.into_iter().collect();
    while let Some(change) = wait::any().unwrap() {
        match Stop::from(change) {
            Stop::Exited(..) | Stop::Killed(..) => {}
            Stop::Signal(stop) => match sys_tracee::perf_signal(stop.tid()).unwrap() {
                Some(signal) if signal.data == COOKIE => {
                    let r = ptrace::registers(stop.tid()).unwrap();
                    let is_exit = [libc::SYS_accept, libc::SYS_accept4]
                        .contains(&(r.orig_rax as i64))
                        && r.rax as i64 >= 0;
                    assert_eq!(is_exit, !signal.was_blocked, "{r:?}");
                    if signal.was_blocked {
                        seen.late += 1;
                    } else {
                        seen.stops += 1;
                    }
                    stop.suppress(Until::AnyStop).unwrap();
                }
                _ => stop.deliver(Until::AnyStop).unwrap(),
            },
            Stop::Exec(stop) => {
                events.push(open(stop.tid()));
                stop.resume(Until::AnyStop).unwrap();
            }
            Stop::Birth(stop) => stop.resume(Until::AnyStop).unwrap(),
            Stop::Event(stop) => {
                if !known.contains(&stop.tid()) && !are_inherited(&stop).unwrap() {
                    events.push(open(stop.tid()));
                }
                known.insert(stop.tid());
                stop.resume(Until::AnyStop).unwrap();
            }
            Stop::Group(stop) => {
                let tid = stop.tid();
                stop.listen().unwrap();
                tcptally::sys::kill(tid, libc::SIGCONT);
            }
            other => resume(other),
        }
    }
    seen.kernel = events.iter().map(|e| e.count().unwrap()).sum();
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
    for how in ["plain", "threads", "nested", "forks", "vforks", "ppoll", "stopped"] {
        sees_all(how, &[]);
    }
}

#[test]
fn exec_ends_events_and_keeps_their_count() {
    for how in ["exec", "threadexec"] {
        sees_all(how, &[]);
    }
}

#[test]
fn children_with_cleared_handlers_inherit_no_events() {
    sees_all("cloexec", &[]);
}

#[test]
fn signals_that_the_program_sends_itself_reach_it() {
    sees_all("traps", &[("NO_INJECTION", "1")]);
}

#[test]
fn a_thread_with_events_twice_stops_once() {
    for how in ["plain", "threads", "forks"] {
        let Some((_, seen)) = watched(how, 20, &[("TWICE", "1")]) else { return };
        assert_eq!(seen, Seen { stops: 20, late: 0, kernel: 40 }, "{how}");
    }
}

#[test]
fn blocked_signals_are_missed_but_counted() {
    for (how, stops, late) in [("blocked", 0, 0), ("blocks", 0, 0), ("pending", 17, 1)] {
        let Some((_, seen)) = watched(how, 20, &[]) else { return };
        assert_eq!(seen, Seen { stops, late, kernel: 20 }, "{how}");
    }
}

#[test]
fn unblocked_threads_stop() {
    sees_all("blocked", &[("UNBLOCK", "1")]);
}

#[test]
fn children_do_not_inherit_where_only_threads_may() {
    let Some((said, seen)) = watched("forks", 20, &[("THREADS_ONLY", "1")]) else { return };
    assert_eq!(seen, Seen::default());
    assert_eq!(said, "done\n");
    sees_all("threads", &[("THREADS_ONLY", "1")]);
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
        .args(["trace", "--format", "json", "-p", &child.id().to_string()])
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
fn a_report_tells_what_was_missed() {
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
fn processes_that_end_amid_their_accepts_are_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported("rushes", 100, &mut command) else { return };
    assert!(report["total"].as_u64().unwrap() >= 100 * 20, "{report}");
    assert_eq!(report["engine"], "perf", "it has no reason to give up: {report}");
    assert!(!report["warnings"].to_string().contains("failed"), "{report}");
}

/// What a thread inherited stays when those are gone from whom it has it.
#[test]
fn heirs_are_watched_to_their_end() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let Some(report) = reported_of(started_from("heirs.c", "", 20), &mut command) else { return };
    assert_eq!(report["total"], 20);
    assert_eq!(report["complete"], true);
}

fn blocks_sigtrap(tid: Tid) -> bool {
    let set = status_field(tid, "SigBlk").unwrap();
    u64::from_str_radix(&set, 16).unwrap() >> (libc::SIGTRAP - 1) & 1 == 1
}

#[test]
fn a_mask_is_put_back() {
    let Some((mut child, _said)) = started("blocked", 3) else {
        return eprintln!("skipped: no cc");
    };
    let pid = child.id() as Tid;
    let tid = threads(pid)[1];
    assert!(blocks_sigtrap(tid));
    ptrace::seize(tid, SEIZED).unwrap();
    ptrace::interrupt(tid).unwrap();
    let stop = next_stop(tid);
    let former = mask::unblock(tid).unwrap().unwrap();
    assert!(!blocks_sigtrap(tid));
    assert_eq!(mask::unblock(tid).unwrap(), None);
    mask::block_again(tid, former).unwrap();
    assert!(blocks_sigtrap(tid));
    resume(stop);
    child.kill().unwrap();
    while !matches!(next_stop(tid), Stop::Killed(..)) {}
    child.wait().unwrap();
}

#[test]
fn a_signal_still_pending_at_the_end_does_not_kill() {
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
    ptrace::seize(pid, SEIZED).unwrap();
    let (stop, former) = inject(pid, Change::Ignore);
    resume(stop);
    let events = Events::open(&tracepoints, pid, Inherit::All, COOKIE).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"g").unwrap();
    assert_eq!(next_line(&mut said), "accepted");
    events.disable().unwrap();
    assert_eq!(events.count().unwrap(), 3);
    ptrace::interrupt(pid).unwrap();
    let stop = next_stop(pid);
    let pending = sys_tracee::pending_perf_signal(pid).unwrap();
    assert_eq!(pending, Some(sys_tracee::PerfSignal { data: COOKIE, was_blocked: true }));
    resume(stop);
    let (stop, ours) = inject(pid, Change::PutBack(former));
    assert_eq!(ours, Disposition::IGNORED);
    assert_eq!(sys_tracee::pending_perf_signal(pid).unwrap(), None);
    resume(stop);
    stdin.write_all(b"g").unwrap();
    assert_eq!(next_line(&mut said), "done");
    assert!(child.wait().unwrap().success());
}
