//! Text that is not strace's, before, behind and within the lines of strace logs: it may make a
//! line unreadable, but it never makes a connection disappear silently.

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

/// What strace writes before a call, by its options.
const STRACE_PREFIXES: [&str; 7] = [
    "",
    "1234  ",
    "1234  10:53:30.174673 ",
    "[pid  8139] ",
    "[pid  8139] 10:53:30 ",
    "1795344802.927766 ",
    "     0.004183 ",
];

/// A log, and how many connections it describes. Each line is one that strace writes.
fn log() -> impl Strategy<Value = Vec<(String, u64)>> {
    let prefix = select(STRACE_PREFIXES.to_vec());
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

/// So many cases, unless PROPTEST_CASES asks for another number.
fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases, ..default },
    }
}

/// Lines of one connection or of none, in order, and how many connections they describe.
type ShortLog = (Vec<String>, u64);

/// Logs in which one line describes a connection.
fn logs_of_one_connection() -> Vec<ShortLog> {
    const UNIX: &str = r#"{sa_family=AF_UNIX, sun_path="/run/accept(3"}"#;
    let resumed = format!("<... accept4 resumed>{PEER}, [16], 0) = 6");
    let lines: &[&[&str]] = &[
        &[&format!("accept4(3, {PEER}, [128 => 16], SOCK_CLOEXEC) = 4")],
        &[&format!("accept4(3, {PEER}, [16], SOCK_NONBLOCK) = 11 <0.000046>")],
        &[&format!("accept(3, {PEER}, [16])      = 0")],
        &[&format!("accept4(3, {PEER6}, [28], 0) = 7")],
        &[&format!(
            "accept4(3<TCP:[0.0.0.0:80]>, {PEER}, [16], 0) = 4<TCP:[192.0.2.1:80->192.0.2.7:40001]>"
        )],
        &[&format!("accept4(3<socket:[77]>, {PEER}, [16], 0) = 4<socket:[78]>")],
        &[&resumed],
        &[&format!("<... accept resumed> {PEER}, [16]) = 6")],
        &[&format!("<... accept resumed>, {PEER}, [16]) = 6")],
        &["accept4(3,  <unfinished ...>", &resumed],
        &["accept(3, NULL, NULL) = 9"],
        &["accept4(3, 0x7ffda9f2a6c0, [16], SOCK_CLOEXEC) = 5"],
        &[
            "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3",
            &format!("bind(3, {PEER}, 16) = 0"),
            "listen(3, 511) = 0",
            "accept(3, NULL, NULL) = 9",
            &format!("getpeername(9, {PEER}, [128 => 16]) = 0"),
            &format!("getsockname(9, {PEER}, [128 => 16]) = 0"),
            "close(9) = 0",
        ],
        &[
            "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3<TCP:[7951995]>",
            "accept4(3<TCP:[7951995]>, NULL, NULL, 0) = 9<TCP:[7951996]>",
            &format!("getsockname(9, {PEER}, [128 => 16]) = 0"),
            "dup2(9, 4) = 4",
        ],
        &[
            &format!("accept4(3, {UNIX}, [110 => 2], 0) = 8"),
            &format!("accept4(5, {PEER}, [16], 0) = 9"),
        ],
    ];
    lines.iter().map(|lines| (lines.iter().map(ToString::to_string).collect(), 1)).collect()
}

