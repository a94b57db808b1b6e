//! A server that makes itself a daemon under `tcptally trace --`: the command ends, and the process
//! that it leaves behind goes on accepting.

use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;

/// The command line that traces this server and writes to `report.json`.
fn line(stage: &Stage, engine: &str, server: &Server) -> Vec<OsString> {
    let options = ["trace", "--engine", engine, "-F", "json", "-o", "report.json"];
    let mut argv = vec![stage.tcptally()];
    argv.extend(options.map(OsString::from));
    argv.extend(["--by", "ip,port", "--"].map(OsString::from));
    argv.extend(server.argv.iter().cloned());
    argv
}

fn report(folder: &Path) -> Report {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    Report(serde_json::from_str(&text).expect("JSON"))
}

/// The daemon, once it listens and the command has ended.
fn daemon_of(server: &Server, tcptally: u32) -> u32 {
    let port = server.ports[0].number;
    wait_for("the server listens", || listening_ports().contains(&port).then_some(()));
    wait_for("the command has ended", || {
        let members = session_members(tcptally);
        let others: Vec<u32> = members.into_iter().filter(|p| *p != tcptally).collect();
        match others[..] {
            [daemon] if stat_field(daemon, 4) != Some(u64::from(tcptally)) => Some(daemon),
            _ => None,
        }
    })
}

fn engines() -> Vec<&'static str> {
    attach_engines(User::plain()).into_iter().filter(|engine| *engine != "sample").collect()
}

#[test]
fn ctrl_c_and_ctrl_backslash_detach_from_a_daemon() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in engines() {
        for key in ["\x03", "\x1c"] {
            let server = Server::c(&program, &["daemon"], &[Listens::V4]);
            let folder = open_folder();
            let argv = line(&stage, engine, &server);
            let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
            let daemon = daemon_of(&server, terminal.pid);
            let made = server.clients(1, 40, 3).run();
            terminal.type_in(key);
            assert_eq!(terminal.wait().code(), Some(0), "{engine}");
            report(folder.path()).assert_counts(&made);
            assert_free(daemon);
            server.assert_serves();
            signal(daemon, Signal::SIGKILL);
        }
    }
}

#[test]
fn term_detaches_from_a_daemon_and_does_not_end_it() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in engines() {
        for number in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let server = Server::c(&program, &["daemon"], &[Listens::V4]);
            let folder = open_folder();
            let argv = line(&stage, engine, &server);
            let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
            let daemon = daemon_of(&server, session.pid);
            let made = server.clients(1, 40, 3).run();
            session.signal(number);
            assert_eq!(session.wait().code(), Some(0), "{engine}: {}", session.stderr());
            report(folder.path()).assert_counts(&made);
            assert_free(daemon);
            server.assert_serves();
            signal(daemon, Signal::SIGKILL);
        }
    }
}

#[test]
fn the_first_request_to_end_a_filtered_daemon_explains_the_second() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for key in ["\x03", "\x1c"] {
        let server = Server::c(&program, &["daemon"], &[Listens::V4]);
        let folder = open_folder();
        let argv = line(&stage, "seccomp", &server);
        let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
        let daemon = daemon_of(&server, terminal.pid);
        let mut made = server.clients(1, 40, 3).run();
        terminal.type_in(key);
        terminal.wait_for("second Ctrl-C or SIGTERM ends it");
        terminal.type_in("\x1a");
        terminal.wait_for("SIGTSTP ignored");
        add(&mut made, &server.clients(2, 40, 3).run());
        // Keys within 300 ms are the same request (`SAME_REQUEST`).
        std::thread::sleep(std::time::Duration::from_millis(400));
        terminal.type_in(key);
        terminal.wait_for(&format!("SIGTERM sent to process {daemon}"));
        assert_eq!(terminal.wait().code(), Some(0));
        terminal.assert_all_gone();
        report(folder.path()).assert_counts(&made);
    }
}

#[test]
fn sigusr2_reaches_a_daemon() {
    let stage = Stage::get();
    need!(find_program("bash"), "a daemon that handles USR2", "there is no bash");
    let folder = open_folder();
    let daemon = "trap 'echo got USR2; exit' USR2; echo ready; while :; do sleep 0.02; done";
    let mut argv = vec![stage.tcptally()];
    argv.extend(["trace", "-o", "report", "--", "bash", "-c"].map(OsString::from));
    argv.push(format!("bash -c \"{daemon}\" & exit 4").into());
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    wait_for("the script runs", || session.stdout().contains("ready").then_some(()));
    wait_for("the command has ended", || {
        let children: Vec<u32> = children(session.pid);
        children.is_empty().then_some(())
    });
    session.signal(Signal::SIGUSR2);
    assert_eq!(session.wait().code(), Some(4), "{}", session.stderr());
    assert!(session.stdout().contains("got USR2"), "{}", session.stdout());
}
