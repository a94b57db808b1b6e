//! Reports and events of tcptally.

use crate::records::*;
use crate::row::*;

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "report.incomplete",
            REPORT.replace("\"complete\":true", "\"complete\":false"),
            1,
            &["a: its report is not complete"],
        ),
        row(
            "report.unreadable",
            REPORT.replace("\"unreadable_lines\":0", "\"unreadable_lines\":4"),
            1,
            &["a: its report could not read 4 lines"],
        ),
        row(
            "report.lost",
            REPORT.replace("\"lost\":0", "\"lost\":4"),
            1,
            &["a: its report lost 4 connections"],
        ),
        Row {
            options: &["--since", "2026-11-22 10:30"],
            ..row(
                "report.divided",
                REPORT.replace(r#""last":"2026-11-22T10"#, r#""last":"2026-11-22T11"#),
                0,
                &["only their sum over a time that --since or --until divides"],
            )
        },
        row("report.cut", cut(REPORT, 30), 0, &["report.cut is not a complete report"]),
        row(
            "report.more",
            REPORT.replace("\"count\":1", "\"count\":3"),
            3,
            &["report.more: its rows have 2 connections more than its total says"],
        ),
        row(
            "tally.jsonl",
            "{\"kind\":\"row\",\"ip\":\"192.0.2.9\",\"count\":1,\"first\":null,\"last\":null}\n",
            1,
            &["tally.jsonl ends without a line of kind report"],
        ),
        row(
            "tally.csv",
            "kind,ip,count,first,last\nrow,192.0.2.9,1,,\nrow,192.0.2.9,1x,,\n",
            1,
            &["tally.csv: 1 line could not be read"],
        ),
        row(
            "events.csv",
            "time,local_port,peer_ip\n,80,192.0.2.9\n,x,192.0.2.9\n",
            1,
            &["events.csv: 1 line could not be read"],
        ),
        row(
            "report.schema",
            REPORT.replace("\"schema\":1", "\"schema\":99"),
            0,
            &["report.schema is a report of schema 99"],
        ),
    ]
}
