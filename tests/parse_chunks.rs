//! However the work of reading a record is divided, the result is the same; and no bytes
//! whatever make it panic.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tcptally::count::{Count, Entry, Key, Keys, Mask, Tally};
use tcptally::filter::Filter;
use tcptally::parse::{Options, parse};
use tcptally::{Connection, RequestedFields, Sink};

/// So many cases, unless PROPTEST_CASES asks for another number.
fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases, ..default },
    }
}

fn options(kind: &str, threads: usize, chunk: Option<usize>) -> Options {
    Options {
        format: Some(kind.to_owned()),
        date: Some(jiff::civil::date(2026, 11, 22)),
        tz: Some(jiff::tz::TimeZone::UTC),
        requested: RequestedFields::ALL,
        threads: Some(threads),
        chunk,
        ..Options::default()
    }
}

/// Connections in their order, unreadable lines, warnings and failures.
type Found = (Vec<Connection>, u64, Vec<String>);

fn read_with(bytes: &[u8], options: &Options) -> Found {
    let mut file = tempfile::Builder::new().suffix(".log").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let mut found = Vec::new();
    let outcome = parse(&[file.path().to_owned()], options, &mut found);
    let name = file.path().display().to_string();
    let shortfalls = outcome.status.shortfalls().iter().map(|shortfall| &shortfall.text);
    let said = outcome.status.warnings.iter().chain(shortfalls);
    (found, outcome.status.unreadable_lines(), said.map(|w| w.replace(&name, "")).collect())
}

