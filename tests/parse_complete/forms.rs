//! Several forms of one format in a file, and forms that lack something: a heading, a priority.

use crate::formats::{report_of, testdata};
use crate::records::*;

#[test]
fn a_table_of_tshark_beside_another_is_counted_or_reported() {
    const ORDERS: [[usize; 6]; 3] = [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], [5, 0, 2, 1, 4, 3]];
    const NAMES: [&str; 6] =
        ["frame.time_epoch", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.flags"];
    let table = |order: [usize; 6], separator: &str, port: u16, has_heading: bool| {
        let line = |cells: [String; 6]| order.map(|at| cells[at].clone()).join(separator) + "\n";
        let rows = (0..4).flat_map(|n| {
            let (client, server) = (format!("198.51.100.{}", 7 + n), "192.0.2.77".to_owned());
            let (from, to) = ((port + n).to_string(), "443".to_owned());
            let time = |us: u16| format!("1795345122.200{:03}000", us + n);
            let syn = [
                time(0),
                client.clone(),
                server.clone(),
                from.clone(),
                to.clone(),
                "0x0002".into(),
            ];
            [line(syn), line([time(9), server, client, to, from, "0x0012".into()])]
        });
        let heading = has_heading.then(|| line(NAMES.map(String::from)));
        heading.into_iter().chain(rows).collect::<String>()
    };
    for (one, other) in ORDERS.into_iter().flat_map(|one| ORDERS.map(|other| (one, other))) {
        for (separator, second) in [("\t", "\t"), ("\t", ","), (",", "\t")] {
            for (first_is_named, second_is_named) in [(true, false), (false, true), (true, true)] {
                let text = table(one, separator, 40000, first_is_named)
                    + &table(other, second, 50000, second_is_named);
                let report = report_of(&text);
                let is_whole = report["total"] == 8;
                assert!(is_whole || report["complete"] == false, "{text}{report}");
            }
        }
    }
}

#[test]
fn lines_of_nginx_at_two_levels_count_each_connection_once() {
    let accept = |n: u32| {
        format!(
            "2026/11/22 10:58:42 [debug] 912#912: *{n} accept: 198.51.100.7:{} fd:3\n",
            40000 + n
        )
    };
    let stream = |process: u32, n: u32| {
        format!(
            "2026/11/22 10:58:42 [info] {process}#{process}: *{n} client 198.51.100.7:{} connected to 0.0.0.0:53\n",
            40000 + n
        )
    };
    for (text, total) in [
        (accept(1) + &stream(912, 1) + &accept(2) + &stream(912, 2), 2),
        (accept(1) + &stream(912, 1) + &stream(7, 1) + &stream(7, 2), 3),
        (stream(7, 1) + &stream(7, 2) + &accept(1), 3),
        (stream(912, 1) + &accept(1), 1),
    ] {
        let report = report_of(&text);
        assert_eq!(
            (&report["total"], &report["complete"]),
            (&total.into(), &true.into()),
            "{text}{report}"
        );
    }
}

#[test]
fn a_summary_of_systemtap_is_compared_with_the_lines_before_it() {
    let line = |host: u32| SYSTEMTAP.replace("100.7", &format!("100.{host}"));
    let summary = |counts: &[(u32, u32)]| {
        let count = |(host, count): &(u32, u32)| format!("198.51.100.{host}: {count}\n");
        "=== Summary ===\n".to_owned() + &counts.iter().map(count).collect::<String>()
    };
    let run = line(7) + &line(7) + &line(8);
    for (text, total, is_complete) in [
        (run.clone() + &summary(&[(7, 2), (8, 1)]), 3, true),
        (run.clone() + &summary(&[(9, 4), (10, 1)]), 8, true),
        (summary(&[(7, 2), (8, 1)]) + &run, 6, true),
        (run.clone() + &summary(&[(7, 2), (8, 1)]) + &run + &summary(&[(7, 2), (8, 1)]), 6, true),
        (run.clone() + &summary(&[(7, 2)]) + &summary(&[(9, 1)]), 4, false),
        (run.clone() + &summary(&[(7, 5), (8, 1)]), 6, false),
        ("198.51.100.7: 2\n198.51.100.8: 1\n=== Summary ===\n".to_owned() + &run, 3, true),
        ("198.51.100.7: 2\n198.51.100.8: 9\n=== Summary ===\n".to_owned() + &run, 3, false),
    ] {
        let report = report_of(&text);
        assert_eq!(
            (&report["total"], &report["complete"]),
            (&total.into(), &is_complete.into()),
            "{text}{report}"
        );
    }
}

#[test]
fn records_that_must_be_converted_do_not_hide_those_before_them() {
    let azure = "azure-flow/nsg-v2/PT1H.json";
    for first in [
        "audit/auditd-3.0-enriched/audit.log",
        "audit/ausearch-i-3.0/ausearch.txt",
        "vpc-flow/athena-csv/flow.csv",
        "falco/json-fields-syslog/syslog",
        "gvisor/json-k8s/runsc.json",
    ] {
        for pair in [[first, azure], [azure, first]] {
            let text = pair.map(testdata).concat();
            let report = report_of(text);
            assert_eq!(report["complete"], false, "{pair:?}: {report}");
            assert!(report["warnings"].to_string().contains("at least "), "{pair:?}: {report}");
        }
    }
}

