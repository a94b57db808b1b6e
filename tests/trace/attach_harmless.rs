//! An attached server is not harmed, however tcptally ends.
//!
//! `TCPTALLY_ROUNDS=100 cargo test --release --test trace attach_harmless` tries harder.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;

use crate::harness::*;

/// The signal sets of each thread in /proc.
fn signals(pid: u32) -> Vec<Vec<Option<String>>> {
    let fields = ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"];
    let mut all = threads(pid);
    all.sort();
    all.iter().map(|t| fields.iter().map(|f| status_field(t, f)).collect()).collect()
}

/// The same when all threads of a C server wait where they wait without clients: one that is just
/// being made blocks all signals.
fn settled_signals(pid: u32) -> Vec<Vec<Option<String>>> {
    wait_for("the threads wait", || {
        threads(pid).iter().all(|t| awaits_clients(t)).then(|| signals(pid))
    })
}

/// Whether a thread is in a call that ends with a client or a signal: proc_pid_syscall(5).
fn awaits_clients(task: &str) -> bool {
    // Newer architectures have no poll and pause; ppoll(2) does for them.
    #[cfg(target_arch = "x86_64")]
    const CALLS: &[i64] =
        &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_poll, libc::SYS_ppoll, libc::SYS_pause];
    #[cfg(not(target_arch = "x86_64"))]
    const CALLS: &[i64] = &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_ppoll];
    let call = std::fs::read_to_string(format!("/proc/{task}/syscall")).unwrap_or_default();
    let number = call.split_whitespace().next().and_then(|n| n.parse().ok());
    number.is_some_and(|n| CALLS.contains(&n))
}

#[test]
fn servers_serve_when_the_tracer_is_killed_under_load() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let mut random = Random(13);
    for engine in attach_engines(user) {
        for mode in [&["pool=4"][..], &["loop"], &["thread"], &["fork"], &["storm=4", "block"]] {
            let server = Server::c(&program, mode, &[Listens::V4]);
            let mut plain = server.start(&stage, user);
            let pid = plain.pid.to_string();
            let load = server.clients(1, 200, 9).at_once(4).keep_coming();
            for round in 0..rounds(4) {
                let options = ["--engine", engine, "-p", &pid];
                // Half of them while it attaches.
                let attached = round % 2 == 0;
                let mut run = match attached {
                    true => Run::attach(&stage, user, &options, &[]),
                    false => Run::start(&stage, user, &options),
                };
                std::thread::sleep(Duration::from_micros(random.below(40_000)));
                run.session.signal(Signal::SIGKILL);
                run.session.wait();
                let what = format!("{engine} {mode:?} round {round}, attached {attached}");
                assert!(plain.ended().is_none(), "{what}: the server is dead: {:?}", plain.ended());
                assert_free(plain.pid);
            }
            // Nobody was refused, and nobody is.
            assert!(!load.stop().is_empty());
            server.assert_serves();
        }
    }
}

