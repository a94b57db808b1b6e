//! --since, --until, --interval.

use crate::support::{NOON, Record, line, run, tcptally};

/// How many of the record pass.
fn total(record: &Record, args: &[&str]) -> u64 {
    let gave = record.parse(&[&["-F", "json"], args].concat());
    assert_eq!(gave.status, Some(0), "{args:?} {}", gave.err);
    let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    report["total"].as_u64().unwrap()
}

#[test]
fn all_forms_of_a_time() {
    let record = Record::small();
    for (since, passed) in [
        ("2026-11-22T11:30:05.25Z", 6),
        ("2026-11-22T11:30:05.250001Z", 5),
        ("2026-11-22T12:30:08+01:00", 3),
        ("2026-11-22 11:31", 2),
        ("2026-11-22", 6),
        ("2026-11-23", 0),
        ("1795347070", 2),
        ("1795347080.6", 0),
        ("11:31:15", 1),
    ] {
        assert_eq!(total(&record, &["--since", since]), passed, "--since {since}");
        assert_eq!(total(&record, &["--until", since]), 6 - passed, "--until {since}");
    }
    assert_eq!(total(&record, &["--since", "11:30:06", "--until", "11:30:08"]), 2);
    assert_eq!(total(&record, &["--since", "11:31", "--until", "11:30:06"]), 3, "over midnight");
    assert_eq!(total(&record, &["--until", "1m ago"]), 6);
    let tokyo =
        run(tcptally(&["parse", "-F", "plain", "--since", "2026-11-22 20:31", &record.path])
            .env("TZ", "Asia/Tokyo"));
    assert_eq!(tokyo.out, "192.0.2.9: 1\n192.0.2.10: 1\n");
}

#[test]
fn since_the_beginning_of_a_record_without_a_clock() {
    let accept = |since: f64, ip| {
        format!(
            "{since:>11.6} accept(3, {{sa_family=AF_INET, sin_port=htons(4000), \
             sin_addr=inet_addr(\"{ip}\")}}, [16]) = 4\n"
        )
    };
    let lines = [accept(0.0, "127.0.0.1"), accept(80.0, "127.0.0.2"), accept(20.0, "127.0.0.3")];
    let record = Record::new(&lines.concat());
    assert_eq!(total(&record, &["--since", "+90s"]), 1);
    assert_eq!(total(&record, &["--until", "+90s"]), 2);
    let gave = record.parse(&["--since", "11:30"]);
    assert!(gave.unwrapped().contains("--start says"), "{}", gave.out);
    let gave = Record::small().parse(&["--since", "+90s"]);
    assert!(gave.unwrapped().contains("give --since and --until a date"), "{}", gave.out);
}

#[test]
fn a_record_without_times_is_not_said_to_have_clock_times() {
    let gave = Record::new("accept(3, NULL, NULL) = 4\n").parse(&["--since", "+90s"]);
    assert!(gave.unwrapped().contains("need the time, which is not known"), "{}", gave.out);
}

#[test]
fn a_time_of_day_is_that_of_every_day_and_says_so() {
    let lines = line(NOON, "127.0.0.1", 80)
        + &line(NOON + 86_400.0, "127.0.0.1", 80)
        + &line(NOON + 90_000.0, "127.0.0.1", 80);
    let gave = Record::new(&lines).parse(&["--since", "11:00", "--until", "12:00"]);
    assert!(gave.out.contains("2 connections from 1 address"), "{}", gave.out);
    assert!(gave.unwrapped().contains("on each day"), "{}", gave.out);
}

#[test]
fn a_period_without_connections_says_where_they_are() {
    let gave = Record::small().parse(&["--since", "12:00"]);
    assert!(
        gave.unwrapped().contains("the connections are from 2026-11-22 11:30:05 to 11:31:20 UTC"),
        "{}",
        gave.out
    );
}

