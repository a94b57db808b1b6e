//! `tcptally parse` on real records other than strace logs, against what the clients did.
//!
//! Each directory of testdata/records/TYPE is one record: its files, the command that made it,
//! and truth.json, which comes from the clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

type PerIp = BTreeMap<String, u64>;

/// Where replies show a connection whose own flow does not, or a time is that of a tie, even the
/// local addresses leave another answer to defend.
const MORE_THAN_ONE_ANSWER: &[&str] = &["netflow"];

struct Case {
    name: String,
    kind: String,
    files: Vec<PathBuf>,
    truth: Value,
}

/// One question to a record, and its answers.
struct Question {
    port: String,
    options: Vec<String>,
    want: PerIp,
    acceptable: Vec<PerIp>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    let directories = |path: &Path| -> Vec<PathBuf> {
        let all = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir()).collect()
    };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut cases = Vec::new();
    for kind in directories(&root) {
        for path in directories(&kind) {
            let truth = std::fs::read(path.join("truth.json")).unwrap();
            let truth: Value = serde_json::from_slice(&truth).unwrap();
            let needs = truth["needs"].as_str();
            if needs.is_some_and(|tool| Command::new(tool).arg("-V").output().is_err()) {
                continue;
            }
            let files = truth["files"].as_array().unwrap();
            let files = files.iter().map(|f| path.join(f.as_str().unwrap())).collect();
            cases.push(Case { name: name(&path), kind: name(&kind), files, truth });
        }
    }
    assert!(cases.len() >= 101, "{}", cases.len());
    cases
}

fn per_ip(value: &Value) -> PerIp {
    let ips = value.as_object().unwrap();
    ips.iter().map(|(ip, n)| (ip.clone(), n.as_u64().unwrap())).collect()
}

impl Case {
    /// Told what the record itself cannot tell: its day and its zone.
    fn run(&self, options: &[String]) -> Output {
        let first = self.truth["first"].as_str().unwrap_or("2026-11-22T");
        Command::new(env!("CARGO_BIN_EXE_tcptally"))
            .args(["parse", "--tz", "UTC", "--format", "json", "--date"])
            .arg(first.split('T').next().unwrap())
            .args(options)
            .args(&self.files)
            .output()
            .unwrap()
    }

