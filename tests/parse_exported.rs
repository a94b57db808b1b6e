//! Records that have lost their heading or the header of each line, or that a collector has exported in a form of its
//! own: the counts are those of the clients all the same, or the message says what is missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

type PerIp = BTreeMap<String, u64>;

fn folder(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records").join(case)
}

/// The text of a record, and the counts of its clients.
fn record(case: &str) -> (String, Value) {
    let truth: Value =
        serde_json::from_slice(&std::fs::read(folder(case).join("truth.json")).unwrap()).unwrap();
    let file = folder(case).join(truth["files"][0].as_str().unwrap());
    (std::fs::read_to_string(file).unwrap(), truth)
}

fn run(text: &str, options: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .args(["parse", "--tz", "UTC", "--date", "2026-11-22", "-F", "json"])
        .args(options)
        .arg(file.path())
        .output()
        .unwrap()
}

/// Asserts that the clients of `case` are in `text`, and that the report is complete.
#[track_caller]
fn has_the_clients_of(case: &str, truth: &Value, text: &str, options: &[&str]) -> Value {
    let port = truth["port"].to_string();
    let locals = truth["local_ips"].as_array().unwrap();
    let locals = locals.iter().flat_map(|ip| ["--local-ip", ip.as_str().unwrap()]);
    let port = (port != "null").then_some(["--port", &port]);
    let all: Vec<&str> =
        locals.chain(port.into_iter().flatten()).chain(options.iter().copied()).collect();
    let output = run(text, &all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count =
        |row: &Value| (row["ip"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap());
    let counts: PerIp = report["rows"].as_array().unwrap().iter().map(count).collect();
    let want: PerIp = serde_json::from_value(truth["per_ip"].clone()).unwrap();
    assert_eq!(counts, want, "{case}: {errors}");
    assert_eq!(report["complete"], true, "{case}: {errors}");
    report
}

#[track_caller]
fn is_refused(text: &str, parts: &[&str]) {
    let output = run(text, &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in {errors:?}");
    }
}

#[test]
fn values_of_filterlog_count_without_the_header_of_syslog() {
    let case = "filterlog/pfsense-2.7-file";
    let (text, truth) = record(case);
    let values: Vec<&str> = text.lines().map(|line| line.split_once("]: ").unwrap().1).collect();
    let all = |form: &dyn Fn(&str) -> String| -> String {
        values.iter().map(|v| form(v) + "\n").collect()
    };
    const AT: &str = "2026-11-22T10:58:42.000Z";
    has_the_clients_of("values", &truth, &all(&|v| v.to_owned()), &[]);
    has_the_clients_of("tagged", &truth, &all(&|v| format!("filterlog[7]: {v}")), &[]);
    for (name, text) in [
        ("Grafana", all(&|v| format!("1795345122000\t{AT}\t{v}"))),
        (
            "logcli",
            all(&|v| format!("2026-11-22T10:58:42Z {{app=\"filterlog\", host=\"fw 1\"}} {v}")),
        ),
        ("logcli, common labels", all(&|v| format!("2026-11-22T10:58:42Z {{}} {v}"))),
        ("JSON", all(&|v| json!({ "timestamp": AT, "source": "fw1", "message": v }).to_string())),
        (
            "Graylog",
            all(&|v| {
                json!({ "timestamp": AT, "application_name": "filterlog", "message": v })
                    .to_string()
            }),
        ),
        (
            "CSV",
            format!(
                "\"timestamp\",\"source\",\"message\"\n{}",
                all(&|v| format!("\"{AT}\",\"fw1\",\"{v}\""))
            ),
        ),
        (
            "CSV with tags",
            format!("timestamp,message\n{}", all(&|v| format!("{AT},\"filterlog[7]: {v}\""))),
        ),
    ] {
        let report = has_the_clients_of(name, &truth, &text, &[]);
        assert!(
            report["rows"][0]["first"].to_string().contains("2026-11-22T10:58:42"),
            "{name}: {report}"
        );
    }
}

#[test]
fn traffic_of_fortigate_counts_with_commas_and_in_cef() {
    let case = "fortigate/fortios-7";
    let (text, truth) = record(case);
    // Quotes keep blanks together.
    let pairs = |line: &str| -> Vec<String> {
        let mut quoted = false;
        let is_end = |c: char| {
            quoted ^= c == '"';
            c == ' ' && !quoted
        };
        line.split(is_end).map(str::to_owned).collect()
    };
    let lines: Vec<Vec<String>> = text.lines().map(pairs).collect();
    let commas: String = lines.iter().map(|pairs| format!("<189>{}\n", pairs.join(","))).collect();
    has_the_clients_of("commas", &truth, &commas, &[]);
    // A cell of CSV for each pair.
    let cells: String = lines
        .iter()
        .map(|pairs| {
            let cells: Vec<String> =
                pairs.iter().map(|p| format!("\"{}\"", p.replace('"', ""))).collect();
            cells.join(",") + "\n"
        })
        .collect();
    has_the_clients_of("cells", &truth, &cells, &[]);
    let cef = |pairs: &Vec<String>| {
        let get = |key: &str| {
            let pair = pairs.iter().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.unwrap_or_default().trim_matches('"').to_owned()
        };
        format!(
            "Nov 22 {} fw1 CEF: 0|Fortinet|Fortigate|v7.2.5|00013|{}:forward {action}|3|deviceExternalId=FGT1 \
             FTNTFGTlogid={} cat={}:forward FTNTFGTlevel=notice src={} spt={} dst={} dpt={} externalId=1 proto={} \
             act={action} FTNTFGTpolicyid=7 app=HTTPS FTNTFGTduration={} out={} in={}\n",
            get("time"),
            get("type"),
            get("logid"),
            get("type"),
            get("srcip"),
            get("srcport"),
            get("dstip"),
            get("dstport"),
            get("proto"),
            get("duration"),
            get("sentbyte"),
            get("rcvdbyte"),
            action = get("action"),
        )
    };
    has_the_clients_of("CEF", &truth, &lines.iter().map(cef).collect::<String>(), &[]);
}

#[test]
fn tables_of_tracing_tools_count_without_their_heading() {
    let without_heading = |text: &str| -> String {
        text.lines().filter(|line| !line.contains("COMM")).map(|line| format!("{line}\n")).collect()
    };
    for (case, options) in [
        ("tcpaccept/bpftrace", &[][..]),
        ("tcpaccept/bcc-default", &["--type", "tcpaccept"]),
        ("tcpaccept/bcc-T-ipv6", &["--type", "tcpaccept"]),
        ("tcpaccept/bcc-old-no-rport", &["--type", "tcpaccept"]),
    ] {
        let (text, truth) = record(case);
        has_the_clients_of(case, &truth, &without_heading(&text), options);
        if !options.is_empty() {
            // tcpconnect prints the same columns, the other way round.
            is_refused(&without_heading(&text), &["tcpconnect", "--type tcpaccept"]);
        }
    }
    let life = |rest: &str| format!("  912 nginx 192.0.2.77 443 198.51.100.{rest} 0 2 1.50\n");
    let truth =
        json!({ "port": 443, "local_ips": [], "per_ip": { "198.51.100.7": 2, "198.51.100.8": 1 } });
    let text = [life("7 40755"), life("7 40756"), life("8 40755")].concat();
    has_the_clients_of("tcplife", &truth, &text, &[]);
    // tail -c
    let report: Value =
        serde_json::from_slice(&run(&format!("5 198.51.100.9 40755 0 2 1.50\n{text}"), &[]).stdout)
            .unwrap();
    assert_eq!((&report["total"], &report["complete"]), (&3.into(), &false.into()), "{report}");
}

#[test]
fn pfirewall_logs_count_without_their_header() {
    for case in ["windows-firewall/windows-10", "windows-firewall/windows-11-pid"] {
        let (text, truth) = record(case);
        let rows: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        has_the_clients_of(case, &truth, &rows, &[]);
        // Get-Content -Tail; the first line may be cut, too.
        has_the_clients_of(case, &truth, rows.trim_start(), &[]);
    }
}

#[test]
fn columns_that_zeek_cut_chose_are_refused_with_the_option_that_names_them() {
    for row in [
        "1795345122.200113\t198.51.100.7\t40755\t192.0.2.77\t443\ttcp\tSF\n",
        "198.51.100.7\t192.0.2.77\tS0\n",
    ] {
        is_refused(&row.repeat(3), &["zeek-cut -C"]);
    }
}

#[test]
fn a_text_that_is_given_as_a_capture_is_refused_once() {
    let output = run("not a capture\n", &["--type", "pcap"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("does not begin as pcap does"), "{errors}");
    assert!(errors.contains("without --type the format is detected"), "{errors}");
    assert!(!errors.contains("what came before counts"), "{errors}");
}

#[test]
fn errors_of_options_end_with_a_remedy() {
    let remedies = [
        (["-o", "/nonexistent/report"], "(os error 2); give another file with -o"),
        (["--top", "-1"], "give digits only"),
        (["--min", "-1"], "give digits only"),
    ];
    for (options, remedy) in remedies {
        let output = run("x\n", &options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(remedy), "{options:?}: {errors}");
    }
}
