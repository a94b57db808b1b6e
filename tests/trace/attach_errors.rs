//! What cannot be attached to: the cause, and the remedy.

use std::ffi::OsString;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::*;

/// `tcptally trace ARGUMENTS`: its exit status, and what it says.
fn tries(user: User, arguments: &[&str]) -> (Option<i32>, String) {
    let stage = Stage::get();
    let folder = open_folder();
    let mut argv = vec![stage.tcptally(), "trace".into()];
    argv.extend(arguments.iter().map(OsString::from));
    let mut session = Session::start(&stage, user, folder.path(), &argv);
    let status = session.wait();
    session.assert_all_gone();
    (status.code(), session.stderr())
}

#[track_caller]
fn refused(user: User, arguments: &[&str], words: &[&str]) {
    let (status, said) = tries(user, arguments);
    assert_eq!(status, Some(1), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} says nothing of {word:?}: {said}");
    }
}

/// A PID that nobody has: its process has just been waited for.
fn nobodys_pid() -> String {
    let mut child = Command::new("true").spawn().expect("true starts");
    child.wait().expect("true ends");
    child.id().to_string()
}

#[test]
fn a_missing_process_is_an_error_that_names_it() {
    let pid = nobodys_pid();
    refused(User::plain(), &["-p", &pid], &[&pid, "no such process"]);
}

#[test]
fn the_process_of_another_user_is_an_error_with_a_remedy() {
    if !is_root() {
        return skip("another user's process", "only root has processes that nobody may trace");
    }
    let pid = std::process::id().to_string();
    refused(User::Nobody, &["-p", &pid], &[&pid, "user"]);
}

#[test]
fn a_traced_process_is_an_error_that_names_its_tracer() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &[], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let options = ["--engine", "syscall", "-p", &pid];
    let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
    refused(user, &options, &[&pid, "traced", &run.session.pid.to_string()]);
    let made = server.clients(1, 20, 3).run();
    run.end_attached().assert_counts(&made);
}

#[test]
fn an_undumpable_process_is_an_error_with_a_remedy() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if User::plain().is_root() {
        return skip("a process that may not be dumped", "root may trace it");
    }
    let server = Server::c(&program, &["undumpable"], &[Listens::V4]);
    let plain = server.start(&stage, User::plain());
    let pid = plain.pid.to_string();
    refused(User::plain(), &["-p", &pid], &[&pid, "dump"]);
}

#[test]
fn a_kernel_thread_is_refused() {
    let kthread = status_field("2", "Kthread").as_deref() == Some("1");
    if !kthread || !is_root() {
        return skip("a kernel thread", "only root on the machine itself sees one");
    }
    refused(User::Oneself, &["-p", "2"], &["2", "kernel thread"]);
}

#[test]
fn tcptally_refuses_to_attach_to_itself() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "exec \"$0\" trace -p $$";
    let mut argv: Vec<OsString> = ["sh", "-c", script].map(OsString::from).into();
    argv.push(stage.tcptally());
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert_eq!(session.wait().code(), Some(1), "{}", session.stderr());
    assert!(session.stderr().contains("itself"), "{}", session.stderr());
}

/// The shell that started it may be watched; that tcptally is its child must not stop both.
#[test]
fn tcptally_attaches_to_its_parent() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "\"$0\" trace -p $$ -d 300ms -F plain; echo status $?";
    let mut argv: Vec<OsString> = ["sh", "-c", script].map(OsString::from).into();
    argv.push(stage.tcptally());
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert_eq!(session.wait().code(), Some(0), "{}", session.stderr());
    assert!(session.stdout().contains("status 0"), "{} {}", session.stdout(), session.stderr());
}

/// Two processes that trace each other would both stop forever.
#[test]
fn tcptally_refuses_to_attach_to_its_tracer() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "\"$0\" trace --engine syscall -p $PPID -d 300ms; echo status $?";
    let mut argv: Vec<OsString> = vec![stage.tcptally()];
    argv.extend(["trace", "--", "sh", "-c", script].map(OsString::from));
    argv.push(stage.tcptally());
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert_eq!(session.wait().code(), Some(0), "{}", session.stderr());
    assert!(session.stdout().contains("status 1"), "{} {}", session.stdout(), session.stderr());
}

#[test]
fn a_missing_process_among_several_is_status_1_and_the_others_count() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &[], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let none = nobodys_pid();
    let both = format!("{},{none}", plain.pid);
    let mut run = Run::attach(&stage, user, &["-p", &both], &[plain.pid]);
    assert!(run.session.stderr().contains(&none), "{}", run.session.stderr());
    let made = server.clients(1, 20, 3).run();
    run.session.signal(Signal::SIGINT);
    let (status, report) = run.finish();
    assert_eq!(status.code(), Some(1), "{}", run.session.stderr());
    assert_eq!(report.counts(), made);
    assert!(report.warnings().contains(&none), "{}", report.warnings());
    assert!(run.session.stderr().contains("exit status 1"), "{}", run.session.stderr());
    // Also in a report of no connections after a duration.
    let mut run = Run::attach(&stage, user, &["-d", "200ms", "-p", &both], &[plain.pid]);
    let (status, report) = run.finish();
    assert_eq!(status.code(), Some(1), "{}", run.session.stderr());
    assert!(report.warnings().contains(&none), "{}", report.warnings());
}

