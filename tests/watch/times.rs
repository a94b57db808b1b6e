//! Times and statistics of connections.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::*;
use crate::watching::*;

#[test]
fn times_are_within_their_uncertainty() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch =
        Watch::start(User::plain(), &[port], &["-e", "-F", "jsonl", "--resolution", "50ms"]);
    let mut truth = Vec::new();
    let mut open = Vec::new();
    for n in 0..60u64 {
        let before = Timestamp::now();
        let stream = connect_from(client(0), local(port));
        let after = Timestamp::now();
        let accepted = listener.accept().expect("a connection");
        truth.push((u64::from(stream.local_addr().expect("it has one").port()), before, after));
        // Some live for several dumps, some between two, and some past the end.
        std::thread::sleep(Duration::from_millis(n % 3 * 5));
        match n % 4 {
            0 => open.push((stream, accepted)),
            1 => reset(stream),
            2 => drop(accepted),
            _ => drop(stream),
        }
    }
    let events = watch.events();
    assert_eq!(events.len(), truth.len());
    let mut sharp = 0;
    for (port, before, after) in truth {
        let event = events.iter().find(|e| e["peer_port"] == port).expect("every client is there");
        let time: Timestamp = event["time"].as_str().expect("a time").parse().expect("RFC 3339");
        let uncertainty = event["time_uncertainty"].as_f64().expect("a number");
        // Both are written in whole microseconds.
        let uncertainty = jiff::SignedDuration::from_secs_f64(uncertainty + 2e-6);
        assert!(time - uncertainty <= after && before <= time + uncertainty, "{event}");
        sharp += usize::from(uncertainty < jiff::SignedDuration::from_millis(200));
    }
    assert!(sharp > 0, "nothing is known within four times the resolution");
}

#[test]
fn bytes_in_and_out_are_exact() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::start(User::plain(), &[port], &["-e", "-F", "jsonl"]);
    let mut truth = Vec::new();
    let mut open = Vec::new();
    for n in 0..40 {
        let mut stream = connect_from(client(0), local(port));
        let (mut accepted, from) = listener.accept().expect("a connection");
        let (request, answer) = (n * 37, n * n * 11);
        stream.write_all(&vec![1; request]).expect("it is connected");
        accepted.read_exact(&mut vec![0; request]).expect("the request");
        accepted.write_all(&vec![2; answer]).expect("it is connected");
        stream.read_exact(&mut vec![0; answer]).expect("the answer");
        truth.push((u64::from(from.port()), request as u64, answer as u64));
        match n % 3 {
            // Closed in order, from either side.
            0 => {
                drop(accepted);
                assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
            }
            1 => {
                stream.shutdown(Shutdown::Write).expect("it is connected");
                assert_eq!(accepted.read(&mut [0]).expect("its end"), 0);
                drop(accepted);
                assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
            }
            // Still open at the end.
            _ => open.push((stream, accepted)),
        }
    }
    let events = watch.events();
    assert_eq!(events.len(), truth.len());
    for (port, request, answer) in truth {
        let event = events.iter().find(|e| e["peer_port"] == port).expect("every client is there");
        assert_eq!((&event["bytes_in"], &event["bytes_out"]), (&request.into(), &answer.into()));
        assert!(event["duration"].as_f64().is_some_and(|d| d >= 0.0), "{event}");
    }
}

