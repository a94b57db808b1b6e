//! [`Metrics`]: the counts so far over HTTP, for Prometheus.

mod exposition;
mod recent;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::count::Tally;
use crate::count::counter::Count;
use crate::count::key::{Key, Keys, Mask};
use crate::count::order::Order;
use crate::format::{MetricsSections, OutputFormat, RenderOptions, ReportSection, TcpHistograms};
use crate::{Connection, SourceStatus};
use anyhow::Context;

use super::http::{self, HttpRequest, Limits, Resource};
use super::lock::lock;
use super::notes::report;
use super::request::{Request, Usage};
use crate::cli::args::MetricsArgs;
use exposition::{Scrapers, negotiate};
use recent::RecentCounts;

/// Default of `--metrics-window`.
const WINDOW: Duration = Duration::from_secs(60);

/// Returns how many connections are open now.
pub(super) type OpenConnections = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Default maximum of keys. A scrape must not keep the tracer waiting.
const MAX_KEYS: usize = 10_000;

/// The counts for scrapes, apart from those of the report.
pub(super) struct Metrics(Arc<Mutex<Shared>>);

struct Shared {
    count: Count,
    ports: Tally,
    recent: RecentCounts,
    histograms: TcpHistograms,
    scrapers: Scrapers,
    order: Order,
    status: SourceStatus,
    options: RenderOptions,
}

/// The listening socket for metrics, before clients are served.
pub(super) struct Endpoint {
    listener: TcpListener,
    window: Duration,
}

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
        let window = args.window.map_or(WINDOW, |w| Duration::try_from(w).unwrap_or(WINDOW));
        if window < Duration::from_secs(1) {
            return Err(Usage("--metrics-window must be at least 1s".into()).into());
        }
        Ok(Some(Endpoint { listener, window }))
    }

    /// Starts to serve clients, in threads.
    pub(super) fn serve(
        self,
        request: &Request,
        source: &'static str,
        open: OpenConnections,
    ) -> anyhow::Result<Metrics> {
        let Request { count, order, .. } = request;
        let max_keys = count.tally.whole.max_keys().unwrap_or(MAX_KEYS);
        let tally = Tally::new(count.tally.keys.clone(), None, Some(max_keys));
        let shared = Arc::new(Mutex::new(Shared {
            recent: RecentCounts::new(&tally, self.window, Instant::now()),
            histograms: TcpHistograms::new(count.tally.columns),
            scrapers: Scrapers::default(),
            count: Count::new(count.filter.clone(), tally),
            ports: Tally::new(Keys::new(&[Key::Port], Mask::default()), None, None),
            order: *order,
            status: SourceStatus::new(source),
            options: request.render_options(None, true),
        }));
        let metrics = Metrics(shared.clone());
        http::serve(self.listener, Limits::default(), move |request| {
            match request.path.as_str() {
                "/metrics" => scrape(&shared, request, open()).ok(),
                "/" => Some(Resource {
                    content_type: "text/plain",
                    body: b"tcptally: the metrics are at /metrics\n".to_vec(),
                }),
                _ => None,
            }
        })?;
        Ok(metrics)
    }
}

impl Metrics {
    /// Counts one connection.
    pub(super) fn take(&self, c: &Connection) {
        let mut shared = lock(&self.0);
        if shared.count.passes(c) {
            shared.count.tally.add(c);
            shared.ports.add(c);
            shared.recent.add(c, Instant::now());
            shared.histograms.observe(c);
        }
    }

    /// Updates the status of the source.
    pub(super) fn update(&self, status: SourceStatus) {
        lock(&self.0).status = status;
    }
}

fn scrape(
    shared: &Mutex<Shared>,
    request: &HttpRequest,
    open_connections: Option<u64>,
) -> io::Result<Resource> {
    let (empty, parts, window) = {
        let mut shared = lock(shared);
        let parts = shared.recent.parts(Instant::now());
        (shared.count.tally.part(), parts, shared.recent.window())
    };
    // Without the lock, because counting must not wait for it.
    let recent = recent::sum(empty, &parts);
    let mut shared = lock(shared);
    let mut report = report(&shared.status, &shared.count, shared.order);
    report.metrics = Some(MetricsSections {
        // All ports: a server listens on few.
        ports: ReportSection {
            keys: &shared.ports.keys,
            table: Some(&shared.ports.whole),
            order: Order { top: Some(usize::MAX), ..Order::default() },
            ..report.whole.clone()
        },
        recent: ReportSection {
            keys: &recent.keys,
            table: Some(&recent.whole),
            ..report.whole.clone()
        },
        window,
        open_connections,
        histograms: &shared.histograms,
    });
    let mut text = Vec::new();
    OutputFormat::Openmetrics.format(shared.options.clone()).report(&report, &mut text)?;
    let text = shared.scrapers.begin_at_zero(request, &String::from_utf8_lossy(&text));
    drop(shared);
    let (content_type, text) = negotiate(&request.accept, text);
    Ok(Resource { content_type, body: text.into_bytes() })
}
