//! TCP statistics from the events that watch has written.

use serde_json::{Value, json};

use crate::support::{Gave, Record, run, tcptally};

/// As `watch --events --format jsonl` writes it; of the last one nothing more is known.
fn events() -> Record {
    let event = |second: u64, host: u64, stats: Option<(f64, u64, u64, Option<f64>)>| {
        let mut event = json!({
            "time": format!("2026-11-22T11:30:{second:02}.500000Z"), "pid": null, "tid": null,
            "comm": null, "fd": null, "local_ip": "127.0.0.1", "local_port": 443,
            "peer_ip": format!("192.0.2.{host}"), "peer_port": 40000 + second,
        });
        if let Some((duration, bytes_in, bytes_out, rtt)) = stats {
            event["time_uncertainty"] = 0.25.into();
            event["duration"] = duration.into();
            event["duration_uncertainty"] = 0.0.into();
            event["bytes_in"] = bytes_in.into();
            event["bytes_out"] = bytes_out.into();
            event["rtt"] = rtt.into();
        }
        format!("{event}\n")
    };
    let all = [
        event(1, 7, Some((0.5, 100, 0, Some(0.0001)))),
        event(2, 7, Some((1.5, 300, 50, Some(0.0003)))),
        event(3, 8, Some((90.0, 5, 1_000_000, None))),
        event(12, 8, Some((0.002, 0, 0, None))),
        event(13, 7, Some((1.0, 20, 10, Some(0.0002)))),
        event(14, 9, None),
    ];
    Record::new(&all.concat())
}

const ALL: &str = "bytes,duration,rtt";

fn lines(gave: &Gave) -> Vec<&str> {
    gave.out.lines().collect()
}

#[test]
fn statistics_are_rounded_in_tables() {
    let gave = events().parse(&["--columns", ALL]);
    let words = |n: usize| lines(&gave)[n].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words(0),
        "ADDRESS COUNT BYTES IN BYTES OUT MEAN DURATION MAX DURATION MEAN RTT MAX RTT"
    );
    assert_eq!(words(1), "192.0.2.7 3 420 60 1.0s 1.5s 200us 300us");
    assert_eq!(words(2), "192.0.2.8 2 5 1000000 45.0s 90.0s - -");
    assert_eq!(words(3), "192.0.2.9 1 - - - - - -", "not known is not nothing");
    assert_eq!(words(4), "total 6 425 1000060 18.6s 90.0s 200us 300us");
    for note in [
        "1 connection is not in the sums of bytes",
        "1 connection is not in the columns of durations",
        "3 connections are not in the columns of round-trip times",
    ] {
        assert!(gave.unwrapped().contains(note), "{note}: {}", gave.out);
    }
    let plain = events().parse(&["-F", "plain", "--columns", "bytes,duration"]);
    assert_eq!(
        lines(&plain),
        [
            "192.0.2.7: 3 420 60 1.000000 1.500000",
            "192.0.2.8: 2 5 1000000 45.001000 90.000000",
            "192.0.2.9: 1 - - - -",
        ]
    );
    assert!(plain.err.contains("not in the sums of bytes"), "{}", plain.err);
}

#[test]
fn statistics_are_exact_in_csv_and_json() {
    let csv = events().parse(&["-F", "csv", "--columns", ALL, "--top", "1"]);
    assert_eq!(
        lines(&csv),
        [
            "kind,ip,count,first,last,bytes_in,bytes_out,duration_mean,duration_max,rtt_mean,rtt_max",
            "row,192.0.2.7,3,2026-11-22T11:30:01.500000Z,2026-11-22T11:30:13.500000Z,420,60,1.000000,\
             1.500000,0.000200,0.000300",
            "others,,3,2026-11-22T11:30:03.500000Z,2026-11-22T11:30:14.500000Z,5,1000000,\
             45.001000,90.000000,,",
        ]
    );
    let stats = |row: &Value| {
        ["bytes_in", "bytes_out", "duration_mean", "duration_max", "rtt_mean", "rtt_max"]
            .map(|name| row[name].clone())
    };
    let first = [json!(420), json!(60), json!(1.0), json!(1.5), json!(0.0002), json!(0.0003)];
    let json = events().parse(&["-F", "json", "--columns", ALL]);
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(stats(&report["rows"][0]), first);
    assert_eq!(stats(&report["rows"][2]), [const { Value::Null }; 6]);
    let jsonl = events().parse(&["-F", "jsonl", "--columns", ALL, "--top", "1"]);
    let rows: Vec<Value> = jsonl.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(stats(&rows[0]), first);
    assert_eq!((&rows[1]["keys"], &rows[1]["bytes_out"]), (&json!(2), &json!(1_000_000)));
    assert!(rows[2]["rows"].is_null());
    let without = events().parse(&["-F", "csv"]);
    assert_eq!(lines(&without)[0], "kind,ip,count,first,last", "only on request");
}

