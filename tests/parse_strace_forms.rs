//! Forms of strace's output, each by itself: every version's spelling, and what stands round it.

use std::io::Write;

use tcptally::parse::{Options, Outcome, parse};
use tcptally::{Connection, RequestedFields};

fn read(text: &str) -> (Vec<Connection>, Outcome) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let options = Options {
        format: Some("strace".to_owned()),
        date: Some(jiff::civil::date(2026, 11, 22)),
        tz: Some(jiff::tz::TimeZone::UTC),
        requested: RequestedFields::ALL,
        ..Options::default()
    };
    let mut found = Vec::new();
    let outcome = parse(&[path], &options, &mut found);
    assert!(outcome.failures.is_empty(), "{:?} {text}", outcome.failures);
    (found, outcome)
}

/// `PEER:PORT>LOCALPORT=FD` of each connection; `-` is what the log does not tell.
fn found(text: &str) -> Vec<String> {
    let dash = |v: Option<String>| v.unwrap_or_else(|| "-".to_owned());
    let show = |c: &Connection| {
        format!(
            "{}:{}>{}={}",
            dash(c.ip.map(|v| v.to_string())),
            dash(c.port.map(|v| v.to_string())),
            dash(c.local_port.map(|v| v.to_string())),
            dash(c.fd.map(|v| v.to_string()))
        )
    };
    read(text).0.iter().map(show).collect()
}

#[track_caller]
fn gives(text: &str, want: &[&str]) {
    assert_eq!(found(text), want, "{text}");
}

const PEER: &str = r#"{sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr("192.0.2.9")}"#;
const ANY: &str = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}"#;

#[test]
fn only_accepts_that_returned_a_descriptor_count() {
    for (result, want) in [
        ("= 7", Some("=7")),
        ("= 0", Some("=0")),
        ("                        = 7", Some("=7")),
        ("= 0x4", Some("=4")),
        ("= 7 <0.000046>", Some("=7")),
        ("= 8 <0.000032210>", Some("=8")),
        ("= 4 <0>", Some("=4")),
        ("= 5 (DELAYED) <0.323276>", Some("=5")),
        ("= 5 (INJECTED: args)", Some("=5")),
        ("= 7 (INJECTED)", None),
        ("= 7 (INJECTED: args, retval)", None),
        ("= 7 (INJECTED) (DELAYED)", None),
        ("= 8<socket:[333815]>", Some("=8")),
        ("= 4<TCP:[7951995]>", Some("=4")),
        ("= -1 EAGAIN (Resource temporarily unavailable)", None),
        ("= -1 EINTR (Interrupted system call) (INJECTED)", None),
        ("= -1 (errno 524)", None),
        ("= 0xffffffffffffff9f", None),
        ("= ? ERESTARTSYS (To be restarted if SA_RESTART is set)", None),
        ("= ? ERESTARTSYS (To be restarted)", None),
        ("= ? <unavailable>", None),
        ("= ?", None),
    ] {
        let want: Vec<String> = want.iter().map(|fd| format!("192.0.2.9:7>-{fd}")).collect();
        let line = format!("accept(3, {PEER}, [16]) {result}\n");
        assert_eq!(found(&line), want, "{line}");
    }
}

/// As a program prints what it read from strace: three calls on a line, between escapes.
#[test]
fn calls_between_escaped_line_feeds_are_counted_or_unreadable() {
    let call = |fd: u8| format!("accept4(3, {PEER}, [16], SOCK_CLOEXEC) = {fd}");
    for (before, feed) in [("b'", "\\n"), ("b'", "\\x0a"), ("out: ", "\\r\\n"), ("", "\\n")] {
        let text = format!("{before}{}{feed}{}{feed}{}'\n", call(4), call(5), call(6));
        let (found, outcome) = read(&text);
        let unreadable = outcome.status.unreadable_lines();
        assert!(found.len() as u64 + unreadable >= 3, "{} and {unreadable} of {text}", found.len());
    }
}

