//! [`Calendar`]: from the stamps of a record to moments.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{SECOND, Stamp};
use crate::RecordTime;
use crate::parse::input::Input;
use crate::parse::lines;
use crate::parse::reader::{Context, Setting};

const DAY: i64 = 86_400 * SECOND;
const HOUR: i64 = 3600 * SECOND;

/// Bytes at the end of a file in which its last time is looked for.
const TAIL: u64 = 256 * 1024;

/// A clock may be so much ahead of the one that dates are taken from.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Turns the stamps of one record, in their order, into moments.
#[derive(Clone)]
pub(crate) struct Calendar {
    zone: TimeZone,
    start: Option<RecordTime>,
    /// The year of the stamps without one.
    year: i16,
    /// The month before.
    month: Option<i8>,
    /// The day of the stamps without one.
    day: Option<Date>,
    clock: Option<i64>,
    /// The first time since boot, or the sum of the times between lines.
    base: Option<i64>,
    /// A day and its midnight, if its clock was not changed.
    midnight: Option<(Date, Option<i64>)>,
}

impl Calendar {
    /// A calendar for `input`, whose lines have the times that `stamp` finds.
    pub(crate) fn new(
        input: &mut Input,
        cx: &mut Context<'_>,
        stamp: &dyn Fn(&[u8]) -> Stamp,
    ) -> Calendar {
        let zone = cx.options.tz.clone().unwrap_or_else(TimeZone::system);
        let now = input.modified().unwrap_or_else(Timestamp::now);
        let end = zone.to_datetime(now.saturating_add(AHEAD).unwrap_or(now));
        let mut calendar = Calendar {
            zone,
            start: cx.options.start,
            year: end.year(),
            month: None,
            day: None,
            clock: None,
            base: None,
            midnight: None,
        };
        let mut first = Stamp::None;
        lines::each(input.head(), |line, _| {
            if first == Stamp::None {
                first = stamp(line);
            }
        });
        match (first, cx.options.date) {
            (Stamp::Yearless(..), Some(date)) => calendar.year = date.year(),
            (Stamp::Yearless(month, day, ns), None) => {
                let (turns, last) = years(input, stamp);
                let (month, day, ns) = last.unwrap_or((month, day, ns));
                let late = Date::new(end.year(), month, day).is_ok_and(|d| at(d, ns) > end);
                calendar.year = end.year() - turns - i16::from(late);
                if late {
                    cx.status.warn(format!(
                        "{}: the log has no year, and is taken to end in {}, since its last line \
                         would be later than the file itself; {} sets the date of its first line",
                        input.name(),
                        end.year() - 1,
                        cx.options.name(Setting::Date)
                    ));
                }
            }
            (Stamp::Clock(_), Some(date)) => calendar.day = Some(date),
            (Stamp::Clock(ns), None) => {
                let (midnights, last) = days(input, stamp);
                let end = calendar
                    .zone
                    .to_datetime(now.saturating_add(SignedDuration::from_secs(60)).unwrap_or(now));
                let late = at(end.date(), last.unwrap_or(ns)) > end;
                let back = midnights + i64::from(late);
                calendar.day = Some(end.date().saturating_sub(back.clamp(0, 100_000).days()));
            }
            _ => {}
        }
        calendar
    }

    /// The moment of `stamp`. Must be asked for every line whose stamp depends on others.
    pub(crate) fn record_time(&mut self, stamp: Stamp) -> Option<RecordTime> {
        match stamp {
            Stamp::None => None,
            Stamp::Epoch(ns) => Some(RecordTime::Clock(ns)),
            Stamp::Uptime(ns) => {
                let base = *self.base.get_or_insert(ns);
                Some(self.elapsed(ns.saturating_sub(base)))
            }
            Stamp::Elapsed(ns) => Some(self.elapsed(ns)),
            Stamp::Since(ns) => {
                let sum = self.base.unwrap_or(0).saturating_add(ns);
                self.base = Some(sum);
                Some(self.elapsed(sum))
            }
            Stamp::Civil(date, ns) => self.civil(date, ns),
            Stamp::Yearless(month, day, ns) => {
                if let Some(before) = self.month {
                    self.year = self.year.saturating_add(turns(before, month));
                }
                self.month = Some(month);
                self.civil(Date::new(self.year, month, day).ok()?, ns)
            }
            Stamp::Clock(ns) => {
                let turned = self.clock.map_or(0, |before| midnights(before, ns));
                self.clock = Some(ns);
                self.day = Some(self.day?.saturating_add(turned.days()));
                self.civil(self.day?, ns)
            }
        }
    }

