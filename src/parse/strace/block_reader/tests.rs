//! The fast path reads what the general path reads.

use proptest::prelude::*;

use super::*;
use crate::parse::timestamp::ClockSpan;

/// What a line says where [`fast_path`] sees it first, and what it says to the general path.
fn both(line: &[u8]) -> [(Vec<Fact>, ClockSpan, [u64; 2], bool); 2] {
    let [mut fast, mut general] = [Block::default(), Block::default()];
    super::read(&mut fast, line);
    lines::each(line, |line, at| {
        let mut reader = BlockReader { block: &mut general };
        reader.any_line(line, at as u32, &mut State::default());
    });
    [fast, general].map(|block| {
        let counts = [block.unreadable, block.failed_accepts];
        (block.facts, block.clock_span, counts, block.uring)
    })
}

#[test]
fn fast_path_reads_what_the_general_path_reads() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/strace");
    let mut lines = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let Ok(log) = std::fs::read(case.unwrap().path().join("log")) else { continue };
        // The last line of many has no line feed.
        for line in log.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
            let [fast, general] = both(line);
            assert_eq!(fast, general, "{}", line.escape_ascii());
            lines += 1;
        }
    }
    assert!(lines > 5_000, "{lines}");
}

const PROCESSES: [&str; 8] = [
    "",
    "7 ",
    "12345 ",
    "1234567 ",
    "1001<nginx> ",
    "[pid 1001] ",
    "[pid  1001] ",
    "[pid 1234567] ",
];

const TIMES: [&str; 11] = [
    "",
    "10:53:30 ",
    "10:53:30.174673 ",
    "1795344802.927766 ",
    "     0.004183 ",
    "   123.004183 ",
    "10:53:30.174673 (+     0.008233) ",
    "1795344802.927766 (+   123.315166) ",
    "10:53:30.174673123 ",
    "1795344802.927766123 ",
    "     0.004183123 ",
];

/// What fork(3) passes to clone(2).
const FORK: &str = "child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD";

