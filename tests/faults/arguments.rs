//! Arguments of accept that are refused, or that tell little or wrong things: connections that the
//! server got count, those that it did not get do not, and no peer is another client's.

use crate::harness::*;
use crate::support::*;

/// Calls with these succeed.
const HARMLESS: [&str; 4] = ["zero", "one", "huge", "across"];
/// The kernel closes the connections of calls with these: EFAULT or EINVAL.
const REFUSED: [&str; 7] =
    ["negative", "unmapped", "readonly", "kernel", "edge", "nolength", "rolength"];

/// Every second call of the server gets a bad argument.
fn check(what: &str, mode: &str) {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let bad = format!("bad={what}");
    let server = || Server::c(&program, &[mode, &bad], &[Listens::V4]);
    for engine in attach_to(user) {
        let what = format!("{what}, attached, {engine}");
        let mut attached = Attached::to(&stage, user, engine, server());
        let attempts = Attempts::make(&attached.server, 60);
        let report = attached.run.end_attached();
        assert_told(&report, &attempts, &what);
        assert!(attached.plain.ended().is_none(), "{what}: the server is dead");
        assert_free(attached.plain.pid);
    }
    for engine in START_WITH {
        let what = format!("{what}, started, {engine}");
        let server = server();
        let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
        let attempts = Attempts::make(&server, 60);
        assert!(run.session.ended().is_none(), "{what}: {}", run.session.stderr());
        assert_told(&run.end(), &attempts, &what);
    }
}

/// What was answered is counted, with its peer or without one, and nothing else.
#[track_caller]
fn assert_told(report: &Report, attempts: &Attempts, what: &str) {
    attempts.assert_told_by(report, what);
    let answered: u64 = attempts.answered.values().sum();
    let (total, lost) = (report.number("total"), report.number("lost"));
    assert_eq!((total, lost), (answered, 0), "{what}: {}", report.0);
    let told = report.counts_of_known();
    let is_right = |(key, n): (&_, &u64)| attempts.answered.get(key).is_some_and(|m| n <= m);
    assert!(told.iter().all(is_right), "{what}: {:?}: {}", attempts.answered, report.0);
}

/// All of them in one server, and in a soak each by itself.
fn check_all(whats: &[&str]) {
    check(&whats.join(","), "loop");
    for _ in 1..rounds(1) {
        whats.iter().for_each(|what| check(what, "loop"));
    }
}

#[test]
fn arguments_that_tell_little_or_wrong_things() {
    check_all(&HARMLESS);
}

#[test]
fn arguments_that_the_kernel_refuses() {
    check_all(&REFUSED);
}

#[test]
fn arguments_that_another_thread_rewrites() {
    check("racing", "pool=3");
}
