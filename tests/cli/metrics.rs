//! `trace --metrics`, scraped by hand and by a real Prometheus.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use nix::unistd::Pid;

use crate::support::{tcptally, wait_for};

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
        self.scrape_as("curl/8", "application/openmetrics-text")
    }

    fn scrape_as(&self, user_agent: &str, accept: &str) -> String {
        self.ask(&format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {user_agent}\r\n\
             Accept: {accept}\r\n\r\n"
        ))
    }

    fn connect_from(&self, ip: [u8; 4], times: usize) {
        for _ in 0..times {
            let socket = bound_socket(ip);
            nix::sys::socket::connect(
                socket.as_raw_fd(),
                &SockaddrIn::new(127, 0, 0, 1, self.server),
            )
            .unwrap();
        }
    }
}

/// A socket that is bound to an address of its own.
fn bound_socket(ip: [u8; 4]) -> OwnedFd {
    let [a, b, c, d] = ip;
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    socket
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A child that is ended with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
        // The tracer's status is updated a little later than its counts.
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
fn clients_that_do_not_ask_for_openmetrics_receive_the_text_format_of_prometheus() {
    if !has_python() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let traced = Traced::new(&["--metrics-window", "30s"]);
    let text = wait_for("count", || {
        let text = traced.scrape_as("curl/8", "*/*");
        text.contains("tcptally_recent_connections{ip=\"127.0.0.1\"} 1\n").then_some(text)
    });
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "# TYPE tcptally_connections_total counter\n",
        "# HELP tcptally_connections_total Connections that were counted.\n",
        "# TYPE tcptally_complete gauge\n",
        "tcptally_connections_total 1\n",
        concat!("tcptally_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
    ] {
        assert!(body.contains(line), "{line}{body}");
    }
    assert!(!body.contains("# EOF"), "{body}");
    assert_promtool_accepts(body);
}

/// Panics if promtool complains of metrics.
#[track_caller]
fn assert_promtool_accepts(metrics: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: there is no promtool");
        return;
    };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && complaints.is_empty(), "{complaints}{metrics}");
}

/// A window of the last second: who connected often before does not hide who connects now, and both leave.
#[test]
fn recent_series_are_those_of_the_window_and_leave_with_it() {
    if !has_python() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let traced = Traced::new(&["--metrics-window", "1s", "--top", "1"]);
    let has_recent = |text: &str, ip: &str| {
        text.contains(&format!("tcptally_recent_connections{{ip=\"{ip}\"}} "))
    };
    let scrape = || traced.scrape_as("curl/8", "*/*");
    traced.connect_from([127, 0, 0, 5], 50);
    let first = "tcptally_top_connections_total{ip=\"127.0.0.5\"} 50\n";
    wait_for("the busiest client", || scrape().contains(first).then_some(()));
    wait_for("its end", || (!has_recent(&scrape(), "127.0.0.5")).then_some(()));
    let text = wait_for("a new client", || {
        traced.connect_from([127, 0, 0, 6], 1);
        let text = scrape();
        has_recent(&text, "127.0.0.6").then_some(text)
    });
    assert!(text.contains(first) && !has_recent(&text, "127.0.0.5"), "{text}");
    wait_for("no series", || (!scrape().contains("tcptally_recent_connections{ip")).then_some(()));
}

