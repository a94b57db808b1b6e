//! The screen of --live in a terminal (tmux).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{NOON, line, run, tcptally, wait_at_most, wait_for};

/// A terminal of its own, which ends when this is dropped.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Runs a shell command in it, or says why the test is skipped.
    fn run(command: &str) -> Option<Terminal> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: tmux is not installed");
            return None;
        }
        let terminal = Terminal { folder: tempfile::tempdir().unwrap() };
        // The shell stays, so that what was printed after the screen can be seen.
        let command = format!("trap : INT; {command}; echo status $?; read -r end");
        let size = ["-x", "100", "-y", "24"];
        terminal
            .tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[&command]].concat());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let socket = socket.to_str().unwrap();
        run(Command::new("tmux")
            .args(["-S", socket])
            .args(args)
            .env("TZ", "UTC")
            .env_remove("TMUX"))
        .out
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the terminal shows all of these.
    #[track_caller]
    fn wait_for(&self, texts: &[&str]) -> String {
        let mut shown = String::new();
        let found = wait_at_most(Duration::from_secs(60), || {
            shown = self.tmux(&["capture-pane", "-p"]);
            texts.iter().all(|text| shown.contains(text)).then_some(())
        });
        assert!(found.is_some(), "{texts:?} in:\n{shown}");
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn a_screen_follows_a_growing_log_and_obeys_keys() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let at = |i: u32| line(NOON + f64::from(i), &format!("192.0.2.{}", 1 + i % 3), 443);
    fs::write(&log, (0..30).map(at).collect::<String>()).unwrap();
    let program = env!("CARGO_BIN_EXE_tcptally");
    let command = format!("cd {} && TZ=UTC {program} parse --live log", folder.path().display());
    let Some(terminal) = Terminal::run(&command) else { return };
    terminal.wait_for(&["tcptally parse", "30 connections", "192.0.2.3", "q quit"]);
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(line(NOON + 40.0, "198.51.100.9", 443).as_bytes()).unwrap();
    terminal.wait_for(&["31 connections", "198.51.100.9"]);
    // Rotated as logrotate does: the old file gets a last line.
    fs::rename(&log, folder.path().join("log.1")).unwrap();
    file.write_all(line(NOON + 41.0, "198.51.100.9", 443).as_bytes()).unwrap();
    fs::write(&log, line(NOON + 42.0, "203.0.113.5", 80)).unwrap();
    terminal.wait_for(&["33 connections", "203.0.113.5"]);
    // Progress of a reading of more than a second would be drawn over the screen.
    let begin = Instant::now();
    let mut more = OpenOptions::new().append(true).open(&log).unwrap();
    while begin.elapsed() < Duration::from_millis(1500) {
        more.write_all(b"\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let shown = terminal.wait_for(&["33 connections"]);
    assert!(shown.starts_with("tcptally parse") && !shown.contains("/s,"), "{shown}");
    terminal.press(&["/", "198.51.100.0/24", "Enter"]);
    let shown = terminal.wait_for(&["/ 198.51.100.0/24 (2)"]);
    assert!(!shown.contains("192.0.2.1 "), "{shown}");
    terminal.press(&["Enter"]);
    terminal.wait_for(&["last connections", "198.51.100.9:40000 -> 127.0.0.1:443"]);
    terminal.press(&["Escape", "b"]);
    terminal.wait_for(&["by:net"]);
    terminal.press(&["b", "Escape"]);
    terminal.wait_for(&["by:port", "443", "80"]);
    terminal.press(&["w", "Enter"]);
    terminal.wait_for(&["wrote tcptally.html"]);
    let page = fs::read_to_string(folder.path().join("tcptally.html")).unwrap();
    assert!(page.contains("<h1>33 connections from 5 addresses</h1>"));
    terminal.press(&["?"]);
    terminal.wait_for(&["stop counting and print the report"]);
    terminal.press(&["?", "q"]);
    let shown = terminal.wait_for(&["status 0"]);
    assert!(shown.contains("33 connections from 5 addresses, 2026-11-22 11:30:00"), "{shown}");
    assert!(!shown.contains("q quit") && !shown.contains("note:"), "{shown}");
}

#[test]
fn a_followed_file_that_cannot_be_read_fails_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log"), line(NOON, "192.0.2.1", 443)).unwrap();
    let program = env!("CARGO_BIN_EXE_tcptally");
    // A regular file, and reading it at 0 fails with EIO.
    let command =
        format!("cd {} && {program} parse --live log /proc/self/mem", folder.path().display());
    let Some(terminal) = Terminal::run(&command) else { return };
    terminal.wait_for(&["1 connection", "192.0.2.1"]);
    terminal.press(&["q"]);
    let shown = terminal.wait_for(&["status 1"]);
    assert!(shown.contains("/proc/self/mem: Input/output error"), "{shown}");
}

/// A terminal with the screen of a log of three clients, after `settings` of the environment.
fn screen_of_a_log(settings: &str) -> Option<(TempDir, Terminal)> {
    let folder = tempfile::tempdir().unwrap();
    let at = |i: u32| line(NOON + f64::from(i), &format!("192.0.2.{}", 1 + i % 3), 443);
    fs::write(folder.path().join("log"), (0..30).map(at).collect::<String>()).unwrap();
    let program = env!("CARGO_BIN_EXE_tcptally");
    let place = folder.path().display();
    let terminal = Terminal::run(&format!("cd {place} && {settings} {program} parse --live log"))?;
    terminal.wait_for(&["30 connections", "192.0.2.3", "q quit"]);
    Some((folder, terminal))
}

#[test]
fn a_screen_follows_the_size_of_its_window() {
    let Some((_folder, terminal)) = screen_of_a_log("") else { return };
    terminal.tmux(&["resize-window", "-x", "140", "-y", "30"]);
    let shown = terminal.wait_for(&["SHARE", "LAST 3 MIN", "w write"]);
    assert!(shown.lines().any(|line| line.chars().count() > 100), "{shown}");
    terminal.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    let shown = terminal.wait_for(&["30 connections", "192.0.2.3"]);
    assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
    terminal.tmux(&["resize-window", "-x", "39", "-y", "9"]);
    terminal.wait_for(&["at least 40 x 10"]);
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.wait_for(&["30 connections", "q quit"]);
    terminal.press(&["q"]);
    terminal.wait_for(&["status 0"]);
}

#[test]
fn a_screen_has_no_colour_where_none_is_wanted() {
    let is_color = |text: &str| text.contains("\x1b[38;5;") || text.contains("\x1b[36m");
    for (settings, has_color) in [("NO_COLOR=1", false), ("", true)] {
        let Some((_folder, terminal)) = screen_of_a_log(settings) else { return };
        let shown = terminal.tmux(&["capture-pane", "-p", "-e"]);
        assert_eq!(is_color(&shown), has_color, "{settings}: {}", shown.escape_debug());
        terminal.press(&["q"]);
        terminal.wait_for(&["status 0"]);
    }
}

#[test]
fn a_screen_over_a_started_server_leaves_its_output_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let program = env!("CARGO_BIN_EXE_tcptally");
    let server = "import socket,sys\\ns=socket.create_server((\\\"127.0.0.1\\\",0))\\nprint(s.getsockname()[1],flush=True)\\n\
                  while True: s.accept()[0].close()";
    if Command::new("python3").arg("-V").output().is_err() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let code = format!("printf \"{server}\" > server.py");
    let command = format!(
        "cd {at} && {code} && {program} trace --live --server-log out.log -- python3 server.py"
    );
    let Some(terminal) = Terminal::run(&command) else { return };
    terminal.wait_for(&["tcptally trace", "no connection yet"]);
    let port: u16 = wait_for("the port of the server", || {
        fs::read_to_string(folder.path().join("out.log")).ok()?.trim().parse().ok()
    });
    for _ in 0..5 {
        drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    terminal.wait_for(&["5 connections", "127.0.0.1", "100.0%"]);
    terminal.press(&["C-c"]);
    let shown = terminal.wait_for(&["status "]);
    assert!(shown.contains("5 connections from 1 address"), "{shown}");
    let log = fs::read_to_string(folder.path().join("out.log")).unwrap();
    assert!(log.contains("KeyboardInterrupt"), "{log}");
}

#[test]
fn a_screen_needs_a_terminal_that_can_draw() {
    let gave = run(tcptally(&["watch", "--port", "1", "--live"]).env("TERM", "dumb"));
    assert_eq!(gave.status, Some(2));
    assert!(gave.err.contains("--interval 20s"), "{}", gave.err);
    let setsid = Command::new("setsid")
        .args(["-w", env!("CARGO_BIN_EXE_tcptally"), "watch", "--port", "1", "--live"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&setsid.stderr).into_owned();
    assert!(setsid.status.code() == Some(2) && error.contains("needs a terminal"), "{error}");
}
