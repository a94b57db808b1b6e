//! tcptally has no privileges that it does not need, and a command that it starts has all that it would have without.

use std::ffi::OsString;
use std::fs;

use crate::harness::*;

const SETS: [&str; 6] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
/// Numbers of capabilities that nothing here needs: capability.h.
const UNNEEDED: [(&str, u32); 5] = [
    ("CAP_SETUID", 7),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_BOOT", 22),
    ("CAP_SYS_TIME", 25),
];

fn sets(task: &str) -> Vec<String> {
    SETS.iter().map(|field| status_field(task, field).expect("a process")).collect()
}

fn effective(task: &str) -> u64 {
    u64::from_str_radix(&status_field(task, "CapEff").expect("a thread"), 16).expect("hexadecimal")
}

/// The numbers of the descriptors, and what is behind those above the streams.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let folder = format!("/proc/{pid}/fd");
    let numbers = fs::read_dir(&folder).expect("our own").map(|e| e.expect("an entry").file_name());
    let target = |n: &OsString| fs::read_link(format!("{folder}/{}", n.to_string_lossy()));
    // The numbers of sockets and pipes differ from run to run.
    let kind = |text: String| text.split(':').next().unwrap_or_default().to_owned();
    let mut all: Vec<(u32, String)> = numbers
        .filter_map(|n| {
            let number = n.to_str()?.parse().ok()?;
            let kind = kind(target(&n).ok()?.to_string_lossy().into_owned());
            (number > 2).then_some((number, kind))
        })
        .collect();
    all.sort();
    all
}

/// Waits until every thread can gain no privileges by executing a program.
#[track_caller]
fn assert_renounced(pid: u32, what: &str) {
    let has_renounced = |t: &String| status_field(t, "NoNewPrivs").is_none_or(|v| v == "1");
    wait_for(what, || threads(pid).iter().all(has_renounced).then_some(()));
    for thread in threads(pid) {
        let name = status_field(&thread, "Name").unwrap_or_default();
        for (capability, number) in UNNEEDED {
            assert_eq!(effective(&thread) >> number & 1, 0, "{what}, thread {name}: {capability}");
        }
        if name == "metrics" {
            assert_eq!(effective(&thread), 0, "{what}");
        }
    }
}

#[test]
fn a_command_has_the_privileges_and_descriptors_that_it_has_without_tcptally() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        let server = Server::c(&program, &["loop"], &[Listens::V4]);
        let (expected, expected_descriptors) = {
            let plain = server.start(&stage, user);
            (sets(&plain.pid.to_string()), descriptors(plain.pid))
        };
        let perf = may_open_events(user).then_some("perf");
        for engine in spawn_engines(user).into_iter().chain(perf) {
            // With -v there is a thread that prints messages.
            let mut run = Run::spawn(&stage, user, &["-v", "--engine", engine], &server);
            let pid = run.server_pid();
            let mut expected = expected.clone();
            if engine == "seccomp" && !user.is_root() {
                // The kernel allows a filter only so: seccomp(2).
                expected[5] = "1".into();
            }
            assert_eq!(sets(&pid.to_string()), expected, "{engine}");
            assert_eq!(descriptors(pid), expected_descriptors, "{engine}");
            assert_renounced(run.session.pid, &format!("{engine} has nothing left to renounce"));
            let made = server.clients(1, 20, 3).run();
            run.end().assert_counts(&made);
        }
    }
}

#[test]
fn no_thread_of_tcptally_can_gain_privileges_while_it_is_attached() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        for engine in attach_engines(user) {
            let server = Server::c(&program, &["thread"], &[Listens::V4]);
            let plain = server.start(&stage, user);
            let before = (sets(&plain.pid.to_string()), descriptors(plain.pid));
            let address = format!("127.0.0.1:{}", free_port());
            let options = ["--engine", engine, "-p", &plain.pid.to_string(), "--metrics", &address];
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            assert_renounced(run.session.pid, &format!("attached, {engine}"));
            let made = server.clients(1, 20, 3).run();
            // Its threads may still close the last connections.
            wait_for("the server has what it had before", || {
                ((sets(&plain.pid.to_string()), descriptors(plain.pid)) == before).then_some(())
            });
            run.end_attached().assert_counts(&made);
        }
    }
}

#[test]
fn watch_and_parse_can_gain_no_privileges() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["loop"], &[Listens::V4]);
    let _plain = server.start(&stage, User::Oneself);
    let port = server.ports[0].number.to_string();
    let address = format!("127.0.0.1:{}", free_port());
    for user in User::all() {
        for engine in ["sockdiag", "auto"] {
            let folder = open_folder();
            let words = ["watch", "--engine", engine, "--port", &port, "--metrics", &address];
            let argv: Vec<OsString> =
                [stage.tcptally()].into_iter().chain(words.map(OsString::from)).collect();
            let session = Session::start(&stage, user, folder.path(), &argv);
            wait_for("it watches", || session.stderr().contains("watching port").then_some(()));
            assert_renounced(session.pid, &format!("watch, {engine}"));
        }
        let folder = open_folder();
        let argv: Vec<OsString> = vec![stage.tcptally(), "parse".into()];
        let pipe = std::process::Stdio::piped();
        let session = Session::start_with(&stage, user, folder.path(), &argv, pipe, &[]);
        wait_for("it reads", || {
            let name = status_field(&session.pid.to_string(), "Name");
            (name.as_deref() == Some("tcptally") && threads(session.pid).len() > 1).then_some(())
        });
        assert_renounced(session.pid, "parse");
    }
}
