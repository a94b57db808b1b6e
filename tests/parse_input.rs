//! What `tcptally parse` says of inputs that are not as they should be, and how it reads those
//! that come bit by bit.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tcptally::parse::{ArchiveError, InputError, Options, ReportError, parse};
use tempfile::TempDir;

const LINE: &str = "accept(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.9\")}, [16]) = 4\n";

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn parse(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tcptally"))
            .args(["parse", "-F", "plain"])
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

#[track_caller]
fn said(output: &Output, status: i32, out: &str, err: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), out, "{stderr}");
    for part in err {
        assert!(stderr.contains(part), "{part:?} is not in {stderr:?}");
    }
    assert!(!err.is_empty() || stderr.is_empty(), "{stderr}");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn the_others_count_when_one_cannot_be_read() {
    let place = Place::new();
    place.file("log", LINE);
    place.file("text", "not a log\n");
    std::fs::create_dir(place.0.path().join("logs")).unwrap();
    let one = "192.0.2.9: 1\n";
    said(&place.parse(&["log"]), 0, one, &[]);
    said(&place.parse(&["gone", "log"]), 1, one, &["gone", "No such file"]);
    said(&place.parse(&["logs", "log"]), 1, one, &["logs is a directory", "logs/*"]);
    said(
        &place.parse(&["text", "log"]),
        1,
        one,
        &["text is not in a known record format", "strace", "--type"],
    );
    said(&place.parse(&["--type", "pigeon", "log"]), 2, "", &["pigeon", "strace"]);
    place.file("zip", b"PK\x03\x04");
    said(&place.parse(&["zip", "log"]), 1, one, &["unzip -p zip"]);
}

#[test]
fn access_logs_are_refused_since_they_have_requests() {
    let place = Place::new();
    let combined =
        "192.0.2.7 - - [22/Nov/2026:11:30:05 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl/8\"\n";
    for (name, text) in [
        ("nginx.combined", combined.to_owned()),
        (
            "apache.common",
            "192.0.2.7 - - [22/Nov/2026:11:30:05 +0000] \"HEAD / HTTP/1.0\" 200 -\n".into(),
        ),
        ("apache.vhost", format!("example.org:443 {combined}")),
        ("http2", combined.replace("HTTP/1.1", "HTTP/2.0")),
        ("http0.9", combined.replace(" HTTP/1.1", "")),
        ("no.request", combined.replace("GET / HTTP/1.1", "-").replace(" 200 ", " 400 ")),
        (
            "nginx.json",
            "{\"remote_addr\":\"192.0.2.7\",\"request\":\"GET / HTTP/1.1\",\"status\":200}\n"
                .into(),
        ),
        (
            "haproxy.httplog",
            "Nov 22 11:30:05 lb haproxy[7]: 192.0.2.7:40755 [22/Nov/2026:11:30:05.100] fnt bck/s \
             0/0/0/69/69 200 2750 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n"
                .into(),
        ),
    ] {
        place.file(name, text.repeat(3).as_bytes());
        said(
            &place.parse(&[name]),
            1,
            "",
            &[name, "has requests, not connections", "tcptally watch"],
        );
    }
}

/// A tar archive of files with these names and contents.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn each_member_of_an_archive_is_read_in_its_own_format() {
    let place = Place::new();
    let report = br#"{"schema":1,"source":"parse","complete":true,"total":1,"keys":["ip"],"rows":[{"ip":"192.0.2.9","count":1}]}"#;
    let dump = "10:58:42.200113 IP 198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7\n";
    let kernel = "Nov 22 10:58:42 gw kernel: IN=eth0 OUT= SRC=198.51.100.11 DST=192.0.2.77 LEN=60 \
        ID=7 PROTO=TCP SPT=40755 DPT=4711 SYN URGP=0\n";
    let docker = serde_json::json!({ "log": LINE.replace("192.0.2.9", "192.0.2.10") });
    let docker = docker.to_string();
    let packed = gzip(dump.as_bytes());
    let files = [
        ("strace.log", LINE.as_bytes()),
        ("dump.txt.gz", &packed),
        ("kern.log", kernel.as_bytes()),
        ("report.json", &report[..]),
        ("docker.json", docker.as_bytes()),
    ];
    let inner = archive(&files[..2]);
    let all = archive(&[&files[..], &[("inner.tar", &inner)]].concat());
    // Both dumps have the same connection.
    let want = "192.0.2.9: 3\n192.0.2.10: 1\n198.51.100.10: 1\n198.51.100.11: 1\n";
    place.file("all.tar", &all);
    place.file("all.tar.gz", gzip(&all));
    for name in ["all.tar", "all.tar.gz"] {
        let output = place.parse(&[name]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), want, "{output:?}");
        assert_eq!(output.status.code(), Some(0));
    }
    for (name, content) in files {
        place.file("one.tar", archive(&[(name, content)]));
        let output = place.parse(&["one.tar"]);
        let one = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(one.ends_with(": 1\n") && one.lines().count() == 1, "{name}: {output:?}");
    }
}