#[test]
fn lengths_and_flags_in_any_form_are_read() {
    for rest in [
        "[16])",
        "[112 => 16])",
        "[112->16])",
        "[16], SOCK_CLOEXEC)",
        "[16], SOCK_CLOEXEC|SOCK_NONBLOCK)",
        "[16], 0x80000)",
        "[16], 0x80000 /* SOCK_CLOEXEC */)",
        "[16], SOCK_CLOEXEC|0x4)",
        "NULL, 0)",
        "0x7ffe6e4b082c)",
    ] {
        gives(&format!("accept4(3, {PEER}, {rest} = 5\n"), &["192.0.2.9:7>-=5"]);
    }
    gives(
        &format!("accept4(sockfd=3, addr={PEER}, addrlen=[16], flags=SOCK_CLOEXEC) = 5\n"),
        &["192.0.2.9:7>-=5"],
    );
}

#[test]
fn accepts_without_an_address_count_as_unknown_peers() {
    for args in [
        "3, NULL, NULL",
        "3, 0, NULL",
        "3, 0x7ffda9f2a6c0, 0x7ffda9f2a6bc, 0x80000",
        "3, 0x7ffe4ae50600, [16], SOCK_CLOEXEC",
        "0x3, 0x7ffd, 0x7ffd, 0x80000",
        "arg1=0x3, arg2=0x7ffe, arg3=0x7ffe, arg4=0x80000",
        "3, {sa_family=AF_INET}, [2]",
    ] {
        gives(&format!("accept4({args}) = 4\n"), &["-:->-=4"]);
    }
    gives(
        "socketcall(5, 0xffd2a0) = 4\nsocketcall(0x12, 0xffd2a0) = 0x5\n",
        &["-:->-=4", "-:->-=5"],
    );
    gives("socketcall(2, 0xffd2a0) = 0\nsocketcall(51, 0xffd2a0) = 3\n", &[]);
    let pair = "7 socketcall(0x5, 0xffd2a0 <unfinished ...>\n7 <... socketcall resumed>) = 0x4\n";
    gives(pair, &["-:->-=4"]);
    gives("7 <... socketcall resumed>) = 4\n", &[]);
}

#[test]
fn the_number_of_unknown_peers_is_told_in_the_singular_or_plural() {
    for (count, told) in [(1, "client's address of 1 connection "), (2, "of 2 connections ")] {
        let (_, outcome) = read(&"accept(3, NULL, NULL) = 4\n".repeat(count));
        let warnings = &outcome.status.warnings;
        assert!(warnings.iter().any(|w| w.contains(told)), "{warnings:?}");
    }
}

#[test]
fn other_families_never_count() {
    for address in [
        "{sa_family=AF_UNIX}",
        "{sa_family=AF_UNIX, sun_path=\"/tmp/x\"}",
        "{sa_family=AF_UNIX, NULL}",
        "{sa_family=AF_FILE, path=@\"x\"}",
        "{sa_family=AF_LOCAL, path=\"/x\"}",
        "{sa_family=AF_UNSPEC, sa_data=\"\\0\\0\"}",
        "{sa_family=AF_VSOCK, svm_cid=0x2, svm_port=0x3}",
        "{sa_family=0x2d /* AF_??? */, sa_data=\"\\0\"}",
    ] {
        let (found, outcome) = read(&format!("accept(3, {address}, [2]) = 4\n"));
        assert_eq!((found.len(), outcome.status.unreadable_lines()), (0, 0), "{address}");
    }
    gives(
        "accept4(3<UNIX-STREAM:[1,@\"\\x6f\"]>, NULL, NULL) = 5<UNIX-STREAM:[3->2,@\"\\x6f\"]>\n",
        &[],
    );
    gives("accept4(3<(null):[16257723,\"\\x2f\"]>, NULL, NULL) = 5\n", &[]);
    // Without an address, by what the descriptor is known to be.
    let bound = "7 bind(3, {sa_family=AF_UNIX, sun_path=\"/x\"}, 5) = 0\n";
    gives(&format!("{bound}7 accept(3, NULL, NULL) = 4\n"), &[]);
    gives(&format!("{bound}8 accept(3, NULL, NULL) = 4\n"), &[]);
    gives("7 socket(AF_UNIX, SOCK_STREAM, 0) = 3\n7 accept(3, NULL, NULL) = 4\n", &[]);
    gives(
        "7 getsockname(3, {sa_family=AF_UNIX, sun_path=\"/x\"}, [128 => 5]) = 0\n7 accept(3, NULL, NULL) = 4\n",
        &[],
    );
    let inode = "7 bind(5<socket:[9]>, {sa_family=AF_UNIX, sun_path=\"/x\"}, 5) = 0\n";
    gives(&format!("{inode}8 accept(3<socket:[9]>, NULL, NULL) = 4\n"), &[]);
    gives("7 accept(3, NULL, NULL) = 4\n7 getsockname(4, {sa_family=AF_UNIX}, [2]) = 0\n", &[]);
}

