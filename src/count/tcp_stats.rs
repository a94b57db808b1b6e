//! [`TcpStats`]: bytes, durations and round-trip times of the connections of a row.

use std::time::Duration;

use crate::Connection;

/// A statistic that reports show in columns of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Bytes that clients sent (in) and received (out), summed
    Bytes,
    /// Time that connections were open: mean and maximum
    Duration,
    /// Smoothed round-trip time: mean and maximum
    Rtt,
}

/// A set of [`Column`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Columns {
    /// [`Column::Bytes`].
    pub bytes: bool,
    /// [`Column::Duration`].
    pub duration: bool,
    /// [`Column::Rtt`].
    pub rtt: bool,
}

impl Columns {
    /// Whether the set is not empty.
    pub fn any(self) -> bool {
        self != Columns::default()
    }
}

impl<'a> FromIterator<&'a Column> for Columns {
    fn from_iter<T: IntoIterator<Item = &'a Column>>(columns: T) -> Columns {
        let mut set = Columns::default();
        for column in columns {
            match column {
                Column::Bytes => set.bytes = true,
                Column::Duration => set.duration = true,
                Column::Rtt => set.rtt = true,
            }
        }
        set
    }
}

/// Statistics of several connections, where known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpStats {
    /// Bytes in each direction.
    pub bytes: Bytes,
    /// Times that they were open.
    pub duration: Summary,
    /// Round-trip times.
    pub rtt: Summary,
}

/// Bytes of several connections, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bytes {
    /// Number of connections with a known value.
    pub known: u64,
    /// Bytes that clients sent.
    pub received: u64,
    /// Bytes that clients received.
    pub sent: u64,
}

/// Times of several connections, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Number of connections with a known value.
    pub known: u64,
    /// Their sum.
    pub sum: u64,
    /// The maximum.
    pub max: u64,
    /// Number of connections with an upper bound only; they are in no sum.
    pub bounded: u64,
    /// The maximum of these bounds.
    pub bound: u64,
}

impl TcpStats {
    /// The statistics of `count` connections. If `count` is not 1, `c` has the sum of their bytes,
    /// and no times.
    pub(crate) fn of(c: &Connection, count: u64) -> TcpStats {
        let Some(t) = c.transport.as_deref() else { return TcpStats::default() };
        let bytes = match (t.bytes_in, t.bytes_out) {
            (Some(received), Some(sent)) => Bytes { known: count, received, sent },
            _ => Bytes::default(),
        };
        if count != 1 {
            return TcpStats { bytes, ..TcpStats::default() };
        }
        let duration = match t.duration_bounds() {
            Some((_, most)) if t.is_duration_bound() => Summary::bound(most),
            _ => t.duration.map(Summary::one).unwrap_or_default(),
        };
        TcpStats { bytes, duration, rtt: t.rtt.map(Summary::one).unwrap_or_default() }
    }

    /// Adds other statistics.
    pub(crate) fn add(&mut self, other: &TcpStats) {
        let TcpStats { bytes, duration, rtt } = other;
        self.bytes.known = self.bytes.known.saturating_add(bytes.known);
        self.bytes.received = self.bytes.received.saturating_add(bytes.received);
        self.bytes.sent = self.bytes.sent.saturating_add(bytes.sent);
        self.duration.add(duration);
        self.rtt.add(rtt);
    }
}

impl Bytes {
    /// Bytes in both directions.
    pub fn both(&self) -> u64 {
        self.received.saturating_add(self.sent)
    }
}

impl Summary {
    fn one(time: Duration) -> Summary {
        let time = microseconds(time);
        Summary { known: 1, sum: time, max: time, ..Summary::default() }
    }

    fn bound(time: Duration) -> Summary {
        Summary { bounded: 1, bound: microseconds(time), ..Summary::default() }
    }

    fn add(&mut self, other: &Summary) {
        self.known = self.known.saturating_add(other.known);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
        self.bounded = self.bounded.saturating_add(other.bounded);
        self.bound = self.bound.max(other.bound);
    }

    /// The mean in microseconds; `None` if no value is known.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.known)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::connection::Transport;

    fn connection(bytes: Option<u64>, seconds: Option<u64>) -> Connection {
        let transport = Transport {
            duration: seconds.map(Duration::from_secs),
            bytes_in: bytes,
            bytes_out: bytes.map(|n| 2 * n),
            ..Transport::default()
        };
        Connection { transport: Some(transport.into()), ..Connection::default() }
    }

    #[test]
    fn unknown_values_are_in_no_sum_and_no_mean() {
        let mut stats = TcpStats::default();
        let unknown = Connection::default();
        for c in [connection(Some(5), None), connection(None, Some(3)), unknown] {
            stats.add(&TcpStats::of(&c, 1));
        }
        stats.add(&TcpStats::of(&connection(Some(7), Some(5)), 1));
        assert_eq!(stats.bytes, Bytes { known: 2, received: 12, sent: 24 });
        assert_eq!((stats.duration.mean(), stats.duration.max), (Some(4_000_000), 5_000_000));
        assert_eq!((stats.duration.known, stats.rtt.mean()), (2, None));
    }

    #[test]
    fn durations_wider_than_they_are_long_are_in_no_mean() {
        let open = |seconds, uncertainty| {
            let transport = Transport {
                duration: Some(Duration::from_secs(seconds)),
                duration_uncertainty: Duration::from_secs(uncertainty),
                ..Transport::default()
            };
            TcpStats::of(
                &Connection { transport: Some(transport.into()), ..Connection::default() },
                1,
            )
        };
        let mut stats = open(10, 5);
        stats.add(&open(6, 0));
        for (duration, uncertainty) in [(10, 6), (7, 7)] {
            stats.add(&open(duration, uncertainty));
        }
        let Summary { known, bounded, bound, .. } = stats.duration;
        assert_eq!((known, stats.duration.mean()), (2, Some(8_000_000)));
        assert_eq!((bounded, bound), (2, 16_000_000));
    }

    #[test]
    fn of_several_only_bytes_are_known() {
        let stats = TcpStats::of(&connection(Some(100), Some(3)), 10);
        assert_eq!(stats.bytes, Bytes { known: 10, received: 100, sent: 200 });
        assert_eq!(stats.duration, Summary::default());
    }
}
