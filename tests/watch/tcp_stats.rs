//! TCP statistics as keys and in columns.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;
use crate::watching::*;

/// A client that says so many bytes, and hears one.
fn exchange(listener: &TcpListener, port: u16, n: usize, bytes: usize) -> (TcpStream, TcpStream) {
    let mut stream = connect_from(client(n), local(port));
    let (mut accepted, _) = listener.accept().expect("a connection");
    stream.write_all(&vec![0; bytes]).expect("it is connected");
    accepted.read_exact(&mut vec![0; bytes]).expect("the request");
    accepted.write_all(b"!").expect("it is connected");
    stream.read_exact(&mut [0]).expect("the answer");
    (stream, accepted)
}

/// Closes it in order.
fn close((mut stream, accepted): (TcpStream, TcpStream)) {
    drop(accepted);
    assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
}

fn rows(value: &Value) -> &Vec<Value> {
    value["rows"].as_array().expect("rows")
}

#[test]
fn statistics_are_in_intervals() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-o", "report.json", "-F", "json", "-i", "1s", "--resolution", "100ms"];
    let options = [&options[..], &["--columns", "bytes,duration,rtt", "--by", "port"]].concat();
    let watch = Watch::start(User::plain(), &[port], &options);
    let mut open = Vec::new();
    for n in 0..60 {
        let both = exchange(&listener, port, n, 10 * n);
        // Some end in a later interval than that in which they began, some not at all.
        match n % 3 {
            0 => close(both),
            _ => open.push(both),
        }
        if open.len() > 20 {
            close(open.remove(0));
        }
        std::thread::sleep(Duration::from_millis(35));
    }
    let report = watch.end();
    let sums = |rows: &[&Value]| {
        ["count", "bytes_in", "bytes_out"].map(|name| -> u64 {
            rows.iter().map(|row| row[name].as_u64().expect("a number")).sum()
        })
    };
    let expected = [60, (0..60).map(|n| 10 * n).sum(), 60];
    assert_eq!(sums(&rows(&report.0).iter().collect::<Vec<_>>()), expected, "{}", report.0);
    let intervals = report.0["intervals"].as_array().expect("intervals");
    let all: Vec<&Value> = intervals.iter().flat_map(rows).collect();
    assert!(all.len() > 1, "{}", report.0);
    assert_eq!(sums(&all), expected, "{}", report.0);
    for row in all {
        let number = |name: &str| row[name].as_f64().expect("a number");
        // Short ones are known less well than they are long, and one that is known as a bound only may
        // have been the longest.
        if let Some(longest) = row["duration_max"].as_f64() {
            assert!(row["duration_mean"].as_f64().is_some_and(|mean| mean <= longest), "{row}");
        }
        assert!(0.0 < number("rtt_mean") && number("rtt_mean") <= number("rtt_max"), "{row}");
    }
}

#[test]
fn connections_are_counted_by_duration_and_bytes() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-o", "report.json", "-F", "json", "--by", "duration,bytes"];
    let watch =
        Watch::start(User::plain(), &[port], &[&options[..], &["--resolution", "50ms"]].concat());
    let long: Vec<_> = (0..7).map(|n| exchange(&listener, port, n, 2_000)).collect();
    std::thread::sleep(Duration::from_millis(1200));
    long.into_iter().for_each(close);
    for n in 0..20 {
        close(exchange(&listener, port, n, 99));
    }
    let report = watch.end();
    let with = |key: &str, class: &str| -> u64 {
        let rows = rows(&report.0).iter().filter(|row| row[key] == class);
        rows.map(|row| row["count"].as_u64().expect("a count")).sum()
    };
    assert_eq!((with("bytes", "1-10kB"), with("bytes", "1-999B")), (7, 20), "{}", report.0);
    assert!(with("duration", "1-10s") >= 7, "{}", report.0);
    assert_eq!(report.number("total"), 27);
}

#[test]
fn events_have_the_statistics_of_each_connection() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-e", "--columns", "bytes,duration,rtt"];
    let mut watch = Watch::start(User::plain(), &[port], &options);
    close(exchange(&listener, port, 0, 1234));
    watch.session.signal(Signal::SIGTERM);
    assert!(watch.session.wait().success());
    let told = watch.session.stdout();
    assert!(told.contains("  in 1234  out 1  open ") && told.contains("s  rtt "), "{told}");
}

/// They are counted at their end, and a count that leaves something out says so.
#[test]
fn open_connections_are_missing_from_a_tally_of_statistics() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-F", "json", "--columns", "bytes", "--resolution", "20ms"];
    let mut watch = Watch::start(User::plain(), &[port], &options);
    let open = exchange(&listener, port, 1, 5);
    let note = "connections still open: 1";
    let told = |session: &Session| session.stdout();
    wait_for("the note", || {
        watch.session.signal(Signal::SIGUSR1);
        told(&watch.session).contains(note).then_some(())
    });
    close(open);
    watch.session.signal(Signal::SIGTERM);
    assert!(watch.session.wait().success());
    let told = told(&watch.session);
    let last: Value = serde_json::from_str(told.lines().last().expect("a report")).expect("JSON");
    assert_eq!((&last["total"], &last["warnings"]), (&1.into(), &Value::Array(Vec::new())));
}