#[test]
fn connections_of_other_transports_do_not_count_by_their_addresses() {
    let accept = format!("7 accept(3, {PEER}, [16]) = 4\n");
    let socket = |arguments: &str| format!("7 socket({arguments}) = 3\n");
    let bind = format!("7 bind(3, {ANY}, 16) = 0\n7 listen(3, 5) = 0\n");
    for other in [
        "AF_INET, SOCK_STREAM, IPPROTO_SCTP",
        "AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, 132",
        "0x2, 0x1, 0x84",
        "AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP",
        "domain=AF_INET, type=SOCK_STREAM, protocol=IPPROTO_SCTP",
        "AF_INET,SOCK_DCCP,IPPROTO_IP",
    ] {
        gives(&format!("{}{accept}", socket(other)), &[]);
        gives(&format!("{}{bind}{accept}", socket(other)), &[]);
        let child = accept.replace('7', "8");
        gives(&format!("{}{bind}7 fork() = 8\n{child}", socket(other)), &[]);
        let tcp = socket("AF_INET, SOCK_STREAM, IPPROTO_IP");
        gives(
            &format!("{}7 close(3) = 0\n{tcp}{bind}{accept}", socket(other)),
            &["192.0.2.9:7>80=4"],
        );
    }
    for tcp in ["AF_INET, SOCK_STREAM, IPPROTO_MPTCP", "AF_INET, SOCK_STREAM, 0x106", "0x2, 0x1, 0"]
    {
        gives(&format!("{}{bind}{accept}", socket(tcp)), &["192.0.2.9:7>80=4"]);
    }
    // A descriptor may have become another socket in a way that the log does not show.
    for stale in ["AF_UNIX, SOCK_STREAM, 0", "AF_INET, SOCK_DGRAM, IPPROTO_IP"] {
        gives(&format!("{}{accept}", socket(stale)), &["192.0.2.9:7>-=4"]);
    }
}

