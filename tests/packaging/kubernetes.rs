//! contrib/kubernetes: the arguments of the DaemonSet are run, and it is valid where the schemas are installed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MANIFEST: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/kubernetes/tcptally-watch.yaml");

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// The items of `args:`, in the block style that the manifest has.
fn args_of(manifest: &str) -> Vec<String> {
    let after = manifest.split_once("          args:\n").expect("args").1;
    let items = after.lines().map_while(|line| line.strip_prefix("            - "));
    items.map(str::to_owned).collect()
}

fn get(address: (&str, u16)) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1").then_some(text)
}

#[test]
fn the_arguments_of_the_daemonset_serve_metrics() {
    let manifest = std::fs::read_to_string(MANIFEST).expect("the manifest");
    let server = TcpListener::bind("127.0.0.1:0").expect("a server");
    let watched = server.local_addr().expect("an address").port();
    std::thread::spawn(move || server.incoming().for_each(drop));
    let metrics = free_port();
    let args = args_of(&manifest).into_iter().map(|arg| {
        arg.replace("--port=443", &format!("--port={watched}"))
            .replace("$(NODE_NAME)", "node1")
            .replace("$(HOST_IP):9435", &format!("127.0.0.1:{metrics}"))
    });
    let args: Vec<String> = args.collect();
    assert!(args.len() > 4 && args.iter().all(|arg| !arg.contains("$(")), "{args:?}");
    let mut tcptally = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    tcptally.args(&args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut tcptally = Running(tcptally.spawn().expect("it starts"));
    let end = Instant::now() + Duration::from_secs(60);
    let is_counted = |text: String| {
        let count = text.lines().filter(|line| line.starts_with("tcptally_connections_total"));
        count.into_iter().any(|line| !line.ends_with(" 0"))
    };
    // What comes before it has begun to count is not counted, so there are several connections.
    while !get(("127.0.0.1", metrics)).is_some_and(is_counted) {
        let _ = TcpStream::connect(("127.0.0.1", watched));
        assert!(tcptally.0.try_wait().expect("a process").is_none(), "it ended");
        assert!(Instant::now() < end, "no metrics of the connection after a minute");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_daemonset_is_valid_for_every_api_version() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/validate.py");
    let output = Command::new("python3").args([script, MANIFEST]).output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(77) {
        eprintln!("skipped: {errors}");
        return;
    }
    assert!(output.status.success() && said.contains("valid"), "{said}{errors}");
}
