//! Events of tcptally, as lines of JSON or comma-separated values.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::gaps::{self, Gaps};
use super::host::Host;
use super::input::Input;
use super::lines;
use super::reader::{Context, RecordFormat};
use crate::model::connection::{Transport, canonical};
use crate::model::text::unescape_cell;
use crate::{Connection, RecordTime, SourceStatus};

/// What `--events` writes with `--format jsonl`, `json` or `csv`.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "events",
    about: "events of tcptally in jsonl or csv",
    connection: "an event",
    is_text: false,
    is_json: true,
    is_snapshot: false,
    recognise,
    run: |_: &Path| Some(String::new()),
    read,
};

fn recognise(head: &[u8]) -> bool {
    is_csv(head) || {
        let line = first_line(head);
        let has = |field: &[u8]| memchr::memmem::find(line, field).is_some();
        let has_peer = has(b"\"peer_ip\"") || has(b"\"ip\"");
        line.starts_with(b"{") && has(b"\"time\"") && has(b"\"local_port\"") && has_peer
    }
}

/// Whether the first line has the headings of events, in any order.
fn is_csv(head: &[u8]) -> bool {
    let headings = first_line(head).split(|b| *b == b',');
    let has = |name: &str| headings.clone().any(|heading| heading == name.as_bytes());
    has("time") && has("local_port") && (has("peer_ip") || has("ip"))
}

fn first_line(head: &[u8]) -> &[u8] {
    head.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end()
}

/// Fields of an event; aliases are the names of schema 1.
#[derive(Deserialize)]
pub(super) struct Event {
    pub time: Option<RecordTime>,
    pub elapsed: Option<f64>,
    pub time_uncertainty: Option<f64>,
    pub host: Option<Box<str>>,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub comm: Option<Box<str>>,
    pub fd: Option<i32>,
    pub local_ip: Option<IpAddr>,
    pub local_port: Option<u16>,
    #[serde(alias = "ip")]
    pub peer_ip: Option<Box<str>>,
    #[serde(alias = "port")]
    pub peer_port: Option<u16>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    pub duration: Option<f64>,
    pub duration_uncertainty: Option<f64>,
    pub rtt: Option<f64>,
}

impl Event {
    /// The same event; its texts were escaped for csv.
    fn of_cells(self) -> Event {
        let text = |cell: Box<str>| Box::from(unescape_cell(&cell));
        Event {
            host: self.host.map(text),
            comm: self.comm.map(text),
            peer_ip: self.peer_ip.map(text),
            ..self
        }
    }

    /// The TCP statistics, if the event has them.
    fn transport(&self) -> Option<Box<Transport>> {
        let seconds = |s: Option<f64>| s.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let Event { time_uncertainty, duration, duration_uncertainty, rtt, .. } = *self;
        let Event { bytes_in, bytes_out, .. } = *self;
        let times = [time_uncertainty, duration, duration_uncertainty, rtt].map(seconds);
        if times == [None; 4] && bytes_in.is_none() && bytes_out.is_none() {
            return None;
        }
        let [time_uncertainty, duration, duration_uncertainty, rtt] = times;
        let time_uncertainty = time_uncertainty.unwrap_or_default();
        Some(Box::new(Transport {
            time_uncertainty,
            duration,
            // Schema 1 has no such field: there, the duration is from `time` to the end.
            duration_uncertainty: duration_uncertainty.unwrap_or(time_uncertainty),
            bytes_in,
            bytes_out,
            rtt,
        }))
    }
}

impl From<Event> for Connection {
    fn from(e: Event) -> Connection {
        let transport = e.transport();
        let (ip, host) = Host::of_field(e.peer_ip.as_deref());
        // Whole microseconds are written; a float keeps them for centuries.
        let elapsed = |seconds: f64| RecordTime::Elapsed((seconds * 1e6).round() as i64 * 1000);
        Connection {
            time: e.time.or(e.elapsed.map(elapsed)),
            ip,
            host,
            port: e.peer_port,
            local_ip: e.local_ip.map(canonical),
            local_port: e.local_port,
            pid: e.pid,
            container: None,
            tid: e.tid,
            comm: e.comm.as_deref().map(Into::into),
            fd: e.fd,
            machine: e.host.as_deref().map(Into::into),
            transport,
        }
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut sink = EventSink::default();
    for mut input in inputs {
        sink.begin(cx);
        let (mut unreadable, mut gaps) = (0, Gaps::default());
        let end = if is_csv(input.head()) {
            csv(&mut input, cx, &mut sink, &mut unreadable)
        } else {
            gaps::blocks(&mut input, &mut gaps, |block, _| {
                lines::each(block, |line, _| {
                    if line.trim_ascii().is_empty() {
                        return;
                    }
                    match serde_json::from_slice::<Event>(line) {
                        Ok(event) => sink.take(event, cx),
                        Err(_) => unreadable += 1,
                    }
                });
                cx.sink.pause();
            })
        };
        cx.status.record_unreadable_lines(input.name(), unreadable);
        gaps.report(input.name(), cx.status);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
        sink.end(&input, FORMAT.name, cx);
    }
    sink.warn(cx);
}

/// Takes the events of a run, input by input.
#[derive(Default)]
pub(super) struct EventSink {
    observers: Observers,
    hosts: Hosts,
    /// The shortfalls when the input began.
    shortfalls: u64,
}

impl EventSink {
    /// Begins an input.
    pub(super) fn begin(&mut self, cx: &Context<'_>) {
        self.hosts = Hosts::default();
        self.shortfalls = cx.shortfalls();
    }