#[test]
fn halves_of_a_call_are_joined_in_all_spellings() {
    for (entry, back) in [
        ("accept(3,  <unfinished ...>", "<... accept resumed> "),
        ("accept(3,  <unfinished ...>", "<... accept resumed>"),
        ("accept(sockfd=3 <unfinished ...>", "<... accept resumed>, addr="),
        ("accept(3 <unfinished ...>", "<... accept resumed>, "),
    ] {
        let log = format!(
            "5 bind(3, {ANY}, 16) = 0\n5 {entry}\n6 read(0, \"\", 1) = 0\n5 {back}{PEER}, [16]) = 4\n"
        );
        gives(&log, &["192.0.2.9:7>80=4"]);
    }
    // All is known on entry but the result.
    gives(
        "5 accept(3, NULL, NULL <unfinished ...>\n5 <... accept resumed>)    = 4\n",
        &["-:->-=4"],
    );
    gives("5 accept(3,  <unfinished ...>\n5 <... accept resumed> 0, NULL) = 4\n", &["-:->-=4"]);
    // A half by itself.
    gives(&format!("5 <... accept4 resumed>{PEER}, [16], 0) = 4\n"), &["192.0.2.9:7>-=4"]);
    gives("5 accept(3,  <unfinished ...>\n", &[]);
    // It ends in the call, or strace detaches.
    gives("5 accept(3,  <unfinished ...>\n5 <... accept resumed> <unfinished ...>) = ?\n", &[]);
    gives("5 accept(3,  <unfinished ...>) = ?\n", &[]);
    gives("5 accept(3,  <detached ...>\n", &[]);
}

#[test]
fn only_the_call_of_the_line_counts() {
    let (found, outcome) = read(&format!(
        "read(5, \"accept(3, {{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\\\"6.6.6.6\\\")}}, [16]) = 5\"..., 4096) = 90\n\
         > /usr/lib/libc.so.6(accept4+0x13) [0x10af63]\n\
         \x20> /usr/lib/libc.so.6(accept4+0x13) [0x10af63]\n\
         \x20 9.90    0.000077          11         7           accept4\n\
         \x20| 00000  61 63 63 65 70 74 28 33  2c 20 accept(3, |\n\
         openat(AT_FDCWD, \"/tmp/accept(3, \", O_RDONLY) = 5</tmp/accept(3, {{sa_family=AF_INET\\76>\n\
         connect(3, {PEER}, 16) = 0\n"
    ));
    assert_eq!((found.len(), outcome.status.unreadable_lines()), (0, 0));
}

#[test]
fn text_around_a_call_does_not_hide_it() {
    for text in [
        "text accept(3, {}, [16]) = 5",
        "[accept(3, {}, [16]) = 5]",
        "xaccept(3, {}, [16]) = 5",
        "accept(3, {}, [16]) = 5 <- the first client",
        "say \"hi accept(3, {}, [16]) = 5",
    ] {
        let text = format!("{}\n", text.replace("{}", PEER));
        let (found, outcome) = read(&text);
        assert_eq!((found.len(), outcome.status.unreadable_lines()), (1, 0), "{text}");
    }
}

#[test]
fn a_call_that_is_cut_off_is_unreadable() {
    let (found, outcome) = read(
        "accept4(3, {sa_family=AF_INET, sin_port=htons(41349), sin_addr=inet_addr(\"127.0.0\n",
    );
    assert_eq!((found.len(), outcome.status.unreadable_lines()), (0, 1));
}

#[test]
fn a_log_that_begins_within_a_call_is_not_complete() {
    for (first, want) in [
        ("_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.9\")}, [16], 0) = 4", 1),
        ("t_addr(\"192.0.2.9\")}, [16], 0) = 4", 1),
        ("0) = 4", 1),
        (")      = 4<TCP:[192.0.2.1:80->192.0.2.9:7]>", 1),
        ("= 4", 1),
        ("lable) = -1 EAGAIN (Resource temporarily unavailable)", 0),
        ("close(4) = 0", 0),
        ("12 write(1, \":))\", 3) = 3", 0),
        ("[pid  12] <... read resumed>\"x\", 1) = 1", 0),
        ("<... accept resumed>) = -1 EAGAIN (Resource temporarily unavailable)", 0),
    ] {
        let (found, outcome) = read(&format!("{first}\naccept(3, {PEER}, [16]) = 5\n"));
        assert_eq!((found.len(), outcome.status.unreadable_lines()), (1, want), "{first}");
    }
}

