//! `watch --metrics`: counts for Prometheus while more come.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::harness::*;
use crate::watching::*;

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it is connected");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// What a scrape gives once it has this line.
#[track_caller]
pub fn scrape(port: u16, line: &str) -> String {
    wait_for(line, || {
        let answer =
            ask(port, "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answer.contains(line).then_some(answer)
    })
}

#[test]
fn a_scrape_has_the_current_counts() {
    let stage = Stage::get();
    let server = need!(Server::python_threads(), "python3", "it is not installed");
    let _session = server.start(&stage, User::Oneself);
    let ports: Vec<u16> = server.ports.iter().map(|p| p.number).collect();
    let metrics = free_port();
    let options = ["--metrics", &format!("127.0.0.1:{metrics}"), "--resolution", "50ms"];
    let watch = Watch::ports(&ports, &options);
    let mut made = Counts::new();
    for seed in 0..3 {
        add(&mut made, &server.clients(seed, 200, 9).run());
        let total: u64 = made.values().sum();
        let text = scrape(metrics, &format!("tcptally_connections_total {total}\n"));
        for ((ip, port), count) in &made {
            let labels = format!("{{ip=\"{ip}\",port=\"{port}\"}}");
            let line = format!("tcptally_top_connections_total{labels} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        for port in &ports {
            let count: u64 = made.iter().filter(|(k, _)| k.1 == *port).map(|(_, n)| n).sum();
            let line = format!("tcptally_port_connections_total{{port=\"{port}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        for line in ["tcptally_lost_connections_total 0\n", "tcptally_complete 1\n"] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        // Those are of tracers.
        assert!(!text.contains("tcptally_stops") && !text.contains("tcptally_tracees"), "{text}");
    }
    for (request, status) in
        [("GET /nothing HTTP/1.1\r\n\r\n", "404"), ("POST /metrics HTTP/1.1\r\n\r\n", "405")]
    {
        assert!(ask(metrics, request).starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}");
    }
    watch.end().assert_counts(&made);
}

#[test]
fn a_scrape_has_the_lost_connections() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let options = ["--metrics", &address, "--buffer", "4000", "--resolution", "50ms"];
    let watch = Watch::ports(&[port], &options);
    watch.session.signal(nix::sys::signal::Signal::SIGSTOP);
    let pid = watch.session.pid;
    let stopped = |t: &String| state(t) == Some('T');
    wait_for("it stops", || threads(pid).iter().all(stopped).then_some(()));
    let before = dropped_messages(pid);
    for n in 0..300 {
        let stream = connect_from(client(n), local(port));
        drop(listener.accept());
        reset(stream);
    }
    // The kernel sends the messages from a work queue, on a busy machine much later.
    wait_for("no room for messages", || (dropped_messages(pid) > before).then_some(()));
    watch.session.signal(nix::sys::signal::Signal::SIGCONT);
    let text = scrape(metrics, "tcptally_complete 0\n");
    assert!(!text.contains("tcptally_lost_connections_total 0\n"), "{text}");
    assert!(watch.end().number("lost") > 0);
}

#[test]
fn metrics_for_other_machines_need_an_option() {
    let mut watch = Watch::command(User::plain(), &["--port", "1", "--metrics", "0.0.0.0:9435"]);
    assert_eq!(watch.session.wait().code(), Some(2));
    let stderr = watch.session.stderr();
    assert!(stderr.contains("--metrics-allow-remote"), "{stderr}");
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let mut watch = Watch::command(User::plain(), &["--port", "1", "--metrics", &address]);
    assert_eq!(watch.session.wait().code(), Some(1));
    let stderr = watch.session.stderr();
    assert!(
        stderr.contains(&address)
            && stderr.contains("give another address or port: Address already in use"),
        "{stderr}"
    );
}
