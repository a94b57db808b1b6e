//! What each format looks like.

use crate::support::{NOON, Record, line, run, tcptally, unknown};

#[test]
fn a_table_has_counts_and_times() {
    let gave = Record::small().parse(&["--port", "443"]);
    assert_eq!(
        gave.out,
        "\
ADDRESS                                 COUNT   SHARE            FIRST      LAST
192.0.2.7                                   2   50.0%  █████  11:30:05  11:30:06
192.0.2.10                                  1   25.0%  ██▌    11:31:20  11:31:20
2001:db8:1111:2222:3333:4444:5555:6666      1   25.0%  ██▌    11:30:07  11:30:07
total                                       4                 11:30:05  11:31:20

4 connections from 3 addresses, 2026-11-22 11:30:05 to 11:31:20 UTC; 2 others
were excluded by your filters
"
    );
    assert_eq!((gave.err.as_str(), gave.status), ("", Some(0)));
}

#[test]
fn a_table_of_the_longest_addresses_and_many_connections_fits_80_columns() {
    let ip = "2001:db8:1111:2222:3333:4444:255.255.255.255"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .to_string();
    let lines: String = (0..30_000).map(|i| line(NOON + f64::from(i), &ip, 443)).collect();
    let gave = Record::new(&lines).parse(&[]);
    assert!(gave.out.contains("30000"), "{}", gave.out);
    for line in gave.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_table_shows_dates_in_another_zone_and_over_midnight() {
    let record = Record::new(&(line(NOON, "192.0.2.7", 80) + &line(NOON + 43_200.0, "::1", 80)));
    let gave = run(tcptally(&["parse", &record.path]).env("TZ", "Asia/Tokyo"));
    assert!(gave.out.contains("192.0.2.7      1   50.0%"), "{}", gave.out);
    assert!(gave.out.contains("  11-22 20:30  11-22 20:30\n"), "{}", gave.out);
    assert!(
        gave.out.ends_with(" 2026-11-22 20:30:00 to 2026-11-23 08:30:00 JST\n"),
        "{}",
        gave.out
    );
}

#[test]
fn plain_has_a_line_for_each_row() {
    assert_eq!(
        Record::small().plain(&[]),
        "192.0.2.7: 3\n192.0.2.9: 1\n192.0.2.10: 1\n2001:db8:1111:2222:3333:4444:5555:6666: 1\n"
    );
}

#[test]
fn events_of_a_large_log_in_csv_have_one_line_of_headings() {
    // More than one thread takes at a time.
    let count = 12_000;
    let lines: String =
        (0..count).map(|i| line(NOON + f64::from(i % 600), "192.0.2.7", 443)).collect();
    assert!(lines.len() > 1 << 20);
    let record = Record::new(&lines);
    let gave = record.parse(&["--events", "-F", "csv"]);
    let headings = gave.out.lines().filter(|l| l.starts_with("time,")).count();
    assert_eq!((headings, gave.out.lines().count()), (1, count as usize + 1));
    assert!(gave.out.starts_with("time,"), "{}", &gave.out[..100]);
    let again = Record::new(&gave.out).parse(&["-F", "plain"]);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("192.0.2.7: 12000\n", ""));
}

#[test]
fn csv_has_headings_rows_and_the_sum_of_others() {
    let gave = Record::small().parse(&["-F", "csv", "--by", "port,ip", "--top", "1"]);
    assert_eq!(
        gave.out,
        "\
kind,port,ip,count,first,last
row,443,192.0.2.7,2,2026-11-22T11:30:05.250000Z,2026-11-22T11:30:06.000000Z
others,,,4,2026-11-22T11:30:07.000000Z,2026-11-22T11:31:20.500000Z
"
    );
}