#[test]
fn glued_and_torn_lines_are_read() {
    // strace was killed, and the next run goes on in the same line.
    let glued = format!(
        "5     1795345360.427375 accept4(3, 4     1795345362.877575 bind(3, {ANY}, 16) = 0\n\
         4     1795345363.000000 accept4(3, {PEER}, [16]) = 7\n"
    );
    gives(&glued, &["192.0.2.9:7>80=7"]);
    // Messages of strace, of other programs, with and without a line feed.
    gives(
        &format!(
            "[pid  8] accept4(3, strace: Process 9 attached\n <unfinished ...>\n[pid  8] <... accept4 resumed>{PEER}, [16]) = 4\n"
        ),
        &["192.0.2.9:7>-=4"],
    );
    gives(
        &format!(
            "[pid  8] accept4(3<TCP:[0.0.0.0:80]>, 127.0.0.2 - - \"GET /\" 200 -\n{PEER}, [16], 0) = 4\n"
        ),
        &["192.0.2.9:7>80=4"],
    );
    gives(
        &format!(
            "[pid  8] accept4(sockfd=3/usr/bin/strace: Process 9 attached\n, addr={PEER}, addrlen=[16]) = 4\n"
        ),
        &["192.0.2.9:7>-=4"],
    );
    gives(&format!("accept4(3, serving...{PEER}, [16]) = 4\n"), &["192.0.2.9:7>-=4"]);
    // Not torn, so the rest is nobody's, and it is said so.
    let (found, outcome) = read(&format!("{PEER}, [16], 0) = 4\n"));
    assert_eq!((found.len(), outcome.status.unreadable_lines()), (0, 1));
}

#[test]
fn colours_and_line_ends_change_nothing() {
    let esc = "\x1b[0m[\x1b[35mpid  2654\x1b[0m]\x1b[35m 11:05:01 <... accept resumed>\x1b[0m, \x1b[35m\x1b[0m";
    let coloured = PEER.replace("192", "\x1b[33m192").replace("AF_INET", "\x1b[34mAF_INET\x1b[35m");
    gives(
        &format!("{esc}{coloured}\x1b[0m, [16]) = \x1b[32m4\x1b[0m\x1b[0m\n"),
        &["192.0.2.9:7>-=4"],
    );
    gives(&format!("accept(3, {PEER}, [16]) = 4\r\n"), &["192.0.2.9:7>-=4"]);
    gives(&format!("\0\0\0\0accept(3, {PEER}, [16]) = 4\0\0\n"), &["192.0.2.9:7>-=4"]);
    gives(&format!("accept(3, {PEER}, [16]) = 4"), &["192.0.2.9:7>-=4"]);
}

/// The parser stood still at this bracket.
#[test]
fn a_bracket_without_end_is_read_in_linear_time() {
    gives(
        "accept(0x3, 0x7fffd30de2b0, 0 <fffd30de2ac) = -1 ERESTARTSYS (Unknown error 512)\n",
        &[],
    );
    gives("accept(3<TCP:[0.0.0.0:80], NULL, NULL) = 4\n", &[]);
    gives(&format!("accept(3, NULL, {}\n", "<".repeat(900_000)), &[]);
    gives("close(3 <x) = 0\naccept(3, NULL, NULL) = 4<\n", &["-:->-=4"]);
}

