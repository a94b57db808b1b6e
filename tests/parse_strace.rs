//! `tcptally parse` on real strace logs, against what the clients of the traced servers did.
//!
//! Each directory of testdata/strace is one run: the log, the command that made it, and
//! truth.json, which comes from the clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// What cannot agree with the clients' own clock, and why: a process that blocks in accept by
/// itself gets a line that bears the time at which it began to wait, unless -T tells how long.
const ENTRY_TIME: &[&str] = &[
    "c32_socketcall_accept",
    "inetd_dup0",
    "java_f_tt",
    "log_merge",
    "many_ips_gz",
    "relisten_same_fd",
    "rst_before_accept_yy",
    "zst_ff",
];

/// Clients of these were gone before the server took them from its queue.
const BACKLOG: &[&str] = &["rst_before_accept_yy"];

type PerIp = BTreeMap<String, u64>;

struct Case {
    name: String,
    files: Vec<PathBuf>,
    truth: Value,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/strace");
    let mut cases: Vec<Case> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("truth.json").exists())
        .map(|path| {
            let truth = std::fs::read(path.join("truth.json")).unwrap();
            let truth: Value = serde_json::from_slice(&truth).unwrap();
            let names = truth["files"].as_array().unwrap();
            let files = names.iter().map(|f| path.join(f.as_str().unwrap())).collect();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            Case { name, files, truth }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= 79, "{}", cases.len());
    cases
}

impl Case {
    fn has(&self, what: &str) -> &str {
        self.truth["log_has"][what].as_str().unwrap()
    }

    /// The output of tcptally, told what the log itself cannot tell: its day and its zone.
    fn parse(&self, options: &[&str]) -> String {
        let tz = self.truth["tz"]["TZ"].as_str().unwrap_or("UTC");
        let zone = TimeZone::get(tz).or_else(|_| TimeZone::posix(tz)).unwrap();
        let day = time(&self.truth["first"]).to_zoned(zone).date();
        let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
            .args(["parse", "--date", &day.to_string(), "--tz", tz])
            .args(options)
            .args(&self.files)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", self.name);
        String::from_utf8(output.stdout).unwrap()
    }

    fn report(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.parse(&[&["--format", "json"], options].concat())).unwrap()
    }
}

fn time(seconds: &Value) -> Timestamp {
    // Through the text, so that no digit is lost.
    let (whole, fraction) = match seconds.to_string().split_once('.') {
        Some((whole, fraction)) => (whole.parse().unwrap(), format!("{fraction:0<9.9}")),
        None => (seconds.as_i64().unwrap(), "0".to_owned()),
    };
    Timestamp::new(whole, fraction.parse().unwrap()).unwrap()
}

fn per_ip(value: &Value) -> PerIp {
    let ips = value.as_object().unwrap();
    ips.iter().map(|(ip, n)| (ip.clone(), n.as_u64().unwrap())).collect()
}

/// What a report counted by address, and how many had none.
fn counted(report: &Value) -> (PerIp, u64) {
    let mut unknown = 0;
    let mut counts = PerIp::new();
    for row in report["rows"].as_array().unwrap() {
        let n = row["count"].as_u64().unwrap();
        match row["ip"].as_str() {
            Some(ip) => *counts.entry(ip.to_owned()).or_default() += n,
            None => unknown += n,
        }
    }
    (counts, unknown)
}

#[test]
fn counts_by_address_are_those_of_the_clients() {
    for case in cases() {
        let expect = &case.truth["expect"];
        let report = case.report(&[]);
        let (counts, unknown) = counted(&report);
        assert_eq!(counts, per_ip(&expect["per_ip"]), "{}", case.name);
        assert_eq!(unknown, expect["unknown"].as_u64().unwrap(), "{}", case.name);
        assert_eq!(report["unknown_peer"], expect["unknown"], "{}", case.name);
        assert_eq!(report["total"], expect["total"], "{}", case.name);
        let cut = u64::from(case.name == "cut_last_line");
        assert_eq!(report["unreadable_lines"], cut, "{}", case.name);
    }
}

