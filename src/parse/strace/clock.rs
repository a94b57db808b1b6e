//! Times: from what a line tells to a [`RecordTime`].
//!
//! Bare clock times have no date: a step back by more than an hour is a midnight that has passed.
//! A smaller one is a clock that was set, or summer time's end. Relative times are added up. Both
//! can be done for a block by itself, and blocks be joined afterwards.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::prefix::Stamp;
use crate::RecordTime;

/// Nanoseconds of a day.
pub(crate) const DAY: i64 = 86_400 * 1_000_000_000;
const HOUR: i64 = DAY / 24;
const MINUTE: i64 = HOUR / 60;

/// How many midnights lie between two lines.
fn midnights(before: i64, after: i64) -> i64 {
    if after < before - HOUR {
        1
    } else if after >= before + DAY - MINUTE {
        // A line out of order, at midnight.
        -1
    } else {
        0
    }
}

/// What the lines of a block (or of a whole log) say of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSpan {
    /// The first and the last bare clock time.
    clock: Option<(i64, i64)>,
    /// Midnights between them.
    days: i64,
    /// The sum of relative times.
    elapsed: i64,
}

impl ClockSpan {
    /// Takes the time of the next line, and gives it counted from the beginning of the block.
    #[inline]
    pub fn see(&mut self, stamp: Stamp) -> Stamp {
        match stamp {
            Stamp::Clock(now) => {
                if let Some((_, last)) = &mut self.clock {
                    self.days += midnights(*last, now);
                    *last = now;
                } else {
                    self.clock = Some((now, now));
                }
                Stamp::Clock(self.days * DAY + now)
            }
            Stamp::Since(ns) => {
                self.elapsed = self.elapsed.saturating_add(ns);
                Stamp::Since(self.elapsed)
            }
            other => other,
        }
    }

    /// Joins the block that comes next, and gives what must be added to its times.
    pub fn join(&mut self, next: &ClockSpan) -> Base {
        let elapsed = self.elapsed;
        self.elapsed = self.elapsed.saturating_add(next.elapsed);
        let Some((first, last)) = next.clock else { return Base { clock: 0, elapsed } };
        let before = self.clock.map_or(0, |(_, last)| midnights(last, first));
        let days = self.days + before;
        self.clock = Some((self.clock.map_or(first, |(first, _)| first), last));
        self.days = days + next.days;
        Base { clock: days.saturating_mul(DAY), elapsed }
    }

    /// Midnights from the first clock time to the last.
    pub fn days(&self) -> i64 {
        self.days
    }

    /// The first and the last bare clock time, in nanoseconds since midnight.
    pub fn clock(&self) -> Option<(i64, i64)> {
        self.clock
    }
}

/// What must be added to the times of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    clock: i64,
    elapsed: i64,
}

impl Base {
    /// The time from the beginning of the log.
    pub fn apply(&self, stamp: Stamp) -> Stamp {
        match stamp {
            Stamp::Clock(t) => Stamp::Clock(t.saturating_add(self.clock)),
            Stamp::Since(t) => Stamp::Since(t.saturating_add(self.elapsed)),
            other => other,
        }
    }
}

/// Turns times from the beginning of a log into moments.
#[derive(Clone, Debug)]
pub(crate) struct Dates {
    zone: TimeZone,
    start: Option<RecordTime>,
    first: Option<Date>,
    /// No line is later than this: when the file was written last.
    newest: Timestamp,
    /// The day that was looked up last: its number, and the moment of its midnight if its clock
    /// was not changed.
    day: Option<(i64, Option<i64>)>,
}

impl Dates {
    /// `start` is when relative times began, `first` the date of the first clock time.
    pub(crate) fn new(zone: TimeZone, start: Option<RecordTime>, first: Option<Date>) -> Dates {
        Dates { zone, start, first, newest: Timestamp::now(), day: None }
    }

    /// The same for a file that was written last at `modified`.
    pub(crate) fn until(self, modified: Option<Timestamp>) -> Dates {
        Dates { newest: modified.unwrap_or(self.newest), ..self }
    }

    /// The moment of `stamp`.
    #[inline]
    pub(crate) fn record_time(&mut self, stamp: Stamp) -> Option<RecordTime> {
        match stamp {
            Stamp::None => None,
            Stamp::Epoch(ns) => Some(RecordTime::Clock(ns)),
            Stamp::Since(ns) => Some(match self.start {
                Some(start) => start.shifted(SignedDuration::from_nanos(ns)),
                None => RecordTime::Elapsed(ns),
            }),
            Stamp::Local(ns) => self.local(ns),
            Stamp::Yearless(ns) => self.yearless(ns),
            Stamp::Clock(ns) => {
                let number = ns.div_euclid(DAY);
                let midnight = match self.day {
                    Some((n, midnight)) if n == number => midnight,
                    _ => {
                        let midnight = self.midnight(number);
                        self.day = Some((number, midnight));
                        midnight
                    }
                };
                match midnight {
                    Some(midnight) => Some(RecordTime::Clock(midnight + ns.rem_euclid(DAY))),
                    None => self.exact(ns),
                }
            }
        }
    }

