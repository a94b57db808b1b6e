//! Servers that people run, of another user, counted exactly without being touched.

use std::fs;

use crate::harness::*;
use crate::watching::*;

fn check(name: &str, server: fn() -> Option<Server>) {
    let stage = Stage::get();
    let server = need!(server(), name, "it is not installed");
    let session = server.start(&stage, User::Oneself);
    let ports: Vec<u16> = server.ports.iter().map(|p| p.number).collect();
    let watch = Watch::ports(&ports, &[]);
    let made = server.clients(5, 3000, 50).run();
    for pid in session_members(session.pid) {
        assert!(is_free(pid), "{name} is traced");
    }
    let report = watch.end();
    report.assert_counts(&made);
    assert_eq!((report.engine(), &report.0["source"]), ("sock_diag", &"watch".into()));
}

#[test]
fn nginx() {
    check("nginx", Server::nginx);
}

#[test]
fn haproxy() {
    check("haproxy", Server::haproxy);
}

#[test]
fn redis() {
    check("redis", Server::redis);
}

#[test]
fn a_thread_per_connection() {
    check("python3", Server::python_threads);
}

/// The watcher has no more to do with the server than any other program on the machine.
#[test]
fn opens_nothing_of_the_server() {
    let stage = Stage::get();
    let server = need!(Server::python_threads(), "python3", "it is not installed");
    let session = server.start(&stage, User::Oneself);
    let watch = Watch::ports(&[server.ports[0].number], &[]);
    let pid = watch.session.pid;
    let server_files = format!("/proc/{}", session.pid);
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        assert!(!target.starts_with(&server_files), "{target:?} is open");
    }
    watch.end().assert_counts(&Counts::new());
}
