//! [`Metrics`]: an HTTP endpoint that Prometheus scrapes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cli::args::MetricsArgs;
use anyhow::Context;
use tcptally::Sink;
use tcptally::count::Tally;
use tcptally::count::counter::Count;
use tcptally::count::key::{Key, Keys, Mask};
use tcptally::count::order::Order;
use tcptally::format::{CONTENT_TYPE, OutputFormat, RenderOptions, ReportSection};
use tcptally::{Connection, SourceStatus};

use super::notes::report;
use super::request::{Request, Usage};

/// Keys in memory, unless the user says how many: a scrape must not keep the tracer waiting.
const KEYS: usize = 10_000;

/// Bytes of a request at most.
const REQUEST: u64 = 8192;

/// A client has so long to send its request, and to take each part of the answer.
const IO_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts for scrapes, besides the report.
pub struct Metrics(Arc<Mutex<Shared>>);

struct Shared {
    count: Count,
    ports: Tally,
    order: Order,
    status: SourceStatus,
    look: RenderOptions,
}

/// A place where metrics will be served: clients can connect, and nobody answers yet.
pub struct Endpoint(TcpListener);

impl Endpoint {
    /// Listens where the user wants it, so that nothing is begun that could not be scraped.
    pub fn open(args: &MetricsArgs) -> anyhow::Result<Option<Endpoint>> {
        let Some(addr) = args.address else { return Ok(None) };
        if !addr.ip().to_canonical().is_loopback() && !args.allow_remote {
            return Err(Usage(format!(
                "--metrics {addr}: whoever reaches this address could read who your clients \
                 are; give 127.0.0.1:{port} or [::1]:{port}, or add --metrics-allow-remote",
                port = addr.port()
            ))
            .into());
        }
        let listener = TcpListener::bind(addr)
            .with_context(|| format!("--metrics {addr}: cannot listen there"))?;
        Ok(Some(Endpoint(listener)))
    }

    /// Answers from now on, in a thread of its own, with what `source` gives.
    pub fn serve(self, request: &Request, source: &'static str) -> anyhow::Result<Metrics> {
        let Request { count, order, .. } = request;
        let max_keys = count.tally.whole.max_keys().unwrap_or(KEYS);
        let tally = Tally::new(count.tally.keys.clone(), None, Some(max_keys));
        let shared = Arc::new(Mutex::new(Shared {
            count: Count::new(count.filter.clone(), tally),
            ports: Tally::new(Keys::new(&[Key::Port], Mask::default()), None, None),
            order: *order,
            status: SourceStatus::new(source),
            look: request.look(None, true),
        }));
        let metrics = Metrics(shared.clone());
        std::thread::Builder::new().name("metrics".into()).spawn(move || {
            for stream in self.0.incoming() {
                match stream {
                    // What becomes of one client is of no interest to the others.
                    Ok(stream) => drop(answer(stream, &shared)),
                    // Out of descriptors, perhaps: that may pass.
                    Err(_) => std::thread::sleep(IO_TIMEOUT),
                }
            }
        })?;
        Ok(metrics)
    }
}

impl Metrics {
    /// Counts one connection.
    pub fn take(&self, c: &Connection) {
        let mut shared = lock(&self.0);
        if shared.count.filter.judge(c) == tcptally::filter::Verdict::Pass {
            shared.ports.add(c);
        }
        shared.count.take(c.clone());
    }

    /// Tells how the source fares.
    pub fn update(&self, status: SourceStatus) {
        lock(&self.0).status = status;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Counts are whole between any two statements.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(stream: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new((&stream).take(REQUEST));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    // Closing with unread headers would reset the connection before the answer is read.
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", CONTENT_TYPE, scrape(shared)?),
        ("GET" | "HEAD", "/") => {
            ("200 OK", "text/plain", b"tcptally: the metrics are at /metrics\n".to_vec())
        }
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", b"see /metrics\n".to_vec()),
        _ => ("405 Method Not Allowed", "text/plain", b"only GET and HEAD\n".to_vec()),
    };
    let mut out = &stream;
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: \
         close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        out.write_all(&body)?;
    }
    out.flush()
}

fn scrape(shared: &Mutex<Shared>) -> io::Result<Vec<u8>> {
    let shared = lock(shared);
    let mut report = report(&shared.status, &shared.count, shared.order);
    report.ports = Some(ReportSection {
        keys: &shared.ports.keys,
        table: Some(&shared.ports.whole),
        // All ports: there are not many that a server listens on.
        order: Order { top: Some(usize::MAX), ..Order::default() },
        ..report.whole.clone()
    });
    let mut text = Vec::new();
    OutputFormat::Openmetrics.format(shared.look.clone()).report(&report, &mut text)?;
    Ok(text)
}