/// Logs of calls that look like an accepted connection.
fn logs_of_no_connection() -> Vec<ShortLog> {
    let lines: &[&[&str]] = &[
        &["accept4(3, 0x7ffda9f2a6c0, [16], 0) = -1 EAGAIN (Resource temporarily unavailable)"],
        &["accept(3, NULL, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"],
        &["accept4(3,  <unfinished ...>"],
        &["<... accept4 resumed> <unfinished ...>) = ?"],
        &[concat!(
            r#"write(5, "accept4(3, {sa_family=AF_INET, sin_port=htons(1), "#,
            r#"sin_addr=inet_addr(\"6.6.6.6\")}, [16]) = 4"..., 98) = 98"#,
        )],
        &[&format!("connect(5, {PEER}, 16) = 0"), "read(5, \"x\", 9) = 1"],
        &[
            &format!("connect(5, {PEER}, 16) = -1 EINPROGRESS (Operation now in progress)"),
            "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7} ---",
            "+++ exited with 0 +++",
        ],
    ];
    lines.iter().map(|lines| (lines.iter().map(ToString::to_string).collect(), 0)).collect()
}

/// All of them, with prefixes of strace and of loggers.
fn short_logs() -> Vec<ShortLog> {
    let more = [
        "10:53:30.174673 (+     0.008233) ",
        "8139<nginx> ",
        "May 17 21:36:42 web1 strace[1499]: ",
        "web-1  | 1234  ",
    ];
    let logs = [logs_of_one_connection(), logs_of_no_connection()].concat();
    let with = |prefix: &str, (lines, n): &ShortLog| {
        (lines.iter().map(|line| format!("{prefix}{line}")).collect(), *n)
    };
    let prefixes = STRACE_PREFIXES.iter().chain(&more);
    prefixes.flat_map(|prefix| logs.iter().map(move |log| with(prefix, log))).collect()
}

/// Whether the name of an accept is whole in a line into which `junk` was put at `at`, or was never
/// there.
fn is_accept_named(line: &str, at: usize, junk: &str) -> bool {
    let (before, behind) = (&line[..at], &line[at + junk.len()..]);
    let names = ["accept(", "accept4(", "<... accept"];
    let has = |text: &str| names.iter().any(|name| text.contains(name));
    has(before) || has(behind) || !has(&[before, behind].concat())
}

/// Marks of strace, of loggers and of terminals.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "\"", "'", "\\", "(", ")", "{", "}", "[", "]", "<", ">", "=", " = ", " =", "= ", ") = ", " = 7",
    ") = 7", "= -1 EAGAIN", ") = -1 EAGAIN (Resource temporarily unavailable)", ") = ?",
    " <unfinished ...>", "<unfinished ...>", " <detached ...>", " resumed>", "resumed>", "<... ",
    "<... read resumed>", "<... accept4 ", "accept", "accept4(", "accept4(3, ", "accept(3,",
    "write(1, ", "write(1, \"", "read(3, \"accept(\", 7", "close(", "close(4) = 0", "getpid() = 7",
    "futex(0x7f, FUTEX_WAIT, 2, NULL", "[pid 5] ", "5 ", "10:53:30 ", "0.5 ", "1795344802.9 ", "{ ",
    "{ AF_INET ", "{ AF_UNIX ", "{sa_family=AF_UNIX}", "{sa_family=", "AF_UNIX", "NULL",
    "NULL, NULL", "0x7f", "->", " => ", "|", ",", ", ", ";", ":", "#", "*", "/", "//", "/* ", " */",
    "</dev/null>", "</", "<UDP:[", "<TCP:[", "<socket:[", "]>", "?", "-1 ", "+++ exited with 0 +++",
    "+++ ", "--- SIGCHLD ", "---", "strace: Process 9 attached", "x", "7", "\r", "\t", "\x08",
    "\x07", "\x1b", "\x1b[", "\x1b[0m", "\x1b]", "\x7f", "\u{a0}", "&lt;", "&gt;", "<b>",
    "\u{201c}", "...", "{...}", "(INJECTED", "? ERESTARTSYS (",
];

