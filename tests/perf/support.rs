//! What the tests of this folder share: tracees, and the least of a tracer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tcptally::sys::ptrace::{self, Tid};
use tcptally::sys::wait;
use tcptally::trace::perf::inject::{self, Change, Disposition, Progress, Started};
use tcptally::trace::perf::injection_site::InjectionSite;
use tcptally::trace::stop::{EventStopState, Stop, Until};

/// A C program of tests/tracees, compiled once; `None` without a compiler.
pub fn tracee(name: &str) -> Option<PathBuf> {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        directory
    });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracees").join(name);
    let binary = tempfile::Builder::new().prefix("tracee").tempdir_in(directory.path()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(binary.path(), mode).unwrap();
    let binary = binary.keep().join("tracee");
    let built = Command::new("cc")
        .args(["-O2", "-pthread", "-march=native", "-o"])
        .arg(&binary)
        .arg(source)
        .status()
        .ok()?;
    assert!(built.success());
    Some(binary)
}

pub fn next_stop(tid: Tid) -> Stop {
    loop {
        match wait::one(tid) {
            Ok(change) => return Stop::from(change.expect("a tracee")),
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

/// Passes on what a loop of a tracer would.
pub fn resume(stop: Stop) {
    match stop {
        Stop::Signal(s) => s.deliver(Until::AnyStop),
        Stop::Group(s) => s.listen(),
        Stop::Event(s) => s.resume(Until::AnyStop),
        Stop::Exited(..) | Stop::Killed(..) => panic!("the tracee has ended: {stop:?}"),
        other => panic!("{other:?}"),
    }
    .unwrap();
}

/// To put back takes five stops, and there is a moment before and after each comes.
pub const STEPS: u32 = 10;

/// Ends this process without another word, where the environment asks for it.
fn die_at(step: u32) {
    if std::env::var("DIE_AT").is_ok_and(|at| at == step.to_string()) {
        tcptally::sys::kill(std::process::id() as Tid, libc::SIGKILL);
    }
}

/// Changes the disposition of a seized process and leaves it stopped; gives the former one.
pub fn inject(pid: Tid, mut change: Change) -> (Stop, Disposition) {
    loop {
        let site = InjectionSite::find(pid).unwrap();
        ptrace::interrupt(pid).unwrap();
        let stop = loop {
            match next_stop(pid) {
                Stop::Event(stop) => break EventStopState::Running(stop),
                other => resume(other),
            }
        };
        let mut injection = match inject::start(stop, &site, change) {
            Started::Going(injection) => injection,
            Started::NotNow(stop) => {
                resume(stop.into());
                continue;
            }
            Started::InjectError(_, unfit) => panic!("{unfit}"),
        };
        let mut step = 0;
        let other = loop {
            die_at(step);
            let stop = next_stop(pid);
            die_at(step + 1);
            step += 2;
            match injection.on_stop(stop) {
                Progress::Going(going) => injection = going,
                Progress::Done(stop, former) => return (stop, former.unwrap()),
                Progress::Undone(stop, rest) => {
                    change = rest;
                    break stop;
                }
            }
        };
        ptrace::interrupt(pid).unwrap();
        resume(other);
    }
}