/// Lines that the fast path reads, without process and time.
fn usual_calls() -> [String; 46] {
    let v4 =
        "{sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr(\"192.0.2.177\")}, [16]";
    let v6 = "{sa_family=AF_INET6, sin6_port=htons(40001), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}, [28]";
    [
        format!("accept4(4, {v4}, SOCK_CLOEXEC|SOCK_NONBLOCK) = 12"),
        format!("accept4(1234567, {v6}, SOCK_NONBLOCK) = 1234567 <0.000019>"),
        format!("accept(4, {v4}) = 12"),
        format!(
            "accept4(4<TCP:[0.0.0.0:80]>, {v4}, 0) = 12<TCP:[192.0.2.1:80->192.0.2.177:40001]>"
        ),
        format!("<... accept4 resumed>{v4}, SOCK_CLOEXEC) = 12"),
        format!("<... accept resumed> {v6}) = 12 <0.000019>"),
        format!("accept4(4<socket:[31337]>, {v4}, 0) = 12<socket:[314159]> <0.000019>"),
        "accept4(4, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)".to_owned(),
        "<... epoll_wait resumed>[], 512, 5) = 0".to_owned(),
        "close(7</tmp/a>)                        = 0 <0.000019>".to_owned(),
        "accept4(12345,  <unfinished ...>".to_owned(),
        "close(1234567)                          = 0".to_owned(),
        format!("getsockname(12, {v4}) = 0"),
        format!("getpeername(1234567, {v6}) = 0 <0.000019>"),
        "accept4(4, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK) = 12".to_owned(),
        "accept(4, 0x7ffd5a5c2c60, [16])         = 1234567 <0.000019>".to_owned(),
        "close(4 <unfinished ...>".to_owned(),
        "<... close resumed>)                    = 0".to_owned(),
        "<... close resumed> )                   = 0 <0.000019>".to_owned(),
        "accept4(4<TCP:[0.0.0.0:80]>, NULL, NULL, 0) = -1 EMFILE (Too many open files) <0.000007>".to_owned(),
        "accept(4, 0x7ffd5a5c2c60, [128])        = -1 ECONNABORTED (Software caused connection abort)".to_owned(),
        "accept4(4, 0x7ffd5a5c2c60, [128], 0) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)".to_owned(),
        "<... accept4 resumed>0x7ffd5a5c2c60, [128], 0) = -1 EINVAL (Invalid argument)".to_owned(),
        "accept4(5, {sa_family=AF_UNIX}, [110 => 2], SOCK_CLOEXEC) = 12 <0.000007>".to_owned(),
        "<... accept resumed>{sa_family=AF_UNIX}, [110 => 2]) = 12".to_owned(),
        "<... accept resumed> NULL, NULL) = 12 <0.000019123>".to_owned(),
        "fcntl(12<TCP:[192.0.2.1:80->192.0.2.177:40001]>, F_GETFL) = 0x2 (flags O_RDWR)".to_owned(),
        "fcntl(12, F_SETFL, O_RDWR|O_NONBLOCK) = 0".to_owned(),
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 12".to_owned(),
        "socket(AF_UNIX, SOCK_STREAM, 0)         = 12 <0.000019>".to_owned(),
        "dup2(12, 1234)                          = 1234".to_owned(),
        "dup3(12, 0, O_CLOEXEC) = 0 <0.000019>".to_owned(),
        "accept4(4<TCP:[0.0.0.0:80]>,  <unfinished ...>".to_owned(),
        "accept4(4<TCPv6:[[::]:80]>, <unfinished ...>".to_owned(),
        "accept(4<socket:[31337]>,  <unfinished ...>".to_owned(),
        "accept4(4, {sa_family=AF_INET6, sin6_port=htons(40001), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"fe80::7\", &sin6_addr), sin6_scope_id=if_nametoindex(\"eth0\")}, [28], 0) = 12".to_owned(),
        "accept4(4 <unfinished ...>".to_owned(),
        format!("<... accept4 resumed>, {v4}, SOCK_CLOEXEC) = 12 <0.000019>"),
        format!("clone({FORK}, child_tidptr=0x7f2b2c0a1a10) = 2084"),
        format!("clone({FORK} <unfinished ...>"),
        "<... clone resumed>, child_tidptr=0x7f2b2c0a1a10) = 2084 <0.000210>".to_owned(),
        "clone(child_stack=0x7f1, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, parent_tid=[31], tls=0x7f2) = 31".to_owned(),
        "clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, exit_signal=0} => {parent_tid=[31]}, 88) = 31".to_owned(),
        "<... clone3 resumed> => {parent_tid=[0]}, 88) = 31".to_owned(),
        "+++ exited with 0 +++".to_owned(),
        "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=0} ---"
            .to_owned(),
    ]
}

/// Reads a line behind a prefix, and the next one, whose prefix is known then.
fn check_behind_prefix(prefix: &str, line: &str) {
    let text = format!("{prefix}{line}");
    let bytes = text.as_bytes();
    let mut reader = BlockReader { block: &mut Block::default() };
    let mut state = State::default();
    assert!(reader.line_behind_prefixes(bytes, 0..text.len() - 1, &mut state), "{text}");
    let mut padded = [0; window::LENGTH];
    let known = state.prefixes.read(window::first_bytes(bytes, &mut padded));
    assert_eq!(known.is_some(), prefix.ends_with(' '), "{text}");
    if let Some((wrapper, length)) = known {
        assert_eq!(length, prefix.len(), "{text}");
        let read = reader.line_behind_known_prefixes(bytes, 0, length, wrapper, &mut state);
        assert_eq!(read, Some(text.len()), "{text}");
    }
}

/// The general path takes five times as long, and nothing else would tell.
#[test]
fn accepts_behind_every_usual_prefix_are_read_by_the_fast_path() {
    let calls = usual_calls();
    let block = Block::default();
    let heads = PROCESSES.iter().flat_map(|process| TIMES.map(|time| format!("{process}{time}")));
    for (head, call) in heads.flat_map(|head| calls.iter().map(move |call| (head.clone(), call))) {
        let text = format!("{head}{call}\n");
        let mut padded = [0; window::LENGTH];
        let bytes = window::first_bytes(text.as_bytes(), &mut padded);
        let read = fast_path::line(bytes, &block.briefs.recent, &mut Meanings::default());
        assert!(read.is_some(), "{text}");
        for prefix in PREFIXES_OF_FAST_PATH {
            check_behind_prefix(prefix, &text);
        }
    }
}

