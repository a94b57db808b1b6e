//! [`Interval`]: intervals of equal length, aligned to the clock.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::spec::{DurationError, duration};
use crate::RecordTime;

/// The length of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalLength {
    /// Nanoseconds, at least 1.
    Time(i64),
    /// Calendar days, at least 1. Weeks begin on Monday.
    Days(i32),
}

/// Why a text is not the length of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// Not a length of time.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// More than 292 years.
    #[error("this interval is too long; give one of less than 292 years")]
    TooLong,
}

/// `20s`, `1m`, `1h`, `1d`, `1w`, or a number of seconds.
impl FromStr for IntervalLength {
    type Err = IntervalError;

    fn from_str(s: &str) -> Result<IntervalLength, IntervalError> {
        if let Ok(span) = s.trim().parse::<Span>() {
            let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
            let days_only = Span::new().weeks(span.get_weeks()).days(span.get_days());
            if days > 0 && span.fieldwise() == days_only.fieldwise() {
                return i32::try_from(days)
                    .map(IntervalLength::Days)
                    .map_err(|_| IntervalError::TooLong);
            }
        }
        let ns = duration(s)?.as_nanos();
        i64::try_from(ns).map(IntervalLength::Time).map_err(|_| IntervalError::TooLong)
    }
}

/// The intervals of one length in one time zone.
///
/// An interval begins when the local time is a multiple of the length; a day begins at midnight. It
/// ends when the next one begins, so an interval with a change of the UTC offset is longer or
/// shorter than the others.
#[derive(Clone, Debug)]
pub struct Interval {
    /// The length of each.
    pub length: IntervalLength,
    /// The time zone of the local time.
    pub zone: TimeZone,
}

/// The day from which days are counted, a Monday.
const DAY_ZERO: Date = jiff::civil::date(1970, 1, 5);

impl Interval {
    /// Returns the beginning and the end of the interval that contains `time`.
    pub fn around(&self, time: RecordTime) -> (RecordTime, RecordTime) {
        match (time.timestamp(), self.length) {
            (Some(t), IntervalLength::Time(ns)) => {
                let start = self.start(t, ns);
                (start.into(), self.end(start, ns).into())
            }
            (Some(t), IntervalLength::Days(n)) => {
                let day = (self.zone.to_datetime(t).date() - DAY_ZERO).get_days();
                let first = day - day.rem_euclid(n);
                (self.day(first), self.day(first + n))
            }
            (None, length) => {
                let ns = match length {
                    IntervalLength::Time(ns) => ns,
                    IntervalLength::Days(n) => i64::from(n) * 86_400_000_000_000,
                };
                let passed = time.nanoseconds().rem_euclid(ns);
                let start = time.shifted(SignedDuration::from_nanos(-passed));
                (start, start.shifted(SignedDuration::from_nanos(ns)))
            }
        }
    }

    /// Returns the beginning of the day `n` days after [`DAY_ZERO`].
    fn day(&self, n: i32) -> RecordTime {
        let date = DAY_ZERO.saturating_add(Span::new().days(n));
        match date.to_zoned(self.zone.clone()) {
            Ok(t) => t.timestamp().into(),
            Err(_) if n < 0 => RecordTime::Clock(i64::MIN),
            Err(_) => RecordTime::Clock(i64::MAX),
        }
    }

    /// The latest time at or before `t` whose local time is a multiple of `ns`.
    fn start(&self, t: Timestamp, ns: i64) -> Timestamp {
        let mut before = t;
        loop {
            // `offset` is constant between two transitions of the zone.
            let offset = self.zone.to_offset(before);
            let shown = before.as_nanosecond() + i128::from(offset.seconds()) * 1_000_000_000;
            let start = nanosecond(before.as_nanosecond() - shown.rem_euclid(ns.into()));
            let change = if self.zone.to_offset(start) == offset {
                None
            } else {
                self.zone.preceding(before.saturating_add_ns(1)).next().map(|c| c.timestamp())
            };
            match change {
                Some(change) if change > start => before = change.saturating_add_ns(-1),
                _ => return start,
            }
        }
    }

    /// The first time after `start` whose local time is a multiple of `ns`. So is that of
    /// `start`.
    fn end(&self, start: Timestamp, ns: i64) -> Timestamp {
        let end = start.saturating_add_ns(ns);
        if self.zone.to_offset(end) == self.zone.to_offset(start) {
            return end;
        }
        let mut after = start;
        loop {
            let Some(change) = self.zone.following(after).next() else { return end };
            let (change, offset) = (change.timestamp(), change.offset());
            if after == start && end < change {
                return end;
            }
            let shown = change.as_nanosecond() + i128::from(offset.seconds()) * 1_000_000_000;
            let missing = (-shown).rem_euclid(ns.into());
            let end = nanosecond(change.as_nanosecond() + missing);
            if self.zone.to_offset(end) == offset {
                return end;
            }
            after = change;
        }
    }
}

