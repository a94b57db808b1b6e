//! Faults of the server: it ends, it changes itself, it is replaced.

use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::support::*;

/// What becomes of the server by what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    Dies,
}

/// What a server does at SIGUSR1 (tests/tracees/server/upset.c), and what comes of it.
const UPSETS: [(&str, &str, Fate); 4] = [
    ("loop", "filter", Fate::Lives),
    ("pool=3", "leader", Fate::Lives),
    ("loop", "close", Fate::Dies),
    ("loop", "memory", Fate::Dies),
];

/// What needs privileges, or is refused in some containers.
const PRIVILEGED: [(&str, &str, Fate); 3] = [
    ("loop", "setuid", Fate::Lives),
    ("loop", "chroot", Fate::Lives),
    ("loop", "namespaces", Fate::Lives),
];

/// Lets a server act between two loads; what clients made of it.
fn act(server: &Server, pid: u32, session: &mut Session, fate: Fate, what: &str) -> Attempts {
    let mut attempts = Attempts::make(server, 40);
    signal(pid, Signal::SIGUSR1);
    match fate {
        Fate::Lives => wait_for(what, || {
            assert!(session.ended().is_none(), "{what}: ended: {}", session.stderr());
            session.stdout().contains("done").then_some(())
        }),
        // The server that closed everything finds out with the next client.
        Fate::Dies => wait_for(what, || {
            attempts.add(&Attempts::make(server, 1));
            session.ended().is_some().then_some(())
        }),
    }
    attempts.add(&Attempts::make(server, 40));
    attempts
}

/// How the server ends without tcptally; `None`: it lives, or cannot do this here.
fn ends_alone(stage: &Stage, user: User, mode: &str, upset: &str, fate: Fate) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let later = format!("later={upset}");
    let server = Server::c(&stage.server()?, &[mode, &later], &[Listens::V4]);
    let mut plain = server.start(stage, user);
    let pid = plain.pid;
    act(&server, pid, &mut plain, fate, upset);
    plain.ended().map(ExitStatusExt::into_raw)
}

fn check(user: User, (mode, upset, fate): (&str, &str, Fate)) {
    use std::os::unix::process::ExitStatusExt;
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let later = format!("later={upset}");
    let alone = ends_alone(&stage, user, mode, upset, fate);
    let server = || Server::c(&program, &[mode, &later], &[Listens::V4]);
    for engine in attach_to(user) {
        let what = format!("{upset}, attached, {engine}");
        let mut attached = Attached::to(&stage, user, engine, server());
        let pid = attached.plain.pid;
        let attempts = act(&attached.server, pid, &mut attached.plain, fate, &what);
        if fate == Fate::Dies {
            let (status, report) = attached.run.finish();
            assert_eq!(status.code(), Some(0), "{what}");
            attempts.assert_told_by(&report, &what);
            assert_eq!(attached.plain.ended().map(ExitStatusExt::into_raw), alone, "{what}");
        } else {
            let report = attached.run.end_attached();
            assert_all_told(&report, &attempts, &what);
            attached.assert_unharmed(&what);
        }
    }
    for engine in START_WITH {
        let what = format!("{upset}, started, {engine}");
        let server = server();
        let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
        let pid = run.server_pid();
        let attempts = act(&server, pid, &mut run.session, fate, &what);
        if fate == Fate::Dies {
            let (status, report) = run.finish();
            let expected = alone.map(std::process::ExitStatus::from_raw);
            assert_eq!(status.code(), expected.and_then(|s| s.code()), "{what}");
            attempts.assert_told_by(&report, &what);
        } else {
            assert_all_told(&run.end(), &attempts, &what);
        }
    }
}

/// All are counted, and their peers are right or unknown.
#[track_caller]
fn assert_all_told(report: &Report, attempts: &Attempts, what: &str) {
    attempts.assert_told_by(report, what);
    assert_eq!(attempts.made, attempts.answered, "{what}: a client was not served");
    assert_eq!(report.number("total"), attempts.made.values().sum::<u64>(), "{what}: {}", report.0);
}

#[test]
fn a_server_that_ends_or_changes_itself() {
    for _ in 0..rounds(1) {
        UPSETS.into_iter().for_each(|upset| check(User::plain(), upset));
    }
}

#[test]
fn a_server_that_changes_its_user_root_or_namespaces() {
    if !is_root() {
        return skip("setuid, chroot and namespaces of a server", "only root may");
    }
    for _ in 0..rounds(1) {
        PRIVILEGED.into_iter().for_each(|upset| check(User::Oneself, upset));
    }
}

/// The process that was attached to ends, and its child goes on.
#[test]
fn an_attached_server_that_becomes_a_daemon_is_counted_on() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_to(user) {
        for _ in 0..rounds(1) {
            let server = Server::c(&program, &["loop", "later=daemon"], &[Listens::V4]);
            let mut attached = Attached::to(&stage, user, engine, server);
            let mut made = attached.server.clients(1, 40, 5).run();
            attached.plain.signal(Signal::SIGUSR1);
            assert_eq!(attached.plain.wait().code(), Some(0), "{engine}");
            add(&mut made, &attached.server.clients(2, 40, 5).run());
            attached.run.end_attached().assert_counts(&made);
            let left = session_members(attached.plain.pid);
            assert_eq!(left.len(), 1, "{engine}: the daemon runs");
            assert_free(left[0]);
            attached.server.assert_serves();
        }
    }
}

