//! Disks that are full, files that vanish or are damaged, folders that cannot be reached: each is named, nothing is lost
//! that had been written before, and the status is 1.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::support::{Gave, NOON, Record, line, run, tcptally, wait_for};

/// Runs `f` with a disk of 64 KiB, which only its thread and what that starts see.
fn with_small_disk(f: impl FnOnce(&Path) + Send + 'static) {
    if !geteuid().is_root() {
        eprintln!("skipped: a small disk needs root");
        return;
    }
    let run = || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            eprintln!("skipped: this root may not make namespaces");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mount = |args: &[&str]| {
            let done = Command::new("mount").args(args).arg(folder.path()).status();
            assert!(done.unwrap().success(), "{args:?}");
        };
        let private = Command::new("mount").args(["--make-rprivate", "/"]).status();
        assert!(private.unwrap().success());
        mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        f(folder.path());
        let unmounted = Command::new("umount").arg(folder.path()).status();
        assert!(unmounted.unwrap().success());
    };
    let result = std::thread::spawn(run).join();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// 20,000 connections of as many addresses.
fn large() -> Record {
    let ip = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    Record::new(&(0..20_000).map(|n| line(NOON + f64::from(n), &ip(n), 80)).collect::<String>())
}

/// Runs it in this folder.
fn tcptally_in(folder: &Path, args: &[&str]) -> Gave {
    run(tcptally(args).current_dir(folder))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_report_that_does_not_fit_on_the_disk_leaves_the_old_one() {
    with_small_disk(|disk| {
        let record = large();
        fs::write(disk.join("report"), "the old one").unwrap();
        for form in [&["-F", "json"][..], &["-F", "csv"], &["-F", "html"], &["-e", "-F", "parquet"]]
        {
            let args = [&["parse", "-o", "report"], form, &[&record.path]].concat();
            let gave = tcptally_in(disk, &args);
            assert_eq!(gave.status, Some(1), "{form:?}: {gave:?}");
            let said = gave.err.contains("report'") && gave.err.contains("No space left on device");
            assert!(said, "{form:?}: {gave:?}");
            assert_eq!(fs::read_to_string(disk.join("report")).unwrap(), "the old one", "{form:?}");
            assert_eq!(names(disk), ["report"], "{form:?}");
        }
    });
}

#[test]
fn events_that_fit_on_the_disk_stay() {
    with_small_disk(|disk| {
        let record = large();
        let gave = tcptally_in(disk, &["parse", "-e", "-F", "csv", "-o", "events", &record.path]);
        assert_eq!(gave.status, Some(1), "{gave:?}");
        assert!(gave.err.contains("'events': No space left on device"), "{gave:?}");
        let written = fs::read_to_string(disk.join("events")).unwrap();
        let gave = run(tcptally(&["parse", "-F", "plain", "-q", "-"])
            .stdin(fs::File::open(disk.join("events")).unwrap()));
        let counted = gave.out.lines().count();
        assert!(counted > 200 && counted + 2 >= written.lines().count(), "{counted}: {written}");
    });
}

/// A copy of the program that another user may execute, and words that let him.
fn for_nobody() -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tcptally");
    fs::copy(env!("CARGO_BIN_EXE_tcptally"), &program).unwrap();
    let mut words: Vec<String> = match geteuid().is_root() {
        true => {
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(String::from).into()
        }
        false => Vec::new(),
    };
    words.push(program.display().to_string());
    (folder, words)
}

/// `watch` on a port of this process. It is ended with this.
struct Watch {
    child: Child,
    server: TcpListener,
    /// Where its messages go.
    messages: TempDir,
}

impl Watch {
    /// Starts it in this folder, and waits until it has begun.
    fn start(folder: &Path, args: &[&str]) -> Watch {
        Watch::start_as(folder, &[env!("CARGO_BIN_EXE_tcptally").into()], args)
    }

    /// The same with these words for the program.
    fn start_as(folder: &Path, program: &[String], args: &[&str]) -> Watch {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let messages = tempfile::tempdir().unwrap();
        let stderr = fs::File::create(messages.path().join("stderr")).unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let child = Command::new(&program[0])
            .args(&program[1..])
            .args(["watch", "--engine", "sockdiag", "--port", &port])
            .args(args)
            .env("TZ", "UTC")
            .env("TCPTALLY_CONFIG", "")
            .current_dir(folder)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let watch = Watch { child, server, messages };
        wait_for("the watch to begin", || watch.said().contains("watching port").then_some(()));
        watch
    }

    fn said(&self) -> String {
        fs::read_to_string(self.messages.path().join("stderr")).unwrap_or_default()
    }

    /// Waits until it has said this.
    fn wait_until_said(&self, text: &str) {
        wait_for(text, || self.said().contains(text).then_some(()));
    }

    fn connect(&self) {
        let client = TcpStream::connect(self.server.local_addr().unwrap()).unwrap();
        drop((client, self.server.accept().unwrap()));
    }

