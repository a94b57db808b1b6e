//! Without perf events, counting continues with another engine, and the user learns the reason.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::harness::*;

/// The words that execute tcptally where these calls fail.
fn without(stage: &Stage, calls: &str) -> Option<[OsString; 2]> {
    let mut word = OsString::from(format!("without={calls}="));
    word.push(stage.tcptally());
    Some([stage.server()?.into(), word])
}

/// The same where perf_event_open is refused, as in many containers.
fn without_perf(stage: &Stage) -> Option<[OsString; 2]> {
    without(stage, "perf_event_open:EPERM")
}

#[test]
fn without_perf_events_an_attached_server_is_counted_by_syscall() {
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

/// Attaches to a server with these words before the arguments, and returns the report and the
/// messages. Nothing of an earlier search for tracepoints is in the cache.
#[track_caller]
fn attach_in(stage: &Stage, program: &Path, words: &[OsString]) -> (Report, String) {
    let server = Server::c(program, &["pool=3"], &[Listens::V4]);
    let plain = server.start(stage, User::plain());
    let cache = open_folder();
    let mut words = words.to_vec();
    let home = [OsString::from("env"), format!("XDG_CACHE_HOME={}", cache.path().display()).into()];
    words.splice(0..0, home);
    let arguments = ["-p".into(), plain.pid.to_string().into()];
    let mut run = Run::program(stage, User::plain(), &words, &arguments);
    run.wait_until_attached(&[plain.pid]);
    let made = server.clients(1, 50, 5).run();
    let report = run.end_attached();
    report.assert_counts(&made);
    assert_free(plain.pid);
    (report, run.session.stderr())
}

#[test]
fn a_filter_that_answers_accept_is_not_taken_for_a_kernel_without_tracepoints() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !attach_engines(User::plain()).contains(&"perf") {
        return;
    }
    let words = need!(without(&stage, "accept,accept4:EPERM"), "the C server", "no C compiler");
    let (report, said) = attach_in(&stage, &program, &words);
    assert_eq!(report.engine(), "syscall");
    assert!(said.contains("seccomp filter may answer accept"), "{said}");
    assert!(!said.contains("CONFIG_FTRACE_SYSCALLS"), "{said}");
}

#[test]
fn too_few_descriptors_for_events_are_named() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !attach_engines(User::plain()).contains(&"perf") {
        return;
    }
    for limit in ["14", "20"] {
        let limit = format!("--nofile={limit}:{limit}").into();
        let (report, said) =
            attach_in(&stage, &program, &["prlimit".into(), limit, stage.tcptally()]);
        assert_eq!(report.engine(), "syscall");
        for word in ["ulimit -n", "every system call"] {
            assert_eq!(said.matches(word).count(), 1, "{word:?}: {said}");
        }
        assert!(!said.contains("CONFIG_FTRACE_SYSCALLS"), "{said}");
    }
}

#[test]
fn an_unsuitable_process_is_an_error_where_perf_is_requested() {
    let stage = Stage::get();
    let python = need!(find_program("python3"), "an unsuitable process", "there is no python3");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let script = "import signal, time\n\
                  for s in (signal.SIGURG, signal.SIGWINCH): signal.signal(s, lambda *a: None)\n\
                  print('ready', flush=True)\n\
                  time.sleep(300)";
    let folder = open_folder();
    let argv = [python.into(), "-c".into(), script.into()];
    let mut process = Session::start(&stage, user, folder.path(), &argv);
    wait_for("it handles both signals", || process.stdout().contains("ready").then_some(()));
    let pid = process.pid.to_string();
    let arguments = ["--engine", "perf", "-p", &pid].map(OsString::from);
    let mut run = Run::program(&stage, user, &[stage.tcptally()], &arguments);
    assert_eq!(run.session.wait().code(), Some(1), "{}", run.session.stderr());
    let said = run.session.stderr();
    assert!(said.contains("handles SIGURG and SIGWINCH"), "{said}");
    assert!(said.contains(&pid), "{said}");
    assert_free(process.pid);
    process.signal(nix::sys::signal::Signal::SIGKILL);
    process.wait();
}

#[test]
fn an_explicit_engine_perf_fails_with_the_reason() {
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
    let capabilities = ["cap_perfmon+ep", "cap_sys_admin+ep"];
    let engines = ["perf", "seccomp", "syscall"];
    for (capability, engine) in capabilities.iter().flat_map(|c| engines.map(|e| (c, e))) {
        let given = Command::new(&setcap).arg(capability).arg(&copy).status();
        if !given.expect("setcap starts").success() {
            return skip("CAP_PERFMON", "the file system keeps no capabilities");
        }
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut arguments: Vec<OsString> = ["--engine", engine, "--"].map(OsString::from).into();
        arguments.extend(server.argv.iter().cloned());
        let mut run = Run::program(&stage, User::Nobody, &[copy.clone().into()], &arguments);
        server.wait_until_it_listens(&mut run.session);
        let pid = run.server_pid();
        for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let set = status_field(&pid.to_string(), field).expect("the server runs");
            assert_eq!(u64::from_str_radix(&set, 16), Ok(0), "{field}, {engine}, {capability}");
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
