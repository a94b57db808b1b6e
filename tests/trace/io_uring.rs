//! io_uring accepts without a system call: that must be said, or prevented.

use crate::harness::*;

#[test]
fn a_server_that_sets_up_io_uring_gives_a_warning() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in spawn_engines(User::plain()) {
        let server = Server::c(&program, &["uring"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(1, 20, 3).run();
        if !run.session.stdout().contains("io_uring: yes") {
            return skip("the warning of io_uring", "this kernel does not let us have it");
        }
        let report = run.end();
        assert_eq!(report.counts(), made);
        assert!(report.warnings().contains("io_uring"), "{engine}: {}", report.warnings());
        // Nobody knows what came by it.
        assert_eq!(report.0["complete"], false, "{engine}");
    }
}

#[test]
fn a_server_without_io_uring_gives_no_warning() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ["seccomp", "syscall"] {
        let server = Server::c(&program, &[], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(1, 20, 3).run();
        let report = run.end();
        report.assert_counts(&made);
        assert_eq!(report.warnings(), "[]");
    }
}

#[test]
fn io_uring_can_be_denied() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        for engine in spawn_engines(user) {
            let server = Server::c(&program, &["uring"], &[Listens::V4]);
            let options = ["--engine", engine, "--deny-io-uring"];
            let mut run = Run::spawn(&stage, user, &options, &server);
            let made = server.clients(1, 20, 3).run();
            assert_eq!(run.session.stdout(), "io_uring: ENOSYS\n", "{engine} as {user:?}");
            run.end().assert_counts(&made);
        }
    }
}

#[test]
fn an_io_uring_set_up_before_the_attach_gives_a_warning() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        let server = Server::c(&program, &["keepuring"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        if !plain.stdout().contains("io_uring: yes") {
            return skip("the warning of io_uring", "this kernel does not let us have it");
        }
        let pid = plain.pid.to_string();
        let mut run = Run::attach(&stage, user, &["--engine", engine, "-p", &pid], &[plain.pid]);
        let made = server.clients(1, 20, 3).run();
        let report = run.end_attached();
        assert_eq!(report.counts(), made);
        assert!(report.warnings().contains("io_uring"), "{engine}: {}", report.warnings());
        assert_eq!(report.0["complete"], false, "{engine}");
    }
}
