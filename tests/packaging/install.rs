//! `make install` puts everything where it belongs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn the_program_its_manual_pages_and_completions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = env!("CARGO_BIN_EXE_tcptally");
    let mut make = Command::new("make");
    make.arg("install").arg(format!("BIN={program}")).arg("PREFIX=/usr");
    make.arg(format!("DESTDIR={}", folder.path().display()));
    let Ok(output) = make.current_dir(env!("CARGO_MANIFEST_DIR")).output() else {
        let _ = writeln!(std::io::stderr(), "skipped: make install: there is no make");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let read = |path: &str| {
        let path = folder.path().join("usr").join(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    assert!(read("share/man/man1/tcptally.1").contains(".TH TCPTALLY 1"));
    for page in ["trace", "watch", "parse"] {
        assert!(read(&format!("share/man/man1/tcptally-{page}.1")).contains("tcptally"));
    }
    assert!(read("share/bash-completion/completions/tcptally").contains("--duration"));
    assert!(read("share/zsh/site-functions/_tcptally").starts_with("#compdef tcptally"));
    assert!(read("share/fish/vendor_completions.d/tcptally.fish").contains("complete -c tcptally"));
    let installed = Path::new("usr/bin/tcptally");
    let version = Command::new(folder.path().join(installed)).arg("--version").output();
    assert!(version.expect("it runs").status.success());
}
