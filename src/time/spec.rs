//! [`TimeSpec`]: a time as the user writes it, for example `2026-11-22 11:30` or `10m ago`.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Zoned};

/// A time as the user wrote it. Its meaning may depend on the record and on the current time.
#[derive(Clone, Debug)]
pub(crate) enum TimeSpec {
    /// RFC 3339 or epoch seconds.
    Instant(Timestamp),
    /// A date and a time of day, in the zone of the record.
    Civil(DateTime),
    /// A time of day, that many days before today.
    Day(i64, Time),
    /// A time of day.
    Clock(Time),
    /// This long before now.
    Ago(Span),
    /// This long after the beginning of the record, or after now.
    After(SignedDuration),
}

/// The accepted forms, for messages.
const FORMS: &str = "give one of: 2026-11-22T11:30:05Z, '2026-11-22 11:30', 2026-11-22, \
    11:30:05, 1795347005.5 (epoch seconds), '10m ago' or -10m, yesterday, +90s (from the beginning)";

/// The forms for what counts from now on: a time in the past has passed.
const FORMS_FROM_NOW: &str = "give one of: 2026-11-22T11:30:05Z, '2026-11-22 11:30', 2026-11-22, \
    11:30:05, 1795347005.5 (epoch seconds), +90s (from the beginning)";

