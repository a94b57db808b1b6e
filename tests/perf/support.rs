//! What the tests of this folder share: tracees, and the least of a tracer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tcptally::internals::sys::{Tid, wait};
use tcptally::internals::{Stop, Until};

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
