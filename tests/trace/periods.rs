//! `--duration` ends the counting, USR1 shows it so far; the server goes on serving.

use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

#[test]
fn after_the_duration_the_report_is_written_and_the_server_continues() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in spawn_engines(User::plain()) {
        let server = || Server::c(&program, &["pool=2"], &[Listens::V4]);
        let (mut run, server, first) = run_for_a_duration(&stage, User::plain(), engine, server);
        for round in 0..3 {
            server.clients(round, 50, 3).run();
        }
        assert!(run.session.ended().is_none(), "tcptally waits for the server");
        let said = "counting has ended; the command continues";
        wait_for(said, || run.session.stderr().contains(said).then_some(()));
        assert_eq!(run.end().counts(), first.counts());
    }
}

#[test]
fn an_invalid_duration_is_refused() {
    let stage = Stage::get();
    let folder = open_folder();
    for duration in ["soon", "-5s", ""] {
        let mut argv = vec![stage.tcptally()];
        let option = format!("--duration={duration}");
        argv.extend(["trace", &option, "--", "touch", "started"].map(OsString::from));
        let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
        assert_eq!(session.wait().code(), Some(2), "{duration}: {}", session.stderr());
        assert!(session.stderr().contains("duration"), "{}", session.stderr());
        assert!(!folder.path().join("started").exists());
    }
}

#[test]
fn usr1_shows_the_tally_so_far() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &[], &[Listens::V4]);
    let mut argv = vec![stage.tcptally()];
    argv.extend(["trace", "-F", "plain", "--"].map(OsString::from));
    argv.extend(server.argv.iter().cloned());
    let mut session = Session::start(&stage, User::plain(), server.folder.path(), &argv);
    server.wait_until_it_listens(&mut session);
    for n in 1..=3 {
        server.clients(n, 2, 1).run();
        session.signal(Signal::SIGUSR1);
        let line = format!("127.1.0.1: {}\n", n * 2);
        wait_for("the tally so far", || session.stderr().contains(&line).then_some(()));
    }
    session.signal(Signal::SIGTERM);
    session.wait();
    session.assert_all_gone();
    assert_eq!(session.stderr().matches("127.1.0.1: 6").count(), 2, "once asked, once at the end");
}

#[test]
fn a_short_run_does_not_wait_for_the_duration() {
    let stage = Stage::get();
    let command = ["true"].map(OsString::from);
    let mut run = Run::command(&stage, User::plain(), &["--duration", "1h"], &command);
    let ended = wait_at_most(Duration::from_secs(30), || run.session.ended());
    assert!(ended.expect("it ends with its command").success());
}