#[test]
fn an_empty_log_is_no_failure() {
    let place = Place::new();
    place.file("empty", "");
    place.file("empty.gz", gzip(b""));
    said(&place.parse(&["empty", "empty.gz"]), 0, "", &["empty and 1 more are empty"]);
    said(&place.parse(&[]), 0, "", &["stdin is empty"]);
    place.file("log", LINE);
    said(&place.parse(&["empty", "log"]), 0, "192.0.2.9: 1\n", &[]);
}

#[test]
fn an_empty_snapshot_of_the_connection_table_is_named() {
    let place = Place::new();
    let flow = "ipv4     2 tcp      6 431923 ESTABLISHED src=198.51.100.30 dst=192.0.2.77 \
        sport=33557 dport=443 src=192.0.2.77 dst=198.51.100.30 sport=443 dport=33557 mark=0\n";
    let names = [
        "nf_conntrack.20261122-110253",
        "nf_conntrack.20261122-110313",
        "nf_conntrack.20261122-110333",
    ];
    for (name, content) in names.iter().zip([flow, "", flow]) {
        place.file(name, content);
    }
    let left_out = "nf_conntrack.20261122-110313 is empty and left out";
    said(&place.parse(&names), 0, "198.51.100.30: 1\n", &[left_out]);
    said(&place.parse(&names[1..2]), 0, "", &["nf_conntrack.20261122-110313 is empty"]);
}

/// What `parse` prints in UTC of a file that was last written on 2026-11-22 at 10:00.
fn parsed_as_written_on_a_day(
    place: &Place,
    name: &str,
    content: &[u8],
    format: &[&str],
) -> String {
    let written: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let path = place.file(name, content);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(written.into()).unwrap();
    let mut tcptally = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    tcptally.args(["parse", "--tz", "UTC", name]).args(format).current_dir(place.0.path());
    String::from_utf8(tcptally.output().unwrap().stdout).unwrap()
}

/// The date of a clock time is known when the last line has been read.
#[test]
fn compressed_logs_have_the_dates_of_plain_ones() {
    let place = Place::new();
    let at = |times: &[&str]| times.iter().map(|time| format!("{time} {LINE}")).collect::<String>();
    for times in [
        &["09:00:00", "09:59:00"][..],
        &["09:00:00", "10:30:00"],
        &["23:59:00", "00:01:00"],
        &["23:59:00", "00:01:00", "23:00:00", "00:02:00"],
    ] {
        let log = at(times);
        let report = |name: &str, content: &[u8]| {
            parsed_as_written_on_a_day(&place, name, content, &["-F", "csv"])
        };
        let plain = report("log", log.as_bytes());
        assert_eq!(report("log.gz", &gzip(log.as_bytes())), plain, "{times:?}");
        assert!(plain.contains("192.0.2.9") && plain.contains("2026-11-2"), "{plain}");
    }
}