#[test]
fn every_connection_is_in_one_interval() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-F", "csv", "-i", "1s", "--resolution", "500ms", "--by", "port"];
    let watch = Watch::start(User::plain(), &[port], &options);
    let mut open = Vec::new();
    for n in 0..150 {
        let stream = connect_from(client(n), local(port));
        let accepted = listener.accept();
        if n % 3 == 0 {
            open.push((stream, accepted));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut session = watch.session;
    session.signal(nix::sys::signal::Signal::SIGTERM);
    session.wait();
    let text = session.stdout();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let count: u64 = rows.iter().filter_map(|r| r[5].parse::<u64>().ok()).sum();
    assert_eq!(count, 150, "{text}");
}

#[test]
fn sums_of_bytes_by_address_are_exact() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let sum = ["-o", "report.json", "-F", "json", "--sum", "bytes", "--top", "2"];
    let watch = Watch::start(User::plain(), &[port], &sum);
    let mut open = Vec::new();
    for n in 0..40usize {
        let mut stream = connect_from(client(n % 4), local(port));
        let (mut accepted, _) = listener.accept().expect("a connection");
        // The nth address sends more, and oftener.
        let bytes = vec![0; if n % 4 < n / 10 { 0 } else { 1000 * (n % 4 + 1) }];
        stream.write_all(&bytes).expect("it is connected");
        accepted.read_exact(&mut vec![0; bytes.len()]).expect("the request");
        accepted.write_all(b"seven b").expect("it is connected");
        stream.read_exact(&mut [0; 7]).expect("the answer");
        if n % 2 == 0 {
            open.push((stream, accepted));
        } else {
            drop(accepted);
            assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
        }
    }
    let report = watch.end();
    assert_eq!(report.number("total"), 40);
    // Ten times each; the first address sent something three times, the second five times.
    let sums = |row: &serde_json::Value| {
        [&row["count"], &row["bytes_in"], &row["bytes_out"]].map(|v| v.as_u64().unwrap_or_default())
    };
    let rows: Vec<_> = report.0["rows"].as_array().expect("rows").iter().map(sums).collect();
    assert_eq!(rows, [[10, 3_000, 70], [10, 10_000, 70]], "{}", report.0);
    assert_eq!(sums(&report.0["others"]), [20, 61_000, 140], "{}", report.0);
}

/// One connection, timed by the client's own clock.
struct Timed {
    /// The client's address, which no other has: its port may be lost.
    client: String,
    /// Before the client asked for it, and when the client had it.
    began: [Timestamp; 2],
    /// Before the first side closed it, and when both had.
    ended: [Timestamp; 2],
}

/// What a connection carries, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Silent,
    In,
    Both,
    ClientResets,
    ServerResets,
}

/// Makes a connection that is open so long.
fn timed(listener: &TcpListener, from: SocketAddr, life: Life, open: Duration) -> Timed {
    let to = listener.local_addr().expect("it has one");
    let before = Timestamp::now();
    let mut stream = connect_from(from, to);
    let after = Timestamp::now();
    let (mut accepted, _) = listener.accept().expect("a connection");
    let exchange = |stream: &mut TcpStream, accepted: &mut TcpStream| {
        if matches!(life, Life::In | Life::Both) {
            stream.write_all(b"x").expect("it is connected");
            accepted.read_exact(&mut [0]).expect("the request");
        }
        if life == Life::Both {
            accepted.write_all(b"y").expect("it is connected");
            stream.read_exact(&mut [0]).expect("the answer");
        }
    };
    exchange(&mut stream, &mut accepted);
    std::thread::sleep(open);
    exchange(&mut stream, &mut accepted);
    let end = Timestamp::now();
    match life {
        Life::ClientResets => reset(stream),
        Life::ServerResets => reset(accepted),
        Life::Silent | Life::In | Life::Both => {
            stream.shutdown(Shutdown::Write).expect("it is connected");
            assert_eq!(accepted.read(&mut [0]).expect("its end"), 0);
            drop(accepted);
            assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
        }
    }
    Timed { client: from.ip().to_string(), began: [before, after], ended: [end, Timestamp::now()] }
}

fn number(event: &Value, name: &str) -> SignedDuration {
    let seconds = event[name].as_f64().unwrap_or_else(|| panic!("{name} of {event}"));
    SignedDuration::from_secs_f64(seconds)
}

/// Asserts that the truth lies within what the event says, and returns how exactly it says when
/// the connection began and how long it was open.
#[track_caller]
fn assert_within(events: &[Value], truth: &Timed) -> [SignedDuration; 2] {
    // All is written in whole microseconds.
    let rounding = SignedDuration::from_micros(2);
    let event = events.iter().find(|e| e["peer_ip"] == truth.client);
    let event = event.expect("every client is there");
    let time: Timestamp = event["time"].as_str().expect("a time").parse().expect("RFC 3339");
    let exact = number(event, "time_uncertainty") + rounding;
    assert!(time - exact <= truth.began[1], "{event}: {:?}", truth.began);
    assert!(truth.began[0] <= time + exact, "{event}: {:?}", truth.began);
    let (duration, known) = (number(event, "duration"), number(event, "duration_uncertainty"));
    let known = known + rounding;
    let least = truth.ended[0].duration_since(truth.began[1]);
    let most = truth.ended[1].duration_since(truth.began[0]);
    assert!(duration - known <= most, "{event}: open for {least:?} to {most:?}");
    assert!(duration + known >= least, "{event}: open for {least:?} to {most:?}");
    [exact, known]
}