#[test]
fn connections_without_a_time_or_a_port_are_reported_beside_another_record() {
    let asa = "asa/asa-9-timestamp/asa.log";
    for other in ["systemtap/summary-only/tap.txt", "truss/solaris-10-plain/truss.txt"] {
        for pair in [[asa, other], [other, asa]] {
            let report = report_of(pair.map(testdata).concat());
            assert_eq!(report["complete"], false, "{pair:?}: {report}");
        }
    }
}

#[test]
fn two_runs_of_perf_trace_are_counted_or_reported() {
    let all = ["accept-alone-T-6.1", "all-calls-of-4.x", "socket-and-bind-6.1"]
        .map(|name| testdata(&format!("perf-trace/{name}/trace.txt")));
    let totals = all.each_ref().map(|text| report_of(text)["total"].as_u64().unwrap());
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            let report = report_of([&one[..], other].concat());
            let is_whole = report["total"] == totals[at] + totals[other_at];
            assert!(is_whole || report["complete"] == false, "{at} {other_at}: {report}");
        }
    }
    let line = |ms: &str, call: &str| format!("  {ms} ( 0.002 ms): {call}\n");
    let unix = line("0.000", "socket(family: LOCAL, type: STREAM)   = 5")
        + &line("3.000", "accept4(fd: 4, upeer_sockaddr: 0x7f)  = 6");
    let inet = line("0.000", "accept4(fd: 5, upeer_sockaddr: 0x7f)  = 6")
        + &line("2.000", "accept4(fd: 5, upeer_sockaddr: 0x7f)  = 6");
    let report = report_of(unix + &inet);
    assert_eq!((&report["total"], &report["complete"]), (&3.into(), &false.into()), "{report}");
    assert!(report["warnings"].to_string().contains("2 connections may be of Unix"), "{report}");
}

#[test]
fn a_session_that_is_logged_twice_counts_once() {
    let with = |one: &str, end: &str, number: &str| one.replace(end, &format!("{number}{end}"));
    let forti = |number: u32| with(FORTI, " srcip=", &format!(" sessionid={number}"));
    let long = forti(7).replace("0000000013", "0000000020").replace("\"close\"", "\"accept\"");
    let start = forti(7).replace("\"close\"", "\"start\"");
    let eve = |number: u32| with(EVE, "\"event_type\"", &format!("\"flow_id\":{number},"));
    for text in
        [[start, long, forti(7), forti(7), forti(8)].concat(), [eve(7), eve(7), eve(8)].concat()]
    {
        let report = report_of(&text);
        assert_eq!(
            (&report["total"], &report["complete"]),
            (&2.into(), &true.into()),
            "{text}{report}"
        );
    }
}

#[test]
fn tables_without_their_heading_are_read() {
    for (one, format) in [(TRACER, "tcptracer"), (STATES, "tcpstates"), (LIFE, "tcplife")] {
        let row = one.split_once('\n').unwrap().1;
        let report = report_of(row.repeat(3));
        assert_eq!((&report["total"], &report["complete"]), (&3.into(), &true.into()), "{report}");
        assert_eq!(report["engine"], format, "{report}");
    }
}

#[test]
fn lines_of_rfc_5424_are_read_without_their_priority() {
    let header = |app: &str| format!("1 2026-11-22T10:58:42.123456+00:00 gw {app} ");
    let rest = |one: &str, mark: &str| one[one.find(mark).unwrap()..].to_owned();
    for (app, text, format) in [
        ("kernel - - -", rest(LOG, "IN="), "netfilter"),
        ("filterlog 7 - -", rest(FILTERLOG, "5,,,"), "filterlog"),
        ("fw - - -", FORTI.to_owned(), "fortigate"),
        (
            "sshd 912 - -",
            "Connection from 198.51.100.7 port 40755 on 192.0.2.77 port 22\n".to_owned(),
            "server-log",
        ),
        ("strace 912 - -", ACCEPT.to_owned(), "strace"),
        ("haproxy 7 - [a@1 b=\"c\"]", rest(HANDSHAKE, "198.51"), "haproxy"),
    ] {
        for version in ["", "<13>"] {
            let line = format!("{version}{}{text}", header(app));
            let other = format!("{version}{}{}", header(app), text.replace("40755", "40756"));
            let report = report_of(line.clone() + &other);
            assert_eq!(
                (&report["total"], &report["complete"], &report["engine"]),
                (&2.into(), &true.into(), &format.into()),
                "{line}{report}"
            );
            let has_time =
                report["rows"][0]["first"].as_str().is_some_and(|t| t.starts_with("2026-11-22T"));
            assert!(has_time, "{line}{report}");
        }
    }
}

#[test]
fn flows_of_amazon_in_objects_are_read() {
    let insights = r#"{"results": [[{"field": "@timestamp", "value": "2026-11-22 10:58:42.000"},
        {"field": "srcAddr", "value": "198.51.100.7"}, {"field": "dstAddr", "value": "192.0.2.77"},
        {"field": "srcPort", "value": "40755"}, {"field": "dstPort", "value": "443"},
        {"field": "protocol", "value": "6"}, {"field": "action", "value": "ACCEPT"},
        {"field": "tcpFlags", "value": "2"}, {"field": "logStatus", "value": "OK"}]], "status": "Complete"}"#;
    let list = format!("[{},\n{}]", VPC_OBJECT.trim(), VPC_OBJECT.replace("40755", "40756"));
    for (text, total) in [(insights, 1), (VPC_OBJECT, 1), (&list, 2)] {
        let report = report_of(text);
        assert_eq!(
            (&report["total"], &report["complete"], &report["engine"]),
            (&total.into(), &true.into(), &"vpc-flow".into()),
            "{text}{report}"
        );
    }
}
