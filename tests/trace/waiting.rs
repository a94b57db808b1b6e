//! `--wait`: servers that begin to listen later, end, and are restarted.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::attach_port::listens;
use crate::harness::*;

/// Runs `f` where the kernel counts the connections of nobody else.
fn in_own_network(what: &'static str, f: impl FnOnce(Stage) + Send + 'static) {
    if !is_root() || find_program("ip").is_none() {
        return skip(what, "a network namespace takes root and ip(8)");
    }
    let run = move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            return skip(what, "this root may not make network namespaces");
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("ip(8) starts").success());
        f(Stage::get());
    };
    let result = std::thread::spawn(run).join();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Waits until a message was printed this often.
#[track_caller]
fn wait_until_said(run: &mut Run, text: &str, times: usize) {
    wait_for(text, || {
        assert!(run.session.ended().is_none(), "it has ended: {}", run.session.stderr());
        (run.session.stderr().matches(text).count() >= times).then_some(())
    });
}

/// `tcptally trace --port PORT --wait OPTIONS`, when it waits.
#[track_caller]
fn waiting(stage: &Stage, server: &Server, options: &[&str]) -> Run {
    let port = server.ports[0].number.to_string();
    let options = [&["--port", &port, "--wait"], options].concat();
    let mut run = Run::start(stage, User::Oneself, &options);
    wait_until_said(&mut run, "waiting for one", 1);
    run
}

fn restart(stage: &Stage, server: &Server, engine: &str) {
    let mut run = waiting(stage, server, &["--engine", engine]);
    let mut made = Counts::new();
    for round in 1..=3 {
        let mut plain = server.start(stage, User::Oneself);
        wait_until_said(&mut run, "attached to", round);
        let mut clients = server.clients(round as u64, 100, 5).run();
        clients.retain(|key, _| key.1 == server.ports[0].number);
        add(&mut made, &clients);
        plain.signal(Signal::SIGTERM);
        plain.wait();
        wait_until_said(&mut run, "has ended; waiting for the next one", round);
    }
    run.end_attached().assert_counts(&made);
}

/// The servers begin to accept before tcptally is attached to them, but nobody connects.
#[test]
fn servers_are_attached_to_again_when_they_are_restarted() {
    in_own_network("restarted servers", |stage| {
        let program = need!(stage.server(), "the C server", "there is no C compiler");
        for engine in ["auto", "sample", "perf", "syscall"] {
            restart(&stage, &Server::c(&program, &["pool=3"], &[Listens::V4]), engine);
        }
        for server in [Server::nginx(), Server::redis(), Server::haproxy()].into_iter().flatten() {
            restart(&stage, &server, "auto");
        }
    });
}

#[test]
fn connections_between_listen_and_attach_make_the_report_incomplete() {
    in_own_network("connections before the attach", |stage| {
        let program = need!(stage.server(), "the C server", "there is no C compiler");
        let server = Server::c(&program, &["loop"], &[Listens::V4]);
        let mut run = waiting(&stage, &server, &[]);
        run.session.signal(Signal::SIGSTOP);
        wait_for("it stops", || run.all_stopped_itself().then_some(()));
        let _plain = server.start(&stage, User::Oneself);
        let missed: u64 = server.clients(1, 10, 5).run().values().sum();
        run.session.signal(Signal::SIGCONT);
        wait_until_said(&mut run, "attached to", 1);
        let made = server.clients(2, 20, 5).run();
        let report = run.end_attached();
        assert_eq!(report.counts(), made);
        assert_eq!(report.0["complete"], false);
        let expected = format!("at most {missed} connections are not counted");
        assert!(report.warnings().contains(&expected), "{}", report.warnings());
    });
}

