//! Reports and events are records themselves.

use std::fs;

use crate::support::{NOON, Record, line, run, tcptally};

/// Two machines: 4 connections on one, 3 on the other.
fn machines() -> (Record, Record) {
    let one: String =
        [0.0, 1.0, 61.0, 62.0].iter().map(|t| line(NOON + t, "192.0.2.7", 80)).collect();
    let two = line(NOON + 2.0, "192.0.2.7", 443)
        + &line(NOON + 63.0, "192.0.2.8", 443)
        + &line(NOON + 121.0, "192.0.2.8", 80);
    (Record::new(&one), Record::new(&two))
}

fn save(record: &Record, name: &str, args: &[&str]) -> String {
    let out = record.beside(name);
    let gave = record.parse(&[args, &["-o", &out]].concat());
    assert_eq!((gave.status, gave.err.as_str()), (Some(0), ""));
    out
}

fn plain(files: &[&str], args: &[&str]) -> String {
    let gave = run(tcptally(&["parse", "-F", "plain", "-q"]).args(args).args(files));
    assert_eq!(gave.status, Some(0), "{}", gave.err);
    gave.out
}

#[test]
fn reports_of_many_machines_merge() {
    let (one, two) = machines();
    let one = save(&one, "one.json", &["-F", "json", "--host", "web1"]);
    let two = save(&two, "two.json", &["-F", "json", "--host", "web2", "--by", "ip,port"]);
    assert_eq!(plain(&[&one, &two], &[]), "192.0.2.7: 5\n192.0.2.8: 2\n");
    assert_eq!(
        plain(&[&one, &two], &["--by", "host,ip"]),
        "web1 192.0.2.7: 4\nweb2 192.0.2.8: 2\nweb2 192.0.2.7: 1\n"
    );
    assert_eq!(plain(&[&two], &["--port", "80"]), "192.0.2.8: 1\n");
    // Merged once more.
    let both = fs::read_to_string(&one).unwrap() + &fs::read_to_string(&two).unwrap();
    let both = Record::new(&both);
    let all = save(&both, "all.json", &["-F", "json", "--by", "host,ip"]);
    assert_eq!(plain(&[&all], &["--by", "host"]), "web1: 4\nweb2: 3\n");
}

#[test]
fn events_merge_in_any_form() {
    let (one, two) = machines();
    let one = save(&one, "one.csv", &["-e", "-F", "csv", "--host", "web1"]);
    let two = save(&two, "two.jsonl", &["-e", "-F", "jsonl", "--host", "web2"]);
    assert_eq!(plain(&[&one, &two], &[]), "192.0.2.7: 5\n192.0.2.8: 2\n");
    assert_eq!(plain(&[&one, &two], &["--by", "host", "--host", "here"]), "web1: 4\nweb2: 3\n");
    assert_eq!(
        plain(&[&two], &["-i", "1m", "--by", "port"]),
        "\
2026-11-22T11:30:00+00:00 443: 1
2026-11-22T11:31:00+00:00 443: 1
2026-11-22T11:32:00+00:00 80: 1
443: 2
80: 1
"
    );
    // And from a pipe.
    let gave = run(tcptally(&["parse", "-F", "plain"]).stdin(
        std::process::Command::new("cat")
            .arg(&two)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .stdout
            .unwrap(),
    ));
    assert_eq!(gave.out, "192.0.2.8: 2\n192.0.2.7: 1\n");
}

#[test]
fn a_period_of_a_report_is_as_fine_as_its_intervals() {
    let (one, _) = machines();
    let rough = save(&one, "rough.json", &["-F", "json"]);
    let fine = save(&one, "fine.json", &["-F", "json", "-i", "1m"]);
    let since = ["--since", "2026-11-22 11:31"];
    assert_eq!(plain(&[&fine], &since), "192.0.2.7: 2\n");
    assert_eq!(plain(&[&rough], &since), "");
    let gave = run(tcptally(&["parse", &rough]).args(since));
    assert!(gave.unwrapped().contains("4 connections were left out because"), "{}", gave.out);
    assert!(plain(&[&fine], &["-i", "1m"]).starts_with("2026-11-22T11:30:00+00:00 192.0.2.7: 2\n"));
}