    fn end(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn total(report: &Path) -> Option<u64> {
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(report).ok()?).ok()?;
    report["total"].as_u64()
}

/// A report that is written anew each second.
#[test]
fn a_disk_that_is_full_for_a_while_costs_only_the_reports_of_that_time() {
    with_small_disk(|disk| {
        let args = ["-i", "1s", "--resolution", "100ms", "-F", "json", "-o", "report"];
        let mut watch = Watch::start(disk, &args);
        let report = disk.join("report");
        watch.connect();
        wait_for("a report", || (total(&report) == Some(1)).then_some(()));
        fs::write(disk.join("filler"), vec![0; 1 << 17])
            .expect_err("there is no room for all of it");
        watch.connect();
        watch.wait_until_said(
            "No space left on device (os error 28); the previous report is kept until the next one",
        );
        assert_eq!(total(&report), Some(1));
        fs::remove_file(disk.join("filler")).unwrap();
        wait_for("a report of now", || (total(&report) == Some(2)).then_some(()));
        assert_eq!(watch.end(), Some(0), "{}", watch.said());
        assert_eq!(watch.said().matches("No space left").count(), 1, "{}", watch.said());
    });
}

/// Whoever looks at the messages need not wait for the end.
#[test]
fn events_that_cannot_be_written_are_reported_at_once() {
    with_small_disk(|disk| {
        let args = ["-e", "-F", "csv", "--resolution", "50ms", "-o", "events"];
        let mut watch = Watch::start(disk, &args);
        let events = disk.join("events");
        watch.connect();
        let lines = || fs::read_to_string(&events).unwrap().lines().count();
        wait_for("the first event", || (lines() == 2).then_some(()));
        fs::write(disk.join("filler"), vec![0; 1 << 17])
            .expect_err("there is no room for all of it");
        wait_for("the failure", || {
            watch.connect();
            watch.said().contains("nothing more is written to it").then_some(())
        });
        assert_eq!(watch.end(), Some(1), "{}", watch.said());
        assert!(lines() >= 2, "what had been written before");
    });
}

/// Writing goes on in the file that is open.
#[test]
fn a_folder_in_which_no_file_can_be_renamed_loses_no_event() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let (_copy, nobody) = for_nobody();
    let args = ["-e", "-F", "csv", "-o", "events", "--rotate", "1s", "--resolution", "100ms"];
    let mut watch = Watch::start_as(folder.path(), &nobody, &args);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    watch.connect();
    watch.wait_until_said("cannot rotate 'events': Permission denied");
    watch.connect();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(watch.end(), Some(0), "{}", watch.said());
    let files: Vec<_> = names(folder.path()).iter().map(|name| folder.path().join(name)).collect();
    let gave = run(tcptally(&["parse", "-F", "plain"]).args(files));
    assert_eq!(gave.out, "127.0.0.1: 2\n", "{gave:?}");
}

#[test]
fn unreadable_inputs_are_named_and_the_others_count() {
    let record = Record::small();
    let folder = record.folder.path();
    fs::create_dir(folder.join("closed")).unwrap();
    fs::write(folder.join("closed/log"), line(NOON, "192.0.2.7", 443)).unwrap();
    fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    // Folders are traversed by everybody but for this one.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (_copy, nobody) = for_nobody();
    for (input, cause) in [
        ("gone", "No such file"),
        ("closed", "Permission denied"),
        ("closed/log", "Permission denied"),
        ("log/in-a-file", "Not a directory"),
    ] {
        let gave = run(Command::new(&nobody[0])
            .args(&nobody[1..])
            .args(["parse", "-F", "json", input, "log"])
            .env("TCPTALLY_CONFIG", "")
            .env("TZ", "UTC")
            .current_dir(folder));
        assert_eq!(gave.status, Some(1), "{input}: {gave:?}");
        assert!(gave.err.contains(input) && gave.err.contains(cause), "{input}: {gave:?}");
        let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
        assert_eq!((&report["total"], &report["complete"]), (&6.into(), &false.into()), "{input}");
    }
    fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_database_that_is_damaged_inside_is_named() {
    let database =
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/mmdb/made-up.mmdb")).unwrap();
    let record = Record::small();
    let bad = record.beside("bad.mmdb");
    // The tree stays, what it points to does not.
    let marker = b"\xab\xcd\xefMaxMind.com";
    let end = database.windows(marker.len()).rposition(|w| w == marker).unwrap();
    let mut named = 0;
    for at in (end / 2..end).step_by(end / 40) {
        let mut damaged = database.clone();
        damaged[at..end].fill(0xff);
        fs::write(&bad, damaged).unwrap();
        let gave = record.parse(&["--by", "asn", "--asn", &bad, "-F", "plain"]);
        if gave.err.contains("bad.mmdb': ")
            && gave.err.contains("because the file is damaged; download it again")
        {
            assert_eq!(gave.status, Some(1), "{at}: {gave:?}");
            named += 1;
        }
    }
    assert!(named > 0, "damage was found");
}

/// A user may have one process, which is tcptally itself. Other processes of the same user count too, and an execve(2)
/// above the limit fails, so it is a user that nobody else has.
#[test]
fn where_no_thread_can_be_created_records_are_read_all_the_same() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can start a program as another user");
        return;
    }
    let record = large();
    let folder = record.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let gzip = Command::new("gzip").args(["-k", &record.path]).status();
    assert!(gzip.unwrap().success());
    let alone = |file: &str| {
        let program = env!("CARGO_BIN_EXE_tcptally");
        let id = 1_000_000_000 + std::process::id();
        let user = [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".into()];
        let mut command = Command::new("prlimit");
        command.args(["--nproc=1", "setpriv"]).args(user);
        run(command.args([program, "parse", "-F", "json", file]))
    };
    let plain = alone(&record.path);
    assert!(
        plain.status == Some(0) && plain.out.replace(' ', "").contains("\"total\":20000"),
        "{}",
        plain.err
    );
    let compressed = alone(&format!("{}.gz", record.path));
    if compressed.status != Some(0) {
        assert!(compressed.err.contains("Resource temporarily unavailable"), "{}", compressed.err);
        assert_eq!(compressed.status, Some(1));
        assert!(!compressed.err.contains("panicked"), "{}", compressed.err);
    }
}
