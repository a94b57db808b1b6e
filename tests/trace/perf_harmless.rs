//! The engine `perf` leaves every process alive, at whatever moment it detaches or is killed.
//!
//! `make soak` runs 200 detaches and 200 kills, `make test` a tenth of them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

/// How many detaches and how many kills are tried, over all servers.
const FEW: usize = 20;

/// Servers in which threads or processes come and go, or whose signal handlers are reset.
fn servers(stage: &Stage) -> Vec<(String, Server)> {
    let mut servers = Vec::new();
    let modes: [&[&str]; 7] = [
        &["relay=3"],
        &["oneshot=3"],
        &["oneexec=3"],
        &["oneexec=3", "reset"],
        &["pool=3", "reset"],
        &["relay=3", "reset"],
        &["exec=20", "reset"],
    ];
    match stage.server() {
        Some(program) => servers
            .extend(modes.map(|mode| (mode.join(" "), Server::c(&program, mode, &[Listens::V4])))),
        None => skip("the C server", "there is no C compiler"),
    }
    for (name, server) in
        [("a node cluster", Server::node_cluster()), ("Apache prefork", Server::apache())]
    {
        match server {
            Some(server) => servers.push((name.into(), server)),
            None => skip(name, "it is not installed"),
        }
    }
    servers
}

/// The share of each server, of all detaches or kills.
fn share(servers: usize) -> usize {
    let asked = std::env::var("TCPTALLY_SOAK").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(FEW).div_ceil(servers.max(1))
}

/// Panics unless the server and all that belongs to it have come to no harm.
#[track_caller]
fn assert_unharmed(plain: &mut Session, folder: &Path, what: &str) {
    if let Some(status) = plain.ended() {
        panic!("{what}: the server is dead: {status}; stderr:\n{}", plain.stderr());
    }
    let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
    let said = plain.stderr() + &log;
    for sign in ["killed", "exit signal"] {
        assert!(!said.contains(sign), "{what}: a process of the server was killed:\n{said}");
    }
    session_members(plain.pid).into_iter().for_each(assert_free);
}

/// Waits until so many more have been answered.
#[track_caller]
fn wait_for_more(load: &Load, more: u64, what: &str) {
    let before = load.so_far();
    wait_for(&format!("{what}: clients are served"), || {
        (load.so_far() >= before + more || load.has_failed()).then_some(())
    });
}

/// One of several attempts to harm a server.
struct Attempt<'a> {
    stage: &'a Stage,
    user: User,
    /// The number of the attempt at this server.
    round: usize,
    /// What traces the server.
    options: [&'a str; 4],
    /// The clients that connect to it meanwhile.
    load: &'a Load,
    name: &'a str,
}

/// Makes the attempts at each server, under load, and asserts after each that the server is unharmed.
/// `attempt` returns how many connections tcptally has counted.
fn attempt_at_each_server(mut attempt: impl FnMut(&Attempt<'_>) -> u64, check: impl Fn(u64, u64)) {
    let stage = Stage::get();
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let servers = servers(&stage);
    let rounds = share(servers.len());
    for (name, server) in servers {
        let mut plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let load = server.clients(1, 200, 9).at_once(4).keep_coming();
        let options = ["--engine", "perf", "-p", &pid];
        let mut told = 0;
        for round in 0..rounds {
            told +=
                attempt(&Attempt { stage: &stage, user, round, options, load: &load, name: &name });
            let what = format!("{name}, attempt {round}");
            assert_unharmed(&mut plain, server.folder.path(), &what);
        }
        wait_for_more(&load, 20, &name);
        assert_unharmed(&mut plain, server.folder.path(), &name);
        check(told, load.stop().values().sum());
    }
}

#[test]
fn servers_that_are_detached_at_random_moments_come_to_no_harm() {
    let mut random = Random(29);
    let detach = |a: &Attempt<'_>| {
        let mut run = Run::attach(a.stage, a.user, &a.options, &[]);
        if a.round == 0 {
            // Some of them are accepted after the attach.
            wait_for_more(a.load, 100, a.name);
        }
        std::thread::sleep(Duration::from_micros(random.below(1_000_000)));
        run.end_attached().number("total")
    };
    attempt_at_each_server(detach, |told, made| {
        assert!(told > 0 && told <= made, "{told} told, {made} made");
    });
}