const PREFIXES_OF_FAST_PATH: [&str; 6] = [
    "Nov 22 10:53:30 web1 strace[812]: ",
    "2026-11-22T10:53:30.123456789Z stderr F ",
    "2026-11-22T10:53:30+0100 web1 strace[812]: ",
    "web-1  | ",
    "123:",
    "log.txt:123:",
];

/// What other programs put before lines, and what nearly looks so.
const PREFIXES: [&str; 44] = [
    "Nov 22 10:53:30 web1 strace[812]: ",
    "Nov  2 10:53:30 web1 strace: ",
    "Nov 22 10:53:30 ",
    "Nov 32 10:53:30 web1 strace[812]: ",
    "Nov 22 24:53:30 web1 strace[812]: ",
    "Nov 22 10:53:30 web1 ",
    "Nov 22 10:53:30 web1 strace[812]:  ",
    "<13>Nov 22 10:53:30 web1 strace[812]: ",
    "<13>1 2026-11-22T10:53:30.5Z web1 strace 812 - - ",
    "<30>",
    "2026-11-22T10:53:30.123456789Z ",
    "2026-11-22T10:53:30.123456789Z stderr F ",
    "2026-11-22T10:53:30.123456789Z stdout P ",
    "2026-11-22T10:53:30+0100 web1 strace[812]: ",
    "2026-11-22 10:53:30,123 ",
    "2026-13-22T10:53:30Z ",
    "web-1  | ",
    "web-1 | ",
    "web| ",
    "web |",
    "accept-1  | ",
    "accept4(1): ",
    "acce: ",
    "sin_port=1 | ",
    "12:",
    "1:",
    "123456789012345678901:",
    "12-",
    "log.txt:12:",
    "log.txt:",
    "/var/log/a.1-12-",
    "2001:db8::7 ",
    "10:53:30 ",
    "10:53:30 | ",
    "[2026-11-22 10:53:30] ",
    "[  12.345678] ",
    "[pod/web-1/app] ",
    "> ",
    "   ",
    "a\t",
    "time=\"a\" ",
    "data: ",
    "{\"log\":\"",
    "NULL, ",
];

