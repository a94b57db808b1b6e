//! What stands before the calls in logs that are like strace's: numbers of lines, and the prefixes of other tracers.

use std::io::Write;

use tcptally::parse::{Options, parse};
use tcptally::{Connection, RecordTime, RequestedFields};

/// `PEER PID ELAPSED` of each connection in `text`, `-` for what is unknown; and whether the report is complete.
fn found(text: &str) -> (Vec<String>, bool) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let options = Options { requested: RequestedFields::ALL, ..Options::default() };
    let mut found: Vec<Connection> = Vec::new();
    let outcome = parse(&[file.path().to_owned()], &options, &mut found);
    assert!(outcome.failures.is_empty(), "{:?} {text}", outcome.failures);
    let dash = |v: Option<String>| v.unwrap_or_else(|| "-".to_owned());
    let show = |c: &Connection| {
        let time = c.time.map(|time| match time {
            RecordTime::Elapsed(ns) => format!("{}ms", ns / 1_000_000),
            RecordTime::Clock(_) => format!("{time:?}"),
        });
        format!(
            "{} {} {}",
            dash(c.ip.map(|v| v.to_string())),
            dash(c.pid.map(|v| v.to_string())),
            dash(time)
        )
    };
    let rows = found.iter().map(show).collect();
    (rows, outcome.status.unreadable_lines() == 0)
}

fn accept(client: u8, fd: u8) -> String {
    format!(
        "accept4(3, {{sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.{client}\")}}, [16], 0) = {fd}"
    )
}

#[test]
fn numbers_of_lines_are_no_process_numbers() {
    let calls =
        [accept(1, 4), "close(4) = 0".into(), accept(2, 4), "close(4) = 0".into(), accept(1, 5)];
    let numbered = |show: &dyn Fn(usize) -> String, pid: &str| -> String {
        let lines = calls.iter().enumerate();
        lines.map(|(n, call)| format!("{}{pid}{call}\n", show(n + 1))).collect()
    };
    let blank = |n: usize| format!("{n} ");
    let right = |n: usize| format!("{n:>7} ");
    let own_column = |n: usize| format!("{n:<5} ");
    for (text, pids) in [
        (numbered(&blank, ""), ["-"; 3]),
        (numbered(&right, ""), ["-"; 3]),
        (numbered(&blank, "1234  "), ["1234"; 3]),
        (numbered(&right, "[pid  1234] "), ["1234"; 3]),
        // The column of strace.
        (numbered(&own_column, ""), ["1", "3", "5"]),
    ] {
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.1"];
        let want: Vec<String> =
            clients.iter().zip(pids).map(|(ip, pid)| format!("{ip} {pid} -")).collect();
        assert_eq!(found(&text), (want, true), "{text}");
    }
}

#[test]
fn process_and_time_of_freebsd_truss_are_read() {
    let prefixed = |prefixes: [&str; 3]| -> String {
        let call = "accept4(3,{ AF_INET 192.0.2.1:7 },0x7fffffffe9c4,SOCK_CLOEXEC) = 4 (0x4)";
        prefixes.iter().map(|prefix| format!("{prefix}{call}\n")).collect()
    };
    for (prefixes, want) in [
        (["", "", ""], ["- -"; 3]),
        (["60123: ", "  912: ", "60123: "], ["60123 -", "912 -", "60123 -"]),
        (["60123 100456: ", "60123 100457: ", "60123 100456: "], ["60123 -"; 3]),
        // With -H alone only the thread is known.
        (["100456: ", "100457: ", "100456: "], ["- -"; 3]),
        // -d: the time since the start, not since the line before.
        (["0.500000000 ", "3.500000000 ", "4.500000000 "], ["- 500ms", "- 3500ms", "- 4500ms"]),
        (
            [
                "912: 0.500000000 0.100000000 ",
                "912: 3.500000000 0.100000000 ",
                "913: 4.500000000 0.200000000 ",
            ],
            ["912 500ms", "912 3500ms", "913 4500ms"],
        ),
        // -D: the durations of the calls.
        (["2.000000000 ", "0.500000000 ", "0.100000000 "], ["- -"; 3]),
    ] {
        let want: Vec<String> = want.iter().map(|want| format!("192.0.2.1 {want}")).collect();
        assert_eq!(found(&prefixed(prefixes)), (want, true), "{prefixes:?}");
    }
}

#[test]
fn errors_and_names_of_dtruss_are_read() {
    let text = "\tPID/THRD  SYSCALL(args) \t\t = return\n\
        \t 1234/0x5a1b:  accept(0x3, 0x7FFEE4D0A9C0, 0x7FFEE4D0A9BC)\t\t = 4 0\n\
        \t 1234/0x5a1b:  accept(0x3, 0x7FFEE4D0A9C0, 0x7FFEE4D0A9BC)\t\t = -1 Err#35\n\
        \t 1234/0x5a1b:  accept_nocancel(0x3, 0x7FFEE4D0A9C0, 0x7FFEE4D0A9BC)\t\t = 5 0\n";
    let (connections, is_complete) = found(text);
    assert_eq!((connections.len(), is_complete), (2, true));
}
