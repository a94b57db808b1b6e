//! Where the configuration file is looked for, and how it is left out.

use std::fs;
use std::path::Path;

use super::support::{Gave, run, tcptally};

const LOG: &str = "1.000001 accept4(3, {sa_family=AF_INET, sin_port=htons(40000), \
                   sin_addr=inet_addr(\"192.0.2.1\")}, [16], 0) = 5\n";

/// Runs `parse ARGS` with no more of the environment than is given.
fn parse(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Gave {
    let log = folder.join("strace.log");
    fs::write(&log, LOG).unwrap();
    let log = log.display().to_string();
    let mut command = tcptally(&[&["parse", log.as_str()], args].concat());
    for name in ["TCPTALLY_CONFIG", "XDG_CONFIG_HOME", "HOME"] {
        command.env_remove(name);
    }
    run(command.envs(environment.iter().copied()))
}

/// Writes a configuration file that chooses `format`.
fn choose(folder: &Path, path: &str, format: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("format = '{format}'\n")).unwrap();
}

#[test]
fn the_file_is_that_of_the_variable_else_of_xdg_else_of_home() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    choose(folder.path(), "home/.config/tcptally/config.toml", "plain");
    choose(folder.path(), "xdg/tcptally/config.toml", "csv");
    choose(folder.path(), "named.toml", "json");
    let (home, xdg, named) = (path("home"), path("xdg"), path("named.toml"));
    let home: &[_] = &[("HOME", home.as_str())];
    let xdg: &[_] = &[home, &[("XDG_CONFIG_HOME", xdg.as_str())]].concat();
    let named: &[_] = &[xdg, &[("TCPTALLY_CONFIG", named.as_str())]].concat();
    let empty: &[_] = &[xdg, &[("TCPTALLY_CONFIG", "")]].concat();
    let cases = [
        (home, "192.0.2.1: 1\n"),
        (xdg, "kind,"),
        (named, "{"),
        (empty, "ADDRESS "),
        (&[], "ADDRESS "),
    ];
    for (environment, beginning) in cases {
        let gave = parse(folder.path(), &[], environment);
        assert_eq!(gave.status, Some(0), "{}", gave.err);
        assert!(gave.out.starts_with(beginning), "{environment:?}: {}", gave.out);
        let gave = parse(folder.path(), &["--no-config"], environment);
        assert!(gave.out.starts_with("ADDRESS "), "{environment:?}: {}", gave.out);
        let gave = parse(folder.path(), &["-F", "plain"], environment);
        assert_eq!(gave.out, "192.0.2.1: 1\n", "{environment:?}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_unless_it_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml").display().to_string();
    let environment: &[_] = &[("TCPTALLY_CONFIG", path.as_str())];
    for (text, cause) in [
        (None, "--no-config ignores it"),
        (Some("tpo = 3"), "there is no option 'tpo'"),
        (Some("format = 'pdf'"), "possible values"),
        (Some("format"), "is not TOML"),
    ] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let gave = parse(folder.path(), &[], environment);
        assert_eq!(gave.status, Some(2), "{}", gave.err);
        assert!(gave.err.contains(cause) && gave.err.contains(&path), "{}", gave.err);
        assert_eq!(parse(folder.path(), &["--no-config"], environment).status, Some(0));
    }
}

#[test]
fn filters_from_the_configuration_file_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml").display().to_string();
    fs::write(&path, "not-from = '192.0.2.0/24'\nformat = 'plain'\n").unwrap();
    let gave = parse(folder.path(), &[], &[("TCPTALLY_CONFIG", &path)]);
    let told = format!("from {path}: --not-from 192.0.2.0/24");
    assert!(gave.out.is_empty() && gave.err.contains(&told), "{}{}", gave.out, gave.err);
    assert!(!gave.err.contains("--format"), "{}", gave.err);
    let all = parse(folder.path(), &["-v"], &[("TCPTALLY_CONFIG", &path)]);
    assert!(all.err.contains("--format plain"), "{}", all.err);
}
