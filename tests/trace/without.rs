//! Optional features of the kernel, each switched off by a seccomp filter on tcptally: connections are
//! counted in another way, or the report says what is not known.

use std::ffi::OsString;
use std::path::Path;

use crate::harness::*;

/// What the report must be.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    /// Every address is told.
    Exact,
    /// Every connection is counted; some addresses may be unknown.
    Counted,
}

/// The words that execute tcptally without these calls.
fn tcptally_without(stage: &Stage, program: &Path, calls: &str) -> [OsString; 2] {
    let mut word = OsString::from(format!("without={calls}="));
    word.push(stage.tcptally());
    [program.into(), word]
}

/// Counts in servers that are started and attached to, with each engine that is possible.
fn check(calls: &str, outcome: Outcome) {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let words = tcptally_without(&stage, &program, calls);
    let without_perf = calls.contains("perf_event_open");
    let has_perf = !without_perf && may_open_events(user);
    let attach: &[&str] = if has_perf { &["auto", "sample", "perf", "syscall"] } else { &["auto"] };
    let cases = attach.iter().map(|e| (*e, false)).chain([("seccomp", true), ("syscall", true)]);
    for (engine, spawns) in cases {
        // One that gives a buffer on the stack, one that gives none.
        for address in ["address=full", "address=null"] {
            let server = Server::c(&program, &["pool=3", address], &[Listens::V4, Listens::Dual]);
            let mut arguments: Vec<OsString> = ["--engine", engine].map(OsString::from).into();
            let plain = (!spawns).then(|| server.start(&stage, user));
            match &plain {
                Some(plain) => arguments.extend(["-p".into(), plain.pid.to_string().into()]),
                None => {
                    arguments.push("--".into());
                    arguments.extend(server.argv.iter().cloned());
                }
            }
            let mut run = Run::program(&stage, user, &words, &arguments);
            match &plain {
                Some(plain) => run.wait_until_attached(&[plain.pid]),
                None => server.wait_until_it_listens(&mut run.session),
            }
            let made = server.clients(1, 80, 5).run();
            let report = if spawns { run.end() } else { run.end_attached() };
            let may_close_first = engine == "sample" || engine == "auto";
            match outcome {
                Outcome::Exact if !may_close_first => report.assert_counts(&made),
                _ => report.assert_counts_or_unknown(&made),
            }
            if let Some(plain) = plain {
                assert_free(plain.pid);
                server.assert_serves();
            }
        }
    }
}

#[test]
fn connections_are_counted_without_perf_events() {
    check("perf_event_open:ENOSYS", Outcome::Exact);
}

#[test]
fn connections_are_counted_without_pidfd_getfd() {
    check("pidfd_getfd:ENOSYS", Outcome::Exact);
    check("pidfd_open,pidfd_getfd:EPERM", Outcome::Exact);
}

#[test]
fn connections_are_counted_without_so_peername() {
    check("SO_PEERNAME:ENOPROTOOPT", Outcome::Exact);
}

#[test]
fn connections_are_counted_without_process_vm_readv() {
    check("process_vm_readv:ENOSYS", Outcome::Exact);
}

#[test]
fn connections_are_counted_without_get_syscall_info() {
    check("PTRACE_GET_SYSCALL_INFO:EIO", Outcome::Exact);
}

/// The number of the call means another call in 64-bit code; its instruction tells them apart.
#[test]
fn accepts_by_int80_are_counted_without_get_syscall_info() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let words = tcptally_without(&stage, &program, "PTRACE_GET_SYSCALL_INFO:EIO");
    let server = Server::c(&program, &["call=int80"], &[Listens::V4]);
    assert_counts_started(&stage, &words, "syscall", &server);
}

/// Its instructions cannot be read; the registers tell that it made a 64-bit call.
#[test]
fn a_server_that_is_not_dumpable_is_counted_without_get_syscall_info() {
    for engine in ["seccomp", "syscall"] {
        let server = ["undumpable", "fork"];
        let Some((report, made)) = count_undumpable_without_get_syscall_info(engine, &server)
        else {
            return;
        };
        assert_eq!(report.number("total"), made);
        assert_eq!(report.number("unknown_peer"), made);
        assert!(report.warnings().contains("not dumpable"), "{}", report.warnings());
    }
}