/// At a random moment under load.
#[test]
fn a_server_that_is_killed_or_terminated() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let mut random = Random(3);
    for engine in attach_to(user) {
        for (mode, last) in [
            ("pool=3", Signal::SIGKILL),
            ("thread", Signal::SIGTERM),
            ("thread", Signal::SIGKILL),
            ("prefork=3", Signal::SIGTERM),
        ] {
            for _ in 0..rounds(1) {
                let what = format!("{last} to {mode}, {engine}");
                let server = Server::c(&program, &[mode], &[Listens::V4]);
                let mut attached = Attached::to(&stage, user, engine, server);
                let attempts = std::thread::scope(|scope| {
                    let clients = scope.spawn(|| Attempts::make(&attached.server, 2000));
                    std::thread::sleep(Duration::from_micros(random.below(200_000)));
                    signal(attached.plain.pid, last);
                    clients.join().expect("clients do not panic")
                });
                attached.plain.wait();
                let (status, report) = attached.run.finish();
                assert_eq!(status.code(), Some(0), "{what}");
                attempts.assert_told_by(&report, &what);
            }
        }
    }
}

/// nginx's way to replace its program: USR2 to the old master, then QUIT. It ignores USR2 as long as
/// the parent lives that it started with, so that one ends, and another process keeps the session.
fn nginx_without_parent() -> Option<Server> {
    let mut server = Server::nginx()?;
    let pid = server.folder.path().join("nginx.pid");
    let parent = format!("(\"$@\" & while ! [ -s {} ]; do sleep 0.05; done)", pid.display());
    let script = &format!("{parent}; exec sleep 3600");
    let words = ["sh", "-c", script, "sh"].map(OsString::from);
    server.argv = words.into_iter().chain(server.argv).collect();
    Some(server)
}

/// What nginx.pid says.
fn nginx_master(server: &Server) -> Option<u32> {
    let text = std::fs::read_to_string(server.folder.path().join("nginx.pid")).ok()?;
    text.trim().parse().ok()
}

/// Starts a new master, and ends the old one when the new one has its workers.
fn replace_nginx(server: &Server) -> u32 {
    let old = wait_for("nginx writes its PID", || nginx_master(server));
    let has_parent = || {
        let session = stat_field(old, 6).map(|sid| session_members(sid as u32));
        let parent = stat_field(old, 4).map(|pid| pid as u32);
        session.unwrap_or_default().iter().any(|member| Some(*member) == parent)
    };
    wait_for("its parent ends", || (!has_parent()).then_some(()));
    signal(old, Signal::SIGUSR2);
    let new = wait_for("the new nginx", || nginx_master(server).filter(|p| *p != old));
    wait_for("its workers", || (children(new).len() >= 2).then_some(()));
    signal(old, Signal::SIGQUIT);
    let gone = || matches!(state(&old.to_string()), None | Some('Z')).then_some(());
    wait_for("the old nginx ends", gone);
    new
}

#[test]
fn nginx_replaces_its_program_while_it_is_watched() {
    let stage = Stage::get();
    let user = User::plain();
    need!(Server::nginx(), "nginx", "it is not installed");
    for engine in attach_to(user) {
        for _ in 0..rounds(1) {
            let server = nginx_without_parent().expect("it was there");
            let plain = server.start(&stage, user);
            let old = wait_for("nginx writes its PID", || nginx_master(&server));
            let options = ["--engine", engine, "-p", &old.to_string()];
            let mut run = Run::attach(&stage, user, &options, &[old]);
            let load = server.clients(1, 100, 5).at_once(3).keep_coming();
            replace_nginx(&server);
            let before = load.so_far();
            wait_for("clients of the new nginx", || (load.so_far() > before + 50).then_some(()));
            let made = load.stop();
            run.end_attached().assert_counts(&made);
            session_members(plain.pid).into_iter().for_each(assert_free);
            server.assert_serves();
        }
    }
}

/// The same where tcptally started it: the new master outlives the command.
#[test]
fn nginx_that_tcptally_has_started_replaces_its_program() {
    let stage = Stage::get();
    let user = User::plain();
    need!(Server::nginx(), "nginx", "it is not installed");
    let server = nginx_without_parent().expect("it was there");
    let mut run = Run::spawn(&stage, user, &["--engine", "syscall"], &server);
    let command = run.server_pid();
    let mut made = server.clients(1, 60, 5).run();
    let new = replace_nginx(&server);
    add(&mut made, &server.clients(2, 60, 5).run());
    signal(command, Signal::SIGKILL);
    wait_for("tcptally notices its end", || children(run.session.pid).is_empty().then_some(()));
    add(&mut made, &server.clients(3, 60, 5).run());
    run.session.signal(Signal::SIGTERM);
    run.session.wait();
    run.report().assert_counts(&made);
    assert_free(new);
    server.assert_serves();
}
