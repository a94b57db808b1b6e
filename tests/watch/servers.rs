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
fn nginx_is_counted_exactly() {
    check("nginx", Server::nginx);
}

#[test]
fn haproxy_is_counted_exactly() {
    check("haproxy", Server::haproxy);
}

#[test]
fn redis_is_counted_exactly() {
    check("redis", Server::redis);
}

#[test]
fn a_server_with_a_thread_per_connection_is_counted_exactly() {
    check("python3", Server::python_threads);
}

/// The watcher has no more to do with the server than any other program on the machine.
#[test]
fn watch_opens_no_file_of_the_server() {
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