#[test]
fn a_report_that_is_merged_with_itself_says_so() {
    let (one, two) = machines();
    let one = save(&one, "one.json", &["-F", "json", "--host", "web1"]);
    let two = save(&two, "two.json", &["-F", "json", "--host", "web1"]);
    let again = format!("{one}.again");
    fs::copy(&one, &again).unwrap();
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one, &two, &again]));
    assert_eq!(gave.out, "192.0.2.7: 9\n192.0.2.8: 2\n");
    assert_eq!(gave.err.matches("counts twice").count(), 1, "{}", gave.err);
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one, &two, &one]));
    assert_eq!(gave.out, "192.0.2.7: 5\n192.0.2.8: 2\n");
    assert!(gave.err.contains("is given twice, and read once"), "{}", gave.err);
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one, &two]));
    assert!(!gave.err.contains("twice"), "{}", gave.err);
}

#[test]
fn unknown_values_of_a_report_stay_unknown() {
    let (one, two) = machines();
    let top = save(&two, "top.json", &["-F", "json", "-n", "1"]);
    assert_eq!(plain(&[&top], &[]), "192.0.2.8: 2\nunknown: 1\n");
    let ports = save(&one, "ports.json", &["-F", "json", "--by", "port"]);
    assert_eq!(plain(&[&ports], &["--by", "port"]), "80: 4\n");
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &ports]));
    assert_eq!(gave.out, "unknown: 4\n");
    assert!(gave.err.contains("counts by port"), "{}", gave.err);
}

#[test]
fn a_report_that_is_cut_off_or_too_new_is_refused() {
    let (one, two) = machines();
    let good = save(&two, "good.json", &["-F", "json"]);
    let text = fs::read_to_string(save(&one, "one.json", &["-F", "json"])).unwrap();
    for (bad, why) in [
        (text[..text.len() / 2 + 40].to_string(), "not a complete report"),
        (text.replace("\"schema\":2", "\"schema\":3"), "schema 3"),
    ] {
        let bad = Record::new(&bad);
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &bad.path, &good]));
        assert_eq!(gave.status, Some(1));
        assert_eq!(gave.out, "192.0.2.8: 2\n192.0.2.7: 1\n", "the others are counted");
        assert!(gave.err.contains(why), "{}", gave.err);
    }
}

/// What was written before fields had their present names.
#[test]
fn events_and_reports_of_schema_1_are_read() {
    let old = |name: &str| format!("{}/testdata/schema1/{name}", env!("CARGO_MANIFEST_DIR"));
    for name in ["events.csv", "events.jsonl", "report.json"] {
        let gave = plain(&[&old(name)], &["--by", "ip,port"]);
        let expected = "192.0.2.7 443: 2\n192.0.2.9 80: 2\n192.0.2.7 80: 1\n192.0.2.10 443: 1\n";
        assert_eq!(gave, expected, "{name}");
        let since = ["--since", "2026-11-22 11:31", "--sort", "key"];
        let gave = plain(&[&old(name)], &since);
        assert_eq!(gave, "192.0.2.7: 1\n192.0.2.9: 2\n192.0.2.10: 1\n", "{name}");
    }
    for name in ["events.jsonl", "report.json"] {
        assert_eq!(plain(&[&old(name)], &["--by", "host"]), "web1: 6\n");
    }
    for name in ["elapsed.csv", "elapsed.jsonl"] {
        assert_eq!(plain(&[&old(name)], &["--until", "+1s"]), "192.0.2.7: 2\n", "{name}");
    }
    for name in ["watch.csv", "watch.jsonl"] {
        let gave = plain(&[&old(name)], &["--columns", "bytes", "--by", "duration"]);
        assert_eq!(gave, "100ms-1s: 1 5 1\n1-10s: 1 100 1\n", "{name}");
    }
}