#[test]
fn the_most_bytes_first() {
    let gave = events().parse(&["-F", "plain", "--sort", "bytes", "--top", "1", "-q"]);
    assert_eq!(lines(&gave), ["192.0.2.8: 2 5 1000000", "others: 4 420 60"]);
}

#[test]
fn by_classes_of_them() {
    let gave = events().parse(&["-F", "csv", "--by", "duration,bytes", "--sort", "key"]);
    let rows: Vec<_> = lines(&gave)[1..].iter().map(|l| l.rsplitn(3, ',').nth(2)).collect();
    let expected = [
        "row,1-10ms,0,1",
        "row,100ms-1s,1-999B,1",
        "row,1-10s,1-999B,2",
        "row,10-100s,1-10MB,1",
        "row,,,1",
    ];
    assert_eq!(rows, expected.map(Some), "{}", gave.out);
}

/// Where only an upper bound of a duration is known, it is in no mean and no bucket.
#[test]
fn durations_of_which_only_a_bound_is_known_are_bounds() {
    let event = |host: u64, duration: f64, uncertainty: f64| {
        let event = json!({
            "time": "2026-11-22T11:30:01Z", "local_ip": "127.0.0.1", "local_port": 443,
            "peer_ip": format!("192.0.2.{host}"), "peer_port": 40000, "time_uncertainty": 0.5,
            "duration": duration, "duration_uncertainty": uncertainty,
            "bytes_in": 1, "bytes_out": 1, "rtt": null,
        });
        format!("{event}\n")
    };
    let all = [
        event(7, 0.55, 0.55),
        event(7, 3.0, 0.5),
        event(7, 5.0, 1.0),
        event(8, 0.55, 0.55),
        event(8, 0.4, 0.4),
        event(9, 9.5, 1.0),
        event(9, 0.5, 0.5),
    ];
    let record = Record::new(&all.concat());
    let gave = record.parse(&["--columns", "duration"]);
    let words = |n: usize| lines(&gave)[n].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(1), "192.0.2.7 3 4.0s 5.0s 11:30:01 11:30:01");
    assert_eq!(words(2), "192.0.2.8 2 <1.1s <1.1s 11:30:01 11:30:01");
    assert_eq!(words(3), "192.0.2.9 2 9.5s 9.5s 11:30:01 11:30:01");
    let note = "4 connections are not in the columns of durations, because only an upper bound";
    assert!(gave.unwrapped().contains(note), "{}", gave.out);
    let gave = record.parse(&["--columns", "duration", "-F", "csv"]);
    assert!(lines(&gave)[2].ends_with(",,"), "{}", gave.out);
    let gave = record.parse(&["-e", "--columns", "duration", "-F", "plain"]);
    assert_eq!(lines(&gave)[..2], ["192.0.2.7 <1.100000", "192.0.2.7 3.000000"]);
    let gave = record.parse(&["-e", "--columns", "duration"]);
    assert!(lines(&gave)[0].ends_with("  open <1.1s"), "{}", gave.out);

    let gave = record.parse(&["--by", "duration", "-F", "plain", "--sort", "key"]);
    assert_eq!(lines(&gave), ["1-10s: 2", "unknown: 5"]);
    assert!(gave.err.contains("5 connections are 'unknown' by duration"), "{}", gave.err);
}

