//! [`Form`]: the forms in which people give a time.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Zoned};

/// A time as somebody typed it, before anything is known of the record.
#[derive(Clone, Debug)]
pub enum Form {
    /// RFC 3339 or epoch seconds.
    Instant(Timestamp),
    /// A date and a time of day in a zone that is not said.
    Civil(DateTime),
    /// A time of the day that was so many days before today.
    Day(i64, Time),
    /// A time of day.
    Clock(Time),
    /// So long before now.
    Ago(Span),
    /// So long after the beginning.
    After(SignedDuration),
}

/// What to type instead, for messages.
pub const FORMS: &str = "give one of: 2026-11-22T11:30:05Z, '2026-11-22 11:30', 2026-11-22, \
    11:30:05, 1795347005.5 (epoch seconds), '10m ago', yesterday, +90s (from the beginning)";

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Form, String> {
        let s = text.trim();
        let unclear = || format!("this is no time that tcptally understands; {FORMS}");
        if let Some(digits) = s.strip_prefix('@') {
            return epoch(digits).map(Form::Instant).ok_or_else(unclear);
        }
        if s.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !s.is_empty() {
            let whole = s.split('.').next().unwrap_or_default();
            if whole.len() < 9 && whole != "0" {
                return Err(format!("as epoch seconds (type @{s}) this is long ago; {FORMS}"));
            }
            return epoch(s).map(Form::Instant).ok_or_else(unclear);
        }
        if let Some(rest) = s.strip_prefix('+') {
            return duration(rest).map(Form::After);
        }
        if let Some(rest) = s.strip_suffix("ago") {
            let span: Span = rest.trim().parse().map_err(|_| unclear())?;
            return if span.is_negative() { Err(unclear()) } else { Ok(Form::Ago(span)) };
        }
        if let Some(form) = words(s) {
            return Ok(form);
        }
        if let Ok(t) = s.parse::<Timestamp>() {
            return Ok(Form::Instant(t));
        }
        if let Ok(t) = s.parse::<Zoned>() {
            return Ok(Form::Instant(t.timestamp()));
        }
        if let Ok(t) = s.parse::<DateTime>() {
            return Ok(Form::Civil(t));
        }
        s.parse::<Time>().map(Form::Clock).map_err(|_| unclear())
    }
}

fn epoch(s: &str) -> Option<Timestamp> {
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Timestamp::new(whole.parse().ok()?, digits.parse().ok()?).ok()
}

/// `now`, `today`, `yesterday`, and the latter two with a time of day.
fn words(s: &str) -> Option<Form> {
    let (word, rest) = s.split_once(' ').unwrap_or((s, "00:00"));
    let days = match word {
        "now" if !s.contains(' ') => return Some(Form::Ago(Span::new())),
        "today" => 0,
        "yesterday" => 1,
        _ => return None,
    };
    Some(Form::Day(days, rest.trim().parse().ok()?))
}

impl Form {
    /// The point in time, where no record has to be known for it.
    pub fn timestamp(&self, zone: &TimeZone, now: Timestamp) -> Result<Option<Timestamp>, String> {
        let out_of_range = |e: jiff::Error| format!("this time is out of range ({e})");
        Ok(Some(match self {
            Form::Instant(t) => *t,
            Form::Civil(t) => zone.to_timestamp(*t).map_err(out_of_range)?,
            Form::Ago(span) => {
                now.to_zoned(zone.clone()).checked_sub(*span).map_err(out_of_range)?.timestamp()
            }
            Form::Day(ago, time) => {
                let today = now.to_zoned(zone.clone()).date();
                let date = today.checked_sub(Span::new().days(*ago)).map_err(out_of_range)?;
                zone.to_timestamp(date.to_datetime(*time)).map_err(out_of_range)?
            }
            Form::Clock(_) | Form::After(_) => return Ok(None),
        }))
    }
}

/// A length of time: `90s`, `5m`, `1h30m`, `2d` (of 24 hours), or seconds as a bare number.
pub fn duration(s: &str) -> Result<SignedDuration, String> {
    let unclear = || "this is no length of time; give one such as 90s, 5m, 1h30m or 2d".to_string();
    let s = s.trim();
    let span: Span = match s.parse::<u32>() {
        Ok(seconds) => Span::new().seconds(seconds),
        Err(_) => s.parse().map_err(|_| unclear())?,
    };
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| unclear())?;
    if length.is_positive() { Ok(length) } else { Err(unclear()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let form: Form = s.parse().unwrap_or_else(|e| panic!("{s}: {e}"));
        match form.timestamp(&zone, now).unwrap() {
            Some(t) => t.to_string(),
            None => format!("{form:?}"),
        }
    }

    #[test]
    fn all_forms() {
        assert_eq!(at("2026-11-22T11:30:05.25Z"), "2026-11-22T11:30:05.25Z");
        assert_eq!(at("2026-11-22T11:30:05+01:00"), "2026-11-22T10:30:05Z");
        assert_eq!(at("2026-11-22 11:30"), "2026-11-22T10:30:00Z");
        assert_eq!(at("2026-11-22"), "2026-11-21T23:00:00Z");
        assert_eq!(at("2026-07-01 11:30:05"), "2026-07-01T09:30:05Z");
        assert_eq!(at("1795347005.000001"), "2026-11-22T11:30:05.000001Z");
        assert_eq!(at("@0"), "1970-01-01T00:00:00Z");
        assert_eq!(at("10m ago"), "2026-11-22T11:50:00Z");
        assert_eq!(at("1h 30m ago"), "2026-11-22T10:30:00Z");
        assert_eq!(at("2 days ago"), "2026-11-20T12:00:00Z");
        assert_eq!(at("now"), "2026-11-22T12:00:00Z");
        assert_eq!(at("today 11:30"), "2026-11-22T10:30:00Z");
        assert_eq!(at("yesterday"), "2026-11-20T23:00:00Z");
        assert_eq!(at("11:30"), "Clock(11:30:00)");
        assert_eq!(at("+90s"), "After(1m 30s)");
    }

    #[test]
    fn what_is_not_understood_says_what_is() {
        for s in ["", "noon", "25:00", "2026-13-01", "+-5s", "+", "1130", "-5m ago", "today at"] {
            let message = s.parse::<Form>().expect_err(s);
            assert!(message.contains("give one"), "{s}: {message}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(SignedDuration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(duration("2d"), Ok(SignedDuration::from_hours(48)));
        assert_eq!(duration("1.5s"), Ok(SignedDuration::from_millis(1500)));
        for s in ["", "0", "-5s", "1mo", "soon", "5 parsecs"] {
            assert!(duration(s).is_err(), "{s}");
        }
    }
}
