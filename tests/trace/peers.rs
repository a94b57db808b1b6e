//! Who the peer is: IPv4, IPv6, mapped, not asked for, not a connection at all.

use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use crate::harness::*;

const ENGINES: [&str; 2] = ["seccomp", "syscall"];

fn check(arguments: &[&str], listens: &[Listens]) {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ENGINES {
        let server = Server::c(&program, arguments, listens);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(3, 200, 9).run();
        run.end().assert_counts(&made);
    }
}

#[test]
fn mapped_ipv4_clients_count_as_ipv4() {
    if !has_ipv6() {
        return skip("IPv6", "this machine has no ::1");
    }
    check(&[], &[Listens::V4, Listens::V6, Listens::Dual]);
}

#[test]
fn peers_are_known_without_an_address_buffer() {
    check(&["address=null", "call=accept4"], &[Listens::V4]);
    if has_ipv6() {
        check(&["address=null"], &[Listens::Dual, Listens::V4]);
    }
}

#[test]
fn peers_are_known_with_a_short_address_buffer() {
    check(&["address=short"], &[Listens::V4]);
    if has_ipv6() {
        check(&["address=short"], &[Listens::Dual, Listens::V6]);
    }
}

#[test]
fn unix_sockets_are_not_connections() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for (engine, address) in ENGINES.iter().flat_map(|e| [(e, "full"), (e, "null")]) {
        let address = format!("address={address}");
        let server = Server::c(&program, &["unix=socket", &address], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let path = run.folder().join("socket");
        for _ in 0..20 {
            let mut stream = UnixStream::connect(&path).expect("the server listens there");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert_eq!(answer, "ok\n");
        }
        let made = server.clients(4, 40, 3).run();
        run.end().assert_counts(&made);
    }
}

/// The clients reset the connection before the server accepts, and the server asked for no
/// address: each is counted, as whom it was or as unknown.
#[test]
fn peers_that_have_closed_already_are_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ENGINES {
        let server = Server::c(&program, &["address=null"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let pid = run.server_pid();
        let mut made = server.clients(5, 10, 2).run();
        signal(pid, nix::sys::signal::Signal::SIGSTOP);
        wait_for("the server stops", || run.all_stopped(pid).then_some(()));
        let to = (Ipv4Addr::LOCALHOST, server.ports[0].number).into();
        let gone = Ipv4Addr::new(127, 9, 9, 9).into();
        for _ in 0..7 {
            // Reset by its end, since it is closed without lingering.
            drop(open(gone, to).expect("the backlog takes it"));
        }
        signal(pid, nix::sys::signal::Signal::SIGCONT);
        add(&mut made, &server.clients(6, 10, 2).run());
        let report = run.end();
        let mut told = report.counts_of_known();
        let known = told.remove(&(gone, server.ports[0].number)).unwrap_or_default();
        assert_eq!(known + report.number("unknown_peer"), 7, "{engine}: {}", report.0);
        assert_eq!(told, made, "{engine}");
        assert_eq!(report.number("total"), 27, "{engine}");
    }
}
