//! However a server comes by its connections, each is counted once.

use crate::harness::*;

/// Runs the C server with these arguments under each engine, as each user.
fn check(arguments: &[&str], listens: &[Listens]) {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        for engine in spawn_engines(user) {
            let server = Server::c(&program, arguments, listens);
            let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
            let made = server.clients(7, 300, 9).run();
            let report = run.end();
            // Of several listeners, it has to find out which one an accept was on, and the first
            // connections may be closed by then.
            match engine == "sample" && listens.len() > 1 {
                true => report.assert_counts_or_unknown(&made),
                false => report.assert_counts(&made),
            }
            assert_eq!(report.engine(), engine);
        }
    }
}

test_each_shape!(check);

/// The largest run: not one off.
#[test]
fn twenty_thousand_connections_from_fifty_addresses_are_counted_exactly() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in spawn_engines(User::plain()) {
        let (report, made) = run_with_cpu_time(|| {
            let server = Server::c(&program, &["pool=4"], &[Listens::V4]);
            let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
            let made = server.clients(20_000, 20_000, 50).run();
            (run.end(), made)
        });
        report.assert_counts(&made);
    }
}

/// The same with processes instead of threads, and real HTTP.
#[test]
fn twenty_thousand_connections_to_nginx_are_counted_exactly() {
    let stage = Stage::get();
    let server = need!(Server::nginx(), "nginx", "it is not installed");
    let (report, made) = run_with_cpu_time(|| {
        let mut run = Run::spawn(&stage, User::plain(), &[], &server);
        let made = server.clients(20_001, 20_000, 50).run();
        (run.end(), made)
    });
    report.assert_counts(&made);
}