/// However long it has been quiet: the last dump that did not show a connection bounds it.
#[test]
fn quiet_ports_make_times_no_less_exact() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-e", "-F", "jsonl", "--resolution", "200ms"];
    let watch = Watch::start(User::plain(), &[port], &options);
    let mut truth = Vec::new();
    for n in 0..3 {
        std::thread::sleep(Duration::from_secs(3));
        truth.push(timed(&listener, client(n), Life::Both, Duration::from_millis(1)));
    }
    let events = watch.events();
    assert_eq!(events.len(), truth.len());
    for truth in truth {
        let exact = assert_within(&events, &truth);
        assert!(exact.iter().all(|e| *e < SignedDuration::from_secs(1)), "{events:?}");
    }
}

#[test]
fn durations_agree_with_the_clients_clock() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-e", "-F", "jsonl", "--resolution", "300ms"];
    let watch = Watch::start(User::plain(), &[port], &options);
    let mut truth = Vec::new();
    for open in [0, 20, 150, 500, 1100].map(Duration::from_millis) {
        for life in [Life::Silent, Life::In, Life::Both, Life::ClientResets, Life::ServerResets] {
            truth.push((life, timed(&listener, client(truth.len()), life, open)));
        }
    }
    let events = watch.events();
    assert_eq!(events.len(), truth.len());
    for (life, truth) in truth {
        let [_, known] = assert_within(&events, &truth);
        // The kernel tells the age of connections that carry nothing in one direction.
        if matches!(life, Life::Silent | Life::In | Life::ClientResets) {
            assert!(known < SignedDuration::from_millis(200), "{life:?}: {known:?}");
        }
    }
}

#[test]
fn durations_of_open_connections_are_within_their_uncertainty() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-e", "-F", "jsonl", "--resolution", "100ms"];
    let watch = Watch::start(User::plain(), &[port], &options);
    let before = Timestamp::now();
    let stream = connect_from(client(0), local(port));
    let accepted = listener.accept().expect("a connection");
    let after = Timestamp::now();
    // The duration that is measured.
    std::thread::sleep(Duration::from_millis(700));
    let end = Timestamp::now();
    let events = watch.events();
    let client = client(0).ip().to_string();
    let truth = Timed { client, began: [before, after], ended: [end, Timestamp::now()] };
    let [_, known] = assert_within(&events, &truth);
    assert!(known < SignedDuration::from_millis(200), "{known:?}");
    drop((stream, accepted));
}

/// Also where nothing came for a long time.
#[test]
fn intervals_are_printed_once_and_partial_ones_are_marked() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-F", "csv", "-i", "1s", "--resolution", "300ms"];
    let mut watch = Watch::start(User::plain(), &[port], &options);
    for n in 0..6 {
        // Time without connections: within an interval, of several intervals, across the end of one.
        std::thread::sleep(Duration::from_millis([200, 3000, 500][n % 3]));
        timed(&listener, client(0), Life::Both, Duration::from_millis(1));
    }
    watch.session.signal(nix::sys::signal::Signal::SIGTERM);
    watch.session.wait();
    let text = watch.session.stdout();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let distinct: HashSet<_> = rows.iter().map(|row| &row[1..5]).collect();
    assert_eq!(distinct.len(), rows.len(), "{text}");
    let starts: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert!(starts.is_sorted(), "{text}");
    let count: u64 = rows.iter().filter_map(|r| r[5].parse::<u64>().ok()).sum();
    assert_eq!(count, 6, "{text}");
    // It started and ended within an interval.
    let partial = |row: &&[&str]| row[3] == "true";
    let (first, last) = (starts[0], starts[starts.len() - 1]);
    let is_at_an_end = |row: &&[&str]| row[1] == first || row[1] == last;
    for row in rows.iter().map(Vec::as_slice) {
        assert_eq!(partial(&row), is_at_an_end(&row), "{text}");
    }
}
