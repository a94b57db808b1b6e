//! What two times that somebody typed mean together.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::form::Form;
use super::{Bound, Period};
use crate::RecordTime;

/// What the period is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A record of what has been: a bare time of day is that of every day, and an offset counts
    /// from the record's beginning.
    Record,
    /// What comes from now on: a bare time of day is the next, and an offset counts from now.
    Future,
}

/// The period between two times. A time of day beside a time with a date is the nearest one that
/// makes a period of them.
///
/// # Errors
/// A sentence about `--since` or `--until`.
pub fn period(
    since: Option<&Form>,
    until: Option<&Form>,
    of: Of,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Period, String> {
    let place = |form: &Form, option: &str| -> Result<Option<Bound>, String> {
        let t = form.timestamp(zone, now).map_err(|e| format!("{option}: {e}"))?;
        Ok(match (t, form, of) {
            (Some(t), ..) => Some(Bound::At(t.into())),
            (None, Form::After(d), Of::Record) => {
                Some(Bound::At(RecordTime::Elapsed(0).shifted(*d)))
            }
            (None, Form::After(d), Of::Future) => {
                Some(Bound::At(RecordTime::from(now).shifted(*d)))
            }
            _ => None,
        })
    };
    let mut from = since.map(|form| place(form, "--since")).transpose()?.flatten();
    let mut to = until.map(|form| place(form, "--until")).transpose()?.flatten();
    if let Some(Form::Clock(time)) = until {
        let after = match (timestamp(from.as_ref()), of) {
            (Some(from), Of::Future) => Some(from.max(now)),
            (None, Of::Future) => Some(now),
            (from, Of::Record) => from,
        };
        to = Some(match after {
            Some(after) => next(zone, *time, after)?,
            None => Bound::Daily(*time),
        });
    }
    if let Some(Form::Clock(time)) = since {
        from = Some(match (timestamp(to.as_ref()), of) {
            (Some(to), _) => previous(zone, *time, to)?,
            (None, Of::Future) => next(zone, *time, now)?,
            (None, Of::Record) => Bound::Daily(*time),
        });
    }
    check(from.as_ref(), to.as_ref(), of, now)?;
    Ok(Period { since: from, until: to, zone: zone.clone() })
}

fn check(
    since: Option<&Bound>,
    until: Option<&Bound>,
    of: Of,
    now: Timestamp,
) -> Result<(), String> {
    match (since, until) {
        (Some(Bound::At(a)), Some(Bound::At(b)))
            if std::mem::discriminant(a) == std::mem::discriminant(b) && a >= b =>
        {
            Err(format!("--since {a} is not before --until {b}: nothing could be counted"))
        }
        (Some(a), Some(b)) if a == b => {
            Err("--since and --until are the same: nothing could be counted".into())
        }
        (_, Some(Bound::At(b))) if of == Of::Future && *b <= now.into() => {
            Err(format!("--until {b} has passed: nothing could be counted"))
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

/// The first such time of day after a time.
fn next(zone: &TimeZone, time: Time, after: Timestamp) -> Result<Bound, String> {
    let date = zone.to_datetime(after).date();
    match on(zone, date, time)? {
        at if at > after => Ok(Bound::At(at.into())),
        _ => Ok(Bound::At(on(zone, date.saturating_add(Span::new().days(1)), time)?.into())),
    }
}

/// The last such time of day before a time.
fn previous(zone: &TimeZone, time: Time, before: Timestamp) -> Result<Bound, String> {
    let date = zone.to_datetime(before).date();
    match on(zone, date, time)? {
        at if at < before => Ok(Bound::At(at.into())),
        _ => Ok(Bound::At(on(zone, date.saturating_sub(Span::new().days(1)), time)?.into())),
    }
}

fn on(zone: &TimeZone, date: Date, time: Time) -> Result<Timestamp, String> {
    zone.to_timestamp(date.to_datetime(time)).map_err(|e| format!("{date} {time}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The period as it is understood on 2026-11-22 at 18:30 in Berlin.
    fn meant(since: &str, until: &str, of: Of) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let form = |s: &str| (!s.is_empty()).then(|| s.parse::<Form>().unwrap());
        let (since, until) = (form(since), form(until));
        let now = "2026-11-22T17:30:00Z".parse().unwrap();
        let period = match period(since.as_ref(), until.as_ref(), of, &zone, now) {
            Ok(period) => period,
            Err(message) => return message,
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
    fn in_a_record() {
        let meant = |since, until| meant(since, until, Of::Record);
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
    fn from_now_on() {
        let meant = |since, until| meant(since, until, Of::Future);
        assert_eq!(meant("", "19:00"), "- to 22 19:00");
        assert_eq!(meant("", "18:00"), "- to 23 18:00");
        assert_eq!(meant("18:00", "19:00"), "22 18:00 to 22 19:00");
        assert_eq!(meant("23:00", "01:00"), "22 23:00 to 23 01:00");
        assert_eq!(meant("18:00", ""), "23 18:00 to -");
        assert_eq!(meant("+10m", "+1h"), "22 18:40 to 22 19:30");
    }

    #[test]
    fn what_cannot_be() {
        assert!(meant("2026-11-22", "2026-11-21", Of::Record).contains("is not before"));
        assert!(meant("11:30", "11:30", Of::Record).contains("are the same"));
        assert!(meant("", "1m ago", Of::Future).contains("has passed"));
    }
}