#[test]
fn in_intervals_and_bounded() {
    let gave = events().parse(&["-i", "10s", "--columns", "bytes", "-F", "csv", "--by", "port"]);
    let rows = lines(&gave);
    assert!(rows[1].contains(",443,3,") && rows[1].ends_with(",405,1000050"), "{}", gave.out);
    assert!(rows[2].contains(",443,3,") && rows[2].ends_with(",20,10"), "{}", gave.out);
    let table = events().parse(&["-i", "10s", "--columns", "bytes"]);
    assert!(table.unwrapped().contains("11:30:00 3 405 1000050"), "{}", table.out);

    // What makes room takes its bytes to the others.
    let gave = events().parse(&["--max-keys", "2", "--columns", "bytes", "-F", "json"]);
    let report: Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!(report["approximate"], true);
    let rows = report["rows"].as_array().unwrap().iter().chain([&report["others"]]);
    let sums = rows.map(|r| ["count", "bytes_in", "bytes_out"].map(|n| r[n].as_u64().unwrap_or(0)));
    let all = sums.fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
    assert_eq!(all, [6, 425, 1_000_060], "{report}");
}

#[test]
fn statistics_of_single_connections_are_in_events() {
    let gave = events().parse(&["-e", "--columns", ALL]);
    assert!(lines(&gave)[1].ends_with("in 300  out 50  open 1.5s  rtt 300us"), "{}", gave.out);
    assert_eq!(gave.err, "");
    let gave = events().parse(&["-e", "-F", "plain", "--columns", "bytes,duration"]);
    assert_eq!(lines(&gave)[1], "192.0.2.7 300 50 1.500000");
    // What is written is read again.
    for format in ["csv", "jsonl"] {
        let record = Record::new(&events().parse(&["-e", "-F", format]).out);
        let gave = record.parse(&["-F", "plain", "--columns", "bytes,rtt", "-q"]);
        assert_eq!(lines(&gave)[0], "192.0.2.7: 3 420 60 0.000200 0.000300", "{format}");
    }
}

/// Reports have the sums of bytes; they do not have what means could be made of.
#[test]
fn bytes_of_merged_reports() {
    let report = events().parse(&["-F", "json", "--columns", ALL, "--top", "1", "--host", "a"]).out;
    let other = events().parse(&["-F", "json", "--columns", ALL, "--host", "b"]).out;
    let record = Record::new(&(report + &other));
    let gave = record.parse(&["-F", "plain", "--columns", "bytes,duration", "--by", "ip,bytes"]);
    assert_eq!(lines(&gave)[0], "192.0.2.7 unknown: 6 840 120 - -", "{}", gave.out);
    let unknown = lines(&gave).into_iter().find(|l| l.starts_with("unknown")).unwrap();
    assert_eq!(unknown, "unknown unknown: 3 5 1000000 - -", "{}", gave.out);
    assert!(gave.err.contains("no durations are known"), "{}", gave.err);
}

#[test]
fn records_that_know_nothing_of_it() {
    let gave = Record::small().parse(&["--columns", "bytes"]);
    let words: Vec<_> = lines(&gave)[1].split_whitespace().take(4).collect();
    assert_eq!(words, ["192.0.2.7", "3", "-", "-"]);
    assert!(gave.unwrapped().contains("no bytes are known"), "{}", gave.out);
}

#[test]
fn unsupported_uses_of_statistics_are_refused_with_a_hint() {
    for (args, hint) in [
        (&["trace", "--columns", "bytes", "--", "true"][..], "tcptally watch --port"),
        (&["trace", "--by", "ip,duration", "--", "true"], "tcptally watch --port"),
        (&["parse", "--columns", "bytes", "-F", "openmetrics"], "the other formats have"),
        (&["parse", "--sort", "bytes", "--max-keys", "9"], "leave out one of the two"),
        (&["parse", "--columns", "speed"], "possible values"),
        (&["watch", "--port", "1", "-i", "9s", "--columns", "rtt"], "--format json"),
        (&["watch", "--port", "1", "-i", "9s", "--by", "duration"], "--events --format jsonl"),
    ] {
        let gave = run(&mut tcptally(args));
        assert_eq!(gave.status, Some(2), "{args:?} {gave:?}");
        assert!(gave.err.contains(hint), "{args:?} {}", gave.err);
    }
}