fn read(text: &[u8], threads: usize, chunk: Option<usize>) -> Found {
    read_with(text, &options("strace", threads, chunk))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

type Rows = BTreeMap<Vec<u8>, Entry>;

fn rows(count: &Count) -> Rows {
    let table = &count.tally.whole;
    (0..table.len()).map(|n| table.row(n)).map(|(code, entry)| (code.to_vec(), entry)).collect()
}

/// Asserts that the same is counted where only the ends matter, in parts, as is one by one.
fn same_counts(text: &[u8], name: &str, threads: usize, chunk: usize) {
    same_counts_of("strace", text, name, threads, chunk);
}

/// The same of a record of any kind.
fn same_counts_of(kind: &str, text: &[u8], name: &str, threads: usize, chunk: usize) {
    let mut file = tempfile::Builder::new().suffix(".log").tempfile().unwrap();
    file.write_all(text).unwrap();
    for keys in [&[Key::Ip][..], &[Key::Ip, Key::Local]] {
        let keys = Keys::new(keys, Mask::default());
        let options =
            Options { requested: keys.requested(), ..options(kind, threads, Some(chunk)) };
        let tally = Tally::new(keys, None, None);
        let mut together = Count::new(Filter::default(), tally.part());
        let said = parse(&[file.path().to_owned()], &options, &mut together).status;
        let mut single = Count::new(Filter::default(), tally);
        let mut found: Vec<Connection> = Vec::new();
        let said_singly = parse(&[file.path().to_owned()], &options, &mut found).status;
        let warnings = (said.warnings, said_singly.warnings);
        assert_eq!(warnings.0, warnings.1, "{name} {threads} {chunk}");
        found.into_iter().for_each(|c| single.take(c));
        let (together, single) = (rows(&together), rows(&single));
        let differs = together.iter().find(|(key, entry)| single.get(*key) != Some(*entry));
        assert_eq!(differs, None, "{name} {threads} {chunk}");
        assert_eq!(together.len(), single.len(), "{name} {threads} {chunk}");
    }
}

/// A line of a log in which the local ends come from annotations, from the listener, or not at
/// all. `a` and `b` are any numbers.
fn line_of_any_shape(kind: usize, a: u8, b: u8) -> String {
    let pid = [1001, 1002, 1033, 0][usize::from(a % 4)];
    let pid = if pid == 0 { String::new() } else { format!("{pid}  ") };
    let (port, fd, new) = (40_000 + u16::from(b), 3 + a / 4 % 8, 9 + u16::from(a));
    let ip = format!("192.0.2.{}", b % 16);
    let end = format!(
        "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}, [16], 0)"
    );
    let server = format!("192.0.2.{}:{}", 200 + b % 6, 80 + b % 3);
    let result = match a % 5 {
        0 => format!("<TCP:[{server}->{ip}:{port}]>"),
        1 => format!("<TCP:[{server}->{ip}:1]>"),
        2 => format!("<TCP:[{server}]->{ip}:{port}]>"),
        3 => format!("<TCP:[{}]>", u16::from(b) + 70),
        _ => format!("<TCP:[x->{ip}:{port}]>"),
    };
    let listener = ["<TCP:[0.0.0.0:81]>", "", "<TCP:[77]>"][usize::from(b % 3)];
    match kind {
        0 => format!("{pid}accept4({fd}, {end} = {new}\n"),
        1 => format!("{pid}accept4({fd}{listener}, {end} = {new}{result}\n"),
        2 => format!("{pid}accept4({fd},  <unfinished ...>\n"),
        3 => format!("{pid}<... accept4 resumed>{end} = {new}\n"),
        4 => format!("{pid}<... accept4 resumed>{end} = {new}{result}\n"),
        5 => format!("{pid}close({new})               = 0\n"),
        6 => format!("{pid}accept4({fd}, {end} = 1{}\n", 100 + u16::from(a) * 8),
        7 => format!("{pid}accept4({fd}, 0x7ffda9f2a6c0, [16], 0) = {new}\n"),
        8 => format!("{pid}close({fd})               = 0\n"),
        9 => {
            format!("{pid}bind({fd}, {} = 0\n", end.replace(", 0)", ")").replace(", [16]", ", 16"))
        }
        10 => format!("{pid}+++ exited with 0 +++\n"),
        _ => format!("{pid}getsockname({new}, {} = 0\n", end.replace(", 0)", ")")),
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn any_shapes_count_the_same_together(
        lines in prop::collection::vec((0..8_usize, any::<u8>(), any::<u8>()), 1..60),
        rare in prop::collection::vec((any::<prop::sample::Index>(), 8..12_usize, any::<u8>()), 0..4),
        repeat in 1..40_usize,
    ) {
        let mut lines: Vec<String> = lines
            .into_iter()
            .cycle()
            .take(repeat * 60)
            .map(|(kind, a, b)| line_of_any_shape(kind, a, b))
            .collect();
        for (at, kind, a) in rare {
            let at = at.index(lines.len());
            lines.insert(at, line_of_any_shape(kind, a, a));
        }
        let text = lines.concat();
        for (threads, chunk) in [(1, 1 << 20), (1, 3000), (2, 9000)] {
            same_counts(text.as_bytes(), &text, threads, chunk);
        }
    }
}

/// The same through gzip, which can only be read from front to back.
fn read_stream(text: &[u8]) -> Found {
    read(&gzip(text), 1, None)
}

/// Asserts that a record is the same in whatever parts it is read.
fn same_in_parts(kind: &str, bytes: &[u8], name: &str, parts: &[(usize, usize)]) {
    for established in [false, true] {
        let options = |threads, chunk| Options { established, ..options(kind, threads, chunk) };
        let whole = read_with(bytes, &options(1, None));
        for (threads, chunk) in parts {
            let parts = read_with(bytes, &options(*threads, Some(*chunk)));
            assert_eq!(parts, whole, "{name} {threads} {chunk} {established}");
        }
        assert_eq!(read_with(&gzip(bytes), &options(1, None)), whole, "{name} {established}");
    }
}

fn logs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/strace");
    let mut logs: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|case| case.unwrap().path().join("log"))
        .filter(|log| log.exists())
        .collect();
    logs.sort();
    assert!(logs.len() > 70);
    logs
}

#[test]
fn real_logs_are_the_same_in_parts() {
    for log in logs() {
        let text = std::fs::read(&log).unwrap();
        let whole = read(&text, 1, None);
        let name = log.display();
        for (threads, chunk) in [(1, 61), (2, 200), (2, 4096), (7, 333), (7, 1000)] {
            assert_eq!(read(&text, threads, Some(chunk)), whole, "{name} {threads} {chunk}");
            same_counts(&text, &name.to_string(), threads, chunk);
        }
        if !text.is_empty() {
            assert_eq!(read_stream(&text), whole, "{name}");
        }
    }
}