    /// What [`record_time`](Calendar::record_time) will give for the first stamp.
    pub(crate) fn peek(&self, stamp: Stamp) -> Option<RecordTime> {
        self.clone().record_time(stamp)
    }

    fn elapsed(&self, ns: i64) -> RecordTime {
        match self.start {
            Some(start) => start.shifted(SignedDuration::from_nanos(ns)),
            None => RecordTime::Elapsed(ns),
        }
    }

    fn civil(&mut self, date: Date, ns: i64) -> Option<RecordTime> {
        let midnight = match self.midnight {
            Some((day, midnight)) if day == date => midnight,
            _ => {
                let of = |date: Date| -> Option<i64> {
                    let t = self.zone.to_ambiguous_timestamp(date.to_datetime(Time::midnight()));
                    i64::try_from(t.compatible().ok()?.as_nanosecond()).ok()
                };
                let midnight = of(date)
                    .zip(date.tomorrow().ok().and_then(of))
                    .and_then(|(this, next)| (next - this == DAY).then_some(this));
                self.midnight = Some((date, midnight));
                midnight
            }
        };
        match midnight {
            Some(midnight) => Some(RecordTime::Clock(midnight.saturating_add(ns))),
            None => {
                let t = self.zone.to_ambiguous_timestamp(at(date, ns)).compatible().ok()?;
                Some(t.into())
            }
        }
    }
}

fn at(date: Date, ns: i64) -> DateTime {
    date.to_datetime(Time::midnight()).saturating_add(SignedDuration::from_nanos(ns))
}

/// How many midnights lie between two lines.
fn midnights(before: i64, after: i64) -> i64 {
    if after < before - HOUR {
        1
    } else if after >= before + DAY - HOUR / 60 {
        // A line out of order, at midnight.
        -1
    } else {
        0
    }
}

/// How many new years lie between two lines; one month back is a line out of order.
fn turns(before: i8, after: i8) -> i16 {
    match (before, after) {
        (1, 12) => -1,
        _ => i16::from(after < before - 1),
    }
}

/// How often the year turns in `input`, and its last time.
fn years(input: &Input, stamp: &dyn Fn(&[u8]) -> Stamp) -> (i16, Option<(i8, i8, i64)>) {
    let (mut turned, mut first, mut last) = (0, None::<i8>, None::<(i8, i8, i64)>);
    let mut see = |line: &[u8]| {
        if let Stamp::Yearless(month, day, ns) = stamp(line) {
            turned += last.map_or(0, |(before, ..)| turns(before, month));
            first = first.or(Some(month));
            last = Some((month, day, ns));
        }
    };
    if let Some(plain) = input.plain().filter(|p| p.len > 2 * TAIL) {
        // No log without years is longer than one.
        lines::each(input.head(), |line, _| see(line));
        let mut tail = vec![0; TAIL as usize];
        let n = plain.read_at(&mut tail, plain.len - TAIL).unwrap_or(0);
        lines::each(&tail[..n], |line, at| {
            if at > 0 {
                see(line);
            }
        });
        let (first, last) = (first.unwrap_or(1), last);
        let over = last.is_some_and(|(month, ..)| month < first);
        return (turned.max(i16::from(over)), last);
    }
    if let Some(mut again) = input.again() {
        let _ = lines::blocks(&mut again, |text, _| lines::each(text, |line, _| see(line)));
    }
    (turned, last)
}

/// How many midnights pass in `input`, and its last time of day.
fn days(input: &Input, stamp: &dyn Fn(&[u8]) -> Stamp) -> (i64, Option<i64>) {
    let (mut passed, mut last) = (0, None);
    let Some(mut again) = input.again() else { return (0, None) };
    let _ = lines::blocks(&mut again, |text, _| {
        lines::each(text, |line, _| {
            if let Stamp::Clock(ns) = stamp(line) {
                passed += last.map_or(0, |before| midnights(before, ns));
                last = Some(ns);
            }
        });
    });
    (passed, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_and_days_turn() {
        let mut calendar = Calendar {
            zone: TimeZone::UTC,
            start: None,
            year: 2025,
            month: None,
            day: Some(jiff::civil::date(2025, 12, 31)),
            clock: None,
            base: None,
            midnight: None,
        };
        let mut show = |stamp| calendar.record_time(stamp).unwrap().to_string();
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Yearless(1, 1, SECOND)), "2026-01-01T00:00:01.000000Z");
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Clock(DAY - 1)), "2025-12-31T23:59:59.999999Z");
        assert_eq!(show(Stamp::Clock(1000)), "2026-01-01T00:00:00.000001Z");
        assert_eq!(show(Stamp::Since(SECOND)), "+1.000000s");
        assert_eq!(show(Stamp::Since(SECOND)), "+2.000000s");
    }
}
