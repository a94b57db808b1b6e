//! Servers whose processes execute a program with other privileges before they accept, as Dovecot's do.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::*;

/// Without CAP_SETUID the kernel would let a traced process have no other privileges, so this is for root.
fn may_test() -> bool {
    let may = User::Oneself.is_root() && may_open_events(User::Oneself);
    if !may {
        println!("skipped: this needs root and perf events");
    }
    may
}

#[test]
fn root_hands_over_a_server_that_executes_set_user_id_programs() {
    const NOBODY: u32 = 65_534;
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if may_test() {
        let folder = open_folder();
        let copy = set_user_id(&program, folder.path(), NOBODY);
        check_handed_over(&Server::c(&copy, &["oneexec=3"], &[Listens::V4]));
    }
}

/// Under a tracer without CAP_SYS_PTRACE, programs would not get their other privileges.
#[test]
fn a_user_does_not_stop_a_process_that_executes_set_user_id_programs() {
    const ROOT: u32 = 0;
    const RUNS: usize = 30;
    let stage = Stage::get();
    let id = need!(find_program("id"), "id", "it is not installed");
    let user = User::plain();
    if !may_test() || user.is_root() || !may_open_events(user) {
        return;
    }
    let folder = open_folder();
    set_user_id(&id, folder.path(), ROOT);
    let script = "while read -r line; do ./server -u; done";
    let argv = ["sh", "-c", script].map(OsString::from);
    let mut shell = Session::start_with(&stage, user, folder.path(), &argv, Stdio::piped(), &[]);
    let pid = shell.pid.to_string();
    let mut run = Run::attach(&stage, user, &["-p", &pid], &[]);
    let mut input = shell.stdin().expect("a pipe");
    for n in 1..=RUNS {
        input.write_all(b"\n").expect("it reads");
        wait_for("the next one", || (shell.stdout().lines().count() == n).then_some(()));
    }
    drop(input);
    shell.wait();
    assert!(shell.stdout().lines().all(|line| line == "0"), "{}", shell.stdout());
    let report = run.end_attached();
    assert_eq!(report.engine(), "sample");
    assert_eq!(report.0["complete"], false);
}

/// A copy of a program that is executed as this user.
fn set_user_id(program: &Path, folder: &Path, user: u32) -> PathBuf {
    let copy = folder.join("server");
    std::fs::copy(program, &copy).expect("a folder to write in");
    chown(&copy, Some(user), Some(user)).expect("root may");
    let permissions = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(&copy, permissions).expect("it is ours");
    copy
}

/// /proc does not show that they had others.
#[test]
fn root_hands_over_a_server_that_gives_up_other_privileges_after_its_exec() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if may_test() {
        check_handed_over(&Server::c(&program, &["oneexec=3", "regain"], &[Listens::V4]));
    }
}

#[test]
fn processes_without_events_after_their_exec_make_the_report_incomplete() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !may_test() {
        return;
    }
    let server = Server::c(&program, &["oneexec=3", "regain"], &[Listens::V4]);
    let plain = server.start(&stage, User::Oneself);
    let options = ["--engine", "sample", "-p", &plain.pid.to_string()];
    let mut run = Run::attach(&stage, User::Oneself, &options, &[plain.pid]);
    let made: u64 = server.clients(1, 40, 3).run().values().sum();
    let report = run.end_attached();
    assert!(report.number("total") <= made);
    assert_eq!(report.0["complete"], false);
    assert!(report.warnings().contains("with other privileges"), "{}", report.warnings());
}

fn check_handed_over(server: &Server) {
    const CLIENTS: u8 = 60;
    let stage = Stage::get();
    let plain = server.start(&stage, User::Oneself);
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, User::Oneself, &["-p", &pid], &[]);
    wait_for("another engine", || {
        server.clients(1, 3, 1).run();
        run.session.stderr().contains("stopped at its accepts").then_some(())
    });
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.ports[0].number));
    for n in 1..=CLIENTS {
        let mut client = open(IpAddr::from([127, 0, 9, n]), to).expect("the server listens");
        client.read_to_end(&mut Vec::new()).expect("the server answers and closes");
    }
    let report = run.end_attached();
    assert_eq!(report.0["complete"], false, "the first ones were accepted without events");
    let is_later = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[2] == 9);
    let counts = report.counts_of_known();
    let later: Vec<u64> =
        counts.iter().filter(|((ip, _), _)| is_later(*ip)).map(|c| *c.1).collect();
    assert_eq!(later, [1; CLIENTS as usize], "{}", report.warnings());
    assert_free(plain.pid);
}