/// Logs of more than 4 MiB are read with a date that a few of their places suggest.
#[test]
fn large_logs_have_the_dates_that_all_their_lines_give() {
    let place = Place::new();
    let within_a_day = |n: u32| (8 * 3600 + n / 20, "2026-11-22T08:00:00");
    // From 3 to 5 o'clock, 204 lines each night.
    let nightly = |n: u32| (3 * 3600 + n % 204 * 7200 / 204, "2025-09-08T03:00:00");
    for (name, time) in
        [("day", &within_a_day as &dyn Fn(u32) -> (u32, &'static str)), ("nights", &nightly)]
    {
        let lines = 0..441 * 204;
        let log: String = lines
            .map(|n| {
                let (at, _) = time(n);
                format!("{:02}:{:02}:{:02} {LINE}", at / 3600, at / 60 % 60, at % 60)
            })
            .collect();
        assert!(log.len() > 4 << 20, "{}", log.len());
        let (_, first) = time(0);
        for format in [&["-F", "jsonl"][..], &["-F", "jsonl", "--events"]] {
            let printed = parsed_as_written_on_a_day(&place, name, log.as_bytes(), format);
            let line = printed.lines().find(|line| line.contains("192.0.2.9")).unwrap();
            assert!(line.contains(first), "{name} {format:?}: {line}");
        }
    }
}

#[test]
fn a_cut_archive_counts_as_far_as_it_goes() {
    let place = Place::new();
    let whole = gzip(LINE.repeat(50_000).as_bytes());
    place.file("cut.gz", &whole[..whole.len() - 20]);
    let output = place.parse(&["cut.gz"]);
    let counted = String::from_utf8_lossy(&output.stdout);
    let n: u32 = counted.trim().strip_prefix("192.0.2.9: ").unwrap().parse().unwrap();
    assert!((40_000..50_000).contains(&n), "{n}");
    said(&output, 0, &counted, &["cut.gz", "truncated"]);
    // Not even one line.
    place.file("short.gz", &whole[..12]);
    said(&place.parse(&["short.gz"]), 1, "", &["short.gz"]);
}

#[test]
fn a_hole_where_a_log_was_truncated_is_skipped() {
    let place = Place::new();
    let path = place.file("log", "");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // Four gigabytes of nothing: the writer went on where it was.
    file.write_all_at(LINE.as_bytes(), 4 << 30).unwrap();
    said(&place.parse(&["log"]), 0, "192.0.2.9: 1\n", &[]);
    let mut holed = LINE.as_bytes().to_vec();
    holed.extend(vec![0; 3 << 20]);
    holed.extend(LINE.as_bytes());
    place.file("holed", &holed);
    place.file("holed.gz", gzip(&holed[LINE.len()..]));
    // Lines are missing in its middle.
    let hole = &["holed: 1 block of zeros, 3145728 bytes"];
    said(&place.parse(&["holed"]), 0, "192.0.2.9: 2\n", hole);
    said(&place.parse(&["holed.gz"]), 0, "192.0.2.9: 1\n", &[]);
}

#[test]
fn files_of_one_run_tell_each_other_ports() {
    let place = Place::new();
    let bind = "bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0\n";
    // The master's file comes last.
    place.file("run.20", LINE);
    place.file("run.21.gz", gzip(LINE.as_bytes()));
    place.file("run.9", bind);
    let all = ["run.20", "run.21.gz", "run.9"];
    said(&place.parse(&[&["--port", "80"], &all[..]].concat()), 0, "192.0.2.9: 2\n", &[]);
    // Another run is another matter.
    place.file("other.20", LINE);
    let output = place.parse(&["--port", "80", "run.9", "run.20", "other.20"]);
    said(&output, 0, "192.0.2.9: 1\n", &["other.20", "-yy"]);
}

#[test]
fn more_files_than_the_soft_limit_are_read() {
    let place = Place::new();
    let names: Vec<String> = (1..=1500).map(|n| format!("run.{n}")).collect();
    for name in &names {
        place.file(name, LINE);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    said(&place.parse(&names), 0, "192.0.2.9: 1500\n", &[]);
}

#[test]
fn connections_of_a_pipe_are_given_as_soon_as_they_are_certain() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .args(["parse", "--events", "-F", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 4..8 {
        // A line, and a part of the next. If it waited for more, so would this test.
        let here = "{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}";
        let line = LINE.replace("= 4", &format!("= {n}"));
        write!(to, "{line}getsockname({n}, {here}, [16]) = 0\nread({n}").unwrap();
        to.flush().unwrap();
        let event = from.next().unwrap().unwrap();
        assert!(event.contains(&format!("\"fd\":{n}")), "{event}");
        writeln!(to, ", \"\", 1) = 0").unwrap();
    }
    drop(to);
    assert!(from.next().is_none());
    assert!(child.wait().unwrap().success());
}

/// Peak resident memory of a child in KiB, which is given 150 MB.
fn peak(command: &mut Command) -> u64 {
    // The child's status is read when it has read all but what the pipe holds, and waits for more.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let filler = format!("read(5, \"{}\", 4096) = 4096\n", "x".repeat(4096));
    let block = LINE.to_owned() + &filler.repeat(24);
    for _ in 0..1500 {
        to.write_all(block.as_bytes()).unwrap();
    }
    to.flush().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(to);
    assert!(child.wait().unwrap().success());
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_stream_of_any_length_takes_little_memory() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    let kib = peak(command.args(["parse", "-F", "plain", "--type", "strace"]));
    assert!(kib < 64 * 1024, "{kib} KiB after 150 MB");
}

#[test]
fn limits_of_a_log_are_reported() {
    let place = Place::new();
    let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                 ------ ----------- ----------- --------- --------- ----------------\n\
                 100.00    0.000077          11         7           accept4\n";
    place.file("summary", table);
    place.file("both", LINE.to_owned() + table);
    said(&place.parse(&["summary"]), 0, "", &["summary", "strace -c"]);
    said(&place.parse(&["both"]), 0, "192.0.2.9: 1\n", &[]);
    place.file("uring", "io_uring_enter(4, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 1\n");
    said(&place.parse(&["uring"]), 0, "", &["uring", "io_uring"]);
}

#[test]
fn stdin_can_be_a_file() {
    let place = Place::new();
    let path: &Path = &place.file("log", LINE);
    let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .args(["parse", "-F", "plain", "-"])
        .stdin(std::fs::File::open(path).unwrap())
        .output()
        .unwrap();
    said(&output, 0, "192.0.2.9: 1\n", &[]);
}

const LOGGED: &str =
    "IN=a OUT= SRC=10.0.0.1 DST=192.0.2.7 LEN=60 PROTO=TCP SPT=7 DPT=80 SYN URGP=0";

#[test]
fn every_entry_of_verbose_output_has_its_time_and_its_program() {
    let entry = |second: u8, program: &str| {
        format!(
            "Sun 2026-11-22 10:58:{second} UTC [s=1;i={second}]\n    SYSLOG_IDENTIFIER={program}\n    \
             MESSAGE={LOGGED} ID={}\n",
            u16::from(second) * 100
        )
    };
    let place = Place::new();
    place.file("log", entry(41, "kernel") + &entry(42, "kernel") + &entry(43, "sshd"));
    let alone = &["only SYNs"];
    said(&place.parse(&["log"]), 0, "10.0.0.1: 2\n", alone);
    let from = |second: u8| {
        let time = format!("2026-11-22T10:58:{second}Z");
        place.parse(&["log", "--since", &time])
    };
    said(&from(42), 0, "10.0.0.1: 1\n", alone);
    said(&from(43), 0, "", alone);
}

#[test]
fn a_forced_format_reads_all_of_a_compressed_log() {
    let place = Place::new();
    let line = format!("Nov 22 10:58:42 gw1 kernel: {LOGGED}\n");
    place.file("log.gz", gzip(line.as_bytes()));
    for options in [&["log.gz"][..], &["log.gz", "--type", "netfilter"]] {
        let output =
            place.parse(&[options, &["--date", "2026-11-22", "--since", "2026-11-22"]].concat());
        said(&output, 0, "10.0.0.1: 1\n", &["only SYNs"]);
    }
}

#[test]
fn times_far_apart_do_no_harm() {
    let place = Place::new();
    let line = |year: u16| format!("{year}-11-22T10:58:42Z gw1 kernel: {LOGGED}\n");
    place.file("log", line(1700) + &line(2200) + &line(1701));
    said(&place.parse(&["log"]), 0, "10.0.0.1: 3\n", &["only SYNs"]);
}

#[test]
fn absurd_numbers_do_no_harm() {
    let place = Place::new();
    let rows: String = (0..20).map(|n| format!("198.51.100.{n}: 999999999999999999\n")).collect();
    place.file("stap.txt", format!("=== Summary ===\n{rows}"));
    let output = place.parse(&["--top", "19", "stap.txt"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let flow = |date: &str, port| {
        format!("{date} 10:57:46.063,0.000,6,198.51.100.22,{port},192.0.2.77,80,1,60,1\n")
    };
    let flows =
        ["2026-11-22", "1680-01-01", "2261-01-01", "1680-01-01"].map(|date| flow(date, 40000));
    let head = "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows\n";
    place.file("flows.csv", format!("{head}{}", flows.concat()));
    let output = place.parse(&["flows.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    // conntrack -L -o timestamp has none; snapshots get theirs from their names.
    let entry = |start: &str| {
        format!(
            "tcp 6 9223372036854775807 TIME_WAIT src=198.51.100.9 dst=192.0.2.77 sport=4398 \
             dport=99 src=192.0.2.77 dst=198.51.100.9 sport=99 dport=4398 [ASSURED] \
             delta-time={start} use=1\n"
        )
    };
    place.file("a.txt", entry("9223372036"));
    place.file("b.txt", entry("0"));
    let output = place.parse(&["--type", "conntrack", "a.txt", "b.txt"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What util-linux prints: one object over many lines, in which no line of the log begins a line.
#[test]
fn a_ring_buffer_in_json_counts_as_the_same_in_text() {
    let text = include_str!("../testdata/records/netfilter/new-all-protos-dmesg/dmesg.txt");
    let other = (0..200).map(|i| format!("[    {i}.000001] usb 1-{i}: new device \"x\"\n"));
    let text = other.collect::<String>() + text;
    let objects = text.lines().map(|line| {
        let (time, message) = line[1..].split_once("] ").unwrap();
        let message = serde_json::to_string(message).unwrap();
        format!("{{\n         \"pri\": 4,\n         \"time\": {time},\n         \"msg\": {message}\n      }}")
    });
    let json = objects.collect::<Vec<_>>().join(",");
    let json = format!("{{\n   \"dmesg\": [\n      {json}\n   ]\n}}\n");
    let place = Place::new();
    place.file("dmesg.json", json);
    place.file("dmesg.txt", text);
    let [json, text] =
        ["dmesg.json", "dmesg.txt"].map(|file| place.parse(&["--port", "4711", file]).stdout);
    assert_eq!(String::from_utf8_lossy(&json), String::from_utf8_lossy(&text));
    assert_eq!(String::from_utf8_lossy(&json).lines().next(), Some("198.51.100.10: 5"));
}

#[test]
fn a_program_can_tell_the_kinds_of_failures() {
    let place = Place::new();
    let missing = place.0.path().join("missing");
    let text = place.file("text", "not a log\n");
    let report = r#"{"schema": 99, "source": "parse", "complete": true, "total": 0, "keys": [], "rows": []}"#;
    let report = place.file("report", report);
    let mut only_a_folder = tar::Builder::new(Vec::new());
    only_a_folder.append_dir("folder", place.0.path()).unwrap();
    let empty_archive = place.file("archive", only_a_folder.into_inner().unwrap());
    let mut connections = Vec::new();
    let kinds = |path: PathBuf, connections: &mut Vec<_>| {
        parse(&[path], &Options::default(), connections).failures
    };
    let not_found = kinds(missing, &mut connections);
    assert!(
        matches!(&not_found[..], [InputError::Open { error, .. }] if error.kind() == ErrorKind::NotFound),
        "{not_found:?}"
    );
    let unknown = kinds(text, &mut connections);
    assert!(matches!(unknown[..], [InputError::NotRecognised { .. }]), "{unknown:?}");
    let newer = kinds(report, &mut connections);
    assert!(
        matches!(newer[..], [InputError::Report(ReportError::Schema { schema: 99, .. })]),
        "{newer:?}"
    );
    let no_files = kinds(empty_archive, &mut connections);
    assert!(
        matches!(no_files[..], [InputError::Archive(ArchiveError::NoFiles { .. })]),
        "{no_files:?}"
    );
    assert!(connections.is_empty());
}