#[test]
fn json_has_totals_and_rows_in_one_object() {
    let gave = Record::small().parse(&["-F", "json", "--from", "192.0.2.0/24", "--host", "web1"]);
    let mut report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    let inputs = report.as_object_mut().unwrap().remove("inputs").unwrap();
    assert_eq!(inputs[0]["total"], 5);
    assert_eq!(
        report,
        serde_json::json!({
            "schema": 2, "source": "parse", "host": "web1", "engine": "strace",
            "started": null, "ended": null, "complete": true,
            "total": 5, "addresses": 3, "unknown_peer": 0, "unknown_port": 0, "unknown_time": 0,
            "lost": 0, "filtered": 1, "unreadable_lines": 0, "warnings": [],
            "keys": ["ip"], "approximate": false,
            "rows": [
                {"ip": "192.0.2.7", "count": 3, "first": "2026-11-22T11:30:05.250000Z",
                 "last": "2026-11-22T11:30:08.000000Z"},
                {"ip": "192.0.2.9", "count": 1, "first": "2026-11-22T11:31:10.000000Z",
                 "last": "2026-11-22T11:31:10.000000Z"},
                {"ip": "192.0.2.10", "count": 1, "first": "2026-11-22T11:31:20.500000Z",
                 "last": "2026-11-22T11:31:20.500000Z"},
            ],
        })
    );
}

#[test]
fn jsonl_has_rows_others_and_the_report_a_line_each() {
    let gave = Record::small().parse(&["-F", "jsonl", "-n", "1", "--by", "net"]);
    let lines: Vec<serde_json::Value> =
        gave.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["net"], "192.0.2.0/24");
    assert_eq!(lines[0]["count"], 5);
    assert_eq!((&lines[1]["keys"], &lines[1]["count"]), (&1.into(), &1.into()));
    let kinds: Vec<_> = lines.iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["row", "others", "report"]);
    assert_eq!(lines[2]["schema"], 2);
    assert_eq!(lines[2]["total"], 6);
}

#[test]
fn openmetrics_has_totals_and_the_largest_rows() {
    let gave = Record::small().parse(&["-F", "openmetrics", "-n", "1"]);
    for line in [
        "tcptally_connections_total 6\n",
        "tcptally_addresses 4\n",
        "tcptally_top_connections_total{ip=\"192.0.2.7\"} 3\n",
        "tcptally_other_connections 3\n",
        "# EOF\n",
    ] {
        assert!(gave.out.contains(line), "{line}{}", gave.out);
    }
}

#[test]
fn a_table_of_intervals_has_the_largest_rows_as_columns() {
    let mut lines = String::new();
    for minute in 0..3 {
        for i in 0..10 + 30 * minute {
            lines += &line(NOON + f64::from(60 * minute), ["192.0.2.7", "::1"][i as usize % 2], 80);
        }
    }
    lines += &line(NOON + 180.0, "198.51.100.9", 80).repeat(9);
    let gave = Record::new(&lines).parse(&["-i", "1m"]);
    let expected = "\
2026-11-22    COUNT  0..10       192.0.2.7    ::1  198.51.100.9   others
11:30:00         10  ██████████          5      5             0        0
2026-11-22    COUNT  0..50       192.0.2.7    ::1  198.51.100.9   others
11:31:00         40  ████████           20     20             0        0
2026-11-22    COUNT  0..100      192.0.2.7    ::1  198.51.100.9   others
11:32:00         70  ███████            35     35             0        0
11:33:00          9  █                   0      0             9        0

";
    assert!(gave.out.starts_with(expected), "{}", gave.out);
}

#[test]
fn the_columns_of_intervals_change_before_most_connections_are_others() {
    let few = line(NOON, "192.0.2.7", 80).repeat(9);
    let many: String =
        (0..12).map(|i| line(NOON, &format!("192.0.2.{}", 100 + i), 80).repeat(9)).collect();
    let late = line(NOON + 60.0, "198.51.100.9", 80).repeat(5);
    let gave = Record::new(&(few + &many + &late)).parse(&["-i", "1m"]);
    assert!(gave.out.contains("  198.51.100.9   others\n11:31:00          5  "), "{}", gave.out);
}