#[test]
fn jsonl_and_csv_reports_are_read() {
    let (one, two) = machines();
    for format in ["jsonl", "csv"] {
        let name = |n: u32| format!("{n}.{format}");
        let one = save(&one, &name(1), &["-F", format, "--host", "web1", "--by", "port,ip"]);
        let two = save(&two, &name(2), &["-F", format, "--host", "web2", "-i", "1m"]);
        assert_eq!(plain(&[&one, &two], &[]), "192.0.2.7: 5\n192.0.2.8: 2\n", "{format}");
        let since = ["--since", "2026-11-22 11:31:00"];
        assert_eq!(plain(&[&two], &since), "192.0.2.8: 2\n", "{format}");
        assert_eq!(plain(&[&one], &["--by", "port"]), "80: 4\n", "{format}");
        // One after another in a file, too.
        let both = fs::read_to_string(&one).unwrap() + &fs::read_to_string(&two).unwrap();
        let both = Record::new(&both);
        assert_eq!(both.plain(&["-q"]), "192.0.2.7: 5\n192.0.2.8: 2\n", "{format}");
        if format == "jsonl" {
            assert_eq!(both.plain(&["--by", "host"]), "web1: 4\nweb2: 3\n");
        }
    }
}

#[test]
fn events_of_trace_and_watch_of_one_server_are_a_double_count_and_noted() {
    let event = |time: &str, host: &str, rest: &str| {
        let ends = r#""local_port":443,"peer_ip":"192.0.2.7","peer_port":40001"#;
        let time = format!("2026-11-22T11:{time}:00.000000Z");
        Record::new(&format!(r#"{{"time":"{time}","host":"{host}",{ends},{rest}}}"#))
    };
    let note = "port 443 of web1 was observed by trace and by watch at the same time";
    let traced = |host| event("30", host, r#""pid":10,"tid":10,"fd":7"#);
    let watched = |time| event(time, "web1", r#""time_uncertainty":0.5,"bytes_in":3"#);
    for (trace, watch, is_noted) in [
        (traced("web1"), watched("30"), true),
        (traced("web2"), watched("30"), false),
        (traced("web1"), watched("31"), false),
        (watched("30"), watched("30"), false),
    ] {
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &trace.path, &watch.path]));
        assert_eq!(gave.out, "192.0.2.7: 2\n");
        assert_eq!(gave.err.contains(note), is_noted, "{}", gave.err);
    }
}

#[test]
fn others_of_jsonl_and_csv_reports_are_no_address() {
    let (_, two) = machines();
    for format in ["jsonl", "csv"] {
        let top = save(&two, "top", &["-F", format, "-n", "1"]);
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &top]));
        assert_eq!(gave.out, "192.0.2.8: 2\nunknown: 1\n", "{format}");
        assert!(gave.err.contains("does not show all rows"), "{format}: {}", gave.err);
        let ports = save(&two, "ports", &["-F", format, "--by", "port"]);
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &ports]));
        assert_eq!(gave.out, "unknown: 3\n", "{format}");
        assert!(gave.err.contains("counts by port, so that"), "{format}: {}", gave.err);
    }
}

#[test]
fn shortfalls_of_a_jsonl_report_are_read_with_it() {
    let (one, _) = machines();
    let text = fs::read_to_string(save(&one, "one.jsonl", &["-F", "jsonl"])).unwrap();
    let text = text.replace("\"unreadable_lines\":0", "\"unreadable_lines\":2");
    let read = Record::new(&text).parse(&["-F", "json"]);
    assert!(read.out.contains("could not read 2 lines"), "{}", read.out);
    assert!(read.out.contains("\"complete\":false"), "{}", read.out);
}

#[test]
fn a_jsonl_report_that_is_cut_off_is_not_complete() {
    let (one, two) = machines();
    let text = fs::read_to_string(save(&two, "two.jsonl", &["-F", "jsonl"])).unwrap();
    let rows: String = text.split_inclusive('\n').take(2).collect();
    for cut in [rows.clone(), rows.clone() + "{\"kind\":\"rep"] {
        let cut = Record::new(&cut);
        let gave = cut.parse(&["-F", "json"]);
        let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
        assert_eq!((&report["total"], &report["complete"]), (&3.into(), &false.into()));
        assert!(report["warnings"].to_string().contains("it was cut off"), "{report}");
    }
    // What follows it counts all the same.
    let whole = fs::read_to_string(save(&one, "one.jsonl", &["-F", "jsonl"])).unwrap();
    let both = Record::new(&(whole + &rows));
    assert_eq!(both.plain(&["-q"]), "192.0.2.7: 5\n192.0.2.8: 2\n");
}