#[test]
fn servers_serve_through_many_attaches_and_detaches() {
    const AT_ONCE: u64 = 4;
    /// Connections between attach and detach.
    const WITHIN: u64 = 20;
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        for mode in [&["pool=4"][..], &["thread"], &["signals"]] {
            // With perf alone, a server that handles SIGTRAP itself may be refused.
            let engine = if mode[0] == "signals" { "auto" } else { engine };
            let server = Server::c(&program, mode, &[Listens::V4]);
            let mut plain = server.start(&stage, user);
            let before = (mode[0] == "pool=4").then(|| settled_signals(plain.pid));
            let pid = plain.pid.to_string();
            let load = server.clients(1, 200, 9).at_once(AT_ONCE as usize).keep_coming();
            let mut told = 0;
            for _ in 0..rounds(5) {
                let options = ["--engine", engine, "-p", &pid];
                let mut run = Run::attach(&stage, user, &options, &[]);
                let before = load.so_far();
                wait_for("clients come", || (load.so_far() >= before + WITHIN).then_some(()));
                let report = run.end_attached();
                // Each of the clients may have been connecting already.
                let (within, total) = (WITHIN - AT_ONCE, report.number("total"));
                // The load may be more than the rings hold, which the report says.
                match report.0["complete"] == true {
                    true => {
                        report.assert_complete();
                        assert!(total >= within, "{engine} {mode:?}: {total} counted");
                    }
                    false => {
                        assert_ne!(report.warnings(), "[]");
                        assert!(total + report.number("lost") >= within, "{}", report.0);
                    }
                }
                told += total;
                assert!(plain.ended().is_none(), "{engine} {mode:?}: the server is dead");
                assert_free(plain.pid);
            }
            let made: u64 = load.stop().values().sum();
            assert!(told <= made, "{told} told, {made} made");
            server.assert_serves();
            if let Some(before) = before {
                assert_eq!(settled_signals(plain.pid), before, "{engine}");
            }
            if mode[0] == "signals" {
                plain.signal(Signal::SIGTERM);
                assert_eq!(plain.wait().code(), Some(0), "{engine}: {}", plain.stdout());
            }
        }
    }
}

/// While the kernel closes the tracepoints that were tried, threads of a process with inherited
/// events can neither be created nor end.
#[test]
fn the_search_for_tracepoints_ends_before_a_server_is_attached() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    // Root reads their ids, and a new home has no cache of them.
    let user = User::plain();
    for engine in attach_engines(user).into_iter().filter(|engine| *engine != "syscall") {
        let server = Server::c(&program, &["thread"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let options = ["--engine", engine, "-p", &plain.pid.to_string()];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        // It has closed its events, and has nothing to do but to end.
        let is_alone = || session_members(run.session.pid) == [run.session.pid];
        let alone = wait_at_most(Duration::from_secs(1), || is_alone().then_some(()));
        assert!(alone.is_some(), "{engine}: a process still closes events");
        let made = server.clients(1, 50, 3).run();
        run.end_attached().assert_counts(&made);
    }
}

#[test]
fn signal_masks_and_dispositions_are_restored() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        for engine in attach_engines(user) {
            for mode in [&["loop"][..], &["pool=4"], &["pool=4", "block"], &["prefork=2"]] {
                let server = Server::c(&program, mode, &[Listens::V4]);
                let plain = server.start(&stage, user);
                server.clients(1, 10, 1).run();
                let processes = session_members(plain.pid);
                let before: Vec<_> = processes.iter().map(|&p| settled_signals(p)).collect();
                let pid = plain.pid.to_string();
                let options = ["--engine", engine, "-p", &pid];
                let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
                let made = server.clients(1, 50, 3).run();
                run.end_attached().assert_counts(&made);
                processes.iter().for_each(|&p| assert_free(p));
                let after: Vec<_> = processes.iter().map(|&p| settled_signals(p)).collect();
                assert_eq!(after, before, "{engine} {mode:?} as {user:?}");
            }
        }
    }
}

/// Signals that it does not even handle stop a traced thread all the same.
#[test]
fn signals_arrive_through_attaches_and_detaches() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let before = settled_signals(plain.pid);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    signal(plain.pid, Signal::SIGWINCH);
                    signal(plain.pid, Signal::SIGURG);
                }
            });
            let end = OnDrop(|| over.store(true, Ordering::Relaxed));
            for round in 0..rounds(4) {
                let pid = plain.pid.to_string();
                let options = ["--engine", engine, "-p", &pid];
                let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
                let made = server.clients(round as u64, 50, 3).run();
                let report = run.end_attached();
                report.assert_counts(&made);
                assert_eq!(report.engine(), engine);
                let ignored = |pid| status_field(&format!("{pid}"), "SigIgn");
                assert_eq!(ignored(plain.pid), before[0][1], "{engine} {round}");
            }
            drop(end);
        });
        assert!(settled_signals(plain.pid) == before, "{engine}");
    }
}

