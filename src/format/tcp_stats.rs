//! Columns of TCP statistics, for all formats.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::count::tcp_stats::{Columns, Summary, TcpStats};

/// A column.
pub(super) struct Field {
    /// Its name in csv and JSON.
    pub name: &'static str,
    /// Its heading in tables.
    pub heading: &'static str,
    of_one: Option<&'static str>,
    value: fn(&TcpStats) -> Option<Number>,
}

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Bytes.
    Bytes(u64),
    /// Microseconds, to be shown as seconds.
    Time(u64),
    /// An upper bound in microseconds, the only thing known.
    TimeBelow(u64),
}

const FIELDS: [Field; 6] = [
    Field {
        name: "bytes_in",
        heading: "BYTES IN",
        of_one: Some("in"),
        value: |f| sum(f, f.bytes.received),
    },
    Field {
        name: "bytes_out",
        heading: "BYTES OUT",
        of_one: Some("out"),
        value: |f| sum(f, f.bytes.sent),
    },
    Field {
        name: "duration_mean",
        heading: "MEAN DURATION",
        of_one: Some("open"),
        value: |f| mean(&f.duration),
    },
    Field {
        name: "duration_max",
        heading: "MAX DURATION",
        of_one: None,
        value: |f| max(&f.duration),
    },
    Field { name: "rtt_mean", heading: "MEAN RTT", of_one: Some("rtt"), value: |f| mean(&f.rtt) },
    Field { name: "rtt_max", heading: "MAX RTT", of_one: None, value: |f| max(&f.rtt) },
];

fn sum(stats: &TcpStats, bytes: u64) -> Option<Number> {
    (stats.bytes.known > 0).then_some(Number::Bytes(bytes))
}

fn mean(times: &Summary) -> Option<Number> {
    times.mean().map(Number::Time).or_else(|| bound(times))
}

fn max(times: &Summary) -> Option<Number> {
    match times {
        Summary { max, bound, .. } if bound > max => Some(Number::TimeBelow(*bound)),
        Summary { known: 0, .. } => None,
        Summary { max, .. } => Some(Number::Time(*max)),
    }
}

fn bound(times: &Summary) -> Option<Number> {
    (times.bound > 0).then_some(Number::TimeBelow(times.bound))
}

/// Returns the selected columns in order.
pub(super) fn fields(columns: Columns) -> impl Iterator<Item = &'static Field> {
    let Columns { bytes, duration, rtt } = columns;
    FIELDS
        .iter()
        .zip([bytes, bytes, duration, duration, rtt, rtt])
        .filter_map(|(field, is_asked_for)| is_asked_for.then_some(field))
}

/// Returns the columns that apply to a single connection, each with its label.
pub(super) fn fields_of_one(
    columns: Columns,
) -> impl Iterator<Item = (&'static str, &'static Field)> {
    fields(columns).filter_map(|field| Some((field.of_one?, field)))
}

impl Field {
    /// The value for programs; `None` if it is known of no connection.
    pub(super) fn value(&self, stats: &TcpStats) -> Option<Number> {
        (self.value)(stats).filter(|n| !matches!(n, Number::TimeBelow(_)))
    }

    /// The value as text; empty if it is not known.
    pub(super) fn text(&self, stats: &TcpStats) -> String {
        self.value(stats).map(|n| n.to_string()).unwrap_or_default()
    }

    /// One word: the number, `<` and a number that it is below, or `-`.
    pub(super) fn word(&self, stats: &TcpStats) -> String {
        (self.value)(stats).map_or("-".into(), |n| n.to_string())
    }

    /// The number that rows are sorted by, bounds included.
    pub(super) fn order(&self, stats: &TcpStats) -> Option<u64> {
        (self.value)(stats).map(|number| match number {
            Number::Bytes(n) | Number::Time(n) | Number::TimeBelow(n) => n,
        })
    }

    /// The value for people.
    pub(super) fn show(&self, stats: &TcpStats) -> String {
        match (self.value)(stats) {
            None => "-".into(),
            Some(Number::Time(us)) => for_people(us),
            Some(Number::TimeBelow(us)) => format!("<{}", for_people(us)),
            Some(bytes) => bytes.to_string(),
        }
    }
}

/// For programs: bytes, or seconds with microseconds.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Bytes(n) => write!(f, "{n}"),
            Number::Time(us) => write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000),
            Number::TimeBelow(us) => write!(f, "<{}", Number::Time(*us)),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Number::Bytes(n) => serializer.serialize_u64(*n),
            Number::Time(us) => serializer.serialize_f64(*us as f64 / 1e6),
            Number::TimeBelow(_) => serializer.collect_str(self),
        }
    }
}

/// Formats a duration with about three digits.
fn for_people(us: u64) -> String {
    let seconds = us / 1_000_000;
    match us {
        0..1000 => format!("{us}us"),
        1000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        1_000_000..100_000_000 => format!("{:.1}s", us as f64 / 1e6),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let shown = [0, 999, 1000, 123_456, 1_500_000, 99_900_000, 100_000_000, 7_384_000_000];
        let expected = ["0us", "999us", "1.0ms", "123.5ms", "1.5s", "99.9s", "1m40s", "2h03m"];
        assert_eq!(shown.map(for_people), expected);
        assert_eq!(Number::Time(12_000_034).to_string(), "12.000034");
        assert_eq!(serde_json::to_string(&Number::Time(1_500)).unwrap(), "0.0015");
    }

    #[test]
    fn unknown_values_are_not_zero() {
        let all = Columns { bytes: true, duration: true, rtt: true };
        let nothing = TcpStats::default();
        assert!(fields(all).all(|f| f.value(&nothing).is_none()));
        assert!(
            fields(all)
                .all(|f| (f.text(&nothing), f.show(&nothing)) == (String::new(), "-".into()))
        );
        assert_eq!(fields(all).count(), 6);
        assert_eq!(fields(Columns::default()).count(), 0);
    }
}
