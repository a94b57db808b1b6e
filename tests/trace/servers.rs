//! Servers that people run: counted exactly, and ended as they would have ended without us.

use nix::sys::signal::Signal;

use crate::harness::*;

const ENGINES: [&str; 2] = ["seccomp", "syscall"];

fn check(name: &str, server: fn(User) -> Option<Server>) {
    let stage = Stage::get();
    for user in User::all() {
        let alone = need!(server(user), name, "it is not installed");
        let mut session = alone.start(&stage, user);
        alone.clients(1, 30, 3).run();
        session.signal(Signal::SIGTERM);
        let ends_with = session.wait();
        session.assert_all_gone();

        for (seed, engine) in ENGINES.into_iter().enumerate() {
            let server = need!(server(user), name, "it is not installed");
            let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
            let made = server.clients(seed as u64, 700, 12).run();
            run.session.signal(Signal::SIGTERM);
            let (status, report) = run.finish();
            assert_eq!(status, ends_with, "{name} as {user:?}, {engine}");
            report.assert_counts(&made);
            assert_eq!(report.engine(), engine);
        }
    }
}

#[test]
fn nginx_is_counted_exactly() {
    check("nginx", |_| Server::nginx());
}

#[test]
fn haproxy_is_counted_exactly() {
    check("haproxy", |_| Server::haproxy());
}

#[test]
fn redis_is_counted_exactly() {
    check("redis", |_| Server::redis());
}

#[test]
fn memcached_is_counted_exactly() {
    check("memcached", Server::memcached);
}

#[test]
fn python_with_a_thread_per_connection_is_counted_exactly() {
    check("python3", |_| Server::python_threads());
}

#[test]
fn python_on_an_event_loop_is_counted_exactly() {
    check("python3", |_| Server::python_asyncio());
}

#[test]
fn go_is_counted_exactly() {
    check("go", |_| Server::go());
}

#[test]
fn node_is_counted_exactly() {
    check("node", |_| Server::node());
}