/// What other programs and the line's own strings may put anywhere into a line.
const JUNK: [&str; 20] = [
    "accept",
    "accept4(3, NULL, NULL) = 7",
    "<... accept resumed>",
    "\u{1b}[1m",
    "\r",
    "\u{a0}",
    "&lt;",
    "\"",
    "= 7",
    "read(7) = 0",
    " <unfinished ...>",
    "sin_addr=inet_addr(\"1.2.3.4\")",
    "cept4(",
    "Waiting... ",
    ": ",
    " | ",
    "Nov 22 10:53:30 web1 x: ",
    "\\",
    "<b>",
    "\t",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn both_paths_read_lines_that_nearly_look_right_alike(
        prefixes in prop::collection::vec(prop::sample::select(&PREFIXES[..]), 0..3),
        pid in prop::sample::select(vec![
            "", "1 ", "12 ", "123   ", "1234567 ", "12345678 ", "[pid 7] ", "[pid    77]  ",
            "[pid7] ", "[pid  7 ", "7<a> ", "7<(a b)>  ", "[pid 7<a>] ", "7<a->b> ", "99999999999 ",
        ]),
        time in prop::sample::select(vec![
            "", "10:53:30 ", "10:53:30.1 ", "23:59:60.123456 ", "24:00:00 ", "10:53:30.12345678 ",
            "1795344802.927766 ", "1795344802 ", "9999999999.5 ", "0000000001.5 ",
            "179534480.927766 ", "17953448021.9 ", "1795344802. ", "     0.004183 ",
            "10:53:30.174673 (+     0.008233) ", "     0 ", "      12.654334 ", "1795344802.927766 (+     1.5) ", "[ 288] ", "[ 288] [00007f7a49728f63] ", "10:53:30 [00007f7a49728f63] ", "[x] ", "1795344802.927766036 ",
        ]),
        call in prop::sample::select(vec![
            "accept4(", "accept(", "<... accept4 resumed>", "<... accept resumed> ",
            "close(", "read(", "socket(", "<... read resumed>", "<... close resumed>", "<... reed resumed>", "accept5(", "_x(", "9(", "accept4", "",
            "getsockname(", "getpeername(", "+++ exited with 0 +++\n", "+++ exited with ", "--- SIGCHLD {si_pid=7} ---\n",
            "--- SIGCHLD {(si_pid) = 7} ---\n", "--- SIGCHLD {", "accept4(3, NULL, NULL, 0) = 7",
        ]),
        first in prop::sample::select(vec!["", "3", "3, ", "3<TCP:[0.0.0.0:80]>, ", "3<TCPv6:[[::]:80]>, ", "3<TCP:[77]>, ", "3<socket:[77]>, ", "3<socket:[77]>", "3</a/b->c>", "3<TCP:[[::1]:80->[::1]:81]>", "3<anon_inode:[a]>", "3<UDP:[1.2.3.4:5]>, ", "12345678, ", "3,  <unfinished ...>\n", "-1, ", "3<x>, "]),
        address in prop::sample::select(vec![
            "{sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}",
            "{sa_family=AF_INET, sin_port=htons(66459), sin_addr=inet_addr(\"127.0.0.3\")}",
            "{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"1.256.0.3\")}",
            "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"1.1234.0.3\")}",
            "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"001.02.0.3\")}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::ffff:1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_flowinfo=0, sin6_scope_id=0}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_flowinfo=htonl(0), sin6_scope_id=0}",
            "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}",
            "{sa_family=AF_UNIX}", "NULL", "0x7f", "0x7ffd5a5c2c60", "",
        ]),
        length in prop::sample::select(vec![", [16]", ", [128 => 16]", ", [128->16]", ", [1234]", ", NULL", ", 0x7ffd5a5c2c5c", ""]),
        flags in prop::sample::select(vec![
            "", ", 0", ", SOCK_CLOEXEC", ", SOCK_NONBLOCK", ", SOCK_CLOEXEC|SOCK_NONBLOCK", ", SOCK_X",
        ]),
        end in prop::sample::select(vec![
            ") = 7\n", ") = 7<TCP:[192.0.2.1:80->192.0.2.7:40001]>\n", ") = 7<TCPv6:[[::1]:80->[::1]:40001]> <0.000019>\r\n", ") = 7<TCP:[9]>\n", ") = 12345678\n", ")                = 0\n", ") = 7 <0.000019>\n", ") = 7 <0.123456789>\n",
            ") = -1 EAGAIN (Resource temporarily unavailable)\n", ") = ?\n", ") = 7 x\n", ") = 7\r\n", "\n",
            ") = 7<socket:[9]>\n", ") = 7<socket:[9]> <0.000019>\n", ") = 7<socket:[x]>\n", ") = 0\n", ") = 0 <0.000019>\n",
            ") = -1 EAGAIN (Resource temporarily unavailable) <0.000019>\n", ") = -1 EAGAIN (Resource temporarily unavailable)\r\n",
        ]),
        junk in prop::option::weighted(
            0.2, (any::<prop::sample::Index>(), prop::sample::select(&JUNK[..])),
        ),
        damage in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let before = prefixes.concat();
        let mut line = [&*before, pid, time, call, first, address, length, flags, end].concat();
        // A line that is divided may be joined again, which is not the matter of either path.
        let is_divided = line.trim_end_matches('\n').contains('\n');
        if let Some((at, junk)) = junk.filter(|_| !is_divided) {
            // Not behind the line feed.
            let places: Vec<_> = line.char_indices().map(|(at, _)| at).collect();
            line.insert_str(*at.get(&places), junk);
        }
        let mut line = line.into_bytes();
        if let Some((at, byte)) = damage.filter(|(_, byte)| !lines::is_end(*byte)) {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let [fast, general] = both(&line);
        prop_assert_eq!(fast, general);
        // Behind a line that begins with the same prefixes.
        let other_time = before.replace("123456789Z", "000000001Z");
        let mut lines = format!("{other_time}read(7, \"\", 1) = 1\n").into_bytes();
        lines.extend_from_slice(&line);
        let [fast, general] = both(&lines);
        prop_assert_eq!(fast, general);
    }
}