/// Parts of what strace writes, marks, and control characters.
fn adverse_junk() -> impl Strategy<Value = String> {
    let logs = short_logs();
    let parts = (select(logs), any::<Index>(), any::<Index>(), 1..40usize).prop_map(
        |((lines, _), line, at, length)| {
            let line = &lines[line.index(lines.len())];
            let at = at.index(line.len());
            line[at..line.len().min(at + length)].to_owned()
        },
    );
    let pieces = select(PIECES).prop_map(|piece| (*piece).to_owned());
    let piece = prop_oneof![4 => pieces, 2 => parts, 1 => "[ -~]{1,8}"];
    prop::collection::vec(piece, 1..3).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Nor does it add one without a line that is unreadable.
    #[test]
    fn parts_of_lines_at_any_place_never_hide_a_connection(
        (lines, truth) in select(short_logs()),
        (line, place) in (any::<Index>(), any::<Index>()),
        junk in adverse_junk(),
        port in any::<bool>(),
    ) {
        let mut lines = lines;
        let n = line.index(lines.len());
        let line = &mut lines[n];
        let at = place.index(line.len() + 1);
        prop_assume!(line.is_char_boundary(at));
        line.insert_str(at, &junk);
        let log = lines.join("\n") + "\n";
        prop_assume!(is_accept_named(&lines[n], at, &junk) || !junk.contains('('));
        let (total, unreadable) = read(&log, port);
        prop_assert!(total + unreadable >= truth, "{total} + {unreadable} < {truth} in\n{log}");
        let adds = total > truth + unreadable && !junk.contains("cept");
        prop_assert!(!adds, "{total} > {truth} + {unreadable} in\n{log}");
    }

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
    for (lines, truth) in short_logs() {
        let log = lines.join("\n") + "\n";
        assert_eq!(read(&log, true), (truth, 0), "{log}");
    }
}

#[test]
fn contradictory_lines_are_no_connections() {
    for line in [
        r#"accept4(3, {sa_family=AF_INET,sa_family=AF_UNIX, sun_path="/run/x"}, [110 => 2], 0) = 8"#,
        "accept4(3, 0x7ffda9f2a6c0, [16NULL, NULL) = 9write(1, ], 0) = -1 EAGAIN (Resource \
         temporarily unavailable)",
        "accept(3, NULL, NULL) = 9write(1, ",
        "accept(3, NULL, NULL) = 0\u{1b}? ERESTARTSYS (To be restarted if SA_RESTART is set)",
    ] {
        assert_eq!(read(&format!("{line}\n"), false), (0, 1), "{line}");
    }
}

/// Text in quotes: among the arguments of a call it is data, elsewhere it is a line.
#[test]
fn lines_in_quotes_are_counted_beside_bare_ones() {
    let accept = format!("accept4(3, {PEER}, [16], 0) = 4");
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let write = format!("write(5, \"{}\"..., 98) = 98", escape(&accept));
    let wrappers: [fn(&str) -> String; 4] = [
        |text| format!("level=info msg=\"{text}\""),
        |text| format!("time=\"2026-11-22T10:58:42Z\" level=info msg=\"{text}\\n\""),
        |text| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stderr\"}}"),
        |text| {
            format!("{{\"MESSAGE\":\"7  {text}\",\"__REALTIME_TIMESTAMP\":\"1795345122500000\"}}")
        },
    ];
    for wrap in wrappers {
        let log = format!("{accept}\n{}\n{accept}\n", wrap(&escape(&accept)));
        assert_eq!(read(&log, false), (3, 0), "{log}");
        let log = format!("{accept}\n{}\n", wrap(&escape(&write)));
        assert_eq!(read(&log, false), (1, 0), "{log}");
    }
    for line in [
        format!("\"2026-11-22\",\"{}\"", escape(&accept)),
        format!("said: \"{}\"", escape(&accept)),
    ] {
        let (total, unreadable) = read(&format!("{accept}\n{line}\n"), false);
        assert_eq!(total + unreadable, 2, "{line}");
    }
}

