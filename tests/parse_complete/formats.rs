//! Records of two formats in one file, line ends, the order of lines, and totals of 0.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::parse;
use crate::records::*;
use crate::row::{Row, row};

/// Search engines for logs export the newest line first.
#[test]
fn records_whose_newest_line_is_first_are_incomplete_where_the_order_matters() {
    const NOTE: &str = "its newest line is the first";
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    let folder = tempfile::tempdir().unwrap();
    let reversed = folder.path().join("reversed");
    for (record, matters) in [
        ("conntrack/events-all-extended-id/events.txt", true),
        ("conntrack/events-new-timestamp/new.txt", false),
        ("kdump/freebsd-T/kdump.txt", true),
        ("perf-trace/socket-and-bind-6.1/trace.txt", true),
        ("truss/illumos-f-d-v/truss.out", true),
        ("tshark-fields/nameless-4.0/packets.txt", true),
        ("tshark/default-4.0/packets.txt", true),
        ("vpc-flow/v3-tcp-flags/flow.log", false),
        ("netfilter/plain-rfc3164/kern.log", false),
    ] {
        let record = records.join(record);
        let text = std::fs::read_to_string(&record).unwrap();
        let lines: Vec<&str> = text.lines().rev().collect();
        std::fs::write(&reversed, lines.join("\n") + "\n").unwrap();
        for (file, is_noted) in [(&record, false), (&reversed, matters)] {
            let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
                .args(["parse", "--format", "json"])
                .arg(file)
                .output()
                .unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(errors.contains(NOTE), is_noted, "{}: {errors}", record.display());
            assert_eq!(report["complete"], !is_noted, "{}: {errors}", record.display());
        }
    }
}

/// Text of every format, with the line ends of Windows and the colours of grep and journalctl.
#[test]
fn line_ends_and_colours_do_not_change_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let export = "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795345122000000\nSYSLOG_IDENTIFIER=kernel\n\
        MESSAGE=IN=eth0 OUT= SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 \
        ID=27356 DF PROTO=TCP SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN URGP=0\n\n";
    for text in [ACCEPT, LOG, DUMP, FLOW, TRACKED, ACCEPTED, LIFE, TRACER, SYSTEMTAP, export] {
        let crlf = text.replace('\n', "\r\n");
        let address = ["198.51.100", "192.0.2.9"].iter().find(|a| text.contains(**a)).unwrap();
        let red = |word: &str| format!("\x1b[01;31m\x1b[K{word}\x1b[m\x1b[K");
        let found =
            text.replace(address, &red(address)).replace(" SYN ", &format!(" {} ", red("SYN")));
        let journal = text.replace("kernel: ", "\x1b[0;1;39mkernel: ").replace('\n', "\x1b[0m\n");
        for text in [text, &crlf, &found, &journal] {
            let row = row("log", text, 0, &[]);
            std::fs::write(folder.path().join("log"), text).unwrap();
            let output = parse(folder.path(), &row, &["--format", "json"]);
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(
                (&report["total"], &report["complete"]),
                (&1.into(), &true.into()),
                "{text:?}"
            );
        }
    }
}

const EVENT: &str = "    [NEW] tcp      6 120 SYN_SENT src=198.51.100.30 dst=192.0.2.77 sport=33557 \
        dport=80 [UNREPLIED] src=192.0.2.77 dst=198.51.100.30 sport=80 dport=33557\n";

/// Records with one connection each.
const ONE_OF_EACH: [(&str, &str); 21] = [
    ("strace", ACCEPT),
    ("netfilter", LOG),
    ("tcpdump", DUMP),
    ("netflow", FLOW),
    ("conntrack", EVENT),
    ("tcpaccept", ACCEPTED),
    ("tcplife", LIFE),
    ("tcptracer", TRACER),
    ("tcpstates", STATES),
    ("sock-state", STATE),
    ("kdump", KDUMP),
    ("juniper", JUNIPER),
    ("paloalto", PALOALTO),
    ("systemtap", SYSTEMTAP),
    ("filterlog", FILTERLOG),
    ("asa", ASA),
    ("fortigate", FORTI),
    ("haproxy", HANDSHAKE),
    ("sysdig", SYSDIG),
    ("mikrotik", MIKROTIK),
    ("sockets", SOCKETS),
];

