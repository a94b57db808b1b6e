//! [`Report`] and [`Row`] as parsed from a report, and [`Reports`], which gives their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::connection::Transport;
use crate::model::plural;
use crate::model::text::unescape_cell;
use crate::parse::error::ReportError;
use crate::parse::host::Host;
use crate::parse::input::Input;
use crate::parse::reader::{Context, Setting};
use crate::time;
use crate::{Connection, InputResult, RecordTime, ShortfallKind};

/// The schemas that are understood; see the report of that format. They differ in jsonl and csv.
const SCHEMAS: std::ops::RangeInclusive<u32> = 1..=2;

/// The name of the format.
pub(super) const FORMAT_NAME: &str = "report";

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
    #[serde(default)]
    inputs: Vec<InputResult>,
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

    /// Whether its rows are those of intervals.
    fn has_intervals(&self) -> bool {
        let is_of_interval = |row: &Row| row.start.is_some() && row.end.is_some();
        !self.intervals.is_empty() || self.rows.iter().flatten().any(is_of_interval)
    }

    /// All counts, as finely as the report has them by time, and how many rows are left out.
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
    /// Whether an interval of a new report contains all of its connections.
    pub(super) fn is_within(&self, interval: &time::interval::Interval) -> bool {
        self.start.is_some() && divides(std::slice::from_ref(self), interval)
    }

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
pub(in crate::parse) struct Reports {
    /// The input that is being read.
    pub name: String,
    /// The last one of it, which a later one may continue.
    last: Option<Report>,
    /// Hosts, periods and totals, each with the input that had it.
    seen: HashMap<Identity, String>,
    /// What the reports of the input are of, with the shortfalls when it began.
    results: Results,
}

/// Facts about the inputs of reports, from the reports of one input.
#[derive(Default)]
struct Results {
    /// The host that its path names.
    path_host: Option<Arc<str>>,
    shortfalls: u64,
    /// Inputs of the reports, which the new report keeps.
    kept: Vec<InputResult>,
    /// Reports without inputs.
    plain: Vec<InputResult>,
}

type Identity = (Option<Box<str>>, (Option<RecordTime>, Option<RecordTime>), u64);

impl Reports {
    /// Begins an input.
    pub(in crate::parse) fn begin(&mut self, input: &Input, cx: &mut Context<'_>) {
        input.name().clone_into(&mut self.name);
        let path_host = cx.options.host_of(input.path());
        self.results = Results { path_host, shortfalls: cx.shortfalls(), ..Results::default() };
    }

    /// Ends an input: gives the connections of its last report, and records what it gave. The inputs of
    /// its reports stay what they were.
    pub(in crate::parse) fn end(&mut self, cx: &mut Context<'_>) {
        self.finish(cx);
        let Results { path_host, shortfalls, kept, plain } = std::mem::take(&mut self.results);
        let is_one = plain.len() == 1 && kept.is_empty();
        if !(is_one || kept.is_empty() && plain.is_empty()) {
            cx.sink.take_summary();
            cx.status.inputs.extend(kept.into_iter().chain(plain));
            return;
        }
        let one = plain.into_iter().next();
        let host = one.as_ref().and_then(|one| one.host.as_deref()).or(path_host.as_deref());
        cx.record_input(&self.name, FORMAT_NAME, host, shortfalls);
        if let (Some(one), Some(result)) = (one, cx.status.inputs.last_mut()) {
            (result.started, result.ended) = (one.started, one.ended);
        }
    }

    /// Adds a report. If it continues the one before, it has all of its connections.
    pub(super) fn add(&mut self, report: Report, cx: &mut Context<'_>) {
        if !SCHEMAS.contains(&report.schema) {
            let (name, schema) = (self.name.clone(), report.schema);
            let newest = *SCHEMAS.end();
            cx.failures.push(ReportError::Schema { name, schema, newest }.into());
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
        self.results.keep(&report, &self.name);
        take(report, &self.name, cx);
    }
}

impl Results {
    fn keep(&mut self, report: &Report, name: &str) {
        let (started, ended) = report.period();
        if report.inputs.is_empty() {
            self.plain.push(InputResult {
                name: name.into(),
                files: 1,
                host: report.host.as_deref().map(Into::into),
                hosts: Vec::new(),
                format: Some(FORMAT_NAME.into()),
                complete: report.complete,
                total: report.total,
                started,
                ended,
            });
        }
        self.kept.extend(report.inputs.iter().cloned().map(|input| InputResult {
            host: input.host.or_else(|| report.host.as_deref().map(Into::into)),
            ..input
        }));
    }
}

/// Whether a report that counts in `interval` can be made of these rows. What is known of each row's
/// connections is the time of the first and of the last.
fn divides(rows: &[Row], interval: &time::interval::Interval) -> bool {
    let is_in_one = |row: &Row| match (row.first, row.last) {
        (Some(first), Some(last)) => interval.around(first) == interval.around(last),
        _ => false,
    };
    rows.iter().filter(|row| row.count > 0).all(is_in_one)
}

/// The failure of a report that does not tell in which interval its connections were made.
pub(super) fn refuse_without_intervals(name: &str, cx: &mut Context<'_>) {
    let option = cx.options.name(Setting::Interval);
    cx.failures.push(ReportError::TooCoarse { name: name.into(), option }.into());
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
    let text = format!("{of}: its report could not read {}", plural(unreadable, "line", "lines"));
    status.record_shortfall(ShortfallKind::UnreadableLines, unreadable, text);
    let text =
        format!("{of}: its report lost {}", plural(report.lost, "connection", "connections"));
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
    let has_intervals = report.has_intervals();
    let (rows, others) = report.counts();
    if let Some(interval) = &cx.options.interval
        && total > 0
        && !(has_intervals && divides(&rows, interval))
    {
        refuse_without_intervals(name, cx);
        return;
    }
    let counted = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.count));
    let text = format!(
        "{name}: its rows have {} more than its total says, so it was changed or damaged",
        plural(counted.saturating_sub(total), "connection", "connections")
    );
    cx.status.record_shortfall(ShortfallKind::UnreadInput, (counted > total).into(), text);
    let missing = rows.iter().fold(total, |left, row| left.saturating_sub(row.count));
    if missing > 0 {
        let unknown = Connection { machine: host.clone(), ..Connection::default() };
        cx.sink.take_many(unknown, missing, None);
        cx.status.warn(format!(
            "{name} has {} in no interval: their addresses are not known",
            plural(missing, "connection", "connections")
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
    cx.status.warn(format!(
        "{name} does not show all rows: the addresses of the other rows are unknown"
    ));
}
