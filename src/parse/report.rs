//! Our own reports in JSON, so that the tallies of many machines merge.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::context::Context;
use super::host::Host;
use super::input::Input;
use super::recognise::RecordFormat;
use crate::model::connection::Transport;
use crate::{Connection, RecordTime, ShortfallKind};

/// What `--format json` writes; one after another in a file, too.
pub const KIND: RecordFormat = RecordFormat {
    name: "report",
    about: "our own --format json",
    connection: "a counted connection",
    recognise,
    run: |_: &Path| Some(String::new()),
    read,
};

/// The schema that is understood; see the report of that format.
const SCHEMA: u32 = 1;

/// Any order of fields, and any white space: jq may have been at it. A first line that is a whole
/// object of another sort begins something else.
fn recognise(head: &[u8]) -> bool {
    let has = |text: &[u8], field: &[u8]| memchr::memmem::find(text, field).is_some();
    let head = head.trim_ascii_start();
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let other = line.ends_with(b"}") && !has(line, b"\"schema\"");
    head.starts_with(b"{") && !other && has(head, b"\"schema\"") && has(head, b"\"source\"")
}

#[derive(Deserialize)]
struct Report {
    schema: u32,
    host: Option<Box<str>>,
    started: Option<RecordTime>,
    ended: Option<RecordTime>,
    #[serde(default)]
    complete: bool,
    total: u64,
    #[serde(default)]
    lost: u64,
    #[serde(default)]
    unreadable_lines: u64,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    approximate: bool,
    keys: Vec<String>,
    rows: Vec<Row>,
    others: Option<Others>,
    #[serde(default)]
    intervals: Vec<Interval>,
}

#[derive(Deserialize)]
struct Interval {
    start: Option<RecordTime>,
    end: Option<RecordTime>,
    rows: Vec<Row>,
    others: Option<Others>,
}

#[derive(Deserialize)]
struct Row {
    count: u64,
    first: Option<RecordTime>,
    last: Option<RecordTime>,
    ip: Option<Box<str>>,
    port: Option<u16>,
    local: Option<Box<str>>,
    pid: Option<u32>,
    comm: Option<Box<str>>,
    host: Option<Box<str>>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
}

#[derive(Deserialize)]
struct Others {
    count: u64,
    first: Option<RecordTime>,
    last: Option<RecordTime>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
}

/// The bytes of all connections of a row, if it has them.
fn bytes(bytes_in: Option<u64>, bytes_out: Option<u64>) -> Option<Box<Transport>> {
    bytes_in.or(bytes_out)?;
    Some(Box::new(Transport { bytes_in, bytes_out, ..Transport::default() }))
}

impl Report {
    /// From when to when, by its source or else by its connections.
    fn period(&self) -> (Option<RecordTime>, Option<RecordTime>) {
        (
            self.started.or_else(|| self.rows.iter().filter_map(|r| r.first).min()),
            self.ended.or_else(|| self.rows.iter().filter_map(|r| r.last).max()),
        )
    }

    /// All counts, as finely as the report has them by time.
    fn counts(self) -> (Vec<Row>, Vec<Others>) {
        let sum = |rows: &[Row], others: &Option<Others>| -> u64 {
            let counts = rows.iter().map(|r| r.count).chain(others.iter().map(|o| o.count));
            counts.fold(0, u64::saturating_add)
        };
        let in_intervals =
            self.intervals.iter().map(|i| sum(&i.rows, &i.others)).fold(0, u64::saturating_add);
        if in_intervals != self.total {
            return (self.rows, self.others.into_iter().collect());
        }
        let (mut rows, mut others) = (Vec::new(), Vec::new());
        for interval in self.intervals {
            // Rows of intervals may be without times; then the interval is what is known.
            let (start, end) = (interval.start, interval.end.map(RecordTime::just_before));
            rows.extend(interval.rows.into_iter().map(|row| Row {
                first: row.first.or(start),
                last: row.last.or(end),
                ..row
            }));
            others.extend(interval.others);
        }
        (rows, others)
    }
}

