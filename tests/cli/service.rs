//! What service managers are told.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::tcptally;

fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let n = socket.recv(&mut message).expect("a message within the time-out");
    String::from_utf8_lossy(&message[..n]).into_owned()
}

#[test]
fn watch_tells_the_service_manager_that_it_is_ready_and_alive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let mut watch = tcptally(&["watch", "--port", &port, "-o", "/dev/null", "-q"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    let messages: Vec<String> = (0..3).map(|_| receive(&socket)).collect();
    kill(Pid::from_raw(watch.id() as i32), Signal::SIGTERM).unwrap();
    assert!(watch.wait().unwrap().success());
    assert_eq!(messages.concat().replace('\n', " "), "READY=1 WATCHDOG=1 WATCHDOG=1 ");
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
    let complaints = String::from_utf8_lossy(&analyzed.stderr).into_owned();
    assert!(analyzed.status.success() && complaints.is_empty(), "{complaints}");
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