/// Why a text is not a time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TimeError {
    /// None of the accepted forms.
    #[error("not a time in a known form; {0}")]
    UnknownForm(&'static str),
    /// A small number, which as epoch seconds would be a time in the 1970s.
    #[error("as epoch seconds this is a time in the 1970s (to use it, write @{0}); {1}")]
    SmallNumber(String, &'static str),
    /// Before or after the times that can be represented.
    #[error("time out of range")]
    OutOfRange(#[source] jiff::Error),
    /// Not a length of time.
    #[error(transparent)]
    Duration(#[from] DurationError),
}

/// A text is not a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a length of time above 0; give one such as 90s, 5m, 1h30m or 2d")]
pub struct DurationError;

/// Parses a time for a command that counts from now on.
pub(crate) fn from_now(text: &str) -> Result<TimeSpec, TimeError> {
    text.parse().map_err(|error| match error {
        TimeError::UnknownForm(_) => TimeError::UnknownForm(FORMS_FROM_NOW),
        TimeError::SmallNumber(text, _) => TimeError::SmallNumber(text, FORMS_FROM_NOW),
        other => other,
    })
}

impl FromStr for TimeSpec {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<TimeSpec, TimeError> {
        let s = text.trim();
        let unknown = || TimeError::UnknownForm(FORMS);
        if let Some(digits) = s.strip_prefix('@') {
            return epoch(digits).map(TimeSpec::Instant).ok_or_else(unknown);
        }
        if s.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !s.is_empty() {
            let whole = s.split('.').next().unwrap_or_default();
            if whole.len() < 9 && whole != "0" {
                return Err(TimeError::SmallNumber(s.to_string(), FORMS));
            }
            return epoch(s).map(TimeSpec::Instant).ok_or_else(unknown);
        }
        if let Some(rest) = s.strip_prefix('+') {
            return Ok(TimeSpec::After(duration(rest)?));
        }
        let ago = s.strip_suffix("ago").map(str::trim_end);
        if let Some(length) = ago.or_else(|| s.strip_prefix('-')) {
            let span: Span = length.parse().map_err(|_| unknown())?;
            return if span.is_negative() { Err(unknown()) } else { Ok(TimeSpec::Ago(span)) };
        }
        if let Some(time) = words(s) {
            return Ok(time);
        }
        if let Ok(t) = s.parse::<Timestamp>() {
            return Ok(TimeSpec::Instant(t));
        }
        if let Ok(t) = s.parse::<Zoned>() {
            return Ok(TimeSpec::Instant(t.timestamp()));
        }
        if let Ok(t) = s.parse::<DateTime>() {
            return Ok(TimeSpec::Civil(t));
        }
        s.parse::<Time>().map(TimeSpec::Clock).map_err(|_| unknown())
    }
}

fn epoch(s: &str) -> Option<Timestamp> {
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Timestamp::new(whole.parse().ok()?, digits.parse().ok()?).ok()
}

/// Parses `now`, `today`, `yesterday`, and the latter two with a time of day.
fn words(s: &str) -> Option<TimeSpec> {
    let (word, rest) = s.split_once(' ').unwrap_or((s, "00:00"));
    let days = match word {
        "now" if !s.contains(' ') => return Some(TimeSpec::Ago(Span::new())),
        "today" => 0,
        "yesterday" => 1,
        _ => return None,
    };
    Some(TimeSpec::Day(days, rest.trim().parse().ok()?))
}

impl TimeSpec {
    /// Returns the point in time. `None` for a time of day without a date and for a time after the
    /// beginning.
    pub(crate) fn timestamp(
        &self,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, TimeError> {
        let out_of_range = TimeError::OutOfRange;
        Ok(Some(match self {
            TimeSpec::Instant(t) => *t,
            TimeSpec::Civil(t) => zone.to_timestamp(*t).map_err(out_of_range)?,
            TimeSpec::Ago(span) => {
                now.to_zoned(zone.clone()).checked_sub(*span).map_err(out_of_range)?.timestamp()
            }
            TimeSpec::Day(ago, time) => {
                let today = now.to_zoned(zone.clone()).date();
                let date = today.checked_sub(Span::new().days(*ago)).map_err(out_of_range)?;
                zone.to_timestamp(date.to_datetime(*time)).map_err(out_of_range)?
            }
            TimeSpec::Clock(_) | TimeSpec::After(_) => return Ok(None),
        }))
    }
}

/// Parses a length of time: `90s`, `5m`, `1h30m`, `2d` (days of 24 hours), or a number of seconds.
pub(crate) fn duration(s: &str) -> Result<SignedDuration, DurationError> {
    let s = s.trim();
    let span: Span = match s.parse::<u32>() {
        Ok(seconds) => Span::new().seconds(seconds),
        Err(_) => s.parse().map_err(|_| DurationError)?,
    };
    let length =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| DurationError)?;
    if length.is_positive() { Ok(length) } else { Err(DurationError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let time: TimeSpec = s.parse().unwrap_or_else(|e| panic!("{s}: {e}"));
        match time.timestamp(&zone, now).unwrap() {
            Some(t) => t.to_string(),
            None => format!("{time:?}"),
        }
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(at("2026-11-22T11:30:05.25Z"), "2026-11-22T11:30:05.25Z");
        assert_eq!(at("2026-11-22T11:30:05+01:00"), "2026-11-22T10:30:05Z");
        assert_eq!(at("2026-11-22 11:30"), "2026-11-22T10:30:00Z");
        assert_eq!(at("2026-11-22"), "2026-11-21T23:00:00Z");
        assert_eq!(at("2026-07-01 11:30:05"), "2026-07-01T09:30:05Z");
        assert_eq!(at("1795347005.000001"), "2026-11-22T11:30:05.000001Z");
        assert_eq!(at("@0"), "1970-01-01T00:00:00Z");
        assert_eq!(at("10m ago"), "2026-11-22T11:50:00Z");
        assert_eq!(at("1h 30m ago"), "2026-11-22T10:30:00Z");
        assert_eq!(at("-1h30m"), "2026-11-22T10:30:00Z");
        assert_eq!(at("2 days ago"), "2026-11-20T12:00:00Z");
        assert_eq!(at("now"), "2026-11-22T12:00:00Z");
        assert_eq!(at("today 11:30"), "2026-11-22T10:30:00Z");
        assert_eq!(at("yesterday"), "2026-11-20T23:00:00Z");
        assert_eq!(at("11:30"), "Clock(11:30:00)");
        assert_eq!(at("+90s"), "After(1m 30s)");
    }

    #[test]
    fn errors_name_the_accepted_forms() {
        for s in [
            "",
            "noon",
            "25:00",
            "2026-13-01",
            "+-5s",
            "+",
            "1130",
            "-5m ago",
            "--5m",
            "-5m -ago",
            "-10:00",
            "today at",
        ] {
            let message = s.parse::<TimeSpec>().expect_err(s).to_string();
            assert!(message.contains("give one"), "{s}: {message}");
            let message = from_now(s).expect_err(s).to_string();
            assert!(message.contains("give one") && !message.contains("ago"), "{s}: {message}");
        }
        assert!(from_now("+90s").is_ok());
    }

    #[test]
    fn durations_are_positive() {
        assert_eq!(duration("90"), Ok(SignedDuration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(duration("2d"), Ok(SignedDuration::from_hours(48)));
        assert_eq!(duration("1.5s"), Ok(SignedDuration::from_millis(1500)));
        for s in ["", "0", "-5s", "1mo", "soon", "5 parsecs"] {
            assert!(duration(s).is_err(), "{s}");
        }
    }
}
