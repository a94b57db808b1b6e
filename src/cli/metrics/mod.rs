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

/// Default maximum of keys. A copy of the counts must not keep the tracer waiting.
const MAX_KEYS: usize = 10_000;

/// The counts for scrapes, apart from those of the report.
pub(super) struct Metrics(Arc<Mutex<Counts>>);

struct Counts {
    count: Count,
    ports: Tally,
    recent: RecentCounts,
    histograms: TcpHistograms,
    status: SourceStatus,
}

/// What scrapes share besides the counts.
struct Server {
    counts: Arc<Mutex<Counts>>,
    scrapers: Mutex<Scrapers>,
    order: Order,
    options: RenderOptions,
}

/// A copy of the counts, made for one scrape.
struct Snapshot {
    count: Count,
    ports: Tally,
    recent: Vec<Arc<Tally>>,
    window: Duration,
    histograms: TcpHistograms,
    status: SourceStatus,
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
        let listener = TcpListener::bind(addr).with_context(|| {
            format!("--metrics {addr}: cannot listen there; give another address or port")
        })?;
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
        let counts = Arc::new(Mutex::new(Counts {
            recent: RecentCounts::new(&tally, self.window, Instant::now()),
            histograms: TcpHistograms::new(count.tally.columns),
            count: Count::new(count.filter.clone(), tally),
            ports: Tally::new(Keys::new(&[Key::Port], Mask::default()), None, None),
            status: SourceStatus::new(source),
        }));
        let metrics = Metrics(counts.clone());
        let options = request.render_options(None, true);
        let server = Server { counts, scrapers: Mutex::default(), order: *order, options };
        http::serve(self.listener, Limits::default(), move |request| {
            match request.path.as_str() {
                "/metrics" => server.scrape(request, open()).ok(),
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
        let mut counts = lock(&self.0);
        if counts.count.passes(c) {
            counts.count.tally.add(c);
            counts.ports.add(c);
            counts.recent.add(c, Instant::now());
            counts.histograms.observe(c);
        }
    }

    /// Updates the status of the source.
    pub(super) fn update(&self, status: SourceStatus) {
        lock(&self.0).status = status;
    }
}

impl Server {
    fn scrape(&self, request: &HttpRequest, open_connections: Option<u64>) -> io::Result<Resource> {
        // The tracer waits for this lock at each connection, and a server may wait for the tracer. So
        // the counts are only copied while it is held.
        let snapshot = Snapshot::take(&mut lock(&self.counts));
        let text = snapshot.text(self.order, open_connections, &self.options)?;
        let text = lock(&self.scrapers).begin_at_zero(request, &String::from_utf8_lossy(&text));
        let (content_type, text) = negotiate(&request.accept, text);
        Ok(Resource { content_type, body: text.into_bytes() })
    }
}

impl Snapshot {
    fn take(counts: &mut Counts) -> Snapshot {
        Snapshot {
            count: counts.count.clone(),
            ports: counts.ports.clone(),
            recent: counts.recent.parts(Instant::now()),
            window: counts.recent.window(),
            histograms: counts.histograms.clone(),
            status: counts.status.clone(),
        }
    }

    /// The text of a scrape, in OpenMetrics.
    fn text(
        &self,
        order: Order,
        open_connections: Option<u64>,
        options: &RenderOptions,
    ) -> io::Result<Vec<u8>> {
        let recent = recent::sum(self.count.tally.part(), &self.recent);
        let mut report = report(&self.status, &self.count, order);
        report.metrics = Some(MetricsSections {
            // All ports: a server listens on few.
            ports: ReportSection {
                keys: &self.ports.keys,
                table: Some(&self.ports.whole),
                order: Order { top: Some(usize::MAX), ..Order::default() },
                ..report.whole.clone()
            },
            recent: ReportSection {
                keys: &recent.keys,
                table: Some(&recent.whole),
                ..report.whole.clone()
            },
            window: self.window,
            open_connections,
            histograms: &self.histograms,
        });
        let mut text = Vec::new();
        OutputFormat::Openmetrics.format(options.clone()).report(&report, &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_while_a_scrape_has_a_copy_of_the_counts() {
        let tally = Tally::new(Keys::new(&[Key::Ip], Mask::default()), None, Some(10));
        let counts = Counts {
            recent: RecentCounts::new(&tally, WINDOW, Instant::now()),
            histograms: TcpHistograms::new(tally.columns),
            ports: Tally::new(Keys::new(&[Key::Port], Mask::default()), None, None),
            count: Count::new(crate::filter::Filter::default(), tally),
            status: SourceStatus::new("trace"),
        };
        let metrics = Metrics(Arc::new(Mutex::new(counts)));
        let connection = Connection { ip: Some([192, 0, 2, 1].into()), ..Connection::default() };
        metrics.take(&connection);
        let snapshot = Snapshot::take(&mut lock(&metrics.0));
        // Would wait forever if the snapshot held the lock.
        metrics.take(&connection);
        let later = Snapshot::take(&mut lock(&metrics.0));
        assert_eq!([snapshot, later].map(|s| s.count.tally.whole.total()), [1, 2]);
    }
}