/// The engine is given up when SIGTRAP is ignored already.
#[test]
fn a_server_with_more_threads_than_descriptors_is_restored() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["pool=60"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let before = settled_signals(plain.pid);
    let limited = ["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""].map(OsString::from);
    let limited: Vec<OsString> = limited.into_iter().chain([stage.tcptally()]).collect();
    let arguments = ["-p".into(), plain.pid.to_string().into()];
    let mut run = Run::program(&stage, user, &limited, &arguments);
    run.wait_until_attached(&[plain.pid]);
    let made = server.clients(1, 50, 3).run();
    let report = run.end_attached();
    report.assert_counts(&made);
    assert_eq!(report.engine(), "syscall");
    assert_free(plain.pid);
    assert!(settled_signals(plain.pid) == before, "{:?}", signals(plain.pid).first());
}

#[test]
fn a_stopped_server_stays_stopped_until_it_is_continued() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        for mode in ["loop", "pool=3"] {
            let server = Server::c(&program, &[mode], &[Listens::V4]);
            let plain = server.start(&stage, user);
            let stopped = || threads(plain.pid).iter().all(|t| matches!(state(t), Some('T' | 't')));
            let before = settled_signals(plain.pid);
            signal(plain.pid, Signal::SIGSTOP);
            wait_for("the server stops", || stopped().then_some(()));
            let pid = plain.pid.to_string();
            let options = ["--engine", engine, "-p", &pid];

            // Attached and detached: still stopped.
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            let what = format!("{engine} {mode}: stopped as before");
            wait_for(&what, || run.all_stopped(plain.pid).then_some(()));
            assert_eq!(run.end_attached().number("total"), 0);
            // The kernel runs a stopped thread for a moment when a tracer lets it go.
            let still = || threads(plain.pid).iter().all(|t| state(t) == Some('T'));
            wait_for(&what, || still().then_some(()));

            // Continued while it is traced: it serves, and is counted.
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            signal(plain.pid, Signal::SIGCONT);
            let made = server.clients(1, 40, 3).run();
            // And stopped while it is traced: it stays so after the detach.
            signal(plain.pid, Signal::SIGSTOP);
            wait_for("the server stops", || run.all_stopped(plain.pid).then_some(()));
            run.end_attached().assert_counts(&made);
            wait_for(&what, || still().then_some(()));
            assert_eq!(signals(plain.pid), before, "{engine} {mode}: restored while it is stopped");
            signal(plain.pid, Signal::SIGCONT);
            server.assert_serves();
        }
    }
}

#[test]
fn each_way_of_ending_detaches_and_reports() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    for engine in attach_engines(user) {
        for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let options = ["--engine", engine, "-p", &pid];
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            let made = server.clients(1, 30, 3).run();
            run.session.signal(ending);
            let (status, report) = run.finish();
            assert_eq!(status.code(), Some(0), "{ending}");
            report.assert_counts(&made);
            assert_free(plain.pid);
        }
        let options = ["--engine", engine, "-p", &pid, "--duration", "700ms"];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        let (status, report) = run.finish();
        assert_eq!(status.code(), Some(0));
        assert_eq!(report.number("total"), 0);
        assert_free(plain.pid);
    }
    server.assert_serves();
}

#[test]
fn a_server_that_ends_while_it_is_watched_is_reported() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        for last in ["status=3", "segv"] {
            let server = Server::c(&program, &["pool=2", "after=40", last], &[Listens::V4]);
            let mut plain = server.start(&stage, user);
            let pid = plain.pid.to_string();
            let options = ["--engine", engine, "-p", &pid];
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            let made = server.clients(1, 40, 3).run();
            let (status, report) = run.finish();
            assert_eq!(status.code(), Some(0), "{engine} {last}");
            report.assert_counts(&made);
            plain.wait();
        }
    }
}