#[test]
fn servers_whose_tracer_is_killed_at_random_moments_come_to_no_harm() {
    let mut random = Random(31);
    let kill = |a: &Attempt<'_>| {
        // A third of them while it attaches.
        let mut run = match a.round % 3 {
            0 => Run::start(a.stage, a.user, &a.options),
            _ => Run::attach(a.stage, a.user, &a.options, &[]),
        };
        std::thread::sleep(Duration::from_micros(random.below(300_000)));
        run.session.signal(Signal::SIGKILL);
        run.session.wait();
        wait_for_more(a.load, 10, a.name);
        0
    };
    attempt_at_each_server(kill, |_, made| assert!(made > 0));
}

/// In the order in which a detach announces them: src/trace/tracer/detach.rs.
const STEPS: [&str; 3] = ["counted", "closed", "restored"];

#[test]
fn processes_and_threads_created_or_ended_during_a_detach_come_to_no_harm() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) || !cfg!(debug_assertions) {
        return;
    }
    for mode in ["relay=3", "oneshot=3", "oneexec=3"] {
        for held in STEPS {
            let server = Server::c(&program, &[mode], &[Listens::V4]);
            let mut plain = server.start(&stage, user);
            let steps = open_folder();
            let variable = format!("TCPTALLY_DETACH_STEPS={}", steps.path().display());
            let traced = [OsString::from("env"), variable.into(), stage.tcptally()];
            let arguments = ["--engine", "perf", "-p", &plain.pid.to_string()].map(OsString::from);
            let mut run = Run::program(&stage, user, &traced, &arguments);
            run.wait_until_attached(&[]);
            server.clients(1, 10, 3).run();
            run.session.signal(Signal::SIGINT);
            let mut load = None;
            for step in STEPS {
                wait_for(step, || steps.path().join(step).exists().then_some(()));
                if step == held {
                    load = Some(server.clients(1, 200, 9).at_once(4).keep_coming());
                    let what = format!("{mode}, {held}: a process that waits for the tracer");
                    wait_for(&what, || is_any_held(plain.pid).then_some(()));
                }
                fs::write(steps.path().join(format!("{step}.go")), "").expect("it is our folder");
            }
            run.finish();
            let load = load.expect("one of the steps was held");
            wait_for_more(&load, 30, mode);
            assert!(!load.stop().is_empty());
            assert_unharmed(
                &mut plain,
                server.folder.path(),
                &format!("{mode}, between {held} and what follows"),
            );
        }
    }
}

/// Whether the session waits for the tracer: a new thread or process, or its creator, is stopped; or
/// a process has ended. Its parent cannot wait for it before the tracer has, so a server that replaces
/// processes that end may have no process to create, and nothing to be stopped.
fn is_any_held(sid: u32) -> bool {
    let is_stopped = |pid: u32| threads(pid).iter().any(|task| state(task) == Some('t'));
    let has_ended = |pid: u32| {
        let pid = pid.to_string();
        let is_traced = || status_field(&pid, "TracerPid").is_some_and(|tracer| tracer != "0");
        state(&pid) == Some('Z') && is_traced()
    };
    session_processes(sid).into_iter().any(|pid| is_stopped(pid) || has_ended(pid))
}

/// A CGI server executes a program per request, for as long as it runs.
#[test]
fn descriptors_do_not_grow_with_executed_programs() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["oneexec=3"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, user, &["--engine", "perf", "-p", &pid], &[plain.pid]);
    let open = || fs::read_dir(format!("/proc/{}/fd", run.session.pid)).map_or(0, Iterator::count);
    let mut made = server.clients(1, 30, 3).run();
    let before = open();
    assert!(before > 0, "the descriptors of tcptally can be listed");
    add(&mut made, &server.clients(2, 200, 3).run());
    // The last processes may be about to end, each with two events.
    let bound = before + 12;
    let settled = wait_at_most(Duration::from_secs(10), || (open() <= bound).then_some(()));
    assert!(settled.is_some(), "{before} descriptors at first, {} after 200 more", open());
    run.end_attached().assert_counts(&made);
}
