//! [`Report`] and [`Row`], as a report has them, and [`Reports`], which gives their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::connection::Transport;
use crate::model::text::unescape_cell;
use crate::parse::host::Host;
use crate::parse::reader::Context;
use crate::{Connection, RecordTime, ShortfallKind};

/// The schemas that are understood; see the report of that format. They differ in jsonl and csv.
const SCHEMAS: std::ops::RangeInclusive<u32> = 1..=2;

/// The head of a report, and its rows.
#[derive(Deserialize)]
pub(super) struct Report {
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
    /// Always there in a document, and never in a line.
    pub rows: Option<Vec<Row>>,
    others: Option<Row>,
    #[serde(default)]
    intervals: Vec<Interval>,
}

#[derive(Deserialize)]
struct Interval {
    start: Option<RecordTime>,
    end: Option<RecordTime>,
    rows: Vec<Row>,
    others: Option<Row>,
}

/// A row, or the sum of the rows that are not shown, whose keys are not known.
#[derive(Clone, Deserialize)]
pub(super) struct Row {
    /// `row` or `others`, in jsonl and csv.
    pub kind: Option<Box<str>>,
    /// The interval, likewise.
    pub start: Option<RecordTime>,
    /// Its end.
    pub end: Option<RecordTime>,
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

/// The bytes of all connections of a row, if it has them.
fn bytes(bytes_in: Option<u64>, bytes_out: Option<u64>) -> Option<Box<Transport>> {
    bytes_in.or(bytes_out)?;
    Some(Box::new(Transport { bytes_in, bytes_out, ..Transport::default() }))
}

impl Report {
    /// From when to when, by its source or else by its connections.
    fn period(&self) -> (Option<RecordTime>, Option<RecordTime>) {
        let rows = || self.rows.iter().flatten();
        (
            self.started.or_else(|| rows().filter_map(|r| r.first).min()),
            self.ended.or_else(|| rows().filter_map(|r| r.last).max()),
        )
    }

    /// Whether `self` is a later report of the run that `other` is of (SIGUSR1 asks for one).
    pub(super) fn continues(&self, other: &Report) -> bool {
        self.started.is_some() && self.started == other.started && self.host == other.host
    }

    /// All counts, as finely as the report has them by time, and how many rows are not told.
    fn counts(self) -> (Vec<Row>, usize) {
        let in_intervals = self.intervals.iter().flat_map(|i| i.rows.iter().chain(&i.others));
        let in_intervals = in_intervals.fold(0, |sum: u64, row| sum.saturating_add(row.count));
        if in_intervals != self.total {
            let others = self.others.is_some().into();
            return (self.rows.into_iter().flatten().chain(self.others).collect(), others);
        }
        let (mut all, mut others) = (Vec::new(), 0);
        for interval in self.intervals {
            others += usize::from(interval.others.is_some());
            let rows = interval.rows.into_iter().chain(interval.others);
            all.extend(rows.map(|row| row.within(interval.start, interval.end)));
        }
        (all, others)
    }
}

impl Row {
    /// The same row; its texts were escaped for csv.
    pub(super) fn of_cells(self) -> Row {
        let text = |cell: Box<str>| Box::from(unescape_cell(&cell));
        Row { ip: self.ip.map(text), comm: self.comm.map(text), host: self.host.map(text), ..self }
    }

    /// The same row; where it is without times, the interval is what is known.
    pub(super) fn in_interval(self) -> Row {
        let (start, end) = (self.start, self.end);
        self.within(start, end)
    }

    fn within(self, start: Option<RecordTime>, end: Option<RecordTime>) -> Row {
        let end = end.map(RecordTime::just_before);
        Row { first: self.first.or(start), last: self.last.or(end), ..self }
    }

    /// Whether it is the sum of the rows that are not shown.
    pub(super) fn is_others(&self) -> bool {
        self.kind.as_deref() == Some("others")
    }

    /// Gives its connections.
    pub(super) fn give(&self, host: Option<&Arc<str>>, cx: &mut Context<'_>) {
        if self.count > 0 {
            cx.sink.take_many(self.connection(host), self.count, self.last);
        }
    }

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

/// The reports of a run of `parse`.
#[derive(Default)]
pub(super) struct Reports {
    /// The input that is being read.
    pub name: String,
    /// The last one of it, which a later one may continue.
    last: Option<Report>,
    /// Hosts, periods and totals, each with the input that had it.
    seen: HashMap<Identity, String>,
}

type Identity = (Option<Box<str>>, (Option<RecordTime>, Option<RecordTime>), u64);

impl Reports {
    /// Adds a report. If it continues the one before, it has all of its connections.
    pub(super) fn add(&mut self, report: Report, cx: &mut Context<'_>) {
        if !SCHEMAS.contains(&report.schema) {
            cx.failures.push(format!(
                "{} is a report of schema {}, and this program understands up to {}; use the \
                 version that wrote it",
                self.name,
                report.schema,
                SCHEMAS.end()
            ));
            return;
        }
        if !self.last.as_ref().is_some_and(|last| report.continues(last)) {
            self.finish(cx);
        }
        self.last = Some(report);
    }

    /// The last report, if `report` continues it.
    pub(super) fn continued_by(&mut self, report: &Report) -> Option<Report> {
        self.last.take_if(|last| report.continues(last))
    }

    /// Gives the connections of the last report.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(report) = self.last.take() else { return };
        let what = (report.host.clone(), report.period(), report.total);
        if report.total > 0
            && let Some(other) = self.seen.insert(what, self.name.clone())
        {
            cx.status.warn(format!(
                "{} and {other} are reports of the same host and period: what they have in \
                 common counts twice",
                self.name
            ));
        }
        take(report, &self.name, cx);
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
    warn_of_keys(report.keys.iter().map(String::as_str), name, cx);
    let status = &mut *cx.status;
    if report.approximate {
        status.warn(format!(
            "{name}: the counts are approximate, because the number of keys was limited"
        ));
    }
    let total = report.total;
    let (rows, others) = report.counts();
    let missing = rows.iter().fold(total, |left, row| left.saturating_sub(row.count));
    if missing > 0 {
        let unknown = Connection { machine: host.clone(), ..Connection::default() };
        cx.sink.take_many(unknown, missing, None);
        cx.status.warn(format!(
            "{name} has {missing} connections in no interval: their addresses are not known"
        ));
    }
    let marked = rows.iter().filter(|row| row.is_others()).count();
    rows.iter().for_each(|row| row.give(host.as_ref(), cx));
    if others + marked > 0 {
        warn_of_others(name, cx);
    }
}

/// Says that no addresses are known, if that is not one of the keys.
pub(super) fn warn_of_keys<'a>(
    keys: impl Iterator<Item = &'a str>,
    name: &str,
    cx: &mut Context<'_>,
) {
    let keys: Vec<&str> = keys.collect();
    if !keys.contains(&"ip") {
        let keys = keys.join(", ");
        cx.status.warn(format!("{name} counts by {keys}, so that addresses are not known"));
    }
}

/// Says that some addresses are not known.
pub(super) fn warn_of_others(name: &str, cx: &mut Context<'_>) {
    cx.status
        .warn(format!("{name} does not show all rows: the addresses of the others are not known"));
}