/// Records of a type, and what is in them.
fn records(kind: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records").join(kind);
    let mut records = Vec::new();
    for case in std::fs::read_dir(root).unwrap().map(|case| case.unwrap().path()) {
        for file in std::fs::read_dir(&case).unwrap().map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap();
            if name != "truth.json" && name != "cmd" && file.is_file() {
                let mut bytes = std::fs::read(&file).unwrap();
                if bytes.starts_with(&[0x1f, 0x8b]) {
                    let mut plain = Vec::new();
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
                    bytes = plain;
                }
                records.push((file.display().to_string(), bytes));
            }
        }
    }
    assert!(records.len() > 2, "{kind}");
    records
}

/// Logs with one event a line.
const LINE_LOGS: [&str; 18] = [
    "asa",
    "falco",
    "filterlog",
    "fortigate",
    "gcp-flow",
    "haproxy",
    "juniper",
    "mikrotik",
    "mongodb",
    "nlb",
    "paloalto",
    "server-log",
    "sock-state",
    "suricata",
    "sysdig",
    "vpc-flow",
    "windows-firewall",
    "zeek",
];

#[test]
fn real_records_are_the_same_in_parts() {
    for kind in ["netfilter", "tcpdump", "pcap"] {
        for (name, bytes) in records(kind) {
            same_in_parts(kind, &bytes, &name, &[(1, 61), (2, 200), (2, 4096), (7, 333)]);
        }
    }
}

/// Lines of a kernel log and the forms of the journal, few of each kind, so that they meet.
fn kernel_line() -> impl Strategy<Value = String> {
    let body = (0..3u8, 1..4u8, 7..9u16, 0..3u16).prop_map(|(out, client, port, id)| {
        let (way, ends, flags) = match out {
            0 => ("IN=a OUT=", format!("SRC=10.0.0.{client} DST=192.0.2.7"), "SYN"),
            1 => ("IN= OUT=a", format!("SRC=192.0.2.7 DST=10.0.0.{client}"), "ACK SYN"),
            _ => ("IN=a OUT=", format!("SRC=10.0.0.{client} DST=192.0.2.7"), "ACK"),
        };
        let ports = if out == 1 { (80, port) } else { (port, 80) };
        format!(
            "{way} MAC= {ends} LEN=60 TOS=0 ID={} PROTO=TCP SPT={} DPT={} WINDOW=1 RES=0 {flags} URGP=0",
            id * 20 + 1, ports.0, ports.1
        )
    });
    let at = |n: u32| format!("{:02}:{:02}", n / 60 % 60, n % 60);
    prop_oneof![
        4 => (0..3600u32, body.clone()).prop_map(move |(n, b)| format!("Nov 22 10:{} h kernel: {b}", at(n))),
        2 => (0..3600u32, body.clone()).prop_map(move |(n, b)| format!("2026-11-22T10:{}Z h kernel: {b}", at(n))),
        1 => (1..13u32).prop_map(|month| format!("2026-{month:02}-01 00:00:00 h kernel: x")),
        1 => body.clone(),
        1 => body.clone().prop_map(|b| format!("Nov 22 10:00:00 h sshd[9]: {b}")),
        2 => body.clone().prop_map(|b| format!("{{\"MESSAGE\":\"{b} \",\"__REALTIME_TIMESTAMP\":\"1795345122000000\"}}")),
        1 => body.clone().prop_map(|b| format!("{{\"MESSAGE\":\"{b} ")),
        1 => Just("{".to_owned()),
        1 => body.clone().prop_map(|b| format!("\t\"MESSAGE\" : \"{b} \"")),
        1 => Just("}".to_owned()),
        2 => Just("__CURSOR=s=1".to_owned()),
        1 => Just("__REALTIME_TIMESTAMP=1795345122000000".to_owned()),
        2 => body.clone().prop_map(|b| format!("MESSAGE={b}")),
        2 => body.prop_map(|b| format!("    MESSAGE={b}")),
        1 => Just("SYSLOG_IDENTIFIER=sshd".to_owned()),
        1 => Just("    SYSLOG_IDENTIFIER=sshd".to_owned()),
        2 => Just("Sun 2026-11-22 10:58:42.202182 UTC [s=1;i=2]".to_owned()),
        1 => Just(String::new()),
        1 => Just("\r".to_owned()),
        1 => Just("systemd-journald[205]: Missed 12 kernel messages".to_owned()),
        1 => "[a-z(){}=, \\x00\\x1b]{0,40}",
    ]
}

