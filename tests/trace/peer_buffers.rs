//! The peer's address where the server's memory does not tell it: a short buffer that holds another
//! address, one that several threads share, one that another thread overwrites.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;

/// By address alone: a local port is asked of the kernel, and the peer with it.
const OPTIONS: [&str; 7] = ["trace", "-F", "json", "-o", "report.json", "--by", "ip"];

fn argv(stage: &Stage, more: &[&str]) -> Vec<OsString> {
    let mut argv = vec![stage.tcptally()];
    argv.extend(OPTIONS.iter().chain(more).map(OsString::from));
    argv
}

#[track_caller]
fn assert_told(folder: &Path, made: &Counts, what: &str) {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    let report = Report(serde_json::from_str(&text).expect("JSON"));
    let mut told = BTreeMap::<IpAddr, u64>::new();
    for row in report.0["rows"].as_array().expect("rows") {
        let ip = row["ip"].as_str().and_then(|ip| ip.parse().ok());
        let ip = ip.unwrap_or_else(|| panic!("{what}: no address in {row}"));
        told.insert(ip, row["count"].as_u64().expect("a count"));
    }
    let mut truth = BTreeMap::<IpAddr, u64>::new();
    for ((ip, _), count) in made {
        *truth.entry(*ip).or_default() += count;
    }
    assert_eq!(told, truth, "{what}");
    report.assert_complete();
}

/// The samples do not tell these peers, and a socket may be closed before it is asked. Then the
/// peer is unknown; an address that may be another client's makes the report incomplete.
#[track_caller]
fn assert_told_or_unknown(folder: &Path, made: &Counts, what: &str) {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    let report = Report(serde_json::from_str(&text).expect("JSON"));
    assert_eq!(report.number("total"), made.values().sum::<u64>(), "{what}: {}", report.0);
    assert_eq!(report.number("lost"), 0, "{what}: {}", report.0);
    for row in report.0["rows"].as_array().expect("rows") {
        let Some(ip) = row["ip"].as_str() else { continue };
        let of_ip = made.iter().filter(|((from, _), _)| from.to_string() == ip);
        let truth: u64 = of_ip.map(|(_, count)| count).sum();
        let is_right = row["count"].as_u64().is_some_and(|count| count <= truth);
        assert!(is_right || report.0["complete"] == false, "{what}: {row}, made {truth}");
    }
}

/// Counts in a server that is spawned, with each engine that can do so everywhere.
fn check_spawned(program: &Path, arguments: &[&str]) {
    let stage = Stage::get();
    for engine in ["seccomp", "syscall"] {
        let what = format!("{arguments:?}, spawned, {engine}");
        let server = Server::c(program, arguments, &[Listens::V4]);
        let folder = open_folder();
        let mut argv = argv(&stage, &["--engine", engine, "--"]);
        argv.extend(server.argv.iter().cloned());
        let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
        server.wait_until_it_listens(&mut session);
        let made = server.clients(1, 150, 9).run();
        session.signal(Signal::SIGTERM);
        session.wait();
        session.assert_all_gone();
        assert_told(folder.path(), &made, &what);
    }
}

/// Counts in a server that is spawned, and in one that is attached to, with all engines.
fn check(program: &Path, arguments: &[&str]) {
    check_spawned(program, arguments);
    let stage = Stage::get();
    let user = User::plain();
    let is_32_bit = program.ends_with("server32");
    for engine in attach_engines(user) {
        // No 32-bit calls are visible to these engines, so that it is an error.
        let engine = if is_32_bit && engine != "syscall" { "auto" } else { engine };
        let what = format!("{arguments:?}, attached, {engine}");
        let server = Server::c(program, arguments, &[Listens::V4]);
        let plain = server.start(&stage, user);
        let folder = open_folder();
        let argv = argv(&stage, &["--engine", engine, "-p", &plain.pid.to_string()]);
        let mut session = Session::start(&stage, user, folder.path(), &argv);
        wait_for("it attaches", || session.stderr().contains("attached").then_some(()));
        let made = server.clients(1, 150, 9).run();
        session.signal(Signal::SIGINT);
        assert_eq!(session.wait().code(), Some(0), "{what}: {}", session.stderr());
        match engine {
            "sample" => assert_told_or_unknown(folder.path(), &made, &what),
            _ => assert_told(folder.path(), &made, &what),
        }
        assert_free(plain.pid);
    }
}

fn check_all(arguments: &[&[&str]]) {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    arguments.iter().for_each(|a| check(&program, a));
}

fn check_32(arguments: &[&[&str]]) {
    let stage = Stage::get();
    let program = need!(stage.server_32(), "the 32-bit server", "it cannot be built or run");
    arguments.iter().for_each(|a| check(&program, a));
}

#[test]
fn a_short_buffer_with_an_old_address_is_not_trusted() {
    check_all(&[
        &["address=stale"],
        &["address=stale", "call=accept4", "pool=3"],
        &["address=stale", "prefork=2"],
    ]);
}

#[test]
fn a_buffer_that_several_threads_share_is_not_trusted() {
    check_all(&[&["address=shared", "pool=4"], &["address=heap", "pool=4"], &["address=shared"]]);
}

#[test]
fn a_buffer_that_another_thread_overwrites_is_not_trusted() {
    check_all(&[&["address=rewritten"]]);
}

#[test]
fn buffers_of_32_bit_servers_are_checked_as_well() {
    check_32(&[
        &["address=stale"],
        &["address=stale", "call=socketcall"],
        &["address=shared", "pool=3", "call=socketcall4"],
        &["address=rewritten", "call=accept4"],
    ]);
}

#[test]
fn the_buffer_of_a_32_bit_call_of_a_64_bit_server_is_checked() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if stage.server_32().is_none() {
        return skip("int 0x80", "this kernel runs no 32-bit programs");
    }
    check_spawned(&program, &["address=stale", "call=int80"]);
}
