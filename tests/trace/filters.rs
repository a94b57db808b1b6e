//! Started servers that have a seccomp filter of their own: it forbids the same calls as without tcptally.

use crate::harness::*;

/// A filter may leave calls to a tracer that the server expects, which may not be there: they fail then. strace allows
/// them with `--seccomp-bpf` only.
#[test]
fn calls_that_a_filter_leaves_to_a_tracer_fail_as_without_tcptally() {
    let stage = Stage::get();
    let programs = [stage.server(), stage.server_32()];
    for program in programs.into_iter().flatten() {
        for engine in ["seccomp", "syscall", "perf"] {
            if engine == "perf" && !may_open_events(User::plain()) {
                continue;
            }
            // 1 is what other tracers use.
            for data in ["tracer=0", "tracer=1", "tracer=65535"] {
                let server = Server::c(&program, &[data], &[Listens::V4]);
                let arguments = ["--engine", engine];
                let mut run = Run::spawn(&stage, User::plain(), &arguments, &server);
                let made = server.clients(1, 40, 5).run();
                let report = run.end();
                report.assert_counts(&made);
            }
        }
    }
}

/// What the other process answers outranks the stop by tcptally's filter.
#[test]
fn accepts_that_another_process_allows_are_counted_or_told_to_be_missing() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ["seccomp", "syscall"] {
        let server = Server::c(&program, &["ask"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(1, 40, 5).run();
        let report = run.end();
        if engine == "syscall" {
            report.assert_counts(&made);
            continue;
        }
        assert_eq!(report.0["complete"], false, "{}", report.0);
        assert!(report.warnings().contains("--engine syscall"), "{}", report.0);
    }
}