/// SIGUSR1 writes the tally so far, which the later ones have again.
#[test]
fn reports_of_one_run_count_once() {
    let head = |total: u64| {
        format!(
            "{{\"kind\":\"report\",\"schema\":2,\"source\":\"watch\",\"host\":\"a\",\"started\":\
             \"2026-11-22T11:00:00.000000Z\",\"ended\":null,\"complete\":true,\"total\":{total},\
             \"keys\":[\"ip\"]}}\n"
        )
    };
    let row = |count: u64, interval: &str| {
        format!(
            "{{\"kind\":\"row\",{interval}\"ip\":\"192.0.2.7\",\"count\":{count},\"first\":null,\
             \"last\":null}}\n"
        )
    };
    let whole = row(2, "") + &head(2) + &row(5, "") + &head(5);
    assert_eq!(Record::new(&whole).plain(&[]), "192.0.2.7: 5\n");
    let minute = |m: u32| {
        format!(
            "\"start\":\"2026-11-22T11:{m:02}:00.000000Z\",\"end\":\"2026-11-22T11:{:02}:00.000000Z\",",
            m + 1
        )
    };
    // The tally of the third has connections of an interval whose row has not been written yet.
    let rolling = row(2, &minute(0)) + &head(3) + &row(3, &minute(1)) + &head(6);
    let gave = Record::new(&rolling).parse(&["-F", "plain"]);
    assert_eq!(gave.out, "192.0.2.7: 5\nunknown: 1\n");
    assert!(gave.err.contains("1 connection in no interval"), "{}", gave.err);
    let documents = whole.replace("\"kind\":\"report\",", "\"rows\":[],");
    let documents: String =
        documents.split_inclusive('\n').filter(|line| line.contains("schema")).collect();
    let gave = Record::new(&documents).parse(&["-F", "json"]);
    assert!(gave.out.contains("\"total\":5"), "{}", gave.out);
}

#[test]
fn reports_of_one_day_are_compared_with_times_of_day() {
    let (one, _) = machines();
    let one = save(&one, "one.json", &["-F", "json"]);
    let total = |args: &[&str]| plain(&[&one], &[&["--strict"], args].concat());
    assert_eq!(total(&["--since", "11:00", "--until", "12:00"]), "192.0.2.7: 4\n");
    assert_eq!(total(&["--since", "23:00"]), "");
}

#[test]
fn a_record_that_is_given_twice_is_named() {
    let (one, _) = machines();
    let copy = one.beside("copy.log");
    fs::copy(&one.path, &copy).unwrap();
    let link = one.beside("link.log");
    std::os::unix::fs::symlink(&one.path, &link).unwrap();
    let packed = one.beside("packed.log.zst");
    fs::write(&packed, zstd::encode_all(&fs::read(&one.path).unwrap()[..], 0).unwrap()).unwrap();
    for (other, note, count) in [
        (&one.path, "is given twice, and read once", 4),
        (&link, "are the same file, which is read once", 4),
        (&copy, "have the same size and begin alike", 8),
        (&packed, "begin alike, and one of them is compressed", 8),
    ] {
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &one.path, other]));
        assert!(gave.err.contains(note), "{}", gave.err);
        assert_eq!(gave.out, format!("192.0.2.7: {count}\n"));
    }
}

#[test]
fn connections_without_a_time_beside_others_are_reported() {
    let (one, _) = machines();
    let none = one.beside("none.log");
    fs::write(&none, crate::support::unknown(NOON).split_once(' ').unwrap().1).unwrap();
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one.path, &none]));
    assert!(gave.err.contains("1 connection is among the 5 counted"), "{}", gave.err);
}