#[test]
fn intervals_are_aligned_and_without_gaps() {
    assert_eq!(
        Record::small().plain(&["-i", "20s", "-n", "1"]),
        "\
2026-11-22T11:30:00+00:00 192.0.2.7: 3
2026-11-22T11:30:00+00:00 others: 1
2026-11-22T11:30:20+00:00 none: 0
2026-11-22T11:30:40+00:00 none: 0
2026-11-22T11:31:00+00:00 192.0.2.9: 1
2026-11-22T11:31:20+00:00 192.0.2.10: 1
192.0.2.7: 3
others: 3
"
    );
    let gave = Record::small().parse(&["-i", "1m", "--until", "11:31:05", "--from", "192.0.2.7"]);
    assert!(
        gave.out.starts_with(
            "2026-11-22    COUNT  0..10       192.0.2.7   others\n11:30:00          3  ███                 3        0\n"
        ),
        "{}",
        gave.out
    );
    let csv = Record::small().parse(&["-i", "30s", "-F", "csv"]).out;
    assert!(csv.starts_with("kind,start,end,partial,ip,count,first,last\n"), "{csv}");
    assert!(
        csv.contains("2026-11-22T11:30:30.000000Z,2026-11-22T11:31:00.000000Z,false,,0,,\n"),
        "{csv}"
    );
    let sum: u64 =
        csv.lines().skip(1).map(|l| l.split(',').nth(5).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 6);
}

#[test]
fn empty_intervals_of_the_whole_period_are_rows() {
    let record = Record::small();
    let args =
        ["-i", "1m", "-F", "json", "--since", "2026-11-22 11:29", "--until", "2026-11-22 11:33"];
    let report: serde_json::Value = serde_json::from_str(&record.parse(&args).out).unwrap();
    let totals: Vec<_> = report["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["total"].as_u64().unwrap())
        .collect();
    assert_eq!(totals, [0, 4, 2, 0]);
    assert_eq!(report["intervals"][0]["start"], "2026-11-22T11:29:00.000000Z");
    assert_eq!(report["intervals"][1]["rows"][0]["ip"], "192.0.2.7");
}

#[test]
fn lines_that_run_backwards_land_where_they_belong() {
    let times = [70.0, 5.0, 65.0, 1.0, 125.0, 10.0];
    let lines: String = times.iter().map(|t| line(NOON + t, "127.0.0.1", 80)).collect();
    assert_eq!(
        Record::new(&lines).plain(&["-i", "1m"]),
        "\
2026-11-22T11:30:00+00:00 127.0.0.1: 3
2026-11-22T11:31:00+00:00 127.0.0.1: 2
2026-11-22T11:32:00+00:00 127.0.0.1: 1
127.0.0.1: 6
"
    );
}

#[test]
fn a_day_when_clocks_are_set() {
    // From midnight to midnight in Berlin, a connection every half hour.
    let every_half_hour = |from: f64, n: u32| -> String {
        (0..n).map(|i| line(from + 1800.0 * f64::from(i), "127.0.0.1", 80)).collect()
    };
    for (zone, midnight, halves) in [
        ("Europe/Berlin", 1_774_738_800.0, 46),    // 2026-03-29
        ("Europe/Berlin", 1_792_879_200.0, 50),    // 2026-10-25
        ("America/New_York", 1_772_946_000.0, 46), // 2026-03-08
        ("America/New_York", 1_793_505_600.0, 50), // 2026-11-01
    ] {
        let record = Record::new(&every_half_hour(midnight - 86_400.0, 48 + halves + 48));
        let rows = |length: &str| {
            run(tcptally(&["parse", "-F", "plain", "-i", length, &record.path]).env("TZ", zone)).out
        };
        let days = rows("1d");
        let counts: Vec<&str> = days.lines().map(|l| l.rsplit_once(' ').unwrap().1).collect();
        let day = halves.to_string();
        assert_eq!(counts[..3], ["48", &day, "48"], "{zone} {days}");
        let hours = rows("1h");
        assert_eq!(hours.lines().count() as u32, (48 + halves + 48) / 2 + 1, "{zone}");
        assert!(hours.lines().filter(|l| l.contains('T')).all(|l| l.ends_with(": 2")), "{hours}");
    }
}

#[test]
fn a_period_over_midnight_says_so() {
    let gave = Record::small().parse(&["--since", "15:00", "--until", "14:00"]);
    assert!(gave.unwrapped().contains("from 15:00:00 to midnight and from"), "{}", gave.out);
}

#[test]
fn errors_of_times_name_only_forms_that_the_command_takes() {
    for (command, takes_past) in
        [(&["parse"][..], true), (&["watch", "--port", "1"], false), (&["trace", "-p", "1"], false)]
    {
        for option in ["--since", "--until"] {
            let gave = run(&mut tcptally(&[command, &[option, "10 minutes"]].concat()));
            assert_eq!(gave.status, Some(2), "{}", gave.err);
            assert!(gave.err.contains("+90s"), "{command:?} {option}: {}", gave.err);
            assert_eq!(gave.err.contains("ago"), takes_past, "{command:?} {option}: {}", gave.err);
        }
    }
}