/// Records of two formats in one file: whichever is read, the other is reported.
#[test]
fn lines_of_another_format_make_the_report_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let all = ONE_OF_EACH;
    let complete = |name: &str, text: &[u8]| {
        let row = row("mixed", text, 0, &[]);
        std::fs::write(folder.path().join("mixed"), text).unwrap();
        let output = parse(folder.path(), &row, &["--format", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let warnings = report["warnings"].to_string();
        assert!(report["total"].as_u64().unwrap() > 0, "{name}: {report}");
        (report["complete"].as_bool().unwrap(), warnings)
    };
    // Compared with some of the others, because each pair takes its time.
    let further = [
        ("gvisor", GVISOR),
        ("perf-trace", PERF),
        ("truss", TRUSS),
        ("tshark-fields", FIELDS),
        ("tshark-json", TSHARK),
        ("gcp-flow", GCP),
    ];
    for (at, (first, one)) in all.into_iter().chain(further).enumerate() {
        let (is_complete, warnings) = complete(first, one.repeat(3).as_bytes());
        assert!(is_complete, "{first}: {warnings}");
        let others = if at < all.len() { &all } else { &all[..3] };
        let more = if at < 3 { &further[..] } else { &[] };
        let pairs = [others, more].concat();
        for (second, other) in pairs.iter().filter(|(second, _)| *second != first) {
            let name = format!("{first} and {second}");
            let text = one.repeat(3) + &other.repeat(3);
            let (is_complete, warnings) = complete(&name, text.as_bytes());
            assert!(!is_complete, "{name}: {warnings}");
            let (is_complete, warnings) = complete(&name, &gzip(text.as_bytes()));
            assert!(!is_complete, "{name} in a stream: {warnings}");
        }
    }
    // At the end of a file of which only samples are looked at.
    let (is_complete, warnings) = complete("large", (ACCEPT.repeat(30_000) + LOG).as_bytes());
    assert!(!is_complete && warnings.contains("lines of netfilter"), "{warnings}");
    // A message of the traced server.
    let message = format!("{ACCEPT}New connection from 192.0.2.9\n{ACCEPT}");
    let (is_complete, warnings) = complete("message", message.as_bytes());
    assert!(is_complete, "{warnings}");
}

pub fn testdata(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Records whose parts are read in different ways, so that the reader of one does not know the other.
#[test]
fn another_form_of_a_format_and_what_must_be_converted_make_the_report_incomplete() {
    let asa = "asa/asa-9-timestamp/asa.log";
    let azure = "azure-flow/nsg-v2/PT1H.json";
    let audit = "audit/auditd-3.0-enriched/audit.log";
    let athena = "vpc-flow/athena-csv/flow.csv";
    let gvisor = "gvisor/release-2024-glog/runsc.log";
    for (first, second) in [
        (gvisor, "gvisor/json-k8s/runsc.json"),
        ("tshark/default-4.0/packets.txt", "tshark/wireshark-csv-4.0/packets.csv"),
        (asa, azure),
        (azure, asa),
        (asa, audit),
        (audit, asa),
        (audit, athena),
        (asa, athena),
        (athena, asa),
        (gvisor, azure),
        (azure, "suricata/flow-5/eve.json"),
        ("tcpdump/hex-and-text/x.txt", asa),
    ] {
        let [one, two] = [first, second].map(testdata);
        for record in [&one, &two] {
            let report = report_of(record);
            assert_eq!(report["complete"], true, "{first}, {second}: {report}");
        }
        let both = [&one[..], &two].concat();
        for text in [&both, &gzip(&both)] {
            let report = report_of(text);
            assert_eq!(report["complete"], false, "{first}, {second}: {report}");
            let warnings = report["warnings"].to_string();
            assert!(
                warnings.contains("put each") || warnings.contains("could not be read"),
                "{warnings}"
            );
        }
    }
}

#[test]
fn a_first_line_without_its_beginning_makes_the_report_incomplete() {
    for (name, one) in [
        ("asa", ASA),
        ("suricata", EVE),
        ("fortigate", FORTI),
        ("filterlog", FILTERLOG),
        ("conntrack", EVENT),
        ("juniper", JUNIPER),
        ("paloalto", PALOALTO),
        ("tcpdump", DUMP),
        ("falco", FALCO),
        ("haproxy", HANDSHAKE),
    ] {
        let whole = report_of(one.repeat(3));
        assert_eq!(whole["complete"], true, "{name}: {whole}");
        for at in [one.len() / 4, one.len() / 2, one.len() * 3 / 4, one.len() - 4] {
            let report = report_of(format!("{}{}", &one[at..], one.repeat(3)));
            assert_eq!(report["complete"], false, "{name}: {}{report}", &one[at..]);
            assert_eq!(report["total"], whole["total"], "{name}: {report}");
            assert_eq!(report["unreadable_lines"], 1, "{name}: {}{report}", &one[at..]);
        }
    }
}

#[test]
fn times_of_day_behind_differences_count_once() {
    let packets = |n: u64, stamp: &dyn Fn(u64) -> String| {
        let packet = |n: u64| {
            let port = 40000 + n / 2;
            let (syn, answer) = (stamp(n), stamp(n + 1));
            format!(
                "{syn} IP 198.51.100.7.{port} > 192.0.2.77.443: Flags [S], seq {n}, win 64240, length 0\n\
                 {answer} IP 192.0.2.77.443 > 198.51.100.7.{port}: Flags [S.], seq 9, ack {}, win 64240, length 0\n",
                n + 1
            )
        };
        (0..n).map(|n| packet(2 * n)).collect::<String>()
    };
    let difference = |n| format!("00:00:00.{:06}", if n == 0 { 0 } else { 1000 - n % 7 });
    let day = |n| format!("10:58:42.{n:06}");
    let small =
        packets(20, &difference) + &packets(30, &day).replace("198.51.100.7.", "198.51.100.8.");
    let report = report_of(&small);
    assert_eq!((&report["total"], &report["complete"]), (&50.into(), &true.into()), "{report}");
    // The change is not in the beginning, from which the meaning of the times is known.
    let large =
        packets(5000, &difference) + &packets(30, &day).replace("198.51.100.7.", "198.51.100.8.");
    let report = report_of(&large);
    assert_eq!(report["complete"], false, "{report}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("times of day follow times since the packet before"), "{warnings}");
}

/// The report of `text`, as json.
pub fn report_of(text: impl AsRef<[u8]>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("record"), text).unwrap();
    let output = parse(folder.path(), &row("record", "", 1, &[]), &["-F", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn sessions_of_rules_that_log_only_ends_count_beside_those_with_starts() {
    let later = |line: &str| line.replace("10:58", "10:59").replace("40755", "40757");
    for (start, end) in [
        (JUNIPER.to_owned(), juniper_close()),
        (PALOALTO.to_owned(), PALOALTO.replace(",start,", ",end,")),
    ] {
        let before = end.replace("10:58", "10:57").replace("40755", "40759");
        for log in [
            format!("{start}{before}{end}{}", later(&end)),
            // As exported, the newest line first.
            format!("{}{end}{start}{before}", later(&end)),
        ] {
            let report = report_of(&log);
            assert_eq!(
                (&report["total"], &report["complete"]),
                (&2.into(), &true.into()),
                "{report}"
            );
            let warnings = report["warnings"].to_string();
            assert!(
                warnings.contains("1 connection that had begun before the record"),
                "{warnings}"
            );
        }
    }
}

#[test]
fn a_call_that_several_rules_report_counts_once() {
    let other = FALCO.replace("Inbound", "Database");
    let next = FALCO.replace("40755", "40756");
    let report = report_of([FALCO, &other, &next].concat());
    assert_eq!((&report["total"], &report["complete"]), (&2.into(), &true.into()), "{report}");
}

/// How many of the events were connections is not known.
#[test]
fn lost_events_are_no_number_of_lost_connections() {
    for (one, loss) in
        [(STATE, "CPU:2 [LOST 1200 EVENTS]\n"), (ACCEPTED, "Possibly lost 1200 samples\n")]
    {
        let report = report_of(format!("{one}{loss}"));
        assert_eq!((&report["lost"], &report["complete"]), (&0.into(), &false.into()), "{report}");
    }
}

#[test]
fn a_file_of_zeros_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let row = row("zeros", [0; 5000], 0, &[]);
    std::fs::write(folder.path().join("zeros"), [0; 5000]).unwrap();
    let output = parse(folder.path(), &row, &["-F", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false, "{report}");
    assert!(
        report["warnings"].to_string().contains("zeros has nothing but zero bytes"),
        "{report}"
    );
}

#[test]
fn a_total_of_0_has_a_reason() {
    let other = "accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)\n";
    let rows = [
        row("strace.log", other, 0, &["strace.log: read as strace", "accept call"]),
        row("tcpdump.txt", DUMP.replace("[S]", "[.]"), 0, &["read as tcpdump", "opens"]),
        row("empty", "", 0, &["empty is empty"]),
        Row {
            options: &["--from", "10.0.0.0/8"],
            ..row("filtered", ACCEPT, 0, &["none of the 1 connection in", "matches the options"])
        },
        Row {
            options: &["--local-ip", "192.0.2.1"],
            ..row("local", DUMP, 0, &["read as tcpdump", "--local-ip"])
        },
    ];
    for row in rows {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &row.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let output = parse(folder.path(), &row, &["-F", "json", "--strict"]);
        assert_eq!(output.status.code(), Some(0), "{}", row.name);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["total"], &report["complete"]), (&0.into(), &true.into()), "{report}");
        let warnings = report["warnings"].to_string();
        for part in row.warning {
            assert!(warnings.contains(part), "{}: {part:?} is not in {warnings}", row.name);
        }
    }
}
