//! [`period`]: derives a period from two times on the command line.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::spec::{TimeError, TimeSpec};
use super::{Bound, Period};
use crate::RecordTime;

/// The reference of times without a date and of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A record of the past: a time of day applies to every day, and an offset counts from the
    /// beginning of the record.
    Record,
    /// Observing: a time of day is its next occurrence, and an offset counts from now.
    Now,
}

/// One end of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its beginning.
    Since,
    /// Its end.
    Until,
}

/// Why two times do not form a period.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeriodError {
    /// One of the times is out of range.
    #[error("one end of the period is not a valid time")]
    Time(End, #[source] TimeError),
    /// The period ends before it begins.
    #[error("{since} is not before {until}")]
    NotBefore {
        /// Its beginning.
        since: RecordTime,
        /// Its end.
        until: RecordTime,
    },
    /// The same time of day twice.
    #[error("the period begins and ends at the same time of day")]
    Empty,
    /// The period has ended already.
    #[error("{0} has passed")]
    Passed(RecordTime),
}

/// The period between two times. A time of day beside a time with a date is the nearest one that
/// makes a period.
///
/// # Errors
/// If a time is out of range, or the period is empty or has passed.
pub(crate) fn period(
    since: Option<&TimeSpec>,
    until: Option<&TimeSpec>,
    reference: Reference,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Period, PeriodError> {
    let place = |spec: &TimeSpec, end: End| -> Result<Option<Bound>, PeriodError> {
        let t = spec.timestamp(zone, now).map_err(|e| PeriodError::Time(end, e))?;
        Ok(match (t, spec, reference) {
            (Some(t), ..) => Some(Bound::At(t.into())),
            (None, TimeSpec::After(d), Reference::Record) => {
                Some(Bound::At(RecordTime::Elapsed(0).shifted(*d)))
            }
            (None, TimeSpec::After(d), Reference::Now) => {
                Some(Bound::At(RecordTime::from(now).shifted(*d)))
            }
            _ => None,
        })
    };
    let mut from = since.map(|spec| place(spec, End::Since)).transpose()?.flatten();
    let mut to = until.map(|spec| place(spec, End::Until)).transpose()?.flatten();
    if let Some(TimeSpec::Clock(time)) = until {
        let after = match (timestamp(from.as_ref()), reference) {
            (Some(from), Reference::Now) => Some(from.max(now)),
            (None, Reference::Now) => Some(now),
            (from, Reference::Record) => from,
        };
        let next = |after| next(zone, *time, after).map_err(|e| PeriodError::Time(End::Until, e));
        to = Some(match after {
            Some(after) => next(after)?,
            None => Bound::Daily(*time),
        });
    }
    if let Some(TimeSpec::Clock(time)) = since {
        let error = |e| PeriodError::Time(End::Since, e);
        from = Some(match (timestamp(to.as_ref()), reference) {
            (Some(to), _) => previous(zone, *time, to).map_err(error)?,
            (None, Reference::Now) => next(zone, *time, now).map_err(error)?,
            (None, Reference::Record) => Bound::Daily(*time),
        });
    }
    check(from.as_ref(), to.as_ref(), reference, now)?;
    Ok(Period { since: from, until: to, zone: zone.clone() })
}

fn check(
    since: Option<&Bound>,
    until: Option<&Bound>,
    reference: Reference,
    now: Timestamp,
) -> Result<(), PeriodError> {
    match (since, until) {
        (Some(Bound::At(since)), Some(Bound::At(until)))
            if std::mem::discriminant(since) == std::mem::discriminant(until) && since >= until =>
        {
            Err(PeriodError::NotBefore { since: *since, until: *until })
        }
        (Some(a), Some(b)) if a == b => Err(PeriodError::Empty),
        (_, Some(Bound::At(until))) if reference == Reference::Now && *until <= now.into() => {
            Err(PeriodError::Passed(*until))
        }
        _ => Ok(()),
    }
}

fn timestamp(bound: Option<&Bound>) -> Option<Timestamp> {
    match bound {
        Some(Bound::At(record_time)) => record_time.timestamp(),
        _ => None,
    }
}

/// Returns the first time after `after` with this local time of day.
fn next(zone: &TimeZone, time: Time, after: Timestamp) -> Result<Bound, TimeError> {
    let date = zone.to_datetime(after).date();
    match on(zone, date, time)? {
        at if at > after => Ok(Bound::At(at.into())),
        _ => Ok(Bound::At(on(zone, date.saturating_add(Span::new().days(1)), time)?.into())),
    }
}

/// Returns the last time before `before` with this local time of day.
fn previous(zone: &TimeZone, time: Time, before: Timestamp) -> Result<Bound, TimeError> {
    let date = zone.to_datetime(before).date();
    match on(zone, date, time)? {
        at if at < before => Ok(Bound::At(at.into())),
        _ => Ok(Bound::At(on(zone, date.saturating_sub(Span::new().days(1)), time)?.into())),
    }
}

fn on(zone: &TimeZone, date: Date, time: Time) -> Result<Timestamp, TimeError> {
    zone.to_timestamp(date.to_datetime(time)).map_err(TimeError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The period as it is understood on 2026-11-22 at 18:30 in Berlin.
    fn meant(since: &str, until: &str, of: Reference) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let spec = |s: &str| (!s.is_empty()).then(|| s.parse::<TimeSpec>().unwrap());
        let (since, until) = (spec(since), spec(until));
        let now = "2026-11-22T17:30:00Z".parse().unwrap();
        let period = match period(since.as_ref(), until.as_ref(), of, &zone, now) {
            Ok(period) => period,
            Err(error) => return error.to_string(),
        };
        let show = |bound: Option<Bound>| match bound {
            Some(Bound::At(RecordTime::Clock(ns))) => {
                let t = Timestamp::from_nanosecond(ns.into()).unwrap();
                zone.to_datetime(t).strftime("%d %H:%M").to_string()
            }
            Some(Bound::At(elapsed)) => elapsed.to_string(),
            Some(Bound::Daily(time)) => format!("daily {time}"),
            None => "-".into(),
        };
        format!("{} to {}", show(period.since), show(period.until))
    }

    #[test]
    fn times_of_day_in_a_record_are_those_of_every_day() {
        let meant = |since, until| meant(since, until, Reference::Record);
        assert_eq!(meant("", ""), "- to -");
        assert_eq!(meant("11:30", "12:00"), "daily 11:30:00 to daily 12:00:00");
        assert_eq!(meant("23:00", "01:00"), "daily 23:00:00 to daily 01:00:00");
        assert_eq!(meant("2026-11-20 11:30", "12:00"), "20 11:30 to 20 12:00");
        assert_eq!(meant("2026-11-20 23:00", "01:00"), "20 23:00 to 21 01:00");
        assert_eq!(meant("23:00", "2026-11-20 01:00"), "19 23:00 to 20 01:00");
        assert_eq!(meant("2h ago", "now"), "22 16:30 to 22 18:30");
        assert_eq!(meant("+90s", "11:30"), "+90.000000s to daily 11:30:00");
    }

    #[test]
    fn times_of_day_from_now_on_are_the_next_ones() {
        let meant = |since, until| meant(since, until, Reference::Now);
        assert_eq!(meant("", "19:00"), "- to 22 19:00");
        assert_eq!(meant("", "18:00"), "- to 23 18:00");
        assert_eq!(meant("18:00", "19:00"), "22 18:00 to 22 19:00");
        assert_eq!(meant("23:00", "01:00"), "22 23:00 to 23 01:00");
        assert_eq!(meant("18:00", ""), "23 18:00 to -");
        assert_eq!(meant("+10m", "+1h"), "22 18:40 to 22 19:30");
    }

    #[test]
    fn empty_and_past_periods_are_errors() {
        assert!(meant("2026-11-22", "2026-11-21", Reference::Record).contains("is not before"));
        assert!(meant("11:30", "11:30", Reference::Record).contains("at the same time of day"));
        assert!(meant("", "1m ago", Reference::Now).contains("has passed"));
    }
}