/// Lines of connections whose descriptors are seldom those of listeners.
fn accept() -> impl Strategy<Value = String> {
    let time = prop_oneof![
        9 => (0..60u32, 0..60u32).prop_map(|(m, s)| format!("23:{m:02}:{s:02}.5 ")),
        1 => (0..60u32).prop_map(|m| format!("00:{m:02}:00.5 ")),
    ];
    let fd = prop_oneof![1 => 3..7u32, 9 => 7..2000u32];
    (1..5u32, time, 1..99u32, fd).prop_map(|(pid, time, client, fd)| {
        format!("{pid}     {time}accept(3, {{sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"127.0.0.{client}\")}}, [16]) = {fd}\n")
    })
}

/// Lines of all sorts, few of each kind, so that they meet.
fn line() -> impl Strategy<Value = String> {
    let pid = 1..5u32;
    let fd = 3..7u32;
    let clock = (0..24u32, 0..60u32).prop_map(|(h, m)| format!("{h:02}:{m:02}:00 "));
    let prefix = prop_oneof![
        4 => pid.clone().prop_map(|p| format!("{p}     ")),
        2 => pid.clone().prop_map(|p| format!("[pid     {p}] ")),
        1 => pid.clone().prop_map(|p| format!("{p}<a\\74b> ")),
        1 => Just(String::new()),
    ];
    let time = prop_oneof![
        4 => Just(String::new()),
        2 => clock,
        2 => (0..5000u32).prop_map(|ms| format!("     0.{ms:06} ")),
        1 => (0..100u32).prop_map(|s| format!("{}.5 ", 1_795_344_771 + s)),
    ];
    let address = prop_oneof![
        4 => (1..9u32).prop_map(|n| format!("{{sa_family=AF_INET, sin_port=htons({n}00), sin_addr=inet_addr(\"127.0.0.{n}\")}}")),
        1 => Just("{sa_family=AF_INET6, sin6_port=htons(7), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}".to_owned()),
        1 => Just("{sa_family=AF_UNIX}".to_owned()),
        1 => Just("NULL".to_owned()),
        1 => Just("0x7ffe".to_owned()),
    ];
    let noted = (fd.clone(), 0..6u32).prop_map(|(fd, note)| match note {
        0 => format!("{fd}<socket:[{}]>", fd + 70),
        1 => format!("{fd}<TCP:[0.0.0.0:{}]>", fd + 80),
        _ => fd.to_string(),
    });
    let body = prop_oneof![
        6 => (noted.clone(), address.clone(), fd.clone()).prop_map(|(l, a, n)| format!("accept4({l}, {a}, [16], 0) = {n}")),
        4 => noted.clone().prop_map(|l| format!("accept4({l},  <unfinished ...>")),
        4 => (address.clone(), fd.clone()).prop_map(|(a, n)| format!("<... accept4 resumed>{a}, [16], 0) = {n}")),
        1 => noted.clone().prop_map(|l| format!("accept4({l}, strace: Process 9 attached")),
        1 => (address.clone(), fd.clone()).prop_map(|(a, n)| format!("{a}, [16], 0) = {n}")),
        3 => (noted.clone(), address.clone()).prop_map(|(l, a)| format!("bind({l}, {a}, 16) = 0")),
        2 => noted.clone().prop_map(|l| format!("listen({l}, 5) = 0")),
        2 => fd.clone().prop_map(|n| format!("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = {n}")),
        2 => noted.clone().prop_map(|l| format!("close({l}) = 0")),
        2 => (noted.clone(), fd.clone()).prop_map(|(l, n)| format!("dup2({l}, {n}) = {n}")),
        2 => (noted.clone(), address.clone()).prop_map(|(l, a)| format!("getsockname({l}, {a}, [16]) = 0")),
        2 => (noted, address).prop_map(|(l, a)| format!("getpeername({l}, {a}, [16]) = 0")),
        1 => pid.clone().prop_map(|c| format!("clone(child_stack=NULL, flags=SIGCHLD) = {c}")),
        1 => pid.prop_map(|c| format!("clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES) = {c}")),
        1 => Just("+++ exited with 0 +++".to_owned()),
        1 => Just(" <unfinished ...>".to_owned()),
        1 => Just("read(3, \"accept(3, {sa_family=AF_INET\"..., 9) = 9".to_owned()),
        1 => "[a-z(){}=, \\x00\\x1b]{0,40}",
    ];
    let end = prop_oneof![8 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\0\0\n"), 1 => Just("")];
    (prefix, time, body, end).prop_map(|(p, t, b, e)| format!("{p}{t}{b}{e}"))
}

/// The fast path reads a window that holds the lines behind, too.
#[test]
fn an_annotation_ends_with_its_line() {
    let peer = "{sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"127.0.0.7\")}, [112 => 16], 0)";
    let log = format!(
        "7 10:54:02 accept4(3<TCP:[127.0.0.1:28EC) = -1 EAGAIN (Resource temporarily unavailable)\n\
         8 10:54:02 accept4(3<TCP:[127.0.0.1:80]>, {peer} = 9<TCP:[127.0.0.1:80->127.0.0.7:5]>\n{}",
        "8 10:54:03 epoll_wait(8, [], 512, 60000) = 0\n".repeat(20)
    );
    let (found, ..) = read(log.as_bytes(), 1, None);
    assert_eq!(found.iter().map(|c| c.pid).collect::<Vec<_>>(), [Some(8)]);
    assert_eq!(read(log.as_bytes(), 1, Some(90)).0, found);
}

/// A new descriptor has the number of what was a listener, and the log does not tell its end.
#[test]
fn a_connection_takes_the_number_of_a_listener() {
    let noise = "1     epoll_wait(8, [], 512, 60000) = 0\n".repeat(20);
    let log = [
        "1     bind(4, {sa_family=AF_UNIX, sun_path=\"/x\"}, 110) = 0\n",
        &noise,
        "1     accept(3, {sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"127.0.0.7\")}, [16]) = 4\n",
        &noise,
        "1     accept(4, NULL, NULL) = 5\n",
        &noise,
    ];
    for chunk in [700, 100_000] {
        same_counts(log.concat().as_bytes(), "", 1, chunk);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn made_up_logs_are_the_same_in_parts(
        lines in prop::collection::vec(line(), 1..60),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        chunk in 30..400usize,
    ) {
        let text = lines.concat();
        let whole = read(text.as_bytes(), 1, None);
        prop_assert_eq!(&read(text.as_bytes(), threads, Some(chunk)), &whole);
        prop_assert_eq!(&read_stream(text.as_bytes()), &whole);
        same_counts(text.as_bytes(), "", threads, chunk);
    }

    #[test]
    fn logs_of_accepts_are_the_same_in_parts(
        lines in prop::collection::vec(prop_oneof![30 => accept(), 1 => line()], 1..200),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        chunk in 300..3000usize,
    ) {
        same_counts(lines.concat().as_bytes(), "", threads, chunk);
    }

    #[test]
    fn made_up_kernel_logs_are_the_same_in_parts(
        lines in prop::collection::vec((kernel_line(), prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "\0", ""])), 1..60),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        chunk in 30..400usize,
    ) {
        let text: String = lines.into_iter().flat_map(|(line, end)| [line, end.to_owned()]).collect();
        same_in_parts("netfilter", text.as_bytes(), "", &[(threads, chunk)]);
    }

    #[test]
    fn lines_of_logs_in_any_order_are_the_same_in_parts(
        kind in prop::sample::select(LINE_LOGS.to_vec()),
        which in any::<prop::sample::Index>(),
        picked in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        chunk in 30..2000usize,
        cut in 0..40usize,
    ) {
        let records = records(kind);
        let bytes = &records[which.index(records.len())].1;
        let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        // The heading comes first.
        let heading = lines.iter().take(8);
        let picked = picked.iter().map(|line| &lines[line.index(lines.len())]);
        let mut text = heading.chain(picked).copied().collect::<Vec<_>>().concat();
        text.truncate(text.len().saturating_sub(cut).max(1));
        same_in_parts(kind, &text, "", &[(threads, chunk)]);
        same_counts_of(kind, &text, "", threads, chunk);
    }

    #[test]
    fn damaged_records_do_no_harm(
        kind in prop::sample::select(vec!["netfilter", "tcpdump", "pcap"]),
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..40usize), 1..30),
        chunk in 30..400usize,
    ) {
        let records = records(kind);
        let mut bytes = records[which.index(records.len())].1.clone();
        bytes.truncate(4000);
        for (at, byte, cut) in damage {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, [byte]);
        }
        // What damage turns into a compressed file or nothing is another matter.
        prop_assume!(!bytes.is_empty() && ![0x1f, 0x28, 0xfd, b'B', 4, b'P'].contains(&bytes[0]));
        same_in_parts(kind, &bytes, "", &[(2, chunk)]);
    }

    #[test]
    fn damaged_logs_do_no_harm(
        log in prop::sample::select(logs()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..40usize), 1..30),
        chunk in 30..400usize,
    ) {
        let mut text = std::fs::read(log).unwrap();
        text.truncate(4000);
        for (at, byte, cut) in damage {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, [byte]);
        }
        // What damage turns into a compressed file or nothing is another matter.
        prop_assume!(!text.is_empty() && text[0] != 0x1f && text[0] != 0x28);
        let whole = read(&text, 1, None);
        prop_assert_eq!(&read(&text, 2, Some(chunk)), &whole);
    }
}

