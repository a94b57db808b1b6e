//! `--no-children`: the command alone, not what it starts.

use crate::harness::*;

#[test]
fn no_children_counts_the_command_alone() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ["seccomp", "syscall"] {
        for user in User::all() {
            // The parent accepts, the child only answers: the parent's are all.
            let server = Server::c(&program, &["fork"], &[Listens::V4]);
            let options = ["--engine", engine, "--no-children"];
            let mut run = Run::spawn(&stage, user, &options, &server);
            let made = server.clients(1, 60, 3).run();
            run.end().assert_counts(&made);

            // Two children accept: none of it is the parent's, and all of it is served.
            let server = Server::c(&program, &["prefork=2"], &[Listens::V4]);
            let mut run = Run::spawn(&stage, user, &options, &server);
            server.clients(1, 60, 3).run();
            let report = run.end();
            assert_eq!(report.number("total"), 0, "{engine} as {user:?}");
            let warnings = report.warnings();
            assert!(warnings.contains("connections that children of the command"), "{warnings}");

            let server = Server::c(&program, &["prefork=2"], &[Listens::V4]);
            let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
            let made = server.clients(1, 60, 3).run();
            run.end().assert_counts(&made);
        }
    }
}
