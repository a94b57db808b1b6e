//! [`Dates`]: adds the date that a stamp lacks, and converts local times.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use super::{ClockSpan, DAY, Stamp};
use crate::RecordTime;

/// A clock with the time of day may be so much ahead of the one that dates are taken from.
const CLOCK_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// A clock with a date may be so much ahead of it.
pub(super) const DATE_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Converts stamps, counted from the beginning of a record, to times.
#[derive(Clone, Debug)]
pub(crate) struct Dates {
    zone: TimeZone,
    start: Option<RecordTime>,
    first: Option<Date>,
    /// When the file was last changed: no line is later.
    newest: Timestamp,
    /// The last day asked for that has not 24 hours, counted from the first.
    changed_day: Option<i64>,
    /// The last one that has 24 hours.
    day: Day,
    /// The last date asked for and its midnight.
    dated_day: Option<(Date, Option<i64>)>,
    /// The latest time that a line without a year may have, and its year; computed when it is needed.
    latest: Option<(Timestamp, i16)>,
}

/// A day with 24 hours, in nanoseconds since the midnight before a record.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    begin: i64,
    /// Equal to `begin` if there is none.
    end: i64,
    /// What must be added for the time since 1970.
    shift: i64,
}

impl Dates {
    /// `start` is when relative times began, `first` the date of the first line whose time has no
    /// date or no year.
    pub(crate) fn new(zone: TimeZone, start: Option<RecordTime>, first: Option<Date>) -> Dates {
        let newest = Timestamp::now();
        Dates {
            zone,
            start,
            first,
            newest,
            changed_day: None,
            day: Day::default(),
            dated_day: None,
            latest: None,
        }
    }

    /// The same for a file that was last changed at `modified`.
    pub(crate) fn until(self, modified: Option<Timestamp>) -> Dates {
        Dates { newest: modified.unwrap_or(self.newest), latest: None, ..self }
    }

    /// The time of `stamp`, as [`ClockSpan::see`] returned it; `None` if it lacks a date.
    #[inline]
    pub(crate) fn record_time(&mut self, stamp: Stamp) -> Option<RecordTime> {
        // A log may have millions of each of these.
        match stamp {
            Stamp::Clock(ns) if self.day.begin <= ns && ns < self.day.end => {
                Some(RecordTime::Clock(ns + self.day.shift))
            }
            Stamp::Epoch(ns) => Some(RecordTime::Clock(ns)),
            Stamp::Since(ns) if self.start.is_none() => Some(RecordTime::Elapsed(ns)),
            Stamp::None => None,
            other => self.other_time(other),
        }
    }

    #[inline(never)]
    fn other_time(&mut self, stamp: Stamp) -> Option<RecordTime> {
        match stamp {
            Stamp::None => None,
            Stamp::Epoch(ns) => Some(RecordTime::Clock(ns)),
            Stamp::Since(ns) | Stamp::Elapsed(ns) | Stamp::Uptime(ns) => Some(match self.start {
                Some(start) => start.shifted(SignedDuration::from_nanos(ns)),
                None => RecordTime::Elapsed(ns),
            }),
            Stamp::Civil(date, ns) => self.civil(date, ns),
            Stamp::Yearless(month, day, ns) => self.yearless(month, day, ns),
            Stamp::Clock(ns) => self.counted(ns),
        }
    }

    /// The time of a clock time that is not on the same day as the one before.
    fn counted(&mut self, ns: i64) -> Option<RecordTime> {
        let number = ns.div_euclid(DAY);
        let begin = number * DAY;
        let date = self.date(number)?;
        if self.changed_day == Some(number) {
            return self.exact(date, ns - begin);
        }
        match self.midnight(date) {
            Some(midnight) => {
                self.day = Day { begin, end: begin.saturating_add(DAY), shift: midnight - begin };
                Some(RecordTime::Clock(midnight + (ns - begin)))
            }
            None => {
                self.changed_day = Some(number);
                self.exact(date, ns - begin)
            }
        }
    }

    fn civil(&mut self, date: Date, ns: i64) -> Option<RecordTime> {
        if !(0..DAY).contains(&ns) {
            let date = date.checked_add(ns.div_euclid(DAY).days()).ok()?;
            return self.exact(date, ns.rem_euclid(DAY));
        }
        let midnight = match self.dated_day {
            Some((day, midnight)) if day == date => midnight,
            _ => {
                let midnight = self.midnight(date);
                self.dated_day = Some((date, midnight));
                midnight
            }
        };
        match midnight {
            Some(midnight) => Some(RecordTime::Clock(midnight.saturating_add(ns))),
            None => self.exact(date, ns),
        }
    }

    /// A local time without its year. Lines may come in any order: it is in the first year in which
    /// it is not before the first line, or else in the last year in which it is not in the future.
    fn yearless(&mut self, month: i8, day: i8, ns: i64) -> Option<RecordTime> {
        if let Some(first) = self.first {
            // A line out of order may be of the month before.
            let earliest = first.saturating_sub(31.days());
            let mut years = (0..=9).map(|more| first.year().saturating_add(more - 1));
            let date = years.find_map(|year| {
                Date::new(year, month, day).ok().filter(|date| *date >= earliest)
            })?;
            return self.civil(date, ns);
        }
        let (latest, year) = match self.latest {
            Some(latest) => latest,
            None => {
                let latest = self.newest.saturating_add(DATE_AHEAD).ok()?;
                *self.latest.insert((latest, latest.to_zoned(self.zone.clone()).year()))
            }
        };
        // 29 February comes every fourth year, or every eighth.
        (0..=8).find_map(|back| {
            let time = self.civil(Date::new(year - back, month, day).ok()?, ns)?;
            time.timestamp().is_some_and(|t| t <= latest).then_some(time)
        })
    }

