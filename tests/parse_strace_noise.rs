//! Text that is not strace's, before, behind and within the lines of strace logs: it may make a
//! line unreadable, but it never makes a connection disappear without a word.

use std::io::Write;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use tcptally::parse::{Options, parse};
use tcptally::{Connection, RequestedFields};

const PEER: &str = r#"{sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr("192.0.2.7")}"#;
const PEER6: &str = r#"{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::7", &sin6_addr), sin6_scope_id=0}"#;

/// Connections that were counted, and lines that could not be read.
fn read(log: &str, port: bool) -> (u64, u64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(log.as_bytes()).unwrap();
    let options = Options {
        format: Some("strace".to_owned()),
        requested: RequestedFields { local: port, ..RequestedFields::default() },
        threads: Some(1),
        ..Options::default()
    };
    let mut found: Vec<Connection> = Vec::new();
    let outcome = parse(&[file.path().to_owned()], &options, &mut found);
    (found.len() as u64, outcome.status.unreadable_lines())
}

/// A log, and how many connections it tells of. Each line is one that strace writes.
fn log() -> impl Strategy<Value = Vec<(String, u64)>> {
    let prefix = select(vec![
        "",
        "1234  ",
        "1234  10:53:30.174673 ",
        "[pid  8139] ",
        "[pid  8139] 10:53:30 ",
        "1795344802.927766 ",
        "     0.004183 ",
    ]);
    let body = select(vec![
        (format!("accept4(3, {PEER}, [128 => 16], SOCK_CLOEXEC) = 4"), 1),
        (format!("accept4(3, {PEER}, [16], SOCK_NONBLOCK) = 11 <0.000046>"), 1),
        (format!("accept(3, {PEER}, [16])      = 0"), 1),
        (format!("accept4(3, {PEER6}, [28], 0) = 7"), 1),
        (
            format!(
                "accept4(3<TCP:[0.0.0.0:80]>, {PEER}, [16], 0) = 4<TCP:[192.0.2.1:80->192.0.2.7:40001]>"
            ),
            1,
        ),
        (format!("<... accept4 resumed>{PEER}, [16], 0) = 6"), 1),
        ("accept(3, NULL, NULL) = 9".to_owned(), 1),
        ("accept4(3, 0x7ffda9f2a6c0, [16], SOCK_CLOEXEC) = 5".to_owned(), 1),
        (
            "accept4(3, 0x7ffda9f2a6c0, [16], 0) = -1 EAGAIN (Resource temporarily unavailable)"
                .to_owned(),
            0,
        ),
        ("accept4(3, {sa_family=AF_UNIX}, [2], 0) = 8".to_owned(), 0),
        ("accept4(3,  <unfinished ...>".to_owned(), 0),
        (
            r#"write(5, "accept4(3, {sin_addr=inet_addr(\"6.6.6.6\")}, [16]) = 4"..., 98) = 98"#
                .to_owned(),
            0,
        ),
        ("close(7)                                = 0".to_owned(), 0),
        ("+++ exited with 0 +++".to_owned(), 0),
    ]);
    let line = (prefix, body).prop_map(|(prefix, (body, n))| (format!("{prefix}{body}"), n));
    prop::collection::vec(line, 1..6)
}

/// Printable text without a line feed.
fn junk() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,12}",
        "\\PC{1,8}",
        select(vec![
            "Waiting for a connection... ",
            "ready",
            "\"",
            "(",
            ")",
            "<",
            ">",
            "write(1, \"",
            "write(1, ",
            "foo(",
            "{",
            "} = 0 ",
            " = ",
            "= 0",
            "-1 ",
            "?",
            "<... ",
            " <unfinished ...>",
            "+++ ",
            "--- ",
            "[pid 5] ",
            "12 ",
            "12:",
            "web-1  | ",
            "May 17 21:36:42 web1 strace[1499]: ",
            "2026-05-17T21:36:42.123Z ",
            "&lt;",
            "\u{a0}",
            "\x1b[32m",
            "\x1b]0;title\x07",
            "50%\r",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn text_never_hides_a_connection(
        lines in log(),
        noise in prop::collection::vec((any::<Index>(), any::<Index>(), 0..3, junk()), 1..4),
        port in any::<bool>(),
    ) {
        let truth: u64 = lines.iter().map(|(_, n)| n).sum();
        let mut lines: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
        let mut hit = std::collections::HashSet::new();
        for (line, place, kind, junk) in &noise {
            let n = line.index(lines.len());
            // One text in each line.
            if !hit.insert(n) {
                continue;
            }
            // What follows a carriage return is another line.
            if *kind == 2 && junk.contains('\r') {
                continue;
            }
            let line = &mut lines[n];
            let at = match kind {
                0 => 0,
                1 => line.len(),
                _ => place.index(line.len() + 1),
            };
            line.insert_str(at, junk);
        }
        let log = lines.join("\n") + "\n";
        let (total, unreadable) = read(&log, port);
        prop_assert!(total + unreadable >= truth, "{total} + {unreadable} < {truth} in\n{log}");
    }
}

#[test]
fn a_line_of_many_calls_takes_no_time_to_speak_of() {
    for part in
        ["accept(", "x accept(3 ", "accept(3, {", "\"accept(3\" = 4 ", "12: accept4(3, NULL"]
    {
        let line = part.repeat(200_000 / part.len());
        let start = std::time::Instant::now();
        let (total, unreadable) = read(&format!("x{line}) = 4\n"), true);
        assert!(total + unreadable > 0, "{part}");
        assert!(start.elapsed().as_secs() < 60, "{part}: {:?}", start.elapsed());
    }
}

#[test]
fn clean_logs_have_no_unreadable_lines() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..300 {
        let lines = log().new_tree(&mut runner).unwrap().current();
        let truth: u64 = lines.iter().map(|(_, n)| n).sum();
        let log: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
        let log = log.join("\n") + "\n";
        assert_eq!(read(&log, false), (truth, 0), "{log}");
    }
}