/// Nobody connected before, so that nothing is missing.
#[test]
fn a_second_listener_on_the_port_is_reported() {
    in_own_network("a second listener", |stage| {
        let program = need!(stage.server(), "the C server", "there is no C compiler");
        let [first, second] = Server::two_on_a_port(&program);
        let mut run = waiting(&stage, &first, &[]);
        let mut plain = first.start(&stage, User::Oneself);
        wait_until_said(&mut run, "attached to", 1);
        let other = second.start(&stage, User::Oneself);
        wait_until_said(
            &mut run,
            "too, and will be attached to when the present server has ended",
            1,
        );
        plain.signal(Signal::SIGTERM);
        plain.wait();
        wait_until_said(&mut run, "attached to", 2 + 1);
        let made = second.clients(1, 30, 5).run();
        let report = run.end_attached();
        assert_eq!(report.counts(), made);
        assert_eq!(report.0["complete"], false);
        let said = format!("process {} (server) listens on", other.pid);
        assert!(report.warnings().contains(&said), "{}", report.warnings());
    });
}

#[test]
fn a_second_listener_just_before_the_end_is_reported() {
    in_own_network("a second listener at the end", |stage| {
        let program = need!(stage.server(), "the C server", "there is no C compiler");
        let [first, second] = Server::two_on_a_port(&program);
        let mut run = waiting(&stage, &first, &[]);
        let _plain = first.start(&stage, User::Oneself);
        wait_until_said(&mut run, "attached to", 1);
        let other = second.start(&stage, User::Oneself);
        wait_for("both listen", || listens(other.pid).then_some(()));
        let report = run.end_attached();
        let said = format!("process {} (server) listens on", other.pid);
        assert!(report.warnings().contains(&said), "{}", report.warnings());
    });
}

#[test]
fn a_server_that_listens_already_is_attached_to_at_once() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &["prefork=2"], &[Listens::V4]);
    let mut plain = server.start(&stage, user);
    let port = server.ports[0].number.to_string();
    let options = ["--port", &port, "--wait", "--duration", "30s"];
    let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
    let made = server.clients(1, 60, 5).run();
    run.end_attached().assert_counts(&made);
    assert!(plain.ended().is_none());
    assert_free(plain.pid);
}

#[test]
fn the_end_of_the_wait_is_no_success_if_no_server_came() {
    let stage = Stage::get();
    let port = free_port().to_string();
    for signal in [Some(Signal::SIGTERM), Some(Signal::SIGINT), None] {
        let mut options = vec!["--port", &port, "--wait"];
        if signal.is_none() {
            options.extend(["--duration", "200ms"]);
        }
        let mut run = Run::start(&stage, User::plain(), &options);
        if let Some(signal) = signal {
            wait_until_said(&mut run, "waiting for one", 1);
            // A report so far can be had meanwhile.
            run.session.signal(Signal::SIGUSR1);
            wait_for("a report", || run.report_so_far());
            run.session.signal(signal);
        }
        let (status, report) = run.finish();
        assert_eq!(status.code(), Some(1), "{}", run.session.stderr());
        let said = run.session.stderr();
        let expected = format!("exit status 1: no process listened on port {port}");
        assert!(said.contains(&expected), "{said}");
        assert_eq!((report.number("total"), &report.0["complete"]), (0, &true.into()));
        assert!(report.warnings().contains("no process listened"), "{}", report.warnings());
    }
}

#[test]
fn waiting_is_shown_on_a_terminal_and_ended_there() {
    let stage = Stage::get();
    let port = free_port().to_string();
    let folder = open_folder();
    let mut argv = vec![stage.tcptally()];
    argv.extend(["trace", "--port", &port, "--wait"].map(std::ffi::OsString::from));
    let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
    terminal.wait_for("yet; waiting for one");
    terminal.wait_for("Ctrl-C prints the counts and ends it");
    terminal.type_in("\x03");
    terminal.wait_for("0 connections");
    terminal.wait_for("exit status 1: no process listened");
    assert_eq!(terminal.wait().code(), Some(1));
}

#[test]
fn waiting_needs_a_port_and_nothing_to_attach_to() {
    let stage = Stage::get();
    for options in [
        &["--wait"][..],
        &["--wait", "--port", "1", "-p", "1"],
        &["--wait", "--port", "1", "--", "true"],
    ] {
        let mut run = Run::start(&stage, User::plain(), options);
        assert_eq!(run.session.wait().code(), Some(2), "{}", run.session.stderr());
    }
}