#[test]
fn counts_by_port_are_those_of_the_clients() {
    for case in cases() {
        let expect = &case.truth["expect"];
        let ports = match &expect["per_port"] {
            Value::Null => &case.truth["per_port"],
            ports => ports,
        };
        for (port, ips) in ports.as_object().unwrap() {
            let report = case.report(&["--port", port]);
            let (counts, unknown) = counted(&report);
            if case.has("port") == "none" {
                // Nothing is counted that may have come to another port, and it is said so.
                assert_eq!((counts, unknown), (PerIp::new(), 0), "{} {port}", case.name);
                assert_eq!(report["unknown_port"], expect["total"], "{} {port}", case.name);
                assert!(report["warnings"].to_string().contains("-yy"), "{}: {report}", case.name);
                continue;
            }
            assert_eq!(report["unknown_port"], 0, "{} {port}", case.name);
            if expect["unknown"] == 0 {
                assert_eq!((counts, unknown), (per_ip(ips), 0), "{} {port}", case.name);
            } else {
                let all: u64 = per_ip(ips).values().sum();
                assert_eq!((counts, unknown), (PerIp::new(), all), "{} {port}", case.name);
            }
        }
    }
}

/// Seconds that a time in the log may differ from the clients'.
fn precision(kind: &str) -> f64 {
    match kind {
        "clock_s" => 1.0,
        _ => 0.002,
    }
}

/// Each connection that the log gives an address and a port is one that a client made, came to
/// the port that the client connected to, and was accepted while the client had it open.
#[test]
fn events_are_the_clients_connections() {
    let mut late = Vec::new();
    for case in cases() {
        let mut clients: BTreeMap<(String, u64), (f64, f64, u64)> = BTreeMap::new();
        for c in case.truth["connections"].as_array().unwrap() {
            let key = (c[2].as_str().unwrap().to_owned(), c[3].as_u64().unwrap());
            let value = (c[0].as_f64().unwrap(), c[1].as_f64().unwrap(), c[4].as_u64().unwrap());
            clients.insert(key, value);
        }
        let kind = case.has("time");
        let clock = kind.starts_with("clock") || kind.starts_with("epoch");
        for line in case.parse(&["--events", "--format", "jsonl"]).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let timeless = event["time"].is_null() && event["elapsed"].is_null();
            if timeless != (kind == "none") {
                assert_eq!(kind, "mixed", "{}: {line}", case.name);
            }
            let Some(ip) = event["peer_ip"].as_str() else { continue };
            let key = (ip.to_owned(), event["peer_port"].as_u64().unwrap());
            let client = clients.remove(&key);
            let (from, to, port) = client.unwrap_or_else(|| panic!("{}: {line}", case.name));
            if case.has("port") != "none" {
                assert_eq!(event["local_port"], port, "{}: {line}", case.name);
            }
            if clock {
                let t: Timestamp = event["time"].as_str().unwrap().parse().unwrap();
                let t = t.as_nanosecond() as f64 / 1e9;
                let slack = precision(kind);
                let queued = BACKLOG.contains(&&*case.name);
                assert!(queued || t <= to + slack, "{}: {line} {from} {to}", case.name);
                if t < from - slack {
                    late.push(case.name.clone());
                }
            }
        }
    }
    late.dedup();
    assert_eq!(late, ENTRY_TIME);
}

#[test]
fn first_and_last_are_within_the_run() {
    for case in cases() {
        let kind = case.has("time");
        if !(kind.starts_with("clock") || kind.starts_with("epoch")) {
            continue;
        }
        let report = case.report(&["--by", "pid"]);
        let slack = precision(kind);
        let (from, to) =
            (case.truth["first"].as_f64().unwrap(), case.truth["last"].as_f64().unwrap());
        for row in report["rows"].as_array().unwrap() {
            for end in ["first", "last"] {
                let t: Timestamp = row[end].as_str().unwrap().parse().unwrap();
                let t = t.as_nanosecond() as f64 / 1e9;
                let to = if BACKLOG.contains(&&*case.name) { f64::INFINITY } else { to };
                let waited = ENTRY_TIME.contains(&&*case.name);
                assert!(
                    t <= to + slack && (waited || t >= from - slack),
                    "{}: {t} {from} {to}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn bursts_are_separated_by_period() {
    for case in cases() {
        let kind = case.has("time");
        if !(kind.starts_with("clock") || kind.starts_with("epoch")) {
            continue;
        }
        for burst in case.truth["bursts"].as_array().into_iter().flatten() {
            let margin =
                jiff::SignedDuration::from_millis(if kind == "clock_s" { 999 } else { 500 });
            let since = (time(&burst["from"]) - margin).to_string();
            let until = (time(&burst["to"]) + margin).to_string();
            let report = case.report(&["--since", &since, "--until", &until]);
            let (counts, unknown) = counted(&report);
            assert_eq!((counts, unknown), (per_ip(&burst["per_ip"]), 0), "{} {burst}", case.name);
        }
    }
}