#[test]
fn a_thread_is_taken_as_its_process() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let own = format!("{0}/task/{0}", plain.pid);
    let thread =
        wait_for("it has more threads", || threads(plain.pid).into_iter().find(|t| *t != own));
    let tid = thread.rsplit('/').next().expect("a path");
    let mut run = Run::attach(&stage, user, &["-p", tid], &[plain.pid]);
    let note = format!("{tid} is a thread of process {}", plain.pid);
    assert!(run.session.stderr().contains(&note), "{}", run.session.stderr());
    let made = server.clients(1, 60, 5).run();
    run.end_attached().assert_counts(&made);
    assert_free(plain.pid);
}

/// The usual root of a container.
#[test]
fn root_without_the_capability_gets_a_remedy_that_is_not_to_be_root() {
    if !is_root() {
        return skip("root without CAP_SYS_PTRACE", "only root can give it up");
    }
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &[], &[Listens::V4]);
    let plain = server.start(&stage, User::Nobody);
    let (pid, port) = (plain.pid.to_string(), server.ports[0].number.to_string());
    for target in [["-p", &pid], ["--port", &port]] {
        let folder = open_folder();
        let mut argv: Vec<OsString> =
            ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
                .map(OsString::from)
                .into();
        argv.push(stage.tcptally());
        let options = ["trace", "--engine", "syscall", target[0], target[1]];
        argv.extend(options.map(OsString::from));
        let mut session = Session::start(&stage, User::Oneself, folder.path(), &argv);
        assert_eq!(session.wait().code(), Some(1), "{}", session.stderr());
        let said = session.stderr();
        assert!(said.contains("without CAP_SYS_PTRACE"), "{said}");
        assert!(!said.contains("or as root"), "{said}");
    }
}

/// Runs a program as process 1 of a PID namespace of its own, with the path of tcptally as its argument. Returns what
/// it prints.
fn as_init(argv: &[&str]) -> Option<String> {
    let stage = Stage::get();
    let unshare = find_program("unshare").filter(|_| is_root())?;
    let words = ["--pid", "--fork", "--mount-proc", "--kill-child"].iter().chain(argv);
    let mut argv: Vec<OsString> = [unshare.into()].into();
    argv.extend(words.map(OsString::from));
    argv.push(stage.tcptally());
    let folder = open_folder();
    let mut session = Session::start(&stage, User::Oneself, folder.path(), &argv);
    session.wait();
    Some(session.stdout())
}

/// All processes would be watched: those of the whole machine, if this were not a namespace of its own.
#[test]
fn init_is_attached_to_without_its_children_only() {
    let init = "$0 trace -p 1 2>&1; echo status $?; $0 trace -p 1 --no-children -d 1s 2>&1; echo status $?";
    let said = as_init(&["sh", "-c", init]);
    let said = need!(said, "a PID namespace", "only root may make one, with unshare");
    let (whole, alone) = said.split_once("status 1").expect("it is refused");
    for words in ["descend from process 1 (sh)", "--port PORT", "--no-children"] {
        assert!(whole.contains(words), "{words}: {said}");
    }
    assert!(alone.contains("attached to 1 process") && alone.contains("status 0"), "{said}");
}

#[test]
fn an_init_that_listens_for_its_servers_is_not_attached_to() {
    const INIT: &str = r#"
import os, signal, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
arguments = [sys.argv[1], "trace", "--port", str(listener.getsockname()[1]), "-d", "1s"]
def trace():
    traced = subprocess.run(arguments, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    print(traced.returncode, traced.stdout, "-----", flush=True)
trace()
open("/proc/self/comm", "w").write("systemd")
server = os.fork()
if server == 0:
    open("/proc/self/comm", "w").write("server")
    signal.pause()
# The name is that of the server once it is set.
while open(f"/proc/{server}/comm").read().strip() != "server":
    pass
trace()
os.kill(server, signal.SIGKILL)
"#;
    need!(find_program("python3"), "an init that listens", "there is no python3");
    let said = as_init(&["python3", "-c", INIT]);
    let said = need!(said, "a PID namespace", "only root may make one, with unshare");
    let (alone, with_server) = said.split_once("-----").expect("two runs");
    assert!(alone.starts_with("1 "), "{said}");
    for words in ["descend from process 1 (python3)", "tcptally watch"] {
        assert!(alone.contains(words), "{words}: {said}");
    }
    assert!(with_server.trim_start().starts_with("0 "), "{said}");
    assert!(with_server.contains("(server) listens on"), "{said}");
    assert!(with_server.contains("attached to 1 process and 1 thread"), "{said}");
}

#[test]
fn missing_and_invalid_targets_are_usage_errors() {
    for arguments in
        [&["-p", "nginx"][..], &["-p", "0"], &["-p", "-5"], &["-p", "1", "--", "true"], &["-p", ""]]
    {
        let (status, said) = tries(User::plain(), arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
    }
}
