//! [`TcpHistograms`]: distributions of durations and round-trip times, for Prometheus.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::Connection;
use crate::count::tcp_stats::Columns;

/// Distributions of durations and round-trip times, as far as they are kept.
#[derive(Clone, Debug)]
pub struct TcpHistograms {
    duration: Option<Histogram>,
    rtt: Option<Histogram>,
}

impl TcpHistograms {
    /// Creates empty distributions of the statistics that are kept.
    pub fn new(columns: Columns) -> TcpHistograms {
        // 1 ms to 17 minutes, and 50 us to 13 s.
        let duration = || Histogram::new(exponential_buckets(0.001, 4.0, 11));
        let rtt = || Histogram::new(exponential_buckets(0.000_05, 4.0, 10));
        TcpHistograms { duration: columns.duration.then(duration), rtt: columns.rtt.then(rtt) }
    }

    pub(super) fn duration(&self) -> Option<Histogram> {
        self.duration.clone()
    }

    pub(super) fn rtt(&self) -> Option<Histogram> {
        self.rtt.clone()
    }

    /// Adds one connection. Leaves out a duration if only a bound of it is known.
    pub fn observe(&self, c: &Connection) {
        let Some(transport) = c.transport.as_deref() else { return };
        let duration = transport.duration.filter(|_| !transport.is_duration_bound());
        for (histogram, time) in [(&self.duration, duration), (&self.rtt, transport.rtt)] {
            if let Some((histogram, time)) = histogram.as_ref().zip(time) {
                histogram.observe(time.as_secs_f64());
            }
        }
    }
}
