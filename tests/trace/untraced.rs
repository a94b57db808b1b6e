//! Processes that are made with CLONE_UNTRACED, and servers that systemd activates.

use std::ffi::OsString;

use crate::harness::*;

#[test]
fn a_process_created_untraced_accepts_and_is_counted() {
    let stage = Stage::get();
    let programs = [stage.server(), stage.server_32()];
    for program in programs.into_iter().flatten() {
        for engine in ["seccomp", "syscall"] {
            for mode in ["untraced", "untraced3", "untracedro"] {
                for user in User::all() {
                    let server = Server::c(&program, &[mode], &[Listens::V4]);
                    let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
                    let made = server.clients(1, 60, 5).run();
                    let report = run.end();
                    report.assert_counts(&made);
                    assert!(report.warnings().contains("CLONE_UNTRACED"), "{}", report.0);
                    let said = run.session.stderr();
                    assert!(!said.contains("have become"), "{mode} under {engine}: {said}");
                }
            }
        }
    }
}

/// What systemd does for a socket unit: sd_listen_fds(3).
const ACTIVATE: &str = "
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen(100)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
me = str(os.getpid())
os.environ.update(LISTEN_PID=me, LISTEN_FDS='1', WATCHDOG_PID=me, LISTEN_PIDFDID='1')
os.execvp(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_server_that_systemd_activates_gets_its_sockets() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let python = need!(find_program("python3"), "socket activation", "there is no python3");
    for user in User::all() {
        let mut server = Server::c(&program, &["activated"], &[Listens::V4]);
        let port = server.argv.remove(1);
        let mut words: Vec<OsString> = vec![python.clone().into(), "-c".into(), ACTIVATE.into()];
        words.extend([port, stage.tcptally()]);
        let mut arguments = vec!["--".into()];
        arguments.extend(server.argv.iter().cloned());
        let mut run = Run::program(&stage, user, &words, &arguments);
        server.wait_until_it_listens(&mut run.session);
        let made = server.clients(1, 60, 5).run();
        run.end().assert_counts(&made);
    }
}

#[test]
fn a_command_gets_an_unchanged_environment_except_for_its_pid() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "export LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_PIDFDID=7 A='b c'; exec \"$0\" trace \
                  -o report -- sh -c 'echo $LISTEN_PID $WATCHDOG_PID $$ \"$A\" [$LISTEN_PIDFDID]'";
    let mut argv: Vec<OsString> = ["sh", "-c", script].map(OsString::from).into();
    argv.push(stage.tcptally());
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert!(session.wait().success(), "{}", session.stderr());
    let said = session.stdout();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(words[0] == words[2] && words[1] == words[2], "{said}");
    assert_eq!(words[3..], ["b", "c", "[]"], "{said}");
    // Somebody else's is none of our business.
    let mut argv: Vec<OsString> =
        ["env", "LISTEN_PID=1", "LISTEN_PIDFDID=7"].map(OsString::from).into();
    argv.push(stage.tcptally());
    argv.extend(["trace", "-o", "report", "--", "env"].map(OsString::from));
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert!(session.wait().success(), "{}", session.stderr());
    assert!(session.stdout().contains("LISTEN_PID=1\n"), "{}", session.stdout());
    assert!(session.stdout().contains("LISTEN_PIDFDID=7\n"), "{}", session.stdout());
}
