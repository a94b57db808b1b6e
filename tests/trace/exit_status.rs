//! `tcptally trace -- COMMAND` ends as COMMAND does.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use crate::harness::*;

/// Runs a command line of the shell under each engine, as each user.
fn ends(script: &str) -> Vec<ExitStatus> {
    let stage = Stage::get();
    let command = ["sh", "-c", script].map(OsString::from);
    let mut statuses = Vec::new();
    for user in User::all() {
        for engine in spawn_engines(user) {
            let mut run = Run::command(&stage, user, &["--engine", engine], &command);
            statuses.push(run.finish().0);
        }
    }
    statuses
}

#[test]
fn the_status_of_the_server_is_returned() {
    for status in [0, 1, 3, 125, 255] {
        for ended in ends(&format!("exit {status}")) {
            assert_eq!(ended.code(), Some(status));
        }
    }
}

#[test]
fn the_signal_that_kills_the_server_kills_tcptally() {
    for number in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGHUP] {
        for ended in ends(&format!("kill -{} $$", number as i32)) {
            assert_eq!(ended.signal(), Some(number as i32), "{ended}");
        }
    }
}

#[test]
fn a_server_that_exits_or_crashes_is_counted_with_its_status() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        for engine in spawn_engines(user) {
            for last in ["status=3", "segv"] {
                let server = Server::c(&program, &["after=40", last], &[Listens::V4]);
                let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
                let made = server.clients(1, 40, 5).run();
                let (status, report) = run.finish();
                match last {
                    "segv" => assert_eq!(status.signal(), Some(Signal::SIGSEGV as i32)),
                    _ => assert_eq!(status.code(), Some(3)),
                }
                // The server may have ended before sample has looked at its listening descriptor.
                match engine {
                    "sample" => report.assert_counts_or_unknown(&made),
                    _ => report.assert_counts(&made),
                }
            }
        }
    }
}

#[test]
fn sigterm_and_sighup_are_passed_on_to_the_server() {
    let stage = Stage::get();
    let script = "trap 'echo got TERM; exit 7' TERM; trap 'echo got HUP; exit 8' HUP; \
                  echo ready; while :; do sleep 0.05; done";
    let command = ["sh", "-c", script].map(OsString::from);
    for (number, status, words) in
        [(Signal::SIGTERM, 7, "got TERM"), (Signal::SIGHUP, 8, "got HUP")]
    {
        let mut run = Run::command(&stage, User::plain(), &[], &command);
        wait_for("the script runs", || run.session.stdout().contains("ready").then_some(()));
        run.session.signal(number);
        let (ended, _) = run.finish();
        assert_eq!(ended.code(), Some(status));
        assert!(run.session.stdout().contains(words));
    }
}

/// The tracer cannot do anything about SIGKILL: with a filter that needs its tracer, a server
/// must not live on and refuse everybody; so it goes too.
#[test]
fn a_killed_tracer_leaves_no_server_that_refuses_its_clients() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for mode in ["pool=3", "prefork=3"] {
        let server = Server::c(&program, &[mode], &[Listens::V4]);
        let run = Run::spawn(&stage, User::plain(), &["--engine", "seccomp"], &server);
        server.clients(1, 20, 2).run();
        run.session.signal(Signal::SIGKILL);
        run.session.assert_all_gone();
    }
}

#[test]
fn commands_that_cannot_be_started_return_126_or_127() {
    let stage = Stage::get();
    let folder = open_folder();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").expect("a folder to write in");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--", "/no/such/program"], 127, "/no/such/program"),
        (&["--", "no-such-program-anywhere"], 127, "no-such-program-anywhere"),
        (&["--", plain.to_str().expect("an ASCII path")], 126, "plain"),
        (&["--", "/"], 126, "/"),
        (&["--engnie", "syscall", "--", "true"], 2, "--engine"),
        (&["--port", "no-such-service", "--", "true"], 2, "no-such-service"),
    ];
    for user in User::all() {
        for (arguments, status, named) in cases {
            let mut argv = vec![stage.tcptally(), "trace".into()];
            argv.extend(arguments.iter().map(OsString::from));
            let mut session = Session::start(&stage, user, folder.path(), &argv);
            assert_eq!(session.wait().code(), Some(status), "{arguments:?}: {}", session.stderr());
            assert!(session.stderr().contains(named), "{arguments:?}: {}", session.stderr());
        }
    }
}

#[test]
fn stdin_stdout_and_stderr_are_the_servers() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "read line; echo \"out $line\"; echo \"err $line\" >&2";
    let mut argv = vec![stage.tcptally(), "trace".into(), "-o".into(), "report".into()];
    argv.extend(["-q", "--", "sh", "-c", script].map(OsString::from));
    let piped = std::process::Stdio::piped();
    let mut session = Session::start_with(&stage, User::plain(), folder.path(), &argv, piped, &[]);
    use std::io::Write;
    session.stdin().expect("it was piped").write_all(b"hello\n").expect("it is read");
    assert!(session.wait().success());
    assert_eq!(session.stdout(), "out hello\n");
    assert_eq!(session.stderr(), "err hello\n");
}