#[test]
fn a_histogram_has_all_of_the_time() {
    let lines: String =
        (0..600).map(|i| line(NOON + f64::from(i * i) / 100.0, "192.0.2.7", 443)).collect();
    let gave = Record::new(&lines).parse(&["--histogram"]);
    let (chart, table) = gave.out.split_once("\n\n").unwrap();
    let chart: Vec<_> = chart.lines().collect();
    assert_eq!(
        (chart.len(), chart[0]),
        (11, "Connections over time, each bar 1 min"),
        "{}",
        gave.out
    );
    assert!(chart[8].matches('█').count() > 20, "{}", gave.out);
    assert!(chart[10].contains("12:00"), "{}", gave.out);
    assert!(table.starts_with("ADDRESS "), "{}", gave.out);
    assert!(gave.out.lines().all(|line| line.chars().count() <= 80), "{}", gave.out);
    let gave = Record::small().parse(&["--histogram", "-F", "csv"]);
    assert!(gave.status == Some(2) && gave.err.contains("--format svg"), "{}", gave.err);
}

#[test]
fn html_has_totals_and_rows_that_no_script_makes() {
    let record = Record::small();
    let gave = record.parse(&["-F", "html", "-n", "2", "--host", "web1"]);
    for part in [
        "<h1>6 connections from 4 addresses</h1>",
        "<p class=\"source\">tcptally parse on web1 · strace</p>",
        "<p class=\"period\">2026-11-22 11:30:05 to 11:31:20 UTC</p>",
        "<td class=\"key\"><i class=\"s0\"></i>192.0.2.7</td><td class=\"n\">3</td>",
        "<th scope=\"row\" class=\"key\">others (2)</th>",
        "Connections over time<small>, each bar 1 s</small>",
    ] {
        assert!(gave.out.contains(part), "{part}{}", gave.out);
    }
    assert_eq!((gave.err.as_str(), gave.status), ("", Some(0)));
    let unknown = Record::new(&unknown(NOON)).parse(&["-F", "html", "--port", "80", "-q"]);
    let text = unknown.out;
    assert!(text.contains("class=\"state incomplete\"") && text.contains("--port needs"), "{text}");
}

#[test]
fn the_timeline_has_all_connections_in_html_and_svg() {
    let lines: String =
        (0..5000).map(|i| line(NOON + f64::from(i * i) / 250.0, "192.0.2.7", 443)).collect();
    let record = Record::new(&lines);
    let html = record.parse(&["-F", "html"]).out;
    let json = html.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(json).unwrap();
    let bars = data["head"]["bars"].as_array().unwrap();
    let total: u64 = bars.iter().map(|bar| bar["total"].as_u64().unwrap()).sum();
    assert_eq!(total, 5000);
    assert!((50..=241).contains(&bars.len()), "{}", bars.len());
    let svg = record.parse(&["-F", "svg"]);
    assert!(svg.out.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{}", svg.out);
    assert!(svg.out.contains("5,000 connections from 1 address</text>"), "{}", svg.out);
    assert!(svg.out.trim_end().ends_with("</svg>"));
}

#[test]
fn events_have_no_form_in_a_page_or_a_picture() {
    for format in ["html", "svg"] {
        let gave = Record::small().parse(&["--events", "-F", format]);
        assert_eq!(gave.status, Some(2));
        assert!(gave.err.contains("give --format jsonl or csv"), "{}", gave.err);
    }
}

#[test]
fn events_have_the_same_columns_in_csv_and_jsonl() {
    let record = Record::small();
    let filter = ["--port", "443", "--not-from", "192.0.2.7", "--host", "web1"];
    let gave = record.parse(&[&["-e", "-F", "csv"], &filter[..]].concat());
    assert_eq!(
        gave.out,
        "\
time,elapsed,time_uncertainty,host,pid,tid,comm,fd,local_ip,local_port,peer_ip,peer_port,bytes_in,\
bytes_out,duration,duration_uncertainty,rtt
2026-11-22T11:30:07.000000Z,,,web1,,,,4,2001:db8::1,443,2001:db8:1111:2222:3333:4444:5555:6666,\
40000,,,,,
2026-11-22T11:31:20.500000Z,,,web1,,,,4,127.0.0.1,443,192.0.2.10,40000,,,,,
"
    );
    let gave = record.parse(&["-e", "-F", "jsonl", "--host", "web1"]);
    let first = gave.out.lines().next().unwrap();
    assert_eq!(
        first,
        "{\"time\":\"2026-11-22T11:30:05.250000Z\",\"elapsed\":null,\"time_uncertainty\":null,\
         \"host\":\"web1\",\"pid\":null,\"tid\":null,\"comm\":null,\"fd\":4,\
         \"local_ip\":\"127.0.0.1\",\"local_port\":443,\"peer_ip\":\"192.0.2.7\",\
         \"peer_port\":40000,\"bytes_in\":null,\"bytes_out\":null,\"duration\":null,\
         \"duration_uncertainty\":null,\"rtt\":null}"
    );
    let gave = record.parse(&["-e"]);
    assert!(
        gave.out.starts_with("2026-11-22 11:30:05.250000  192.0.2.7:40000 -> 127.0.0.1:443\n"),
        "{}",
        gave.out
    );
}

/// Neither column mixes types, and the machine that counted is always named.
#[test]
fn elapsed_times_have_a_column_of_their_own() {
    let accept = line(0.0, "192.0.2.7", 80);
    let accept = accept.split_once(' ').unwrap().1;
    let record = Record::new(&format!("     0.000000 {accept}     1.500000 {accept}"));
    let csv = record.parse(&["-e", "-F", "csv", "--host", "web1"]);
    let rows: Vec<_> = csv.out.lines().skip(1).collect();
    assert!(
        rows[0].starts_with(",0.0,,web1,") && rows[1].starts_with(",1.5,,web1,"),
        "{}",
        csv.out
    );
    let jsonl = record.parse(&["-e", "-F", "jsonl"]);
    let last: serde_json::Value = serde_json::from_str(jsonl.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["time"], &last["elapsed"]), (&serde_json::Value::Null, &1.5.into()));
    assert!(last["host"].as_str().is_some_and(|host| !host.is_empty()), "{last}");
    for events in [csv.out, jsonl.out] {
        let read = Record::new(&events).parse(&["-F", "csv"]);
        assert!(read.out.contains("row,192.0.2.7,2,+0.000000s,+1.500000s"), "{}", read.out);
    }
}

