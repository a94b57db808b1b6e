//! Signals reach the server as they would have.

use nix::sys::signal::Signal;

use crate::harness::*;

#[test]
fn traps_urgent_data_timers_and_real_time_signals_arrive_in_order() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in spawn_engines(User::plain()) {
        let server = Server::c(&program, &["signals"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(1, 1500, 9).run();
        run.session.signal(Signal::SIGTERM);
        let (status, report) = run.finish();
        assert_eq!(status.code(), Some(0), "{engine}: {}", run.session.stdout());
        report.assert_counts(&made);
    }
}

#[test]
fn a_stopped_server_stays_stopped_until_it_is_continued() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for (engine, mode) in [("seccomp", "pool=3"), ("syscall", "pool=3"), ("seccomp", "loop")] {
        let server = Server::c(&program, &[mode], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let mut made = server.clients(1, 20, 3).run();
        let pid = run.server_pid();
        for round in 0..3 {
            signal(pid, Signal::SIGSTOP);
            wait_for("the server stops", || run.all_stopped(pid).then_some(()));
            // A connection waits in the backlog meanwhile, and is answered afterwards.
            let clients = server.clients(round, 5, 2);
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| clients.run());
                let early = wait_at_most(std::time::Duration::from_millis(60), || {
                    waiting.is_finished().then_some(())
                });
                assert!(early.is_none(), "a stopped server answered");
                assert!(run.all_stopped(pid));
                signal(pid, Signal::SIGCONT);
                add(&mut made, &waiting.join().expect("the clients are answered"));
            });
        }
        run.end().assert_counts(&made);
    }
}
