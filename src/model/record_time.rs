//! [`RecordTime`]: a point in time, by the clock or since a record began.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A point in time, to the nanosecond.
///
/// A record without a clock has times since its beginning only. Times of the two kinds are never
/// equal, and clock times sort first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordTime {
    /// Nanoseconds since 1970-01-01T00:00:00Z (years 1678 to 2262).
    Clock(i64),
    /// Nanoseconds since the record began.
    Elapsed(i64),
}

impl RecordTime {
    /// The current time by CLOCK_REALTIME.
    pub fn now() -> RecordTime {
        Timestamp::now().into()
    }

    /// Nanoseconds since the beginning of its kind of time.
    pub(crate) fn nanoseconds(self) -> i64 {
        let (RecordTime::Clock(ns) | RecordTime::Elapsed(ns)) = self;
        ns
    }

    /// The clock time, if this is one.
    pub fn timestamp(self) -> Option<Timestamp> {
        match self {
            RecordTime::Clock(ns) => Timestamp::from_nanosecond(ns.into()).ok(),
            RecordTime::Elapsed(_) => None,
        }
    }

    /// The same kind of time, `by` later. Saturates at the ends of the range.
    pub fn shifted(self, by: SignedDuration) -> RecordTime {
        let by = by.as_nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        match self {
            RecordTime::Clock(ns) => RecordTime::Clock(ns.saturating_add(by)),
            RecordTime::Elapsed(ns) => RecordTime::Elapsed(ns.saturating_add(by)),
        }
    }

    /// The latest time before this one, a nanosecond earlier.
    pub fn just_before(self) -> RecordTime {
        self.shifted(SignedDuration::from_nanos(-1))
    }
}

impl From<Timestamp> for RecordTime {
    /// Times outside the range of [`RecordTime::Clock`] become its nearest end.
    fn from(t: Timestamp) -> RecordTime {
        RecordTime::Clock(t.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// RFC 3339 in UTC with microseconds, or `+SECONDS` since the record began.
impl fmt::Display for RecordTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.timestamp()) {
            (_, Some(t)) => write!(f, "{t:.6}"),
            (RecordTime::Clock(ns), None) => write!(f, "@{ns}"),
            (RecordTime::Elapsed(ns), None) => {
                let sign = if *ns < 0 { '-' } else { '+' };
                let ns = ns.unsigned_abs();
                write!(f, "{sign}{}.{:06}s", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
            }
        }
    }
}

/// A text is not a time as reports and events contain it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time such as 2026-11-22T11:30:05Z or +90.0s")]
pub struct RecordTimeError(String);

/// Parses what [`Display`](fmt::Display) writes.
impl FromStr for RecordTime {
    type Err = RecordTimeError;

    fn from_str(s: &str) -> Result<RecordTime, RecordTimeError> {
        let error = || RecordTimeError(s.to_string());
        if let Some(ns) = s.strip_prefix('@') {
            return ns.parse().map(RecordTime::Clock).map_err(|_| error());
        }
        match s.strip_suffix('s').and_then(|s| s.strip_prefix(['+', '-'])) {
            Some(seconds) => {
                let elapsed: SignedDuration = format!("{seconds}s").parse().map_err(|_| error())?;
                let elapsed = if s.starts_with('-') { -elapsed } else { elapsed };
                Ok(RecordTime::Elapsed(0).shifted(elapsed))
            }
            None => s.parse::<Timestamp>().map(RecordTime::from).map_err(|_| error()),
        }
    }
}

impl<'de> serde::Deserialize<'de> for RecordTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<RecordTime, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for RecordTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_both_kinds() {
        assert_eq!(
            RecordTime::Clock(1_795_344_771_678_627_000).to_string(),
            "2026-11-22T10:52:51.678627Z"
        );
        assert_eq!(RecordTime::Elapsed(-1_500_000_000).to_string(), "-1.500000s");
        assert_eq!(RecordTime::Elapsed(90_000_000_000).to_string(), "+90.000000s");
    }

    #[test]
    fn reads_what_it_shows() {
        for record_time in [
            RecordTime::Clock(1_795_344_771_678_627_000),
            RecordTime::Clock(0),
            RecordTime::Elapsed(-1_500_000_000),
            RecordTime::Elapsed(90_000_001_000),
        ] {
            assert_eq!(record_time.to_string().parse(), Ok(record_time));
        }
        for text in ["", "s", "+s", "90s", "2026-11-22", "@x"] {
            assert!(text.parse::<RecordTime>().is_err(), "{text}");
        }
    }
}
