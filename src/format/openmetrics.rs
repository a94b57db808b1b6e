//! The OpenMetrics format, for Prometheus.

use std::fmt;
use std::io::{self, Write};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::event::Event;
use super::report::{MetricsSections, Report, ReportSection};
use crate::Connection;
use crate::count::value::Value;
use crate::model::text::printable;

/// The media type of this format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Default number of rows that are time series of their own. Clients choose their addresses, so they
/// could make any number of series.
pub(super) const TOP: usize = 20;

/// OpenMetrics text.
pub(super) struct Format;

type Labels = Vec<(&'static str, String)>;

impl super::Format for Format {
    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        let registry = registry(report);
        let mut text = Text { out, error: None };
        encode(&mut text, &registry).map_err(|e| text.error.take().unwrap_or(io::Error::other(e)))
    }

    /// This format has no events.
    fn event(&mut self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        super::json::write_line(&Event::from(connection), out)
    }
}

fn registry(report: &Report<'_>) -> Registry {
    let mut registry = Registry::with_prefix("tcptally");
    register_sums(&mut registry, report);
    register_status(&mut registry, report);
    if let Some(metrics) = &report.metrics {
        register_sections(&mut registry, metrics);
    }
    let (rows, others) = rows(&report.whole);
    let family = Family::<Labels, Counter>::default();
    for (labels, count) in rows {
        family.get_or_create(&labels).inc_by(count);
    }
    registry.register("top_connections", "Connections of the largest rows", family);
    register_gauge(
        &mut registry,
        "other_connections",
        "Connections that are in none of the largest rows",
        others,
    );
    registry
}

/// Numbers of connections by the result of the filter.
fn register_sums(registry: &mut Registry, report: &Report<'_>) {
    let (status, sums) = (report.status, &report.sums);
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter("connections", "Connections that were counted", sums.total);
    counter("filtered_connections", "Connections that the options exclude", sums.filtered);
    counter("lost_connections", "Connections that are known to have been missed", status.lost);
    counter(
        "unknown_peer_connections",
        "Connections whose client's address is not known",
        sums.no_peer + sums.undecided_peer,
    );
    counter(
        "unknown_port_connections",
        "Connections not counted because their local port is not known",
        sums.unknown_port,
    );
    counter("unreadable_lines", "Lines that could not be read", status.unreadable_lines());
    if let Some(stops) = status.stops {
        counter("stops", "Stops of tracees", stops);
    }
}

/// The state of the source, and which program this is.
fn register_status(registry: &mut Registry, report: &Report<'_>) {
    let status = report.status;
    register_gauge(
        registry,
        "complete",
        "1 if no connection is known to be missing",
        report.is_complete().into(),
    );
    if let Some(tracees) = status.tracees {
        register_gauge(registry, "tracees", "Threads that are watched", tracees);
    }
    if let Some(addresses) = report.addresses() {
        register_gauge(registry, "addresses", "Distinct client addresses", addresses as u64);
    }
    let build = Family::<Labels, Gauge>::default();
    build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("build_info", "The version of tcptally; always 1", build);
}

fn register_sections(registry: &mut Registry, metrics: &MetricsSections<'_>) {
    let ports = Family::<Labels, Counter>::default();
    for (labels, count) in rows(&metrics.ports).0 {
        ports.get_or_create(&labels).inc_by(count);
    }
    registry.register("port_connections", "Connections by local port", ports);

    let recent = Family::<Labels, Gauge>::default();
    for (labels, count) in rows(&metrics.recent).0 {
        recent.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let seconds = metrics.window.as_secs();
    let help = format!("Connections of the largest rows of the last {seconds} seconds");
    registry.register("recent_connections", help, recent);

    if let Some(open) = metrics.open_connections {
        register_gauge(registry, "open_connections", "Connections that are open now", open);
    }
    let (duration, rtt) = (metrics.histograms.duration(), metrics.histograms.rtt());
    for (name, help, histogram) in [
        ("connection_duration_seconds", "Time that closed connections were open", duration),
        ("connection_rtt_seconds", "Smoothed round-trip time of closed connections", rtt),
    ] {
        if let Some(histogram) = histogram {
            registry.register(name, help, histogram);
        }
    }
}

fn register_gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

/// The rows that are shown, and the sum of the others.
fn rows(section: &ReportSection<'_>) -> (Vec<(Labels, u64)>, u64) {
    let mut section = section.clone();
    section.order.top.get_or_insert(TOP);
    let selection = section.select();
    let rows = section.rows(&selection).map(|row| {
        let values = row.values().map(|value| match value {
            Value::Unknown => String::new(),
            value => printable(&value.to_string()),
        });
        let labels = section.keys.list().iter().map(|k| k.name()).zip(values).collect();
        (labels, row.entry.count)
    });
    (rows.collect(), selection.others.count)
}

/// Keeps the I/O error, which [`fmt::Write`] cannot return.
struct Text<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.out.write_all(s.as_bytes()).map_err(|e| {
            self.error = Some(e);
            fmt::Error
        })
    }
}