    /// Takes an event.
    pub(super) fn take(&mut self, event: Event, cx: &mut Context<'_>) {
        let connection = Connection::from(event);
        self.observers.note(&connection);
        self.hosts.note(connection.machine.as_deref());
        cx.sink.take(connection);
    }

    /// Ends an input: records what it gave.
    pub(super) fn end(&mut self, input: &Input, format: &str, cx: &mut Context<'_>) {
        let hosts = std::mem::take(&mut self.hosts);
        let path_host = cx.options.host_of(input.path());
        let host = hosts.only().or(path_host.as_deref());
        cx.record_input(input.name(), format, host, self.shortfalls);
        if let (None, Some(result)) = (hosts.only(), cx.status.inputs.last_mut()) {
            result.hosts = hosts.0.into_iter().map(String::from).collect();
        }
    }

    /// Warns of what two sources observed.
    pub(super) fn warn(&self, cx: &mut Context<'_>) {
        self.observers.warn(cx.status);
    }
}

/// The machines that the events of an input name.
#[derive(Default)]
struct Hosts(BTreeSet<Box<str>>);

/// Maximum number of machines of an input that are remembered.
const MAX_HOSTS: usize = 100_000;

impl Hosts {
    fn note(&mut self, host: Option<&str>) {
        if let Some(host) = host
            && !self.0.contains(host)
            && self.0.len() < MAX_HOSTS
        {
            self.0.insert(host.into());
        }
    }

    /// The machine, if there is one only.
    fn only(&self) -> Option<&str> {
        self.0.first().filter(|_| self.0.len() == 1).map(|name| &**name)
    }
}

fn csv(
    input: &mut impl Read,
    cx: &mut Context<'_>,
    sink: &mut EventSink,
    unreadable: &mut u64,
) -> std::io::Result<()> {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(input);
    for event in reader.deserialize::<Event>() {
        match event.map_err(::csv::Error::into_kind) {
            Ok(event) => sink.take(event.of_cells(), cx),
            Err(::csv::ErrorKind::Io(e)) => return Err(e),
            Err(_) => *unreadable += 1,
        }
    }
    Ok(())
}

/// Maximum number of servers that are compared.
const MAX_SERVERS: usize = 4096;

/// The machine and the port.
type Server = (Option<Arc<str>>, u16);

/// The times of the first and the last event.
type Span = Option<(RecordTime, RecordTime)>;

/// The times of the events of each server, by what observed it, `trace` or `watch`.
#[derive(Default)]
struct Observers(HashMap<Server, [Span; 2]>);

impl Observers {
    /// Notes an event. Only `trace` knows the descriptor, and only `watch` has statistics.
    fn note(&mut self, event: &Connection) {
        let observer = match (event.fd, &event.transport) {
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            _ => return,
        };
        let (Some(port), Some(time)) = (event.local_port, event.time) else { return };
        let is_full = self.0.len() >= MAX_SERVERS;
        let server = (event.machine.clone(), port);
        if is_full && !self.0.contains_key(&server) {
            return;
        }
        let span = &mut self.0.entry(server).or_default()[observer];
        *span = Some(span.map_or((time, time), |(a, b)| (a.min(time), b.max(time))));
    }

    /// Warns of each server that both have observed at the same time.
    fn warn(&self, status: &mut SourceStatus) {
        let overlap = |spans: &[Span; 2]| match spans {
            [Some(a), Some(b)] => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        };
        let mut both: Vec<&Server> =
            self.0.iter().filter(|(_, spans)| overlap(spans)).map(|(server, _)| server).collect();
        both.sort();
        for (machine, port) in both {
            let machine = machine.as_deref().unwrap_or("an unknown machine");
            status.warn(format!(
                "port {port} of {machine} was observed by trace and by watch at the same time: a \
                 connection that is in the events of both counts twice"
            ));
        }
    }
}
