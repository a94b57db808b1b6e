//! Servers that create a process for each connection, and ask for addresses elsewhere than on the stack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;

use crate::harness::*;

/// A server such as PostgreSQL, whose first process blocks all signals while it accepts. It waits in
/// poll(2), so that its buffer shows with the first accept.
fn postmaster(stage: &Stage, more: &[&str]) -> Option<Server> {
    let arguments = [&["postmaster", "address=heap"], more].concat();
    Some(Server::c(&stage.server()?, &arguments, &[Listens::V4; 2]))
}

#[test]
fn servers_with_a_process_per_connection_stay_with_their_samples() {
    let stage = Stage::get();
    let server = need!(postmaster(&stage, &[]), "the C server", "there is no C compiler");
    for user in User::all().into_iter().filter(|user| may_open_events(*user)) {
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let (report, made) = run_with_cpu_time(|| {
            let mut run = Run::attach(&stage, user, &["-p", &pid], &[]);
            let made = server.clients(1, 600, 9).run();
            (run.end_attached(), made)
        });
        report.assert_counts_or_unknown(&made);
        assert_eq!(report.engine(), "sample", "its processes would be stopped");
        assert_eq!(report.0["complete"], true, "{}", report.warnings());
        assert_free(plain.pid);
    }
}

/// tcptally is stopped until the first process has closed each socket, and has accepted all connections under
/// the same descriptor.
#[track_caller]
fn asks_new_processes(more: &[&str]) {
    const CLIENTS: u8 = 8;
    let stage = Stage::get();
    let server = need!(postmaster(&stage, more), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, user, &["-p", &pid], &[]);
    run.session.signal(Signal::SIGSTOP);
    wait_for("tcptally stops", || run.all_stopped_itself().then_some(()));
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.ports[0].number));
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|n| {
            let client = open(IpAddr::from([127, 0, 9, n]), to).expect("the server listens");
            wait_for("a process for it", || {
                (children(plain.pid).len() == usize::from(n)).then_some(())
            });
            client
        })
        .collect();
    run.session.signal(Signal::SIGCONT);
    let known = |report: &Report| report.counts_of_known().values().sum::<u64>();
    wait_for("their addresses", || {
        run.session.signal(Signal::SIGUSR1);
        (known(&run.report_so_far()?) == u64::from(CLIENTS)).then_some(())
    });
    drop(clients);
    let report = run.end_attached();
    assert_eq!(report.number("total"), u64::from(CLIENTS));
    assert_eq!(report.counts().len(), usize::from(CLIENTS), "one of each address");
    assert_free(plain.pid);
}

#[test]
fn sockets_are_asked_in_the_processes_that_were_created_for_them() {
    asks_new_processes(&[]);
}

/// inetd, and systemd-socket-activate with `--accept`.
#[test]
fn sockets_that_new_processes_have_moved_to_another_descriptor_are_found() {
    asks_new_processes(&["move"]);
}

/// All processes have ended before tcptally continues.
#[test]
fn unknown_peers_are_reported_with_an_engine_that_knows_them() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["fork", "address=heap"], &[Listens::V4; 2]);
    let plain = server.start(&stage, user);
    let mut run = Run::attach(&stage, user, &["-p", &plain.pid.to_string()], &[]);
    run.session.signal(Signal::SIGSTOP);
    wait_for("tcptally stops", || run.all_stopped_itself().then_some(()));
    let made: u64 = server.clients(1, 20, 3).run().values().sum();
    wait_for("its processes end", || children(plain.pid).is_empty().then_some(()));
    run.session.signal(Signal::SIGCONT);
    let report = run.end_attached();
    assert_eq!(report.number("total"), made);
    assert!(report.number("unknown_peer") > 0, "the server has closed the sockets");
    assert!(report.warnings().contains("'--engine perf'"), "{}", report.warnings());
}
