//! `trace --metrics`, scraped by hand and by a real Prometheus.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::tcptally;

/// A server under `tcptally trace --metrics`; both are gone when this is.
struct Traced {
    child: Child,
    server: u16,
    metrics: u16,
}

/// A server that ends when its stdin does.
const SERVER: &str = "
import socket, sys, threading
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
def serve():
    while True: s.accept()[0].close()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} in a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Traced {
    fn new(args: &[&str]) -> Traced {
        let (server, metrics) = (free_port(), free_port());
        let child = tcptally(&["trace", "--metrics", &format!("127.0.0.1:{metrics}")])
            .args(args)
            .args(["-o", "/dev/null", "--", "python3", "-c", SERVER, &server.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let traced = Traced { child, server, metrics };
        wait_for("server", || TcpStream::connect(("127.0.0.1", server)).ok());
        traced
    }

    fn connect(&self) {
        TcpStream::connect(("127.0.0.1", self.server)).unwrap();
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn scrape(&self) -> String {
        self.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn has_python() -> bool {
    Command::new("python3").arg("-V").output().is_ok()
}

#[test]
fn a_scrape_has_the_counts_of_now() {
    if !has_python() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let traced = Traced::new(&[]);
    traced.connect();
    traced.connect();
    // One more is that of the wait for the server.
    let text = wait_for("count", || {
        let text = traced.scrape();
        // How the tracer fares is told a little later than what it counts.
        let stops = text.lines().find_map(|l| l.strip_prefix("tcptally_stops_total "));
        let stopped = stops.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n >= 3));
        (stopped && text.contains("tcptally_connections_total 3\n")).then_some(text)
    });
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    for line in [
        format!("tcptally_port_connections_total{{port=\"{}\"}} 3\n", traced.server),
        "tcptally_top_connections_total{ip=\"127.0.0.1\"} 3\n".into(),
        "tcptally_lost_connections_total 0\n".into(),
        "tcptally_complete 1\n".into(),
    ] {
        assert!(body.contains(&line), "{line}{body}");
    }
    assert!(body.ends_with("# EOF\n"), "{body}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "200"),
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\r\n\r\n", "405"),
    ] {
        let answer = traced.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?} {answer}");
    }
    let head = traced.ask("HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn prometheus_scrapes_it() {
    if !has_python() || Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("skipped: there is no prometheus or python3");
        return;
    }
    let traced = Traced::new(&["--by", "ip,port"]);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: t, static_configs: \
             [{{targets: ['127.0.0.1:{}']}}]}}]\n",
            traced.metrics
        ),
    )
    .unwrap();
    let port = free_port();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    struct Ends(Child);
    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let _prometheus = Ends(prometheus);
    let query = format!(
        "GET /api/v1/query?query=tcptally_top_connections_total HTTP/1.0\r\nHost: \
         127.0.0.1:{port}\r\n\r\n"
    );
    let answer = wait_for("answer from Prometheus", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(query.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("tcptally_top_connections_total").then_some(answer)
    });
    assert!(answer.contains("\"ip\":\"127.0.0.1\""), "{answer}");
    assert!(answer.contains(&format!("\"port\":\"{}\"", traced.server)), "{answer}");
    assert!(answer.contains(",\"1\"]"), "{answer}");
}