/// Lines of several MiB are cut; that they are does not depend on how the log comes.
#[test]
fn an_accept_behind_the_cut_of_a_line_is_unreadable() {
    let accept = concat!(
        "accept4(3, {sa_family=AF_INET, sin_port=htons(40001), ",
        "sin_addr=inet_addr(\"192.0.2.7\")}, [16], 0) = 4"
    );
    for length in [(1 << 20) - 60, (1 << 20) - 3, (1 << 20) + 100, 3 << 20, (5 << 20) - 4] {
        let long = format!("{accept}\n{}{accept} and more\n{accept}\n", "x".repeat(length));
        let read = |bytes: &[u8], options: &Options| {
            let (found, unreadable, _) = read_with(bytes, options);
            (found.len(), unreadable)
        };
        for (threads, chunk) in [(1, None), (2, None), (2, Some(4096))] {
            let options = options("strace", threads, chunk);
            let (found, unreadable) = read(long.as_bytes(), &options);
            assert!(found >= 2 && found as u64 + unreadable >= 3, "{length} {threads} {chunk:?}");
            assert!(unreadable <= 2, "{length}: {unreadable}");
        }
        let (found, unreadable) = read(&gzip(long.as_bytes()), &options("strace", 1, None));
        assert!(found >= 2 && found as u64 + unreadable >= 3, "{length} gzip");
    }
}

