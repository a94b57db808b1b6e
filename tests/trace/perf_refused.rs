//! Where perf events are not to be had, counting goes on without them, and the user learns what
//! stands in the way.

use std::ffi::OsString;
use std::process::Command;

use crate::harness::*;

/// The words that execute tcptally where perf_event_open is refused, as in many containers.
fn without_perf(stage: &Stage) -> Option<[OsString; 2]> {
    let mut word = OsString::from("noperf=");
    word.push(stage.tcptally());
    Some([stage.server()?.into(), word])
}

#[test]
fn an_attached_server_is_counted_all_the_same() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let tcptally = need!(without_perf(&stage), "the C server", "there is no C compiler");
    for user in User::all() {
        let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let arguments = ["-p".into(), plain.pid.to_string().into()];
        let mut run = Run::program(&stage, user, &tcptally, &arguments);
        run.wait_until_attached(&[plain.pid]);
        let made = server.clients(1, 100, 5).run();
        let report = run.end_attached();
        report.assert_counts(&made);
        assert_eq!(report.engine(), "syscall");
        let said = run.session.stderr();
        for word in ["seccomp filter", "--cap-add=PERFMON", "every system call"] {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }
}

#[test]
fn who_insists_on_it_is_told_why_not() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let tcptally = need!(without_perf(&stage), "the C server", "there is no C compiler");
    let server = Server::c(&program, &[], &[Listens::V4]);
    let plain = server.start(&stage, User::plain());
    let pid = plain.pid.to_string();
    let arguments = ["--engine", "perf", "-p", &pid].map(OsString::from);
    let mut run = Run::program(&stage, User::plain(), &tcptally, &arguments);
    assert_eq!(run.session.wait().code(), Some(1), "{}", run.session.stderr());
    assert!(run.session.stderr().contains("--cap-add=PERFMON"), "{}", run.session.stderr());
    assert_free(plain.pid);
    server.assert_serves();
}

/// The program may have the capability; what it starts and watches gains nothing by it.
#[test]
fn a_capability_of_the_program_does_not_reach_the_server() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let setcap = need!(find_program("setcap"), "CAP_PERFMON", "there is no setcap");
    if !is_root() {
        return skip("CAP_PERFMON", "only root may give it to a program");
    }
    let folder = open_folder();
    let copy = folder.path().join("tcptally");
    std::fs::copy(stage.tcptally(), &copy).expect("the program can be copied");
    set_mode(&copy, 0o755);
    let given = Command::new(setcap).arg("cap_perfmon+ep").arg(&copy).status();
    if !given.expect("setcap starts").success() {
        return skip("CAP_PERFMON", "the file system keeps no capabilities");
    }
    for engine in ["perf", "seccomp", "syscall"] {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut arguments: Vec<OsString> = ["--engine", engine, "--"].map(OsString::from).into();
        arguments.extend(server.argv.iter().cloned());
        let mut run = Run::program(&stage, User::Nobody, &[copy.clone().into()], &arguments);
        server.wait_until_it_listens(&mut run.session);
        let pid = run.server_pid();
        for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let set = status_field(&pid.to_string(), field).expect("the server runs");
            assert_eq!(u64::from_str_radix(&set, 16), Ok(0), "{field}, {engine}");
        }
        let made = server.clients(1, 60, 3).run();
        run.end().assert_counts(&made);

        if engine != "seccomp" {
            let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
            let plain = server.start(&stage, User::Nobody);
            let pid = plain.pid.to_string();
            let arguments = ["--engine", engine, "-p", &pid].map(OsString::from);
            let mut run = Run::program(&stage, User::Nobody, &[copy.clone().into()], &arguments);
            run.wait_until_attached(&[plain.pid]);
            let made = server.clients(1, 60, 3).run();
            run.end_attached().assert_counts(&made);
        }
    }
}