trait AddNs {
    fn saturating_add_ns(self, ns: i64) -> Self;
}

impl AddNs for Timestamp {
    fn saturating_add_ns(self, ns: i64) -> Timestamp {
        nanosecond(self.as_nanosecond() + i128::from(ns))
    }
}

fn nanosecond(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(ns).unwrap_or(if ns < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(length: &str, zone: &str) -> Interval {
        Interval { length: length.parse().unwrap(), zone: TimeZone::get(zone).unwrap() }
    }

    fn clock(t: &str) -> RecordTime {
        t.parse::<Timestamp>().unwrap().into()
    }

    /// The intervals between two times, each by the local time of its beginning.
    fn between(i: &Interval, from: &str, to: &str) -> Vec<String> {
        let (mut at, to) = (clock(from), clock(to));
        let mut shown = Vec::new();
        while at < to {
            let (start, end) = i.around(at);
            assert_eq!(start, at, "they follow each other without a gap");
            let t = start.timestamp().unwrap().to_zoned(i.zone.clone());
            shown.push(t.strftime("%H:%M%:z").to_string());
            // `around` gives the same interval for each time within it.
            let middle = start
                .shifted(end.timestamp().unwrap().duration_since(start.timestamp().unwrap()) / 2);
            assert_eq!(i.around(middle), (start, end));
            assert_eq!(i.around(end.shifted(SignedDuration::from_nanos(-1))), (start, end));
            at = end;
        }
        assert_eq!(at, to);
        shown
    }

    #[test]
    fn a_day_is_a_calendar_day_also_when_clocks_are_set() {
        let days = interval("1d", "Europe/Berlin");
        let hours = |from: &str| {
            let (start, end) = days.around(clock(from));
            end.timestamp().unwrap().duration_since(start.timestamp().unwrap()).as_hours()
        };
        assert_eq!(hours("2026-03-28T12:00:00Z"), 24);
        assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
    }

    #[test]
    fn hours_when_clocks_are_set() {
        let hour = interval("1h", "Europe/Berlin");
        let spring = between(&hour, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        assert_eq!(spring.len(), 23);
        assert_eq!(spring[1..3], ["01:00+01:00", "03:00+02:00"]);
        let autumn = between(&hour, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(autumn.len(), 25);
        assert_eq!(autumn[2..4], ["02:00+02:00", "02:00+01:00"]);
    }

    #[test]
    fn longer_intervals_stay_aligned_when_clocks_are_set() {
        let i = interval("6h", "Europe/Berlin");
        let spring = between(&i, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        assert_eq!(spring, ["00:00+01:00", "06:00+02:00", "12:00+02:00", "18:00+02:00"]);
        let autumn = between(&i, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(autumn, ["00:00+02:00", "06:00+01:00", "12:00+01:00", "18:00+01:00"]);
    }

    #[test]
    fn a_zone_whose_clocks_are_set_by_half_an_hour() {
        let hour = interval("1h", "Australia/Lord_Howe");
        let spring = between(&hour, "2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z");
        assert_eq!(spring[..4], ["00:00+10:30", "01:00+10:30", "03:00+11:00", "04:00+11:00"]);
        let autumn = between(&hour, "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z");
        assert_eq!(autumn[..4], ["00:00+11:00", "01:00+11:00", "02:00+10:30", "03:00+10:30"]);
    }

    #[test]
    fn a_zone_that_is_off_by_half_an_hour() {
        let (start, _) = interval("1h", "Asia/Kolkata").around(clock("2026-11-22T11:31:00Z"));
        assert_eq!(start, clock("2026-11-22T11:30:00Z"));
    }

    #[test]
    fn weeks_begin_on_monday() {
        let (start, end) = interval("1w", "UTC").around(clock("2026-11-22T11:31:00Z"));
        assert_eq!((start, end), (clock("2026-11-16T00:00:00Z"), clock("2026-11-23T00:00:00Z")));
    }

    #[test]
    fn since_the_beginning() {
        let second = |s: i64| RecordTime::Elapsed(s * 1_000_000_000);
        let i = interval("20s", "Europe/Berlin");
        assert_eq!(i.around(second(59)), (second(40), second(60)));
        assert_eq!(i.around(second(-1)), (second(-20), second(0)));
    }

    #[test]
    fn lengths() {
        assert_eq!("20".parse(), Ok(IntervalLength::Time(20_000_000_000)));
        assert_eq!("1h30m".parse(), Ok(IntervalLength::Time(5_400_000_000_000)));
        assert_eq!("2d".parse(), Ok(IntervalLength::Days(2)));
        assert_eq!("1w".parse(), Ok(IntervalLength::Days(7)));
        for s in ["0", "0d", "1mo", "-20s", "now and then"] {
            assert!(s.parse::<IntervalLength>().is_err(), "{s}");
        }
    }
}