    fn counts(&self, question: &Question) -> PerIp {
        let mut options = question.options.clone();
        if question.port != "all" {
            options.extend(["--port".to_owned(), question.port.clone()]);
        }
        let output = self.run(&options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", self.name);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["engine"], self.kind.as_str(), "{}", self.name);
        let row = |row: &Value| {
            (row["ip"].as_str().unwrap_or("unknown").to_owned(), row["count"].as_u64().unwrap())
        };
        report["rows"].as_array().unwrap().iter().map(row).collect()
    }

    fn port(&self) -> String {
        // The port is not in the text of SystemTap, nor in some other records.
        let is_known = self.kind != "systemtap" && !self.truth["port"].is_null();
        if is_known { self.truth["port"].to_string() } else { "all".into() }
    }

    fn ask(&self, question: &Question) {
        let got = self.counts(question);
        assert!(
            got == question.want || question.acceptable.contains(&got),
            "{} {:?} port {}: {got:?}, not {:?}",
            self.name,
            question.options,
            question.port,
            question.want
        );
    }

    fn local(&self) -> Vec<String> {
        let ips = self.truth["local_ips"].as_array().unwrap();
        ips.iter().flat_map(|ip| ["--local-ip".into(), ip.as_str().unwrap().into()]).collect()
    }

    fn question(&self, port: String, answers: &Value, options: Vec<String>) -> Question {
        let mut acceptable: Vec<PerIp> = Vec::new();
        if options.is_empty() || MORE_THAN_ONE_ANSWER.contains(&self.kind.as_str()) {
            let more = answers["also_acceptable"].as_array();
            acceptable = more.into_iter().flatten().map(|a| per_ip(&a["per_ip"])).collect();
        }
        Question { port, options, want: per_ip(&answers["per_ip"]), acceptable }
    }
}

#[test]
fn counts_by_address_are_those_of_the_clients() {
    for case in cases() {
        case.ask(&case.question(case.port(), &case.truth, Vec::new()));
        case.ask(&case.question(case.port(), &case.truth, case.local()));
    }
}

#[test]
fn counts_of_other_ports_are_those_of_the_clients() {
    for case in cases() {
        let Some(ports) = case.truth["other_ports"].as_object() else { continue };
        for (port, answers) in ports {
            case.ask(&case.question(port.clone(), answers, Vec::new()));
            case.ask(&case.question(port.clone(), answers, case.local()));
        }
    }
}

#[test]
fn counts_of_periods_are_those_of_the_clients() {
    let mut asked = 0;
    for case in cases() {
        for window in case.truth["windows"].as_array().into_iter().flatten() {
            let mut options = case.local();
            for end in ["since", "until"] {
                if let Some(time) = window[end].as_str() {
                    options.extend([format!("--{end}"), time.into()]);
                }
            }
            case.ask(&case.question(case.port(), window, options));
            asked += 1;
        }
    }
    assert!(asked >= 10);
}

#[test]
fn established_connections_alone_can_be_counted() {
    for case in cases() {
        let Some(want) = case.truth.get("established").filter(|e| e.is_object()) else { continue };
        let mut options = case.local();
        options.push("--established".into());
        let answers = serde_json::json!({ "per_ip": want });
        case.ask(&case.question(case.port(), &answers, options));
    }
}

#[test]
fn damage_is_reported() {
    for case in cases().iter().filter(|c| c.truth["must_warn"] == true) {
        let output = case.run(&[]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said = !report["warnings"].as_array().unwrap().is_empty()
            || report["unreadable_lines"].as_u64() > Some(0);
        assert!(said && !output.stderr.is_empty(), "{}", case.name);
    }
}

#[test]
fn conntrack_xml_counts_the_same_however_it_is_laid_out() {
    let all = cases();
    let case = all.iter().find(|case| case.name == "events-xml").unwrap();
    let text = std::fs::read_to_string(&case.files[0]).unwrap();
    let gap = format!("</flow>{}", " ".repeat(2 * 1024 * 1024));
    for (layout, text) in [
        ("indented", text.replace("><", ">\n  <")),
        ("one line", text.replace('\n', "")),
        ("one long line", text.replace('\n', "").replacen("</flow>", &gap, 2)),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let case = Case {
            name: layout.to_owned(),
            kind: case.kind.clone(),
            files: vec![file.path().to_owned()],
            truth: case.truth.clone(),
        };
        case.ask(&case.question(case.port(), &case.truth, Vec::new()));
    }
}

/// The report of files with these texts.
fn report_of(texts: &[&str], options: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    command.args(["parse", "-F", "json"]).args(options);
    for (n, text) in texts.iter().enumerate() {
        let file = folder.path().join(n.to_string());
        std::fs::write(&file, text).unwrap();
        command.arg(file);
    }
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

/// What `conntrack -E --state ESTABLISHED` and the like select.
#[test]
fn conntrack_events_without_the_beginnings_of_flows_count_each_flow_once() {
    let event = |kind: &str, client: u32| {
        format!(
            "{kind} src=198.51.100.{client} dst=192.0.2.77 sport=40755 dport=443 src=192.0.2.77 \
             dst=198.51.100.{client} sport=443 dport=40755 [ASSURED]\n"
        )
    };
    let established = |client| event(" [UPDATE] tcp      6 432000 ESTABLISHED", client);
    let ends = |client| event(" [UPDATE] tcp      6 120 TIME_WAIT", client);
    let destroyed = |client| event("[DESTROY] tcp      6", client);
    let unanswered = destroyed(9).replace("dport=443 src", "dport=443 [UNREPLIED] src");
    let unanswered = unanswered.replace(" [ASSURED]", "");
    let begun = event("    [NEW] tcp      6 120 SYN_SENT", 7);
    let met = event("    [NEW] tcp      6 300 ESTABLISHED", 8);
    let first_event = "each flow counts at its first event";
    for (text, options, total, note) in [
        (established(7) + &established(8) + &established(7), &[][..], 2, first_event),
        (established(7) + &destroyed(7) + &established(7), &[], 2, first_event),
        (ends(7) + &ends(8), &["--established"], 2, first_event),
        // With beginnings, the others began before the record.
        (begun.clone() + &established(7) + &established(8), &[], 1, "is an attempt"),
        (destroyed(7) + &unanswered, &[], 2, "only the ends"),
        (destroyed(7) + &unanswered, &["--established"], 1, "only the ends"),
        (begun + &met, &[], 1, "1 flow is left out: the first packet"),
    ] {
        let report = report_of(&[&text], options);
        let notes = report["warnings"].to_string();
        assert!(report["total"] == total && notes.contains(note), "{text}{options:?} {report}");
    }
}

/// Several outputs of a tool, with different options, were appended to one file.
#[test]
fn outputs_in_different_forms_in_one_file_all_count() {
    let ends = "198.51.100.7.40755 > 192.0.2.77.443: Flags [S], seq 7, win 64240, length 0\n";
    let clock = format!("10:58:42.200113 IP {ends}");
    let date = format!("2026-11-22 10:59:42.200113 IP {}", ends.replace("seq 7", "seq 8"));
    let epoch = format!("1795345299.2 IP {}", ends.replace("seq 7", "seq 9"));
    let numbered = format!("    1  {clock}");
    let csv = "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows\n\
               2026-11-22 10:58:42.461,1.601,6,198.51.100.7,36239,192.0.2.77,80,4,216,1\n";
    let line =
        "2026-11-22 10:59:42.461     1.601 TCP  198.51.100.7:36240 ->  192.0.2.77:80  4  216  1\n";
    let header = "Date first seen          Duration Proto      Src IP Addr:Port          Dst IP Addr:Port   \
                  Packets    Bytes Flows\n";
    for texts in [
        [&clock, &date],
        [&date, &clock],
        [&date, &epoch],
        [&epoch, &date],
        [&numbered, &date],
        [&csv.to_owned(), &line.to_owned()],
        [&csv.to_owned(), &format!("{header}{line}")],
    ] {
        let text = texts.map(String::as_str).concat();
        let report = report_of(&[&text], &["--tz", "UTC", "--date", "2026-11-22"]);
        assert!(report["total"] == 2 && report["complete"] == true, "{texts:?} {report}");
    }
}

#[test]
fn attempts_without_an_answer_are_noted_where_others_have_one() {
    let all = cases();
    let notes = |name: &str, options: &[String]| {
        let case = all.iter().find(|case| case.name == name).unwrap();
        let report: Value = serde_json::from_slice(&case.run(options).stdout).unwrap();
        report["warnings"].to_string()
    };
    let note = "5 attempts that were refused or never answered, and count too (on all ports)";
    let retransmissions = notes("le-ns-retransmissions", &[]);
    assert!(retransmissions.contains(note), "{retransmissions}");
    let established = notes("le-ns-retransmissions", &["--established".to_owned()]);
    assert!(!established.contains("never answered"), "{established}");
    let answered = notes("pcapng-port-reuse", &[]);
    assert!(!answered.contains("never answered"), "{answered}");
}

#[test]
fn refused_attempts_alone_are_noted_and_not_established() {
    let mut asked = 0;
    for case in cases().iter().filter(|case| case.name.starts_with("refused-")) {
        let report = |options: &[String]| -> Value {
            serde_json::from_slice(&case.run(options).stdout).unwrap()
        };
        let (all, established) = (report(&[]), report(&["--established".to_owned()]));
        let note = "5 attempts that were refused or never answered, and count too (on all ports)";
        assert!(all["total"] == 5 && all["warnings"].to_string().contains(note), "{all}");
        let note = "no SYN+ACK, but RSTs that refuse SYNs";
        let notes = established["warnings"].to_string();
        assert!(notes.contains(note) && !notes.contains("only SYNs"), "{established}");
        assert!(established["total"] == 0 && established["complete"] == true, "{established}");
        asked += 1;
    }
    assert_eq!(asked, 5);
}

#[test]
fn noise_alone_is_not_recognised_as_a_record() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nothing to see here\n\x00\x01\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .arg("parse")
        .arg(file.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("strace") && errors.contains("netfilter"), "{errors}");
}

/// The package zeek-long-connections writes a connection to conn_long.log again as it grows older.
#[test]
fn a_connection_that_conn_long_has_again_counts_once() {
    let header = |path: &str| {
        format!(
            "#separator \\x09\n#path\t{path}\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\t\
             service\tduration\torig_bytes\tresp_bytes\tconn_state\n"
        )
    };
    let row = |uid: u32, seconds: u32| {
        format!(
            "1795345122.200113\tCx{uid}\t198.51.100.7\t4{uid:04}\t192.0.2.77\t443\ttcp\t-\t{seconds}.5\t9\t8\tS1\n"
        )
    };
    let object = |uid: u32, path: &str| {
        format!(
            "{{\"_path\":\"{path}\",\"ts\":1795345122.2,\"uid\":\"Cx{uid}\",\"id.orig_h\":\"198.51.100.7\",\
             \"id.orig_p\":4{uid:04},\"id.resp_h\":\"192.0.2.77\",\"id.resp_p\":443,\"proto\":\"tcp\",\
             \"conn_state\":\"SF\"}}\n"
        )
    };
    let long = header("conn_long") + &row(1, 600) + &row(2, 600) + &row(1, 1800) + &row(1, 3600);
    let ended = header("conn") + &row(1, 9000) + &row(3, 1);
    let objects = object(1, "conn_long") + &object(1, "conn_long") + &object(2, "conn");
    for (texts, total) in [
        (vec![&*long], 2),
        (vec![&*long, &*ended], 3),
        (vec![&*ended, &*long], 3),
        (vec![&*ended], 2),
        (vec![&*objects], 2),
    ] {
        for options in [&[][..], &["--by", "ip,duration"]] {
            let report = report_of(&texts, options);
            assert!(report["total"] == total, "{texts:?} {options:?} {report}");
        }
    }
}

#[test]
fn a_connection_of_an_asa_that_two_hosts_logged_counts_once() {
    let line = |before: &str, id: u32, client: &str| {
        format!(
            "{before}: %ASA-6-302013: Built inbound TCP connection {id} for outside:{client}/40000 ({client}/40000) to \
             inside:192.0.2.77/22 (203.0.113.5/22)\n"
        )
    };
    let own = "Nov 22 2026 10:58:42";
    let collected = format!("Nov 22 10:58:42 192.0.2.1 {own}");
    let text = [
        line(own, 1, "198.51.100.7"),
        line(&collected, 1, "198.51.100.7"),
        line(&collected, 2, "198.51.100.7"),
        line(own, 2, "198.51.100.8"),
        line(own, 1, "198.51.100.7"),
    ];
    let report = report_of(&[&text.concat()], &[]);
    assert_eq!(report["total"], 3, "{report}");
    assert_eq!(report["addresses"], 2, "{report}");
}

/// `ss -t` prints names unless it is given -n.
#[test]
fn socket_lists_with_names_of_services_count_and_with_names_of_hosts_say_what_to_do() {
    let ss = "State  Recv-Q Send-Q    Local Address:Port   Peer Address:Port Process\n\
              LISTEN 0      128             0.0.0.0:ssh       0.0.0.0:*\n\
              ESTAB  0      0            192.0.2.77:ssh  198.51.100.7:40755\n\
              ESTAB  0      0            192.0.2.77:ssh  198.51.100.8:40755\n\
              ESTAB  0      0            192.0.2.77:40756 192.0.2.9:https\n";
    let lsof = "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n\
                sshd 7 root 3u IPv4 1 0t0 TCP *:ssh (LISTEN)\n\
                sshd 9 root 4u IPv4 2 0t0 TCP 192.0.2.77:ssh->198.51.100.7:40755 (ESTABLISHED)\n";
    let named = ss.replace("198.51.100.8", "web-8.example");
    for (text, total, is_complete) in [(ss, 2, true), (lsof, 1, true), (&named, 1, false)] {
        let report = report_of(&[text], &[]);
        assert_eq!(report["total"], total, "{text}{report}");
        assert_eq!(report["complete"], is_complete, "{text}{report}");
        let says_what_to_do = report["warnings"].to_string().contains("ss -tan");
        assert_eq!(says_what_to_do, !is_complete, "{text}{report}");
    }
}
