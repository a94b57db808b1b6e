//! Where reports go.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use crate::support::{NOON, Record, line, run, tcptally};

#[test]
fn a_file_is_replaced_when_the_report_is_whole() {
    let record = Record::small();
    let out = record.beside("report");
    fs::write(&out, "old\n").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).unwrap();
    let link = record.beside("link");
    symlink(&out, &link).unwrap();
    let gave = record.parse(&["-F", "plain", "-n", "1", "-o", &link]);
    assert_eq!((gave.out.as_str(), gave.status), ("", Some(0)), "{}", gave.err);
    assert_eq!(fs::read_to_string(&out).unwrap(), "192.0.2.7: 3\nothers: 3\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o640);
    let left: Vec<_> = fs::read_dir(record.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn dash_is_stdout_and_a_device_is_written_to() {
    let record = Record::small();
    assert!(record.parse(&["-F", "plain", "-o", "-"]).out.starts_with("192.0.2.7: 3"));
    assert!(record.parse(&["-F", "plain", "-o", "/dev/stdout"]).out.starts_with("192.0.2.7: 3"));
    assert_eq!(record.parse(&["-o", "/dev/null"]).status, Some(0));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn with_intervals_a_file_grows() {
    let record = Record::small();
    let out = record.beside("rows.csv");
    for _ in 0..2 {
        assert_eq!(record.parse(&["-F", "csv", "-i", "1m", "-n", "0", "-o", &out]).status, Some(0));
    }
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.matches("start,end").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1 + 2 * 2, "{text}");
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_starts() {
    let record = Record::small();
    let mark = record.beside("started");
    for out in ["/nonexistent/report", "/proc/self/status", "/proc/report", "/"] {
        let gave = run(&mut tcptally(&["trace", "-o", out, "--", "touch", &mark]));
        assert_eq!(gave.status, Some(125), "{out} {}", gave.err);
        assert!(gave.err.contains(out) && gave.err.contains("-o"), "{}", gave.err);
        assert!(!gave.err.contains(".tcptally"), "{}", gave.err);
        assert!(!fs::exists(&mark).unwrap(), "{out}");
        assert_eq!(record.parse(&["-o", out]).status, Some(1));
    }
}

#[test]
fn a_full_disk_is_reported_and_does_not_harm_the_watched_server() {
    let record = Record::small();
    let gave = record.parse(&["-o", "/dev/full"]);
    assert_eq!(gave.status, Some(1));
    assert!(gave.err.contains("No space left"), "{}", gave.err);
    for events in [&[][..], &["-e", "-F", "csv"]] {
        for (command, status) in [("exit 7", 7), ("exit 0", 125)] {
            let args = [&["trace", "-o", "/dev/full"], events, &["--", "sh", "-c", command]];
            let gave = run(&mut tcptally(&args.concat()));
            assert_eq!(gave.status, Some(status), "{events:?} {}", gave.err);
            assert_eq!(gave.err.matches("No space left").count(), 1, "{}", gave.err);
        }
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let many: String =
        (0..20_000).map(|i| line(NOON, &format!("10.{}.{}.1", i / 250, i % 250), 80)).collect();
    let record = Record::new(&many);
    for args in [&["-F", "csv"][..], &["-e", "-F", "csv"], &["-i", "1m"]] {
        let mut child = tcptally(&["parse", &record.path])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut begin = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}