    /// A local time that has its date.
    fn local(&self, ns: i64) -> Option<RecordTime> {
        let day = Date::constant(1970, 1, 1).checked_add(ns.div_euclid(DAY).days()).ok()?;
        let midnight = day.to_datetime(jiff::civil::Time::midnight());
        let clock = midnight.checked_add(SignedDuration::from_nanos(ns.rem_euclid(DAY))).ok()?;
        let t = self.zone.to_ambiguous_timestamp(clock).compatible().ok()?;
        Some(t.into())
    }

    /// A local time without its year, which is the last one that is possible.
    fn yearless(&self, ns: i64) -> Option<RecordTime> {
        let day = Date::constant(2000, 1, 1).checked_add(ns.div_euclid(DAY).days()).ok()?;
        // A clock may be ahead of the one that told when the file was written.
        let newest = self.newest.saturating_add(SignedDuration::from_hours(24)).ok()?;
        let last = newest.to_zoned(self.zone.clone()).year();
        // 29 February comes every fourth year, or every eighth.
        (0..=8).find_map(|back| {
            let day = Date::new(last - back, day.month(), day.day()).ok()?;
            let days = day.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
            let time = self.local(days.checked_mul(DAY)?.checked_add(ns.rem_euclid(DAY))?)?;
            time.timestamp().is_some_and(|t| t <= newest).then_some(time)
        })
    }

    fn date(&self, number: i64) -> Option<Date> {
        self.first?.checked_add(number.days()).ok()
    }

    /// The midnight that begins day `number`, if all its hours are as long as they should be.
    fn midnight(&self, number: i64) -> Option<i64> {
        let at = |n| {
            let day = self.date(n)?.to_datetime(jiff::civil::Time::midnight());
            let t = self.zone.to_ambiguous_timestamp(day).compatible().ok()?;
            i64::try_from(t.as_nanosecond()).ok()
        };
        let (this, next) = (at(number)?, at(number + 1)?);
        (next - this == DAY).then_some(this)
    }

    fn exact(&self, ns: i64) -> Option<RecordTime> {
        let midnight = self.date(ns.div_euclid(DAY))?.to_datetime(jiff::civil::Time::midnight());
        let clock = midnight.checked_add(SignedDuration::from_nanos(ns.rem_euclid(DAY))).ok()?;
        let t = self.zone.to_ambiguous_timestamp(clock).compatible().ok()?;
        Some(t.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(h: i64, m: i64) -> Stamp {
        Stamp::Clock((h * 60 + m) * MINUTE)
    }

    #[test]
    fn blocks_join_like_one() {
        let lines = [at(10, 0), at(9, 50), at(23, 59), at(0, 0), at(23, 59), at(0, 1), at(8, 0)];
        let mut whole = ClockSpan::default();
        let all: Vec<Stamp> = lines.iter().map(|s| whole.see(*s)).collect();
        assert_eq!(whole.days(), 1);
        for cut in 0..lines.len() {
            let mut log = ClockSpan::default();
            let mut got = Vec::new();
            for part in [&lines[..cut], &lines[cut..]] {
                let mut block = ClockSpan::default();
                let stamps: Vec<Stamp> = part.iter().map(|s| block.see(*s)).collect();
                let base = log.join(&block);
                got.extend(stamps.into_iter().map(|s| base.apply(s)));
            }
            assert_eq!((got, log), (all.clone(), whole), "{cut}");
        }
    }

    #[test]
    fn the_day_of_summer_time_has_23_hours() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut dates = Dates::new(zone, None, Some(jiff::civil::date(2026, 3, 28)));
        let mut show = |stamp| dates.record_time(stamp).unwrap().to_string();
        assert_eq!(show(at(12, 0)), "2026-03-28T11:00:00.000000Z");
        assert_eq!(show(at(24 + 1, 59)), "2026-03-29T00:59:00.000000Z");
        assert_eq!(show(at(24 + 3, 0)), "2026-03-29T01:00:00.000000Z");
        assert_eq!(show(at(48, 0)), "2026-03-29T22:00:00.000000Z");
    }
}
