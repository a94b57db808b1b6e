//! Where the report goes, and that nothing about it can harm the server.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::*;

/// `tcptally trace OPTIONS -- SERVER` in a folder, with a shell to redirect its streams.
fn start(stage: &Stage, server: &Server, redirect: &str, options: &[&str]) -> Session {
    let script = format!("exec \"$@\" {redirect}");
    let mut argv: Vec<OsString> = ["sh", "-c", &script, "sh"].map(OsString::from).into();
    argv.extend([stage.tcptally(), "trace".into()]);
    argv.extend(options.iter().map(OsString::from));
    argv.push("--".into());
    argv.extend(server.argv.iter().cloned());
    let mut session = Session::start(stage, User::plain(), server.folder.path(), &argv);
    server.wait_until_it_listens(&mut session);
    session
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_server_starts() {
    let stage = Stage::get();
    let folder = open_folder();
    for file in ["/no/such/folder/report", "/proc/report", "."] {
        let mut argv = vec![stage.tcptally(), "trace".into(), "-o".into(), file.into()];
        argv.extend(["--", "touch", "started"].map(OsString::from));
        let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
        assert_eq!(session.wait().code(), Some(125), "{file}: {}", session.stderr());
        assert!(session.stderr().contains(file), "{}", session.stderr());
        assert!(!folder.path().join("started").exists(), "{file}");
    }
}

#[test]
fn a_spawned_servers_report_goes_to_stderr() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["after=7"], &[Listens::V4]);
    let mut session = start(&stage, &server, "", &["-F", "plain"]);
    server.clients(1, 7, 1).run();
    assert!(session.wait().success());
    assert_eq!(session.stdout(), "");
    assert!(session.stderr().contains("127.1.0.1: 7"), "{}", session.stderr());
}

#[test]
fn a_full_disk_does_no_harm() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for options in [&["-F", "json"][..], &["--events", "-F", "jsonl"]] {
        for redirect in ["2>/dev/full", "2>&-", ">&- 2>&-"] {
            let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
            let mut session = start(&stage, &server, redirect, options);
            server.clients(1, 300, 5).run();
            session.signal(Signal::SIGTERM);
            session.wait();
            session.assert_all_gone();
        }
    }
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let mut session = start(&stage, &server, "", &["--events", "-F", "jsonl", "-o", "/dev/full"]);
    server.clients(1, 300, 5).run();
    session.signal(Signal::SIGTERM);
    session.wait();
    session.assert_all_gone();
    assert!(session.stderr().contains("/dev/full"), "{}", session.stderr());
}

/// The reader of the events goes away after the first one.
#[test]
fn a_closed_pipe_does_no_harm() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["pool=2", "after=400"], &[Listens::V4]);
    let mut command = Command::new(stage.tcptally());
    command.args(["trace", "--events", "-F", "jsonl", "--"]).args(&server.argv);
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .current_dir(server.folder.path())
        .spawn()
        .expect("tcptally starts");
    let port = server.ports[0].number;
    wait_for("the server listens", || listening_ports().contains(&port).then_some(()));
    server.clients(1, 1, 1).run();
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut first = String::new();
    while !first.contains("127.1.0.1") {
        first.clear();
        assert_ne!(stderr.read_line(&mut first).expect("it writes lines"), 0);
    }
    drop(stderr);
    // All are answered, and the server ends as it wants to: with status 0.
    server.clients(2, 399, 5).run();
    let status = wait_for("tcptally ends", || child.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0));
}

/// A report is written beside its file and renamed, so that nobody ever reads half of one; the
/// old one stays until then.
#[test]
fn a_report_replaces_the_old_one_at_once() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["after=5"], &[Listens::V4]);
    let folder = server.folder.path();
    fs::write(folder.join("report"), "the old one").expect("a folder to write in");
    set_mode(&folder.join("report"), 0o666);
    let mut session = start(&stage, &server, "", &["-F", "plain", "-o", "report"]);
    assert_eq!(fs::read_to_string(folder.join("report")).expect("still there"), "the old one");
    server.clients(1, 5, 1).run();
    assert!(session.wait().success());
    assert_eq!(fs::read_to_string(folder.join("report")).expect("a report"), "127.1.0.1: 5\n");
    let left = fs::read_dir(folder).expect("our folder").count();
    assert_eq!(left, 3, "report, stdout and stderr, and no temporary file");
}
