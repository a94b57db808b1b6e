//! [`Period`]: the time in which connections are counted; intervals; times as users write them.

pub(crate) mod interval;
pub(crate) mod period;
pub(crate) mod spec;

pub use interval::{Interval, IntervalError, IntervalLength};
pub use spec::DurationError;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::RecordTime;

/// The time zone of this machine, or of the environment variable `TZ`.
///
/// Without `TZ` only the rules in `/etc/localtime` are read. [`TimeZone::system`] would also search all files of
/// zoneinfo(5) for the zone's name, which takes 2 ms.
pub(crate) fn local_zone() -> TimeZone {
    let localtime = match std::env::var_os("TZ") {
        None => std::fs::read("/etc/localtime").ok(),
        Some(_) => None,
    };
    let zone = localtime.and_then(|rules| TimeZone::tzif("", &rules).ok());
    zone.unwrap_or_else(TimeZone::system)
}

/// One end of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A point in time, by the clock or since the record began.
    At(RecordTime),
    /// This time of every day.
    Daily(Time),
}

/// The result of [`Period::place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the period.
    Inside,
    /// Before it or after it.
    Outside,
    /// Its time is not known, or cannot be compared with the period.
    Unknown,
}

/// A period from `since` (included) to `until` (excluded). The default is all time.
#[derive(Clone, Debug)]
pub struct Period {
    /// Its beginning; `None`: no limit.
    pub since: Option<Bound>,
    /// Its end, which is outside; `None`: no limit.
    pub until: Option<Bound>,
    /// The time zone of [`Bound::Daily`].
    pub zone: TimeZone,
}

impl Default for Period {
    fn default() -> Period {
        Period { since: None, until: None, zone: TimeZone::UTC }
    }
}

impl Period {
    /// Whether it has no limits.
    pub fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Whether a connection of this time is in the period.
    pub fn place(&self, time: Option<RecordTime>) -> Place {
        let (since, until) = match (&self.since, &self.until) {
            (None, None) => return Place::Inside,
            (Some(Bound::Daily(since)), Some(Bound::Daily(until))) if since > until => {
                // The window includes midnight.
                return match self.time_of_day(time) {
                    Some(at) if *until <= at && at < *since => Place::Outside,
                    Some(_) => Place::Inside,
                    None => Place::Unknown,
                };
            }
            bounds => bounds,
        };
        let since = since.as_ref().map_or(Some(true), |bound| self.reached(time, bound));
        let until = until.as_ref().map_or(Some(false), |bound| self.reached(time, bound));
        match (since, until) {
            (Some(false), _) | (_, Some(true)) => Place::Outside,
            (Some(true), Some(false)) => Place::Inside,
            _ => Place::Unknown,
        }
    }

    /// Whether all connections between these times are in the period.
    pub fn place_between(&self, first: Option<RecordTime>, last: Option<RecordTime>) -> Place {
        let places = (self.place(first), self.place(last));
        if first == last || self.is_all() {
            return places.0;
        }
        if let Some((first, last)) = first.zip(last)
            && let Some(place) = self.on_one_day(first, last)
        {
            return place;
        }
        let at = |bound: &Option<Bound>| !matches!(bound, Some(Bound::Daily(_)));
        if !at(&self.since) || !at(&self.until) {
            return Place::Unknown;
        }
        let before = self.since.as_ref().and_then(|since| self.reached(last, since));
        let after = self.until.as_ref().and_then(|until| self.reached(first, until));
        match places {
            (Place::Inside, Place::Inside) => Place::Inside,
            _ if before == Some(false) || after == Some(true) => Place::Outside,
            _ => Place::Unknown,
        }
    }

    /// Compares times of one day with a period of times of day. `None` if that is not possible:
    /// the bounds are of another kind, or the times are of two days.
    fn on_one_day(&self, first: RecordTime, last: RecordTime) -> Option<Place> {
        let daily = |bound: &Option<Bound>| match bound {
            Some(Bound::Daily(time)) => Some(Some(*time)),
            None => Some(None),
            Some(Bound::At(_)) => None,
        };
        let (since, until) = (daily(&self.since)?, daily(&self.until)?);
        let local = |time: RecordTime| Some(self.zone.to_datetime(time.timestamp()?));
        let (first, last) = (local(first)?, local(last)?);
        if first.date() != last.date() || first > last {
            return None;
        }
        let (first, last) = (first.time(), last.time());
        let all = |in_period: fn(Time, Time) -> bool, bound: Option<Time>| {
            bound.map_or(Some(true), |bound| {
                let (a, b) = (in_period(first, bound), in_period(last, bound));
                (a == b).then_some(a)
            })
        };
        let after = all(|time, since| time >= since, since);
        let before = all(|time, until| time < until, until);
        // A period over midnight has two parts on a day, and excludes the time between them.
        if let Some((since, until)) = since.zip(until)
            && since > until
        {
            return Some(match (after, before) {
                (Some(true), _) | (_, Some(true)) => Place::Inside,
                (Some(false), Some(false)) => Place::Outside,
                _ => Place::Unknown,
            });
        }
        Some(match (after, before) {
            (Some(true), Some(true)) => Place::Inside,
            (Some(false), _) | (_, Some(false)) => Place::Outside,
            _ => Place::Unknown,
        })
    }

