//! `--engine perf -- COMMAND`: a server that is started, at the price of an attached one, and
//! that outlives whatever becomes of tcptally.

use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

/// Who may have the engine.
fn users() -> Vec<User> {
    User::all().into_iter().filter(|u| attach_engines(*u).contains(&"perf")).collect()
}

#[test]
fn perf_counts_of_spawned_servers_are_exact() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let modes = [&["loop"][..], &["pool=4"], &["thread"], &["fork"], &["prefork=2"], &["exec=9"]];
    for user in users() {
        for mode in modes {
            let server = Server::c(&program, mode, &[Listens::V4, Listens::V4]);
            let mut run = Run::spawn(&stage, user, &["--engine", "perf"], &server);
            let made = server.clients(1, 200, 5).run();
            let report = run.end();
            report.assert_counts(&made);
            assert_eq!(report.engine(), "perf", "{mode:?}");
        }
    }
}

/// Such threads are found out at the first check, a second after the first connections.
#[test]
fn connections_of_threads_that_block_signals_are_lost_with_cause_and_remedy() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in users() {
        let server = Server::c(&program, &["pool=4", "block"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, user, &["--engine", "perf"], &server);
        let made = server.clients(1, 200, 5).run();
        let report = run.end();
        let (total, lost) = (report.number("total"), report.number("lost"));
        assert_eq!(total + lost, made.values().sum::<u64>(), "{}", report.0);
        let is_told = report.warnings().contains("blocked the signal");
        assert_eq!(is_told, lost > 0, "{}", report.warnings());
        assert_eq!(report.warnings().contains("'--engine sample'"), is_told);
    }
}

#[test]
fn perf_counts_of_real_spawned_servers_are_exact() {
    let stage = Stage::get();
    for server in [Server::nginx, Server::redis, Server::node, Server::go, Server::python_threads] {
        let server = need!(server(), "a server", "it is not installed");
        for user in users().into_iter().take(1) {
            let mut run = Run::spawn(&stage, user, &["--engine", "perf"], &server);
            let made = server.clients(1, 200, 5).run();
            run.end().assert_counts(&made);
        }
    }
}

#[test]
fn after_the_duration_a_server_spawned_with_perf_continues_untraced() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in users() {
        let server = || Server::c(&program, &["pool=2"], &[Listens::V4]);
        let (mut run, server, first) = run_for_a_duration(&stage, user, "perf", server);
        let pid = run.server_pid();
        assert_free(pid);
        let ignored = status_field(&pid.to_string(), "SigIgn").expect("the server runs");
        let ignored = u64::from_str_radix(&ignored, 16).expect("a mask");
        assert_eq!(ignored & 1 << (Signal::SIGTRAP as i32 - 1), 0, "SIGTRAP as before");
        server.assert_serves();
        assert_eq!(run.end().counts(), first.counts());
    }
}

/// `TCPTALLY_ROUNDS=100 cargo test --test trace spawn_perf` tries harder.
#[test]
fn a_server_spawned_with_perf_survives_its_tracer() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let c = |mode| Server::c(&program, &[mode], &[Listens::V4]);
    let mut random = Random(17);
    for user in users() {
        for (mode, server) in [
            ("pool=4", &(|| Some(c("pool=4"))) as &dyn Fn() -> Option<Server>),
            ("thread", &|| Some(c("thread"))),
            ("fork", &|| Some(c("fork"))),
            ("nginx", &Server::nginx),
            ("python", &Server::python_threads),
        ] {
            for round in 0..rounds(1) {
                let server = need!(server(), mode, "it is not installed");
                let mut run = Run::spawn(&stage, user, &["--engine", "perf"], &server);
                let pid = run.server_pid();
                let load = server.clients(1, 100, 5).keep_coming();
                wait_for("some load", || (load.so_far() > 20).then_some(()));
                std::thread::sleep(Duration::from_micros(random.below(20_000)));
                run.session.signal(Signal::SIGKILL);
                run.session.wait();
                let before = load.so_far();
                wait_for("more load", || (load.so_far() > before + 50).then_some(()));
                assert!(state(&pid.to_string()).is_some_and(|s| s != 'Z'), "{mode} {round}");
                for process in session_members(run.session.pid) {
                    assert_free(process);
                }
                // Nobody was refused, and nobody is.
                assert!(!load.stop().is_empty());
                server.assert_serves();
            }
        }
    }
}

/// glibc blocks all signals while it makes a thread: no reason to stop that at its system calls.
#[test]
fn a_new_thread_is_not_stopped_at_its_system_calls() {
    const SCRIPT: &str = "
import os, threading
def work():
    for i in range(3000): os.getppid()
    status = open('/proc/thread-self/status').read()
    print(status.split('nonvoluntary')[0].split('voluntary_ctxt_switches:')[1])
thread = threading.Thread(target=work)
thread.start()
thread.join()
";
    let stage = Stage::get();
    let python = need!(find_program("python3"), "python3", "it is not installed");
    for user in users() {
        let mut argv = vec![python.clone().into_os_string()];
        argv.extend(["-c", SCRIPT].map(OsString::from));
        let mut run = Run::command(&stage, user, &["--engine", "perf"], &argv);
        run.session.wait();
        let stops: u32 = run.session.stdout().trim().parse().expect("a number");
        assert!(stops < 3000, "it stood still {stops} times");
    }
}
