//! Many inputs at once: hosts by path, the result of each input, and what a merge must not make up.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Gave, NOON, Record, line, run, tcptally};

/// Logs of the hosts web1 to webN; the Nth has N connections.
fn logs(hosts: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    for n in 1..=hosts {
        let text: String =
            (0..n).map(|i| line(NOON + f64::from(60 * i), &format!("192.0.2.{n}"), 443)).collect();
        fs::write(folder.path().join(format!("logs/web{n}.log")), text).unwrap();
    }
    folder
}

fn parse(folder: &Path, args: &[&str], files: u32) -> Gave {
    let files = (1..=files).map(|n| format!("logs/web{n}.log"));
    run(tcptally(&["parse"]).args(args).args(files).current_dir(folder))
}

fn report(gave: &Gave) -> Value {
    serde_json::from_str(&gave.out).unwrap_or_else(|e| panic!("{e}: {gave:?}"))
}

fn inputs(report: &Value) -> Vec<(String, Value, u64)> {
    let one = |input: &Value| {
        let name = input["name"].as_str().unwrap().to_owned();
        (name, input["host"].clone(), input["total"].as_u64().unwrap())
    };
    report["inputs"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn hosts_are_taken_from_paths() {
    let folder = logs(3);
    let pattern = ["--host-from", "logs/{host}.log", "-F", "plain", "--by", "host"];
    let gave = parse(folder.path(), &pattern, 3);
    assert_eq!(gave.out, "web3: 3\nweb2: 2\nweb1: 1\n");
    let args = [&pattern[..2], &["--events", "-F", "csv"]].concat();
    let gave = parse(folder.path(), &args, 3);
    let hosts: Vec<&str> = gave.out.lines().skip(1).map(|l| l.split(',').nth(3).unwrap()).collect();
    assert_eq!(hosts, ["web1", "web2", "web2", "web3", "web3", "web3"]);
    // One that does not match is said.
    fs::write(folder.path().join("other"), line(NOON, "192.0.2.9", 443)).unwrap();
    let args = [&pattern[..], &["--host", "me", "other"]].concat();
    let gave = parse(folder.path(), &args, 1);
    assert_eq!(gave.out, "me: 1\nweb1: 1\n");
    assert!(
        gave.err.contains("1 of 2 inputs do not match --host-from, for example other"),
        "{gave:?}"
    );
    let gave = run(&mut tcptally(&["parse", "--host-from", "logs/*.log"]));
    assert_eq!(gave.status, Some(2));
    assert!(gave.err.contains("must contain {host} once"), "{gave:?}");
}

/// Records that would be one, such as rotated logs, are those of several machines.
#[test]
fn records_of_different_hosts_are_not_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let syn = "Nov 22 11:30:00 fw kernel: [1.0] IN=eth0 OUT= SRC=192.0.2.7 DST=192.0.2.77 LEN=60 \
               ID=1 PROTO=TCP SPT=40000 DPT=443 SEQ=1 ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0\n";
    for host in ["a", "b"] {
        fs::write(folder.path().join(format!("{host}.log")), syn).unwrap();
    }
    let args = ["parse", "-F", "plain", "--by", "host", "-q", "a.log", "b.log"];
    let gave = run(tcptally(&args).args(["--host-from", "{host}.log"]).current_dir(folder.path()));
    assert_eq!(gave.out, "a: 1\nb: 1\n");
    let gave = run(tcptally(&args).args(["--host", "me"]).current_dir(folder.path()));
    assert_eq!(gave.out, "me: 1\n", "one SYN that was sent again");
}

#[test]
fn a_report_has_the_result_of_each_input() {
    let folder = logs(12);
    fs::write(folder.path().join("logs/web3.log"), line(NOON, "192.0.2.3", 443) + "accept(")
        .unwrap();
    fs::write(folder.path().join("logs/web4.log"), "not a log\n").unwrap();
    fs::write(folder.path().join("logs/web5.log"), "").unwrap();
    let args = ["-F", "json", "--host-from", "{host}.log"];
    let gave = parse(folder.path(), &[&args[..], &["gone/web13.log"]].concat(), 12);
    assert_eq!(gave.status, Some(1));
    let report = report(&gave);
    let find = |name: &str| {
        let all = report["inputs"].as_array().unwrap();
        all.iter().find(|i| i["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(report["inputs"].as_array().unwrap().len(), 13);
    assert_eq!(
        find("logs/web2.log"),
        json!({"name": "logs/web2.log", "files": 1, "host": "web2", "format": "strace",
            "complete": true, "total": 2,
            "started": "2026-11-22T11:30:00.000000Z", "ended": "2026-11-22T11:31:00.000000Z"})
    );
    let brief = |name: &str| {
        let input = find(name);
        (input["host"].clone(), input["format"].clone(), input["complete"].clone())
    };
    assert_eq!(brief("logs/web3.log"), (json!("web3"), json!("strace"), json!(false)));
    assert_eq!(brief("logs/web4.log"), (json!("web4"), Value::Null, json!(false)));
    assert_eq!(brief("logs/web5.log"), (json!("web5"), Value::Null, json!(true)));
    assert_eq!(brief("gone/web13.log"), (json!("web13"), Value::Null, json!(false)));
    let sum: u64 = inputs(&report).iter().map(|(_, _, total)| total).sum();
    assert_eq!(report["total"], sum);
    // Only what is counted.
    let args = [&args[..], &["--port", "80"]].concat();
    assert!(inputs(&self::report(&parse(folder.path(), &args, 2))).iter().all(|i| i.2 == 0));
}

#[test]
fn many_small_files_are_read_at_once_and_give_what_one_thread_gives() {
    let folder = logs(200);
    let args = ["--host-from", "logs/{host}.log", "--by", "host,ip", "-i", "1h"];
    for form in ["json", "jsonl", "csv"] {
        let args = [&args[..], &["-F", form, "--sort", "key"]].concat();
        let many = parse(folder.path(), &args, 200);
        let one = {
            let files = (1..=200).map(|n| format!("logs/web{n}.log"));
            let mut command = std::process::Command::new("taskset");
            command.args(["-c", "0", env!("CARGO_BIN_EXE_tcptally"), "parse"]).args(&args);
            run(command.args(files).env("TZ", "UTC").current_dir(folder.path()))
        };
        assert_eq!(many.out, one.out);
        assert!(many.out.contains("web200"), "{many:?}");
    }
    let events = ["--host-from", "logs/{host}.log", "-e", "-F", "jsonl"];
    let gave = parse(folder.path(), &events, 200);
    let hosts: Vec<String> = gave
        .out
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["host"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> =
        (1..=200).flat_map(|n| std::iter::repeat_n(format!("web{n}"), n)).collect();
    assert_eq!(hosts, expected, "events are in the order of the files");
}

#[test]
fn a_merged_report_keeps_the_inputs_of_its_reports() {
    let folder = logs(4);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for n in 1..=4 {
        let (host, log) = (format!("web{n}"), path(&format!("logs/web{n}.log")));
        let args = ["parse", "-F", "json", "-i", "1m", "--host", &host, &log, "-o"];
        assert_eq!(run(tcptally(&args).arg(path(&host))).status, Some(0));
    }
    let files = [1, 2, 3, 4].map(|n| path(&format!("web{n}")));
    let merged = run(tcptally(&["parse", "-F", "json", "-o", &path("all")]).args(&files));
    assert_eq!(merged.status, Some(0), "{merged:?}");
    let all: Value = serde_json::from_str(&fs::read_to_string(path("all")).unwrap()).unwrap();
    let expected: Vec<_> =
        (1..=4).map(|n| (path(&format!("logs/web{n}.log")), json!(format!("web{n}")), n)).collect();
    assert_eq!(inputs(&all), expected);
    // Once more, and from a pipe with all reports in it.
    let again = run(&mut tcptally(&["parse", "-F", "json", &path("all")]));
    assert_eq!(inputs(&report(&again)), expected);
    let texts: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    fs::write(path("texts"), texts).unwrap();
    let piped =
        run(tcptally(&["parse", "-F", "json"]).stdin(fs::File::open(path("texts")).unwrap()));
    assert_eq!(inputs(&report(&piped)), expected);
}

#[test]
fn expected_hosts_without_a_record_are_named_and_make_the_report_incomplete() {
    let folder = logs(3);
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "# all\nweb1\nweb2\n\nweb4\n db1 \n").unwrap();
    let args = ["-F", "json", "--host-from", "{host}.log", "--expect-hosts", "hosts", "--strict"];
    let gave = parse(folder.path(), &args, 3);
    assert_eq!(gave.status, Some(3), "{gave:?}");
    let report = report(&gave);
    assert_eq!(report["complete"], false);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("2 of the 4 hosts in hosts have no record: db1, web4"), "{warnings}");
    assert!(warnings.contains("records of 1 host that hosts does not name: web3"), "{warnings}");
    fs::write(&hosts, "web1\nweb2\nweb3").unwrap();
    assert_eq!(parse(folder.path(), &args, 3).status, Some(0));
    // Events and reports name their hosts.
    for form in ["jsonl", "csv"] {
        let events = ["-e", "-F", form, "--host-from", "{host}.log", "-o", "events"];
        assert_eq!(parse(folder.path(), &events, 3).status, Some(0));
        let args = ["parse", "--expect-hosts", "hosts", "--strict", "-q", "events"];
        let gave = run(tcptally(&args).current_dir(folder.path()));
        assert_eq!(gave.status, Some(0), "{gave:?}");
    }
    for (name, status, text) in
        [("gone", 1, "cannot read 'gone': No such file"), ("/dev/null", 2, "names no host")]
    {
        let gave = parse(folder.path(), &["--expect-hosts", name], 1);
        assert_eq!(gave.status, Some(status), "{gave:?}");
        assert!(gave.err.contains(text), "{gave:?}");
    }
}

#[test]
fn an_interval_report_is_not_made_of_plain_reports() {
    let folder = logs(3);
    let save = |name: &str, args: &[&str]| {
        let gave = parse(folder.path(), &[args, &["-o", name]].concat(), 3);
        assert_eq!(gave.status, Some(0), "{gave:?}");
    };
    let merge = |name: &str, length: &str| {
        let args = ["parse", "-F", "plain", "-i", length, name];
        run(tcptally(&args).current_dir(folder.path()))
    };
    for form in ["json", "jsonl", "csv"] {
        save("plain", &["-F", form]);
        let gave = merge("plain", "1m");
        assert_eq!((gave.status, gave.out.as_str()), (Some(1), ""), "{form}: {gave:?}");
        assert!(
            gave.err.contains("plain is left out, because this report does not contain the times"),
            "{gave:?}"
        );
        save("minutes", &["-F", form, "-i", "1m"]);
        assert!(merge("minutes", "1m").out.ends_with("192.0.2.3: 3\n192.0.2.2: 2\n192.0.2.1: 1\n"));
        assert!(merge("minutes", "1h").out.starts_with("2026-11-22T11:00:00+00:00 192.0.2.3: 3\n"));
        save("hours", &["-F", form, "-i", "1h"]);
        assert_eq!(merge("hours", "1m").status, Some(1), "{form}");
    }
}

/// The command of docs/fleet.md.
#[test]
fn parts_that_gnu_parallel_reads_and_a_merge_count_as_one_run() {
    let version = Command::new("parallel").arg("--version").output();
    if !version.is_ok_and(|output| output.stdout.starts_with(b"GNU parallel")) {
        eprintln!("skipped: there is no GNU parallel");
        return;
    }
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fleet.md");
    let docs = fs::read_to_string(docs).unwrap();
    let recipe = docs.lines().find_map(|line| line.strip_prefix("$ parallel ")).unwrap();
    let logs = logs(7);
    let folder = logs.path();
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tcptally"), bin.join("tcptally")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let merged = run(Command::new("sh")
        .args(["-c", &format!("parallel {recipe} --format json")])
        .current_dir(folder)
        .env("HOME", folder)
        .env("PATH", path)
        .env("TCPTALLY_CONFIG", "")
        .env("TZ", "UTC")
        .stdin(Stdio::null()));
    assert_eq!(merged.status, Some(0), "{merged:?}");
    let (merged, alone) =
        (report(&merged), report(&parse(folder, &["-F", "json", "--by", "ip"], 7)));
    for field in ["total", "complete", "rows"] {
        assert_eq!(merged[field], alone[field], "{field}");
    }
    assert_eq!(merged["inputs"].as_array().unwrap().len(), 7);
}

#[test]
fn snapshots_without_a_time_say_that_the_time_is_the_file_s() {
    let lists = [
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
         LISTEN 0 128 0.0.0.0:443 0.0.0.0:*\nESTAB 0 0 192.0.2.77:443 198.51.100.7:40755\n",
        "tcp 6 431999 ESTABLISHED src=198.51.100.7 dst=192.0.2.77 sport=40755 dport=443 \
         src=192.0.2.77 dst=198.51.100.7 sport=443 dport=40755 [ASSURED] mark=0 use=1\n",
    ];
    let note = "the record has no time of its own";
    for list in lists {
        let record = Record::new(list);
        let gave = record.parse(&[]);
        assert!(gave.out.contains("1 connection "), "{gave:?}");
        assert!(gave.unwrapped().contains(note), "{}", gave.out);
        let dated = record.beside("list-2026-11-22T10:58:42Z");
        std::fs::rename(&record.path, &dated).unwrap();
        let gave = run(&mut tcptally(&["parse", &dated]));
        assert!(!gave.unwrapped().contains(note), "{}", gave.out);
        let gave = Record::new(&format!("Sun Nov 22 11:03:13 UTC 2026\n{list}")).parse(&[]);
        assert!(gave.out.contains("2026-11-22"), "{}", gave.out);
        assert!(!gave.unwrapped().contains(note), "date(1) tells it: {}", gave.out);
    }
}

#[test]
fn calls_without_addresses_are_said_to_be_of_sockets_of_any_kind_unless_the_log_shows_which() {
    let accept = "1 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 4\n";
    let socket = "1 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n";
    let note = "whether all of them are TCP and not Unix sockets";
    for (log, is_doubtful) in [(accept.to_owned(), true), (format!("{socket}{accept}"), false)] {
        let gave = Record::new(&log).parse(&[]);
        assert_eq!(gave.unwrapped().contains(note), is_doubtful, "{gave:?}");
    }
}
