//! What runs out for tcptally: descriptors, memory, processes, locked memory, the disk.

use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::support::*;

/// A limit under which tcptally runs.
struct Limit<'a> {
    /// The option of prlimit(1).
    option: &'a str,
    /// A message about it has one of these.
    words: &'a [&'a str],
    /// Whether it is so low that tcptally cannot run.
    is_refused: bool,
}

/// tcptally in the hands of prlimit(1).
fn limited(stage: &Stage, limit: &Limit<'_>) -> Vec<OsString> {
    vec!["prlimit".into(), limit.option.into(), stage.tcptally()]
}

/// Attaches under a limit. It counts all, or says that it lacks some, or ends with a message that
/// names the limit; the server is unharmed.
fn attach_under(limit: &Limit<'_>) {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_to(user) {
        let what = format!("{}, attached, {engine}", limit.option);
        let server = Server::c(&program, &["thread", "idle=10"], &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        let options = ["--engine", engine, "-p", &plain.pid.to_string()].map(OsString::from);
        let mut run = Run::program(&stage, user, &limited(&stage, limit), &options);
        let ready = wait_for(&what, || match run.session.ended() {
            Some(_) => Some(false),
            None => run.session.stderr().contains("attached").then_some(true),
        });
        let attempts = Attempts::make(&server, 200);
        assert_eq!(attempts.made, attempts.answered, "{what}: a client was not served");
        if ready {
            run.session.signal(Signal::SIGINT);
        }
        assert_ended(&mut run, &attempts, &what, limit);
        assert!(plain.ended().is_none(), "{what}: the server is dead");
        assert_free(plain.pid);
        server.assert_serves();
    }
}

/// The same for a command, which may not start, or end with tcptally.
fn start_under(limit: &Limit<'_>) {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in START_WITH {
        let what = format!("{}, started, {engine}", limit.option);
        // The server inherits the limit.
        let server = Server::c(&program, &["loop"], &[Listens::V4]);
        let mut options: Vec<OsString> = ["--engine", engine, "--"].map(OsString::from).into();
        options.extend(server.argv.iter().cloned());
        let mut run = Run::program(&stage, user, &limited(&stage, limit), &options);
        let port = server.ports[0].number;
        let ready = wait_for(&what, || match run.session.ended() {
            Some(_) => Some(false),
            None => listening_ports().contains(&port).then_some(true),
        });
        let attempts = if ready { Attempts::make(&server, 200) } else { Attempts::default() };
        if ready {
            run.session.signal(Signal::SIGTERM);
        }
        assert_ended(&mut run, &attempts, &what, limit);
    }
}

/// There is a right report, or a message that names the limit, and nothing is left.
#[track_caller]
fn assert_ended(run: &mut Run, attempts: &Attempts, what: &str, limit: &Limit<'_>) {
    let status = run.session.wait();
    run.session.assert_all_gone();
    match run.report_so_far() {
        Some(report) => {
            assert!(!limit.is_refused, "{what}: the limit has no effect");
            attempts.assert_told_by(&report, what);
        }
        None => {
            let said = run.session.stderr();
            let is_named = limit.words.iter().any(|word| said.contains(word));
            assert!(is_named && !status.success(), "{what}: {status}: {said}");
        }
    }
}

/// What the C library says that loads the program.
const NOT_LOADED: &str = "error while loading shared libraries";

/// Some of the limits; in a soak all.
fn some(limits: &[u64], few: usize) -> Vec<u64> {
    let step = if rounds(1) > 1 { 1 } else { limits.len().div_ceil(few) };
    limits.iter().copied().step_by(step).collect()
}

#[test]
fn descriptors_run_out() {
    for limit in some(&[4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48], 2) {
        let option = &format!("--nofile={limit}");
        let words = &["ulimit -n", "Too many open files", NOT_LOADED];
        let limit = Limit { option, words, is_refused: false };
        attach_under(&limit);
        start_under(&limit);
    }
}

/// Below some MiB the program is not even loaded, above it has enough.
#[test]
fn memory_runs_out() {
    for megabytes in some(&[20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32, 36], 2) {
        let option = &format!("--as={}", megabytes << 20);
        let words = &["ulimit -v", "memory", NOT_LOADED];
        let limit = Limit { option, words, is_refused: false };
        attach_under(&limit);
        start_under(&limit);
    }
}

#[test]
fn processes_and_threads_run_out() {
    if !is_root() {
        return skip("RLIMIT_NPROC", "this user may have other processes");
    }
    let limit = Limit { option: "--nproc=1", words: &["ulimit -u"], is_refused: true };
    attach_under(&limit);
    start_under(&limit);
}

#[test]
fn locked_memory_runs_out() {
    let words = &["ulimit -l", "perf_event_mlock_kb"];
    let limit = Limit { option: "--memlock=0", words, is_refused: false };
    attach_under(&limit);
    start_under(&limit);
}

/// In the middle of counting: tcptally may give up, the server may not.
#[test]
fn memory_runs_out_while_it_counts() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_to(user) {
        let what = format!("memory while it counts, {engine}");
        let server = Server::c(&program, &["thread"], &[Listens::V4]);
        let mut attached = Attached::to(&stage, user, engine, server);
        let mut made = attached.server.clients(1, 20, 3).run();
        let pid = attached.run.session.pid.to_string();
        let words = ["prlimit", "--pid", &pid, "--as=1048576"].map(OsString::from);
        let folder = open_folder();
        assert!(Session::start(&stage, user, folder.path(), &words).wait().success());
        // Many addresses make its tables grow.
        add(&mut made, &attached.server.clients(2, 3_000, 2_500).run());
        attached.run.session.signal(Signal::SIGINT);
        let status = attached.run.session.wait();
        if status.success() {
            attached.run.report().assert_counts(&made);
        } else {
            let said = attached.run.session.stderr();
            assert!(said.contains("emory"), "{what}: {status}: {said}");
        }
        attached.assert_unharmed(&what);
    }
}

/// The report and the events do not fit on the disk.
#[test]
fn the_disk_runs_out() {
    if !is_root() {
        return skip("a full disk", "only root may mount one");
    }
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for options in [&["-F", "json"][..], &["--events", "-F", "csv"]] {
        let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
        let mut plain = server.start(&stage, User::Oneself);
        let folder = open_folder();
        let mut session = on_tiny_disk(&stage, folder.path(), plain.pid, options);
        wait_for("it attaches", || session.stderr().contains("attached").then_some(()));
        let made = server.clients(1, 3000, 1000).run();
        session.signal(Signal::SIGINT);
        let status = session.wait();
        assert!(!status.success(), "{options:?}: {}", session.stderr());
        assert!(session.stderr().contains("No space left"), "{options:?}: {}", session.stderr());
        assert_eq!(made.values().sum::<u64>(), 3000);
        assert!(plain.ended().is_none());
        session_members(plain.pid).into_iter().for_each(assert_free);
        server.assert_serves();
    }
}

/// tcptally, attached, with its output on a file system of 16 KiB.
fn on_tiny_disk(stage: &Stage, folder: &Path, pid: u32, options: &[&str]) -> Session {
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).expect("our folder");
    let script = format!(
        "mount -t tmpfs -o size=16k tmpfs {0} && exec \"$@\" -o {0}/output",
        disk.display()
    );
    let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let mut argv: Vec<OsString> = words.map(OsString::from).into();
    argv.extend([stage.tcptally(), "trace".into(), "-p".into(), pid.to_string().into()]);
    argv.extend(options.iter().map(OsString::from));
    Session::start(stage, User::Oneself, folder, &argv)
}