    /// Whether `time` is at the bound or after it.
    fn reached(&self, time: Option<RecordTime>, bound: &Bound) -> Option<bool> {
        match (time?, bound) {
            (RecordTime::Clock(time), Bound::At(RecordTime::Clock(bound))) => Some(time >= *bound),
            (RecordTime::Elapsed(time), Bound::At(RecordTime::Elapsed(bound))) => {
                Some(time >= *bound)
            }
            (RecordTime::Clock(_), Bound::Daily(bound)) => Some(self.time_of_day(time)? >= *bound),
            _ => None,
        }
    }

    fn time_of_day(&self, time: Option<RecordTime>) -> Option<Time> {
        Some(self.zone.to_datetime(time?.timestamp()?).time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    fn clock(s: &str) -> Option<RecordTime> {
        Some(s.parse::<jiff::Timestamp>().unwrap().into())
    }

    #[test]
    fn a_daily_window_may_pass_midnight() {
        let period = Period {
            since: Some(Bound::Daily(time(23, 0, 0, 0))),
            until: Some(Bound::Daily(time(1, 0, 0, 0))),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
        };
        assert_eq!(period.place(clock("2026-11-22T22:00:00Z")), Place::Inside);
        assert_eq!(period.place(clock("2026-11-22T23:59:59Z")), Place::Inside);
        assert_eq!(period.place(clock("2026-11-23T00:00:00Z")), Place::Outside);
        assert_eq!(period.place(clock("2026-11-22T21:59:59Z")), Place::Outside);
        assert_eq!(period.place(Some(RecordTime::Elapsed(0))), Place::Unknown);
        assert_eq!(period.place(None), Place::Unknown);
    }

    #[test]
    fn many_are_in_it_if_all_are() {
        let at = |ns| Some(Bound::At(RecordTime::Clock(ns)));
        let period = Period { since: at(10), until: at(20), zone: TimeZone::UTC };
        let place = |first, last| {
            period.place_between(Some(RecordTime::Clock(first)), Some(RecordTime::Clock(last)))
        };
        assert_eq!(place(10, 19), Place::Inside);
        assert_eq!(place(1, 9), Place::Outside);
        assert_eq!(place(20, 30), Place::Outside);
        assert_eq!(place(9, 10), Place::Unknown);
        assert_eq!(place(9, 30), Place::Unknown);
        assert_eq!(period.place_between(None, None), Place::Unknown);
        assert_eq!(Period::default().place_between(None, None), Place::Inside);
    }

    #[test]
    fn many_on_one_day_are_compared_with_times_of_day() {
        let daily = |hour: i8| (hour >= 0).then(|| Bound::Daily(time(hour, 0, 0, 0)));
        let place = |since, until, first: &str, last: &str| {
            let period = Period { since: daily(since), until: daily(until), zone: TimeZone::UTC };
            let clock = |time: &str| clock(&format!("2026-11-{time}:00Z"));
            period.place_between(clock(first), clock(last))
        };
        for (since, until, first, last, want) in [
            (16, 17, "26T16:15", "26T16:30", Place::Inside),
            (16, -1, "26T16:15", "26T16:30", Place::Inside),
            (23, -1, "26T16:15", "26T16:30", Place::Outside),
            (16, 17, "26T17:15", "26T17:30", Place::Outside),
            (16, 17, "26T16:30", "26T17:30", Place::Unknown),
            (16, 17, "26T15:30", "26T17:30", Place::Unknown),
            (16, 17, "26T16:15", "27T16:15", Place::Unknown),
            (23, 1, "26T23:15", "26T23:30", Place::Inside),
            (23, 1, "26T00:15", "26T00:30", Place::Inside),
            (23, 1, "26T10:15", "26T11:30", Place::Outside),
            (23, 1, "26T00:15", "26T23:30", Place::Unknown),
        ] {
            assert_eq!(place(since, until, first, last), want, "{since}-{until} {first} {last}");
        }
    }

    #[test]
    fn one_bound_is_enough_to_be_outside() {
        let period = Period {
            since: Some(Bound::At(RecordTime::Elapsed(5))),
            until: Some(Bound::At(clock("2026-11-22T00:00:00Z").unwrap())),
            zone: TimeZone::UTC,
        };
        assert_eq!(period.place(Some(RecordTime::Elapsed(4))), Place::Outside);
        assert_eq!(period.place(Some(RecordTime::Elapsed(5))), Place::Unknown);
        assert_eq!(period.place(clock("2026-11-22T00:00:00Z")), Place::Outside);
    }
}