/// A terminal has wrapped some lines of the log.
#[test]
fn a_wrapped_call_over_the_end_of_a_part_is_joined() {
    let log = (0..40)
        .map(|n| {
            format!(
                "7 10:54:{n:02} close(5) = 0\n7 10:54:{n:02} accept4(3, {{sa_family=AF_INET, sin_po\n\
                 rt=htons(4{n:03}), sin_addr=inet_addr(\"127.0.0.\n{n}\")}}, [16], 0) = 5\n"
            )
        })
        .collect::<String>();
    let whole = read(log.as_bytes(), 1, None);
    assert_eq!((whole.0.len(), whole.1), (40, 0));
    for chunk in 30..400 {
        for threads in [1, 2] {
            assert_eq!(read(log.as_bytes(), threads, Some(chunk)), whole, "{threads} {chunk}");
        }
    }
    let long = log.repeat(80);
    let (found, unreadable, _) = read_stream(long.as_bytes());
    assert_eq!((found.len(), unreadable), (3200, 0));
    let (found, unreadable, _) = read_with(&gzip(long.as_bytes()), &options("strace", 1, None));
    assert_eq!((found.len(), unreadable), (3200, 0));
}

/// The listener is bound to all addresses, and the next part has the connection's own.
#[test]
fn a_local_address_is_waited_for_over_the_end_of_a_part() {
    let other = "1001  futex(0x7f1c2a0, FUTEX_WAKE_PRIVATE, 1) = 0\n".repeat(40);
    let bind = "1001  bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0\n";
    let accept = "1001  accept4(3, {sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr(\"192.0.2.7\")}, [16], 0) = 9\n";
    let name = "1001  getsockname(9, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}, [16]) = 0\n";
    let text = [bind, &other, accept, &other, name, &other, accept, &other, name, &other].concat();
    for (threads, chunk) in [(1, 300), (1, 1000), (2, 700)] {
        same_counts(text.as_bytes(), "local address", threads, chunk);
    }
}