#[test]
fn lines_of_any_length_are_read() {
    let long = "x".repeat(3 << 20);
    let log = format!("accept(3, {PEER}, [16]) = 4\n{long}\naccept(3, {PEER}, [16]) = 5\n");
    gives(&log, &["192.0.2.9:7>-=4", "192.0.2.9:7>-=5"]);
    let log = format!("accept(3, \"{long}\n{long}accept(3, {PEER}, [16]) = 5\n");
    gives(&log, &[]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn ports_are_followed_from_bind_to_accept() {
    let accept = format!("9 accept(FD, {PEER}, [16]) = 20\n");
    let port = |before: &str, fd: &str| {
        let log = format!("{}{}", before.replace("ANY", ANY), accept.replace("FD", fd));
        found(&log).join(" ").split_once('>').unwrap().1.to_owned()
    };
    assert_eq!(port("9 bind(3, ANY, 16) = 0\n", "3"), "80=20");
    assert_eq!(port("9 bind(3, ANY, 16) = -1 EADDRINUSE (Address already in use)\n", "3"), "-=20");
    assert_eq!(
        port("9 bind(3, ANY, 16 <unfinished ...>\n9 <... bind resumed>) = 0\n", "3"),
        "80=20"
    );
    assert_eq!(port("9 bind(0x3, 0x7ffe, 0x10) = 0\n", "3"), "-=20");
    assert_eq!(port("9 bind(sockfd=3, addr=ANY, addrlen=16) = 0\n", "3"), "80=20");
    // Duplicates.
    for dup in [
        "dup(3) = 5",
        "dup2(3, 5) = 5",
        "dup2(oldfd=3, newfd=5) = 5",
        "dup3(3, 5, O_CLOEXEC) = 5",
        "fcntl(3, F_DUPFD, 5) = 5",
        "fcntl(3, F_DUPFD_CLOEXEC, 5) = 5",
        "fcntl(3, 0x406 /* F_DUPFD_CLOEXEC */, 5) = 5",
        "fcntl64(3, F_DUPFD, 5) = 5",
        "dup2(3, 5 <unfinished ...>\n9 <... dup2 resumed>) = 5",
    ] {
        let log = format!("9 bind(3, ANY, 16) = 0\n9 {dup}\n9 close(3) = 0\n");
        assert_eq!(port(&log, "5"), "80=20", "{dup}");
    }
    assert_eq!(
        port("9 bind(3, ANY, 16) = 0\n9 fcntl(3, F_GETFD) = 5 (flags FD_CLOEXEC)\n", "5"),
        "-=20"
    );
    // Closed, and something else under the number.
    assert_eq!(
        port(
            "9 bind(3, ANY, 16) = 0\n9 close(3) = 0\n9 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3\n",
            "3"
        ),
        "-=20"
    );
    // Children have it, in every form, and whichever comes first.
    for born in [
        "8 fork() = 9",
        "8 vfork() = 9",
        "8 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f5b) = 9",
        "8 clone3({flags=CLONE_VM|CLONE_FILES, exit_signal=0} => {parent_tid=[9]}, 88) = 9",
        "8 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>\n9 close(7) = 0\n8 <... clone resumed>, child_tidptr=0x7f5b) = 9",
    ] {
        let log = format!(
            "8 bind(3, ANY, 16) = 0\n{born}\n8 close(3) = 0\n7 bind(3, {}, 16) = 0\n",
            ANY.replace("80", "81")
        );
        let want = if born.contains("CLONE_FILES") { "-=20" } else { "80=20" };
        assert_eq!(port(&log, "3"), want, "{born}");
    }
    // Processes that nothing is known of have what the others have, if those agree.
    assert_eq!(port("8 bind(3, ANY, 16) = 0\n", "3"), "80=20");
    let other = ANY.replace("80", "81");
    assert_eq!(port(&format!("8 bind(3, ANY, 16) = 0\n7 bind(3, {other}, 16) = 0\n"), "3"), "-=20");
    let ended =
        format!("8 bind(3, ANY, 16) = 0\n8 +++ exited with 0 +++\n7 bind(3, {other}, 16) = 0\n");
    assert_eq!(port(&ended, "3"), "81=20");
    assert_eq!(port("8 bind(3, ANY, 16) = 0\n8 +++ exited with 0 +++\n", "3"), "80=20");
    // By inode, whoever has it.
    assert_eq!(port("8 bind(3<socket:[5]>, ANY, 16) = 0\n", "6<socket:[5]>"), "80=20");
    assert_eq!(
        port(
            r"8 bind(3<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x35\x5d>, ANY, 16) = 0
",
            "6<socket:[5]>"
        ),
        "80=20"
    );
    // A port that the kernel chose.
    let zero = ANY.replace("80", "0");
    let named = format!(
        "9 bind(3, {zero}, 16) = 0\n9 getsockname(3, {}, [16]) = 0\n",
        ANY.replace("80", "4711")
    );
    assert_eq!(port(&named, "3"), "4711=20");
    assert_eq!(port(&format!("9 bind(3, {zero}, 16) = 0\n"), "3"), "-=20");
}

#[test]
fn an_annotated_descriptor_gives_both_ends() {
    let here = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}"#;
    let log = format!(
        "7 accept(3, {PEER}, [16]) = 4\n7 getsockname(4, {here}, [16]) = 0\n7 accept(3, {PEER}, [16]) = 5\n"
    );
    gives(&log, &["192.0.2.9:7>80=4", "192.0.2.9:7>80=5"]);
    let log = format!(
        "7 accept(3, NULL, NULL) = 4\n7 getpeername(4, {PEER}, [16]) = 0\n7 getsockname(4, {here}, [16]) = 0\n"
    );
    gives(&log, &["192.0.2.9:7>80=4"]);
    // Not the same connection any more.
    let log = format!(
        "7 accept(3, NULL, NULL) = 4\n7 close(4) = 0\n7 getpeername(4, {PEER}, [16]) = 0\n"
    );
    gives(&log, &["-:->-=4"]);
    let log = format!(
        "7 accept(3, NULL, NULL) = 4\n7 accept(3, NULL, NULL) = 4\n7 getpeername(4, {PEER}, [16]) = 0\n"
    );
    gives(&log, &["-:->-=4", "192.0.2.9:7>-=4"]);
    // A connection that this process made is not one that it accepted.
    let log = format!(
        "7 accept(3, NULL, NULL) = 4\n8 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 4\n8 getpeername(4, {PEER}, [16]) = 0\n"
    );
    gives(&log, &["-:->-=4"]);
}

#[test]
fn the_time_is_when_accept_returned() {
    let times = |log: &str| -> Vec<String> {
        read(log).0.iter().map(|c| c.time.map_or("-".to_owned(), |t| t.to_string())).collect()
    };
    let accept = format!("accept(3, {PEER}, [16]) = 4");
    assert_eq!(times(&format!("{accept}\n")), ["-"]);
    assert_eq!(times(&format!("10:00:00 {accept}\n")), ["2026-11-22T10:00:00.000000Z"]);
    assert_eq!(
        times(&format!("10:00:00.5 {accept} <3600.250000>\n")),
        ["2026-11-22T11:00:00.750000Z"]
    );
    assert_eq!(
        times(&format!("1795346683 {accept} <1>\n1795346683.25 {accept}\n")),
        ["2026-11-22T11:24:44.000000Z", "2026-11-22T11:24:43.250000Z"]
    );
    // The second half bears the time of the return, and -T the whole wait.
    assert_eq!(
        times(&format!(
            "7 10:00:00 accept(3,  <unfinished ...>\n7 10:00:09 <... accept resumed>{PEER}, [16]) = 4 <9.000>\n"
        )),
        ["2026-11-22T10:00:09.000000Z"]
    );
    assert_eq!(
        times(&format!(
            "     0.000000 close(1) = 0\n     1.5 read(0) = 0\nnoise\n     0.25 {accept}\n"
        )),
        ["+1.750000s"]
    );
    assert_eq!(
        times(&format!("10:00:00 (+     0.5) {accept}\n10:00:01 (+     1.0) {accept}\n")),
        ["2026-11-22T10:00:00.000000Z", "2026-11-22T10:00:01.000000Z"]
    );
    // Midnight, a clock that is set back a little, and text that only looks like a time.
    assert_eq!(
        times(&format!(
            "23:59:59 {accept}\n00:00:01 {accept}\n05:00:00 is when I rise\n00:00:02 {accept}\n"
        )),
        [
            "2026-11-22T23:59:59.000000Z",
            "2026-11-23T00:00:01.000000Z",
            "2026-11-23T00:00:02.000000Z"
        ]
    );
}

#[test]
fn threads_and_their_names_are_kept() {
    let (found, _) = read(&format!(
        "70<main> bind(3, {ANY}, 16) = 0\n\
         70<main> clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 71\n\
         71<C2 Comp\\74> accept(3, {PEER}, [16]) = 4\n\
         [pid 72<\\x6e\\x67>] accept(3, {PEER}, [16]) = 4\n"
    ));
    let who: Vec<_> = found.iter().map(|c| (c.pid, c.tid, c.comm.as_deref())).collect();
    assert_eq!(who, [(Some(70), Some(71), Some("C2 Comp<")), (Some(72), Some(72), Some("ng"))]);
}

#[test]
fn threads_are_found_behind_labels_numbers_and_blanks() {
    for prefix in [
        "[pod/web-1/app] ",
        "[INFO] ",
        "[2026-11-26T10:00:00.123Z] ",
        "    ",
        "web1: ",
        "web1: [INFO] ",
        "    5  ",
        " 12. ",
    ] {
        for [first, second] in
            [["1001 ", "1002 "], ["21001 ", "21002 "], ["[pid 71] ", "[pid 72] "]]
        {
            let lines = [
                format!("{first}bind(3, {ANY}, 16) = 0"),
                format!("{first}accept(3,  <unfinished ...>"),
                format!("{second}accept(3,  <unfinished ...>"),
                format!("{first}<... accept resumed>{PEER}, [16]) = 4"),
                format!("{second}<... accept resumed>{PEER}, [16]) = 4"),
            ];
            let plain = read(&lines.each_ref().map(|line| format!("{line}\n")).concat()).0;
            let (found, _) = read(&lines.map(|line| format!("{prefix}{line}\n")).concat());
            let tids = |all: &[Connection]| all.iter().map(|c| c.tid).collect::<Vec<_>>();
            assert!(tids(&plain).iter().all(Option::is_some));
            assert_eq!(tids(&found), tids(&plain), "{prefix}{first}");
        }
    }
}

#[test]
fn appended_runs_do_not_share_descriptors() {
    let other = ANY.replace("80", "81");
    let log = format!(
        "4 bind(3, {ANY}, 16) = 0\n5 accept(3, {PEER}, [16]) = 6\n4 accept(3, \
         4 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3\n\
         4 bind(3, {other}, 16) = 0\n5 accept(3, {PEER}, [16]) = 6\n"
    );
    gives(&log, &["192.0.2.9:7>80=6", "192.0.2.9:7>81=6"]);
    // With other numbers, threads of the second run have what the second run bound.
    let log = format!(
        "4 bind(3, {ANY}, 16) = 0\n5 accept(3, {PEER}, [16]) = 6\n5 accept(3, \
         14 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3\n\
         14 bind(3, {other}, 16) = 0\n15 accept(3, {PEER}, [16]) = 6\n"
    );
    gives(&log, &["192.0.2.9:7>80=6", "192.0.2.9:7>81=6"]);
    // Without process numbers, a run ends with its only process. strace was attached to the next server.
    let log = format!(
        "bind(3, {ANY}, 16) = 0\naccept(3, {PEER}, [16]) = 6\n+++ exited with 0 +++\n\
         7 accept(3, {PEER}, [16]) = 6\n"
    );
    gives(&log, &["192.0.2.9:7>80=6", "192.0.2.9:7>-=6"]);
    // But text of another program does not begin a run.
    let log = format!(
        "[pid  4] bind(3, {ANY}, 16) = 0\n[pid  5] accept(3, handler(7)\n <unfinished ...>\n\
         [pid  5] <... accept resumed>{PEER}, [16]) = 6\n"
    );
    gives(&log, &["192.0.2.9:7>80=6"]);
}