#[test]
fn shortfalls_of_a_count_are_reported() {
    let record = Record::new(&(line(NOON, "192.0.2.7", 80) + &unknown(NOON) + &unknown(NOON)));
    let gave = record.parse(&[]);
    assert!(gave.out.contains("unknown        2   66.7%"), "{}", gave.out);
    assert!(gave.out.contains("\nnote: 2 connections were counted although"), "{}", gave.out);
    let gave = record.parse(&["-F", "plain", "--port", "80", "--from", "192.0.2.0/24"]);
    assert_eq!(gave.out, "192.0.2.7: 1\n");
    assert!(
        gave.err.contains("tcptally: 2 connections were left out because --port"),
        "{}",
        gave.err
    );
    let gave = record.parse(&["-F", "plain", "--from", "192.0.2.0/24", "--quiet"]);
    assert_eq!((gave.out.as_str(), gave.err.as_str()), ("192.0.2.7: 1\n", ""));
    let gave = record.parse(&["-F", "json", "--not-from", "10.0.0.0/8"]);
    let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!((&report["total"], &report["unknown_peer"]), (&1.into(), &2.into()));
}

#[test]
fn names_from_a_record_cannot_command_a_terminal() {
    let evil = "12 <a\u{1b}[2J> 1795347000.000000 accept(3, {sa_family=AF_INET, \
                sin_port=htons(4000), sin_addr=inet_addr(\"127.0.0.2\")}, [16]) = 4\n";
    for format in ["table", "plain"] {
        let gave = Record::new(evil).parse(&["--by", "comm,ip", "-F", format]);
        assert!(!gave.out.contains('\u{1b}'), "{:?}", gave.out);
    }
}

#[test]
fn color_is_for_terminals() {
    let record = Record::small();
    assert!(!record.parse(&[]).out.contains('\u{1b}'));
    assert!(record.parse(&["--color", "always"]).out.contains("\u{1b}[32m█"));
    let auto = run(tcptally(&["parse", &record.path]).env("CLICOLOR_FORCE", "1"));
    assert!(auto.out.contains('\u{1b}'));
    let none = run(tcptally(&["parse", &record.path]).env("NO_COLOR", "1"));
    assert!(!none.out.contains('\u{1b}'));
}