    /// The date of a day counted from the first.
    fn date(&self, number: i64) -> Option<Date> {
        self.first?.checked_add(number.days()).ok()
    }

    /// The midnight that begins `date`, if the day has 24 hours.
    fn midnight(&self, date: Date) -> Option<i64> {
        let at = |date| {
            let RecordTime::Clock(ns) = self.exact(date, 0)? else { return None };
            Some(ns)
        };
        let (this, next) = (at(date)?, at(date.tomorrow().ok()?)?);
        (next - this == DAY).then_some(this)
    }

    fn exact(&self, date: Date, ns: i64) -> Option<RecordTime> {
        let t = self.zone.to_ambiguous_timestamp(local(date, ns)).compatible().ok()?;
        Some(t.into())
    }
}

/// A local time.
pub(super) fn local(date: Date, ns: i64) -> DateTime {
    date.to_datetime(Time::midnight()).saturating_add(SignedDuration::from_nanos(ns))
}

/// The date of the first line of a file with bare clock times.
///
/// The last line was written when the file was last changed. A record from a pipe is taken to be
/// written now.
pub(crate) fn first_date(
    modified: Option<Timestamp>,
    zone: &TimeZone,
    clock_span: &ClockSpan,
) -> Date {
    let (first, last) = clock_span.clock().unwrap_or_default();
    let (end, clock, days) = match modified {
        Some(t) => (t, last, clock_span.days()),
        None => (Timestamp::now(), first, 0),
    };
    let end = Zoned::new(end.saturating_add(CLOCK_AHEAD).unwrap_or(end), zone.clone());
    let passed = end.time().duration_since(Time::midnight());
    let before = i64::from(i128::from(clock) > passed.as_nanos());
    end.date().saturating_sub((days + before).clamp(0, 100_000).days())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date as day;

    use super::*;
    use crate::parse::timestamp::{HOUR, MINUTE};

    const fn at(h: i64, m: i64) -> Stamp {
        Stamp::Clock(h * HOUR + m * MINUTE)
    }

    #[test]
    fn the_day_of_summer_time_has_23_hours() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut dates = Dates::new(zone, None, Some(day(2026, 3, 28)));
        let mut show = |stamp| dates.record_time(stamp).unwrap().to_string();
        assert_eq!(show(at(12, 0)), "2026-03-28T11:00:00.000000Z");
        assert_eq!(show(at(24 + 1, 59)), "2026-03-29T00:59:00.000000Z");
        assert_eq!(show(at(24 + 3, 0)), "2026-03-29T01:00:00.000000Z");
        assert_eq!(show(at(48, 0)), "2026-03-29T22:00:00.000000Z");
        assert_eq!(show(Stamp::Civil(day(2026, 3, 29), 3 * HOUR)), "2026-03-29T01:00:00.000000Z");
        assert_eq!(show(Stamp::Civil(day(2026, 3, 28), 27 * HOUR)), "2026-03-29T01:00:00.000000Z");
    }

    #[test]
    fn a_time_without_year_is_near_the_given_date_or_the_last_possible() {
        let mut dates = Dates::new(TimeZone::UTC, None, Some(day(2023, 12, 30)));
        let show = |dates: &mut Dates, month, day| {
            dates.record_time(Stamp::Yearless(month, day, 0)).unwrap().to_string()[..10].to_owned()
        };
        assert_eq!(show(&mut dates, 12, 31), "2023-12-31");
        assert_eq!(show(&mut dates, 12, 29), "2023-12-29");
        assert_eq!(show(&mut dates, 1, 1), "2024-01-01");
        assert_eq!(show(&mut dates, 2, 29), "2024-02-29");
        let modified = Some("2026-01-02T10:00:00Z".parse().unwrap());
        let mut dates = Dates::new(TimeZone::UTC, None, None).until(modified);
        assert_eq!(show(&mut dates, 1, 2), "2026-01-02");
        assert_eq!(show(&mut dates, 12, 31), "2025-12-31");
        assert_eq!(show(&mut dates, 2, 29), "2024-02-29");
    }

    #[test]
    fn the_first_date_is_counted_back_from_the_last_line() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let modified = Some("2026-11-22T10:00:00Z".parse().unwrap());
        let first = |times: &[(i64, i64)]| {
            let mut span = ClockSpan::default();
            for (h, m) in times {
                span.see(at(*h, *m));
            }
            first_date(modified, &zone, &span)
        };
        assert_eq!(first(&[(9, 0), (11, 0)]), day(2026, 11, 22));
        // Last changed at 11:00 local: a line of 23:00 is yesterday's.
        assert_eq!(first(&[(9, 0), (23, 0)]), day(2026, 11, 21));
        assert_eq!(first(&[(23, 0), (1, 0), (23, 0), (10, 59)]), day(2026, 11, 20));
    }
}
