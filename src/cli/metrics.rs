//! [`Metrics`]: the counts so far over HTTP, for Prometheus.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Sink;
use crate::cli::args::MetricsArgs;
use crate::count::Tally;
use crate::count::counter::Count;
use crate::count::key::{Key, Keys, Mask};
use crate::count::order::Order;
use crate::format::{CONTENT_TYPE, OutputFormat, RenderOptions, ReportSection};
use crate::{Connection, SourceStatus};
use anyhow::Context;

use super::http::{self, Limits, Resource};
use super::notes::report;
use super::request::{Request, Usage};

/// Default maximum of keys. A scrape must not keep the tracer waiting.
const MAX_KEYS: usize = 10_000;

/// The counts for scrapes, apart from those of the report.
pub(super) struct Metrics(Arc<Mutex<Shared>>);

struct Shared {
    count: Count,
    ports: Tally,
    order: Order,
    status: SourceStatus,
    options: RenderOptions,
}

/// A listening socket for metrics that is not served yet.
pub(super) struct Endpoint(TcpListener);

impl Endpoint {
    /// Listens on the address of `--metrics`, before anything else starts.
    pub(super) fn open(args: &MetricsArgs) -> anyhow::Result<Option<Endpoint>> {
        let Some(addr) = args.address else { return Ok(None) };
        if !addr.ip().to_canonical().is_loopback() && !args.allow_remote {
            return Err(Usage(format!(
                "--metrics {addr}: other machines could read the addresses of your clients \
                 there; give 127.0.0.1:{port} or [::1]:{port}, or add --metrics-allow-remote",
                port = addr.port()
            ))
            .into());
        }
        let listener = TcpListener::bind(addr)
            .with_context(|| format!("--metrics {addr}: cannot listen there"))?;
        Ok(Some(Endpoint(listener)))
    }

    /// Starts to answer, in threads.
    pub(super) fn serve(self, request: &Request, source: &'static str) -> anyhow::Result<Metrics> {
        let Request { count, order, .. } = request;
        let max_keys = count.tally.whole.max_keys().unwrap_or(MAX_KEYS);
        let tally = Tally::new(count.tally.keys.clone(), None, Some(max_keys));
        let shared = Arc::new(Mutex::new(Shared {
            count: Count::new(count.filter.clone(), tally),
            ports: Tally::new(Keys::new(&[Key::Port], Mask::default()), None, None),
            order: *order,
            status: SourceStatus::new(source),
            options: request.render_options(None, true),
        }));
        let metrics = Metrics(shared.clone());
        http::serve(self.0, Limits::default(), move |path| match path {
            "/metrics" => {
                Some(Resource { content_type: CONTENT_TYPE, body: scrape(&shared).ok()? })
            }
            "/" => Some(Resource {
                content_type: "text/plain",
                body: b"tcptally: the metrics are at /metrics\n".to_vec(),
            }),
            _ => None,
        })?;
        Ok(metrics)
    }
}

impl Metrics {
    /// Counts one connection.
    pub(super) fn take(&self, c: &Connection) {
        let mut shared = lock(&self.0);
        if shared.count.filter.judge(c) == crate::filter::Verdict::Pass {
            shared.ports.add(c);
        }
        shared.count.take(c.clone());
    }

    /// Updates the status of the source.
    pub(super) fn update(&self, status: SourceStatus) {
        lock(&self.0).status = status;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic elsewhere does not make the counts inconsistent.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn scrape(shared: &Mutex<Shared>) -> io::Result<Vec<u8>> {
    let shared = lock(shared);
    let mut report = report(&shared.status, &shared.count, shared.order);
    report.ports = Some(ReportSection {
        keys: &shared.ports.keys,
        table: Some(&shared.ports.whole),
        // All ports: a server listens on few.
        order: Order { top: Some(usize::MAX), ..Order::default() },
        ..report.whole.clone()
    });
    let mut text = Vec::new();
    OutputFormat::Openmetrics.format(shared.options.clone()).report(&report, &mut text)?;
    Ok(text)
}