#[test]
fn metrics_of_watch_have_open_connections_and_histograms() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let metrics = free_port();
    let watch = tcptally(&["watch", "--columns", "duration,rtt", "-o", "/dev/null"])
        .args(["--port", &address.port().to_string(), "--metrics", &metrics.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watch = Ends(watch);
    // Printed when it has begun.
    let mut began = String::new();
    BufReader::new(watch.0.stderr.as_mut().unwrap()).read_line(&mut began).unwrap();
    assert!(began.contains("watching port"), "{began}");
    let scrape = || {
        let mut stream = TcpStream::connect(("127.0.0.1", metrics)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let connect = || (TcpStream::connect(address).unwrap(), server.accept().unwrap());
    let open = [connect(), connect()];
    drop(connect());
    // Both ends of each connection are on this machine; the client's end has another port.
    let text = wait_for("closed connection", || {
        let text = scrape()?;
        let closed = text.contains("tcptally_connection_rtt_seconds_count 1\n");
        (closed && text.contains("tcptally_open_connections 2\n")).then_some(text)
    });
    drop(open);
    assert_promtool_accepts(text.split_once("\r\n\r\n").unwrap().1);
    nix::sys::signal::kill(Pid::from_raw(watch.0.id() as i32), Signal::SIGTERM).unwrap();
    assert!(watch.0.wait().unwrap().success());
    for line in [
        "# TYPE tcptally_connection_duration_seconds histogram\n",
        "tcptally_connection_rtt_seconds_bucket{le=\"+Inf\"} 1\n",
        "# TYPE tcptally_open_connections gauge\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn an_address_of_metrics_may_be_a_port() {
    for (address, is_right) in [
        ("{port}", true),
        (":{port}", true),
        ("localhost:{port}", true),
        ("127.0.0.1:{port}", true),
        ("127.0.0.1", false),
        ("127.0.0.1:0", false),
        ("nowhere.invalid:9435", false),
    ] {
        let port = free_port();
        let address = address.replace("{port}", &port.to_string());
        let mut traced =
            tcptally(&["trace", "--metrics", &address, "-o", "/dev/null", "--", "cat"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        if is_right {
            wait_for(&address, || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        drop(traced.stdin.take());
        let output = traced.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(if is_right { 0 } else { 2 }), "{message}");
        assert!(is_right || message.contains("give a port (9435)"), "{message}");
    }
}

#[test]
fn increase_of_prometheus_over_a_burst_is_its_number_of_connections() {
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
    let _prometheus = Ends(prometheus);
    // What Prometheus answers to a query, URL-encoded.
    let ask = |query: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request =
            format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        let result = body["data"]["result"].as_array()?.first()?.clone();
        Some((result["metric"].clone(), result["value"][1].as_str()?.to_owned()))
    };
    let series = |ip: &str| format!("tcptally_top_connections_total%7Bip=%22{ip}%22%7D");
    let (labels, count) = wait_for("answer", || ask(&series("127.0.0.1")));
    assert_eq!((&labels["port"], count.as_str()), (&traced.server.to_string().into(), "1"));
    traced.connect_from([127, 0, 0, 9], 200);
    let burst = series("127.0.0.9");
    wait_for("burst", || ask(&burst).filter(|(_, count)| count == "200"));
    // At the time of the last sample there is nothing to extrapolate.
    let (_, time) = wait_for("time of the sample", || ask(&format!("timestamp({burst})")));
    let increase = format!("increase({burst}%5B1m%5D)&time={time}");
    let (_, count) = wait_for("increase", || ask(&increase));
    assert_eq!(count, "200");
}

#[test]
fn alert_rules_and_dashboard_use_metrics_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus");
    let fields = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md");
    let documented = std::fs::read_to_string(fields).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (alerts, dashboard) = (read("alerts.yml"), read("dashboard.json"));
    let _: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let name = regex::Regex::new(r"tcptally_[a-z_]+").unwrap();
    let mut names = 0;
    for found in name.find_iter(&alerts).chain(name.find_iter(&dashboard)) {
        let metric = found.as_str().trim_end_matches("_bucket");
        assert!(documented.contains(&format!("`{metric}`")), "{metric} is not documented");
        names += 1;
    }
    assert!(names > 8, "{names}");
    // Each query of the dashboard as a rule.
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let queries = dashboard["panels"].as_array().unwrap().iter().enumerate().map(|(n, panel)| {
        let query = panel["targets"][0]["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        serde_json::json!({"record": format!("panel:{n}"), "expr": query})
    });
    let queries: Vec<_> = queries.collect();
    assert!(queries.len() > 5, "{queries:?}");
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": queries}]});
    let copies = tempfile::tempdir().unwrap();
    let panels = copies.path().join("panels.yml");
    std::fs::write(&panels, rules.to_string()).unwrap();
    // Whether alerts fire when they should.
    let rules = folder.join("alerts.yml").display().to_string();
    let tests = copies.path().join("tests.yml");
    std::fs::write(&tests, ALERT_TESTS.replace("RULES", &rules)).unwrap();
    for args in [
        ["check", "rules", &rules],
        ["check", "rules", panels.to_str().unwrap()],
        ["test", "rules", tests.to_str().unwrap()],
    ] {
        let Ok(checked) = Command::new("promtool").args(args).output() else {
            eprintln!("skipped: there is no promtool");
            return;
        };
        let said = [checked.stdout, checked.stderr].concat();
        assert!(checked.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

/// What the rules say of a tcptally that does not answer, one that is not complete, and a client with most connections.
const ALERT_TESTS: &str = r#"
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="tcptally", instance="a"}', values: '1 1 0x20'}
      - {series: 'tcptally_complete{instance="a"}', values: '1 1 0x20'}
      - {series: 'tcptally_complete{instance="b"}', values: '1x20'}
      - {series: 'tcptally_recent_connections{instance="b", ip="192.0.2.7"}', values: '0 0 2000x20'}
      - {series: 'tcptally_recent_connections{instance="b", ip="192.0.2.8"}', values: '500x20'}
      - {series: 'tcptally_recent_connections{instance="c", ip="192.0.2.9"}', values: '900x20'}
    alert_rule_test:
      - {eval_time: 1m, alertname: TcptallyDown, exp_alerts: []}
      - {eval_time: 1m, alertname: TcptallyIncomplete, exp_alerts: []}
      - {eval_time: 1m, alertname: TcptallyOneClientDominates, exp_alerts: []}
      - eval_time: 10m
        alertname: TcptallyDown
        exp_alerts:
          - exp_labels: {job: tcptally, instance: a, severity: warning}
            exp_annotations: {summary: "tcptally on a does not answer"}
      - eval_time: 10m
        alertname: TcptallyIncomplete
        exp_alerts:
          - exp_labels: {instance: a, severity: warning}
            exp_annotations:
              summary: "The counts of a are not complete"
              description: "Connections may be missing. The report of tcptally says which and why."
      - eval_time: 10m
        alertname: TcptallyOneClientDominates
        exp_alerts:
          - exp_labels: {instance: b, ip: 192.0.2.7, severity: info}
            exp_annotations: {summary: "192.0.2.7 opens more than half of the connections to b"}
"#;