impl Row {
    fn connection(&self, host: Option<&Arc<str>>) -> Connection {
        let (mut local_ip, mut local_port) = (None, self.port);
        if let Some(local) = &self.local {
            match local.parse::<SocketAddr>() {
                Ok(both) => (local_ip, local_port) = (Some(both.ip()), Some(both.port())),
                // One of them was not known: `*` stands for it.
                Err(_) => {
                    if let Some((ip, port)) = local.rsplit_once(':') {
                        local_ip = ip.trim_matches(['[', ']']).parse().ok();
                        local_port = port.parse().ok().or(local_port);
                    }
                }
            }
        }
        let (ip, name) = Host::of_field(self.ip.as_deref());
        Connection {
            time: self.first,
            ip,
            host: name,
            local_ip,
            local_port,
            pid: self.pid,
            comm: self.comm.as_deref().map(Arc::from),
            machine: self.host.as_deref().map(Arc::from).or_else(|| host.cloned()),
            transport: bytes(self.bytes_in, self.bytes_out),
            ..Connection::default()
        }
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut seen: HashMap<_, String> = HashMap::new();
    for mut input in inputs {
        let name = input.name().to_owned();
        let reader = std::io::BufReader::with_capacity(1 << 16, &mut input);
        for report in serde_json::Deserializer::from_reader(reader).into_iter::<Report>() {
            let report = match report {
                Ok(report) => report,
                Err(e) => {
                    cx.failures.push(format!("{name} is no whole report: {e}"));
                    break;
                }
            };
            if report.schema != SCHEMA {
                cx.failures.push(format!(
                    "{name} is a report of schema {}, and this program understands {SCHEMA}; \
                     use the version that wrote it",
                    report.schema
                ));
                continue;
            }
            let what = (report.host.clone(), report.period(), report.total);
            if report.total > 0
                && let Some(other) = seen.insert(what, name.clone())
            {
                cx.status.warn(format!(
                    "{name} and {other} are reports of the same host and period: what they have \
                     in common counts twice"
                ));
            }
            take(report, &name, cx);
        }
    }
}

fn take(report: Report, name: &str, cx: &mut Context<'_>) {
    let status = &mut *cx.status;
    status.started = status.started.into_iter().chain(report.started).min();
    status.ended = status.ended.max(report.ended);
    let host: Option<Arc<str>> = report.host.as_deref().map(Arc::from);
    let of = host.as_deref().unwrap_or(name);
    for warning in &report.warnings {
        status.warn(format!("{of}: {warning}"));
    }
    let unreadable = report.unreadable_lines;
    let text = format!("{of}: its report could not read {unreadable} lines");
    status.record_shortfall(ShortfallKind::UnreadableLines, unreadable, text);
    let text = format!("{of}: its report lost {} connections", report.lost);
    status.record_shortfall(ShortfallKind::LostConnections, report.lost, text);
    let text = format!("{of}: its report is not complete");
    status.record_shortfall(ShortfallKind::UnreadInput, (!report.complete).into(), text);
    if !report.keys.iter().any(|k| k == "ip") {
        status.warn(format!(
            "{name} counts by {}, so that addresses are not known",
            report.keys.join(", ")
        ));
    }
    if report.approximate {
        status.warn(format!("{name}: the counts are approximate (--max-keys)"));
    }
    let (rows, others) = report.counts();
    for row in rows {
        cx.sink.take_many(row.connection(host.as_ref()), row.count, row.last);
    }
    for rest in &others {
        let unknown = Connection {
            time: rest.first,
            machine: host.clone(),
            transport: bytes(rest.bytes_in, rest.bytes_out),
            ..Connection::default()
        };
        cx.sink.take_many(unknown, rest.count, rest.last);
    }
    if !others.is_empty() {
        cx.status.warn(format!(
            "{name} has rows that are not told (--top, --min): their addresses are not known"
        ));
    }
}