#[test]
fn entities_do_not_make_text_of_a_call_unreadable() {
    let write =
        r#"write(5, "accept(3, {sa_family=AF_INET, sin_port=htons(1)}, [16]) = 4"..., 98) = 98"#;
    for line in [
        write.replace('"', "&quot;"),
        write.replace('"', "&#34;"),
        write.replacen('"', "\u{201c}", 1).replacen('"', "\u{201d}", 1),
        format!("<span>12</span> {}", write.replace('"', "&quot;")),
        r#"<... read resumed>"accept(3, NULL, NULL) = 4", 100) = 25"#.replace('"', "&quot;"),
    ] {
        assert_eq!(read(&format!("{line}\n"), false), (0, 0), "{line}");
    }
}

/// Lines as people publish them: shortened, explained, redacted, or written by relatives of strace.
#[test]
fn published_lines_are_counted_or_unreadable() {
    for (lines, counts) in [
        ("[pid 12] accept4(4, {sa_family=AF_INET6, sin6_port=htons(34784)...}, ...) = 5", (1, 0)),
        (r#"accept4(3, {sa_family=AF_INET6, sin6_port=htons(1), ... "::1" ...}, ...) = 4"#, (1, 0)),
        (
            "<... accept resumed>{sa_family=AF_INET6, sin6_port=htons(1), ...), sin6_scope_id=0}, [28]) = 11",
            (1, 0),
        ),
        ("accept(139, {...192.0.2.21...}, ...) = 169", (0, 1)),
        (
            r#"accept(8, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("10.0.x.z")}, [16]) = 5"#,
            (1, 0),
        ),
        ("accept(4, NULL, NULL)       = 6      the new client\naccept(4,\n", (1, 0)),
        ("accept(4, NULL, NULL)       = -1 EAGAIN      nobody waits", (0, 0)),
        // ltrace -S shows a system call beside the function that made it.
        ("SYS_accept(3, 0x7ffd, 0x7ffc, 0) = 4\naccept(3, 0x7ffd, 0x7ffc, 0) = 4", (1, 1)),
        ("accept@SYS(3, 0x7ffd, 0x7ffc, 0) = 4\naccept(3, 0x7ffd, 0x7ffc, 0) = 4", (1, 1)),
        ("1 nginx X accept4(0x6 socket:[4], 0x7e {Addr: 192.0.2.1}, 0x7c, 0x0) = 7 (0x7)", (0, 1)),
        ("nginx/12 accept4(fd: 6<socket:[1]>, upeer_sockaddr: 0x7ffe, flags: 0) = 7", (0, 1)),
    ] {
        assert_eq!(read(&format!("{lines}\n"), false), counts, "{lines}");
    }
}

#[test]
fn accepts_in_damaged_lines_are_counted_or_unreadable() {
    for lines in [
        &["7 accept4(3<UDP:[,  <unfinished ...>", "7 <... accept4 resumed>PEER, [16], 0) = 6"][..],
        &[r"<... accept4 resumed> <unfinished ...>PEER, [16], 0) = 6"],
        &["    { 0.004183 accept4(3, PEER, [128 => 16], SOCK_CLOEXEC) = 4"],
        &[r#"[pid  8139] <... accept4 write(1, "resumed>PEER, [16], 0) = 6"#],
        &[r#"accept(3,[pid 5] read(3, "accept(", 7 PEER, [16])      = 0"#],
        &["accept4(3, PEER, [28], 0) = ? ERESTARTSYS (*7"],
        &["accept(3, NULL{sa_family=AF_UNIX}}, NULL) = 9"],
        &["8139<nginx> accept(3,174673 socket( NULL, NULL) = 9"],
    ] {
        let log = lines.join("\n").replace("PEER", PEER) + "\n";
        let (total, unreadable) = read(&log, false);
        assert_eq!(total + unreadable, 1, "{log}");
    }
    let cut = format!(
        "7 accept4(3<UDP:[,  <unfinished ...>\n7 <... accept4 resumed>{PEER}, [16], 0) = 6\n"
    );
    assert_eq!(read(&cut, false), (1, 0), "{cut}");
}
