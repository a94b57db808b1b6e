//! The scripts of `make dist` and of the packages.

use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn shells_accept_the_scripts() {
    for (shell, scripts) in [
        ("sh", "dist.sh debian/postinst debian/prerm debian/postrm rpm/post rpm/preun rpm/postun"),
        ("bash", "test.sh"),
    ] {
        for script in scripts.split(' ') {
            let path = Path::new(ROOT).join("packaging").join(script);
            let checked = Command::new(shell).arg("-n").arg(&path).output();
            let Ok(checked) = checked else {
                eprintln!("skipped: there is no {shell}");
                continue;
            };
            let complaints = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success() && complaints.is_empty(), "{script}: {complaints}");
        }
    }
}

#[test]
fn no_package_sets_a_capability_and_each_offers_it() {
    for script in ["debian/postinst", "rpm/post"] {
        let path = Path::new(ROOT).join("packaging").join(script);
        let text = std::fs::read_to_string(path).expect("the script");
        let commands = text.lines().filter(|line| !line.trim_start().starts_with("echo"));
        assert!(
            commands.clone().count() > 3 && !commands.into_iter().any(|l| l.contains("setcap"))
        );
        assert!(text.contains("setcap cap_perfmon+ep /usr/bin/tcptally"), "{script}");
    }
}

#[test]
fn the_dockerfile_copies_what_make_static_builds() {
    let path = Path::new(ROOT).join("contrib/container/Dockerfile");
    let text = std::fs::read_to_string(path).expect("the Dockerfile");
    let instructions: Vec<&str> =
        text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    assert_eq!(
        instructions,
        [
            "FROM scratch",
            "COPY tcptally /tcptally",
            "USER 65534:65534",
            "ENTRYPOINT [\"/tcptally\"]"
        ]
    );
    assert!(text.contains("target/x86_64-unknown-linux-gnu/dist\n"));
    let version = concat!("tcptally:", env!("CARGO_PKG_VERSION"), " ");
    assert_eq!(text.matches("tcptally:").count(), text.matches(version).count(), "{version}");
}
