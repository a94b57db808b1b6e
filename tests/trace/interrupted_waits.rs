//! Calls that wait go on in a traced server: neither an attach nor a signal that it ignores ends them.
//!
//! Other kernels than that of x86-64 decide before a stop whether a call is made again.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::harness::*;

/// Many a server ends when epoll_wait fails, and does not look at errno.
#[test]
fn calls_that_wait_fail_after_a_handler_only() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_engines(user) {
        assert_waits_are_unharmed(&stage, user, &program, engine);
    }
    let program = need!(stage.server_32(), "the 32-bit C server", "gcc -m32 does not work");
    assert_waits_are_unharmed(&stage, user, &program, "syscall");
}

fn assert_waits_are_unharmed(stage: &Stage, user: User, program: &Path, engine: &str) {
    let server = Server::c(program, &["pool=2", "waits"], &[Listens::V4]);
    let mut plain = server.start(stage, user);
    let pid = plain.pid.to_string();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = OnDrop(|| over.store(true, Ordering::Relaxed));
        let handlers = scope.spawn(|| run_handlers(&plain, &over));
        for round in 0..rounds(6) {
            let mut run = Run::start(stage, user, &["--engine", engine, "-p", &pid]);
            run.wait_until_attached(&[plain.pid]);
            disturb(plain.pid, round + 1, || plain.stdout());
            let made = server.clients(round as u64, 10, 3).run();
            run.end_attached().assert_counts(&made);
            assert_eq!(plain.stderr(), "", "{engine}: no wait has failed");
        }
        drop(end);
        assert!(handlers.join().expect("the thread ends well") > 0, "{engine}");
    });
    assert!(plain.ended().is_none(), "{engine}: the server has ended: {:?}", plain.ended());
    server.assert_serves();
}

/// Lets handlers end a wait, before, during and after attaches and detaches. Returns how often.
fn run_handlers(server: &Session, over: &AtomicBool) -> usize {
    for woken in 0.. {
        let word = format!("woken {woken}\n");
        let is_over = || over.load(Ordering::Relaxed);
        wait_for("a handler ends the wait", || {
            (is_over() || server.stdout().contains(&word)).then_some(())
        });
        if is_over() {
            return woken;
        }
        signal(server.pid, Signal::SIGUSR1);
    }
    unreachable!("there are numbers enough")
}

/// Sends signals that no thread handles to those that wait. Untraced, none would notice.
fn disturb(pid: u32, number: usize, stdout: impl Fn() -> String) {
    signal(pid, Signal::SIGUSR2);
    let word = format!("disturbed {number}\n");
    wait_for("the server sends the signals", || stdout().contains(&word).then_some(()));
    let is_over = |t: &String| {
        let pending = status_field(t, "SigPnd");
        pending.is_none_or(|set| set.bytes().all(|b| b == b'0')) && state(t) == Some('S')
    };
    wait_for("the threads have got them", || threads(pid).iter().all(is_over).then_some(()));
}

#[test]
fn a_started_server_does_not_notice_signals_that_it_ignores() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in spawn_engines(user) {
        let server = Server::c(&program, &["pool=2", "waits"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
        let read = |name| std::fs::read_to_string(run.folder().join(name)).unwrap_or_default();
        disturb(run.server_pid(), 1, || read("stdout"));
        assert!(!read("stderr").contains("server:"), "{engine}: {}", read("stderr"));
        let made = server.clients(1, 10, 3).run();
        run.end().assert_counts(&made);
    }
}
