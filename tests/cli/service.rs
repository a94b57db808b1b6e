//! What service managers are told.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{tcptally, wait_for};

fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let n = socket.recv(&mut message).expect("a message within the time-out");
    String::from_utf8_lossy(&message[..n]).into_owned()
}

/// `trace --wait` is ready when it waits.
#[test]
fn the_service_manager_is_notified_of_the_start_and_by_the_watchdog() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    for (args, status) in [(&["watch"][..], 0), (&["trace", "--wait"], 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Nobody listens on port 1.
        let port = if status == 0 { port.as_str() } else { "1" };
        let mut child = tcptally(&[args, &["--port", port, "-o", "/dev/null", "-q"]].concat())
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "400000")
            .spawn()
            .unwrap();
        let messages: Vec<String> = (0..3).map(|_| receive(&socket)).collect();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{args:?}");
        let messages = messages.concat().replace('\n', " ");
        assert_eq!(messages, "READY=1 WATCHDOG=1 WATCHDOG=1 ", "{args:?}");
    }
}

/// The command is the service; it says itself when it is ready.
#[test]
fn a_started_command_has_the_notify_socket_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let output = tcptally(&["trace", "-q", "--", "sh", "-c", "echo $NOTIFY_SOCKET"])
        .env("NOTIFY_SOCKET", &path)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), path.to_string_lossy());
    assert!(socket.recv(&mut [0; 256]).is_err());
}

#[test]
fn messages_to_the_journal_have_priorities() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stderr");
    let run = |args: &[&str], stream: &str| {
        let file = std::fs::File::create(&path).unwrap();
        tcptally(args).env("JOURNAL_STREAM", stream).stderr(Stdio::from(file)).status().unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    std::fs::write(&path, "").unwrap();
    let metadata = path.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let notice = ["trace", "-o", "/dev/null", "-v", "--", "true"];
    let error = ["parse", "/nonexistent"];
    assert!(run(&error, &stream).starts_with("<3>tcptally: "));
    assert!(run(&notice, &stream).starts_with("<5>tcptally: "));
    assert!(run(&error, "1:1").starts_with("tcptally: "));
}

#[test]
fn systemd_accepts_the_unit_for_watch() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    let name = "tcptally-watch@.service";
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd").join(name);
    let text = std::fs::read_to_string(unit).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let installed = text.replace("/usr/local/bin/tcptally", env!("CARGO_BIN_EXE_tcptally"));
    std::fs::write(folder.path().join(name), installed).unwrap();
    let instance = folder.path().join("tcptally-watch@443.service");
    let analyzed = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&instance)
        .output()
        .unwrap();
    // Units of this machine that it reads too may be faulty.
    let complaints = String::from_utf8_lossy(&analyzed.stderr).into_owned();
    assert!(!complaints.contains("tcptally"), "{complaints}");
    assert!(analyzed.status.success() || !complaints.is_empty());
    // Levels: 0 is the most restricted, 100 the least.
    let exposed = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
        .arg(&instance)
        .output()
        .unwrap();
    let said = [exposed.stdout, exposed.stderr].concat();
    assert!(exposed.status.success(), "{}", String::from_utf8_lossy(&said));
    // Its command is one that tcptally takes.
    let line = text.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/local/bin/tcptally "));
    let state = folder.path().to_string_lossy().into_owned();
    let line = line.unwrap().replace("%i", "443").replace("${STATE_DIRECTORY}", &state);
    let args: Vec<&str> =
        line.split(' ').map(|w| if w == "${METRICS}" { "x" } else { w }).collect();
    let refused = tcptally(&args).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("'x' is not an address to listen on"), "{message}");
}

/// Makes `n` connections to a port, one after another.
fn connect(port: &str, n: usize) {
    for _ in 0..n {
        drop(std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap());
    }
}

/// A server that accepts and closes, until the process ends.
fn server() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || server.incoming().for_each(drop));
    port
}

/// Starts `watch` and waits until it is ready.
fn watch(folder: &Path, port: &str, args: &[&str]) -> std::process::Child {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let args = [&["watch", "--engine", "sockdiag", "--port", port, "-q"], args].concat();
    let child = tcptally(&args).env("NOTIFY_SOCKET", &path).current_dir(folder).spawn().unwrap();
    assert_eq!(receive(&socket).trim(), "READY=1");
    child
}

fn former(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_former = |path: &std::path::PathBuf| path.to_string_lossy().contains("events.2");
    let mut former: Vec<_> = all.filter(is_former).collect();
    former.sort();
    former
}

#[test]
fn rotated_files_have_each_event_once() {
    for form in ["csv", "parquet"] {
        let folder = tempfile::tempdir().unwrap();
        let port = server();
        let args = ["-e", "-F", form, "-o", "events", "--rotate", "1s"];
        let mut child = watch(folder.path(), &port, &args);
        for round in 1..=3 {
            connect(&port, 20);
            wait_for("a rotated file", || (former(folder.path()).len() >= round).then_some(()));
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
        let mut files = former(folder.path());
        files.push(folder.path().join("events"));
        let gave = crate::support::run(tcptally(&["parse", "-F", "plain"]).args(&files));
        assert_eq!(
            (gave.out.as_str(), gave.status),
            ("127.0.0.1: 60\n", Some(0)),
            "{form}: {gave:?}"
        );
        if form == "csv" {
            for file in files {
                let text = std::fs::read_to_string(file).unwrap();
                assert_eq!(text.matches("time,elapsed").count(), 1, "{text}");
            }
        }
    }
}

#[test]
fn old_rotated_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["events.20200101T000000Z", "events.20200101T010000Z", "events.2.keep", "other"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let args = [
        "-i",
        "1s",
        "--resolution",
        "100ms",
        "-F",
        "csv",
        "-o",
        "events",
        "--rotate",
        "1s",
        "--keep",
        "2",
    ];
    let mut child = watch(folder.path(), &server(), &args);
    wait_for("the removal of the oldest file", || {
        (!folder.path().join("events.20200101T010000Z").exists()).then_some(())
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(folder.path().join("events.2.keep").exists() && folder.path().join("other").exists());
    assert_eq!(former(folder.path()).len(), 3, "two, and the one that is not of this kind");
    for file in former(folder.path()).iter().filter(|f| !f.ends_with("events.2.keep")) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.starts_with("kind,start,end,"), "{text}");
    }
}

#[test]
fn rotation_needs_what_is_written_as_it_comes() {
    for (args, text) in [
        (&["-F", "json", "-i", "1m"][..], "--rotate is for what is written as it comes"),
        (&[], "--rotate is for what is written as it comes"),
    ] {
        let args = [&["watch", "--port", "1", "-o", "x", "--rotate", "1h"], args].concat();
        let gave = crate::support::run(&mut tcptally(&args));
        assert_eq!(gave.status, Some(2));
        assert!(gave.err.contains(text), "{gave:?}");
    }
}

#[test]
fn a_killed_watch_leaves_the_report_of_the_last_interval() {
    for form in ["json", "parquet"] {
        let folder = tempfile::tempdir().unwrap();
        let port = server();
        let args = ["-i", "1s", "--resolution", "100ms", "-F", form, "-o", "report"];
        let mut child = watch(folder.path(), &port, &args);
        connect(&port, 20);
        let report = folder.path().join("report");
        let total = || {
            let gave = crate::support::run(tcptally(&["parse", "-q", "-F", "plain"]).arg(&report));
            gave.out.trim().to_owned()
        };
        wait_for("a report of the connections so far", || {
            (report.exists() && total() == "127.0.0.1: 20").then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(total(), "127.0.0.1: 20", "{form}");
    }
}
