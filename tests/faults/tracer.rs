//! Faults of tcptally itself: it is stopped and continued, its terminal and streams go away.
//!
//! That it is killed or terminated: tests/trace/attach_harmless.rs, perf_harmless.rs, sample.rs,
//! exit_status.rs.

use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;
use tcptally::trace::{Options, PtraceEngine, Targets, Tracer, detach_at_end};
use tcptally::{Event, EventSource};

use crate::harness::*;
use crate::support::*;

/// Stops it under load for a moment, and continues it.
#[track_caller]
fn stop_and_continue(run: &Run, server: &Server, seed: u64) -> Counts {
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| server.clients(seed, 300, 7).at_once(4).run());
        std::thread::sleep(Duration::from_millis(seed % 7 * 3));
        run.session.signal(Signal::SIGSTOP);
        wait_for("tcptally stops", || run.all_stopped_itself().then_some(()));
        std::thread::sleep(Duration::from_millis(20));
        run.session.signal(Signal::SIGCONT);
        clients.join().expect("all clients are answered")
    })
}

/// A server that ptrace stops waits meanwhile, and goes on with tcptally.
#[test]
fn stopped_and_continued_under_load_it_counts_all() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for mode in ["pool=3", "thread", "prefork=3"] {
        for engine in attach_to(user) {
            let server = Server::c(&program, &[mode], &[Listens::V4]);
            let mut attached = Attached::to(&stage, user, engine, server);
            let mut made = Counts::new();
            for round in 0..rounds(2) {
                add(&mut made, &stop_and_continue(&attached.run, &attached.server, round as u64));
            }
            attached.run.end_attached().assert_counts(&made);
            attached.assert_unharmed(engine);
        }
        for engine in START_WITH {
            let server = Server::c(&program, &[mode], &[Listens::V4]);
            let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
            let mut made = Counts::new();
            for round in 0..rounds(2) {
                add(&mut made, &stop_and_continue(&run, &server, round as u64));
            }
            run.end().assert_counts(&made);
        }
    }
}

/// The report goes to a file; HUP ends watching.
#[test]
fn a_terminal_that_goes_away_detaches() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_to(user) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let folder = open_folder();
        let words = ["trace", "-F", "json", "-o", "report.json", "--by", "ip,port"];
        let mut argv: Vec<OsString> = vec![stage.tcptally()];
        argv.extend(words.into_iter().chain(["--engine", engine, "-p", &pid]).map(OsString::from));
        let mut terminal = Terminal::start(&stage, user, folder.path(), &argv);
        terminal.wait_for("attached");
        let made = server.clients(1, 40, 5).run();
        terminal.close();
        assert_eq!(terminal.wait().code(), Some(0), "{engine}");
        let text = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
        Report(serde_json::from_str(&text).expect("JSON")).assert_counts(&made);
        assert!(plain.ended().is_none(), "{engine}: the server is dead");
        assert_free(plain.pid);
        server.assert_serves();
    }
}

/// Without stdin, stdout and stderr it opens no other file in their place.
#[test]
fn closed_streams_cost_nothing_but_the_messages() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let script = "exec \"$@\" <&- >&- 2>&-";
    let words: [OsString; 4] = ["sh", "-c", script, "sh"].map(OsString::from);
    let words: Vec<OsString> = words.into_iter().chain([stage.tcptally()]).collect();
    for engine in attach_to(user) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        // Nothing says when it has attached.
        let options = ["--engine", engine, "-p", &pid, "--duration", "2s"].map(OsString::from);
        let load = server.clients(1, 100, 5).at_once(2).keep_coming();
        let mut run = Run::program(&stage, user, &words, &options);
        let (status, report) = run.finish();
        let made = load.stop();
        assert_eq!(status.code(), Some(0), "{engine}");
        assert_eq!(report.0["complete"], true, "{engine}: {}", report.0);
        let told = report.counts();
        assert!(!told.is_empty(), "{engine}: {}", report.0);
        assert!(
            told.iter().all(|(k, n)| made.get(k).is_some_and(|m| n <= m)),
            "{engine}: {told:?}"
        );
        assert!(plain.ended().is_none(), "{engine}: the server is dead");
        assert_free(plain.pid);
    }
}

/// What the process of the next test does: it attaches to process PANIC_PID and panics after some connections.
#[test]
#[ignore = "ends its process; another test runs it"]
fn attaches_and_panics() {
    tcptally::internals::install_panic_hook();
    let pid = std::env::var("PANIC_PID").expect("a process id").parse().expect("a number");
    let engine = match std::env::var("PANIC_ENGINE").as_deref() {
        Ok("perf") => PtraceEngine::Perf,
        _ => PtraceEngine::Syscall,
    };
    let trace = || {
        let targets = Targets { pids: [pid].into(), children: true };
        let options = Options { engine: Some(engine), ..Options::default() };
        let mut tracer = Tracer::attach(targets, options).expect("it attaches");
        let mut left = 30;
        while left > 0 {
            if let Event::Connection(_) = tracer.next(None).expect("it traces") {
                left -= 1;
            }
        }
        panic!("the panic of a test");
    };
    detach_at_end(trace).expect("a thread");
}

/// A defect of tcptally ends it, and the kernel detaches its tracees.
#[test]
fn a_panicking_tracer_ends_and_leaves_servers_running() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let myself = std::env::current_exe().expect("the path of this test");
    for mode in ["pool=3", "thread", "prefork=3"] {
        for engine in
            attach_to(User::Oneself).into_iter().filter(|e| ["perf", "syscall"].contains(e))
        {
            let server = Server::c(&program, &[mode], &[Listens::V4]);
            let mut plain = server.start(&stage, User::Oneself);
            let load = server.clients(1, 200, 9).at_once(4).keep_coming();
            let ended = std::process::Command::new(&myself)
                .args(["--ignored", "--exact", "tracer::attaches_and_panics"])
                .env("PANIC_PID", plain.pid.to_string())
                .env("PANIC_ENGINE", engine)
                .output()
                .expect("it starts");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(101), "{engine} {mode}: {said}");
            assert!(said.contains("tcptally: internal error at tests/faults/tracer.rs:"), "{said}");
            assert!(
                said.contains("the panic of a test") && said.contains("please report"),
                "{said}"
            );
            assert!(!load.stop().is_empty(), "{engine} {mode}: nobody was refused");
            assert!(plain.ended().is_none(), "{engine} {mode}: the server is dead");
            session_members(plain.pid).into_iter().for_each(assert_free);
            server.assert_serves();
        }
    }
}