/// The same number means another call in 64-bit code, and nothing that may be read tells which it is.
#[test]
fn int80_of_a_server_that_is_not_dumpable_is_reported_without_get_syscall_info() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let server = ["undumpable", "call=int80"];
    let Some((report, made)) = count_undumpable_without_get_syscall_info("syscall", &server) else {
        return;
    };
    assert_eq!((report.number("total"), report.number("lost")), (0, made), "{}", report.0);
    let warnings = report.warnings();
    assert!(warnings.contains("by int 0x80") && warnings.contains("as root"), "{warnings}");
}

/// Starts the server and makes connections to it: the report, and how many there were.
fn count_undumpable_without_get_syscall_info(
    engine: &str,
    server: &[&str],
) -> Option<(Report, u64)> {
    let stage = Stage::get();
    let Some(program) = stage.server() else {
        skip("the C server", "there is no C compiler");
        return None;
    };
    if User::plain().is_root() {
        skip("an undumpable server", "root may read it");
        return None;
    }
    let words = tcptally_without(&stage, &program, "PTRACE_GET_SYSCALL_INFO:EIO");
    let server = Server::c(&program, server, &[Listens::V4]);
    let (report, made) = report_started(&stage, &words, engine, &server);
    Some((report, made.values().sum()))
}

/// Linux before 5.13 does not know this field of perf_event_attr.
#[test]
fn connections_are_counted_without_inherit_thread() {
    check("inherit_thread:EINVAL", Outcome::Exact);
}

/// No event of `sample` can be inherited by threads alone then.
#[test]
fn one_process_without_its_children_is_counted_without_inherit_thread() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let words = tcptally_without(&stage, &program, "inherit_thread:EINVAL");
    let user = User::plain();
    let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let arguments = ["--no-children", "-p", &pid].map(OsString::from);
    let mut run = Run::program(&stage, user, &words, &arguments);
    run.wait_until_attached(&[plain.pid]);
    let made = server.clients(1, 80, 5).run();
    let report = run.end_attached();
    report.assert_counts(&made);
    assert!(!report.engine().contains("sample"), "{}", report.engine());
    assert_free(plain.pid);
    server.assert_serves();
}

#[test]
fn watch_without_sock_diag_names_the_cause_and_another_command() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let folder = open_folder();
    let mut argv: Vec<OsString> =
        tcptally_without(&stage, &program, "NETLINK_SOCK_DIAG:EPERM").into();
    argv.extend(["watch", "--port", "4711", "-d", "1s"].map(OsString::from));
    let mut session = Session::start(&stage, User::plain(), folder.path(), &argv);
    assert_eq!(session.wait().code(), Some(1), "{}", session.stderr());
    assert!(session.stderr().contains("tcptally trace"), "{}", session.stderr());
}

/// Neither the memory nor the socket of the server can be read then.
#[test]
fn connections_are_counted_without_any_way_to_ask_for_the_peer() {
    check("process_vm_readv,PTRACE_PEEKDATA,pidfd_getfd,pidfd_open:EPERM", Outcome::Counted);
}

/// Starts the server and compares all its connections with those of the clients.
fn assert_counts_started(stage: &Stage, words: &[OsString], engine: &str, server: &Server) {
    let (report, made) = report_started(stage, words, engine, server);
    report.assert_counts(&made);
}

/// Starts the server: the report, and what the clients made.
fn report_started(
    stage: &Stage,
    words: &[OsString],
    engine: &str,
    server: &Server,
) -> (Report, Counts) {
    let mut arguments: Vec<OsString> = ["--engine", engine, "--"].map(OsString::from).into();
    arguments.extend(server.argv.iter().cloned());
    let mut run = Run::program(stage, User::plain(), words, &arguments);
    server.wait_until_it_listens(&mut run.session);
    let made = server.clients(1, 80, 5).run();
    (run.end(), made)
}

#[test]
fn a_process_created_untraced_is_counted_without_process_vm_readv() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let words = tcptally_without(&stage, &program, "process_vm_readv:ENOSYS");
    for engine in ["seccomp", "syscall"] {
        let server = Server::c(&program, &["untraced3"], &[Listens::V4]);
        assert_counts_started(&stage, &words, engine, &server);
    }
}
