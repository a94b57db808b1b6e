//! Times of records: from what a line says to a [`Moment`].
//!
//! Many records leave out the year or the whole date. It is the one that lets the last line be no
//! later than the file's last change; what comes through a pipe is taken to be of now.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::context::Context;
use super::input::Input;
use super::lines;
use crate::Moment;

/// Nanoseconds of a second.
pub const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
const HOUR: i64 = 3600 * SECOND;

/// Bytes at the end of a file in which its last time is looked for.
const TAIL: u64 = 256 * 1024;

/// A clock may be so much ahead of the one that dates are taken from.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What a line tells of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing.
    None,
    /// Nanoseconds since 1970.
    Epoch(i64),
    /// Nanoseconds since something that the record does not tell, such as the boot.
    Uptime(i64),
    /// Nanoseconds since the record began.
    Elapsed(i64),
    /// Nanoseconds since the line before.
    Since(i64),
    /// A local time.
    Civil(Date, i64),
    /// A local time without its year: month, day, nanoseconds since midnight.
    Yearless(i8, i8, i64),
    /// Nanoseconds since a midnight.
    Clock(i64),
}

/// Turns the stamps of one record, in their order, into moments.
#[derive(Clone)]
pub struct Calendar {
    zone: TimeZone,
    start: Option<Moment>,
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
    pub fn new(input: &mut Input, cx: &Context<'_>, stamp: &dyn Fn(&[u8]) -> Stamp) -> Calendar {
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
    pub fn moment(&mut self, stamp: Stamp) -> Option<Moment> {
        match stamp {
            Stamp::None => None,
            Stamp::Epoch(ns) => Some(Moment::Clock(ns)),
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

    /// What [`moment`](Calendar::moment) will give for the first stamp.
    pub fn peek(&self, stamp: Stamp) -> Option<Moment> {
        self.clone().moment(stamp)
    }

    fn elapsed(&self, ns: i64) -> Moment {
        match self.start {
            Some(start) => start.shifted(SignedDuration::from_nanos(ns)),
            None => Moment::Elapsed(ns),
        }
    }

    fn civil(&mut self, date: Date, ns: i64) -> Option<Moment> {
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
            Some(midnight) => Some(Moment::Clock(midnight.saturating_add(ns))),
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

/// Reads stamps from the front of a line.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a>(pub &'a [u8]);

impl<'a> Scan<'a> {
    /// Passes `what`, if it comes next.
    pub fn take(&mut self, what: &[u8]) -> bool {
        match self.0.strip_prefix(what) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Passes blanks.
    pub fn blanks(&mut self) {
        let n = self.0.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.0 = &self.0[n..];
    }

    /// A number of at most `most` digits.
    pub fn number(&mut self, most: usize) -> Option<i64> {
        let n = self.0.iter().take(most.min(18)).take_while(|b| b.is_ascii_digit()).count();
        if n == 0 || self.0.get(n).is_some_and(u8::is_ascii_digit) && n < most {
            return None;
        }
        let value = self.0[..n].iter().fold(0, |value, b| value * 10 + i64::from(b - b'0'));
        self.0 = &self.0[n..];
        Some(value)
    }

    /// Nanoseconds from the digits behind a point or comma, if there is one.
    pub fn fraction(&mut self) -> i64 {
        let [b'.' | b',', b'0'..=b'9', ..] = self.0 else { return 0 };
        let digits = self.0[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut ns = 0;
        for place in 0..9 {
            let digit = if place < digits { self.0[1 + place] - b'0' } else { 0 };
            ns = ns * 10 + i64::from(digit);
        }
        self.0 = &self.0[1 + digits..];
        ns
    }

    /// `HH:MM:SS` and a fraction, as nanoseconds since midnight.
    pub fn clock(&mut self) -> Option<i64> {
        let mut scan = *self;
        let hours = scan.number(2)?;
        let minutes = scan.take(b":").then(|| scan.number(2)).flatten()?;
        let seconds = scan.take(b":").then(|| scan.number(2)).flatten()?;
        if hours > 23 || minutes > 59 || seconds > 60 {
            return None;
        }
        let ns = ((hours * 60 + minutes) * 60 + seconds) * SECOND + scan.fraction();
        *self = scan;
        Some(ns)
    }

    /// `2026-11-22`.
    pub fn date(&mut self) -> Option<Date> {
        let mut scan = *self;
        let year = scan.number(4)?;
        let month = scan.take(b"-").then(|| scan.number(2)).flatten()?;
        let day = scan.take(b"-").then(|| scan.number(2)).flatten()?;
        let date = Date::new(year as i16, month as i8, day as i8).ok()?;
        *self = scan;
        Some(date)
    }

    /// `2026-11-22T10:58:42.202182+00:00`, `…+0000`, `…Z`, or none of these; `T` may be a blank.
    pub fn iso(&mut self) -> Option<Stamp> {
        let mut scan = *self;
        let date = scan.date()?;
        if !scan.take(b"T") && !scan.take(b" ") {
            return None;
        }
        let ns = scan.clock()?;
        let zone = scan.offset();
        *self = scan;
        Some(match zone {
            Some(offset) => epoch(date, ns - offset),
            None => Stamp::Civil(date, ns),
        })
    }

    /// `Z`, `+00:00`, `+0000`, as nanoseconds east.
    fn offset(&mut self) -> Option<i64> {
        if self.take(b"Z") {
            return Some(0);
        }
        let mut scan = *self;
        let sign = if scan.take(b"+") {
            1
        } else if scan.take(b"-") {
            -1
        } else {
            return None;
        };
        let hours = scan.two()?;
        scan.take(b":");
        let minutes = scan.two().unwrap_or(0);
        *self = scan;
        Some(sign * (hours * 60 + minutes) * 60 * SECOND)
    }

    fn two(&mut self) -> Option<i64> {
        let [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] = self.0 else { return None };
        self.0 = rest;
        Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
    }

    /// Seconds since 1970 (or the boot) with a fraction.
    pub fn seconds(&mut self) -> Option<i64> {
        let whole = self.number(12)?;
        whole.checked_mul(SECOND)?.checked_add(self.fraction())
    }

    /// `Nov 22`, the day perhaps behind two blanks.
    pub fn month_and_day(&mut self) -> Option<(i8, i8)> {
        const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let mut scan = *self;
        let month = MONTHS.chunks(3).position(|m| scan.take(m))?;
        if !scan.take(b" ") {
            return None;
        }
        scan.blanks();
        let day = scan.number(2).filter(|d| (1..=31).contains(d))?;
        *self = scan;
        Some((month as i8 + 1, day as i8))
    }

    /// The three letters of a day of the week and a blank.
    pub fn weekday(&mut self) -> bool {
        let mut scan = *self;
        let days = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
        let found = days.iter().any(|d| scan.take(*d)) && scan.take(b" ");
        if found {
            *self = scan;
        }
        found
    }

    /// As ctime(3) writes it: `Sun Nov 22 10:58:47 2026`.
    pub fn ctime(&mut self) -> Option<Stamp> {
        let mut scan = *self;
        if !scan.weekday() {
            return None;
        }
        let (month, day) = scan.month_and_day()?;
        scan.blanks();
        let ns = scan.clock()?;
        scan.blanks();
        let year = scan.number(4)?;
        let date = Date::new(year as i16, month, day).ok()?;
        *self = scan;
        Some(Stamp::Civil(date, ns))
    }
}

/// A time in UTC.
pub fn epoch(date: Date, ns: i64) -> Stamp {
    let midnight = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
    match midnight.checked_mul(SECOND).and_then(|midnight| midnight.checked_add(ns)) {
        Some(ns) => Stamp::Epoch(ns),
        None => Stamp::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stamp: Option<Stamp>) -> String {
        let mut calendar = Calendar {
            zone: TimeZone::fixed(jiff::tz::offset(1)),
            start: None,
            year: 2026,
            month: None,
            day: None,
            clock: None,
            base: None,
            midnight: None,
        };
        stamp.and_then(|s| calendar.moment(s)).map_or("-".into(), |m| m.to_string())
    }

    #[test]
    fn forms() {
        for (text, want) in [
            ("2026-11-22T10:58:42.202182+00:00", "2026-11-22T10:58:42.202182Z"),
            ("2026-11-22T10:58:42+0130", "2026-11-22T09:28:42.000000Z"),
            ("2026-11-22T10:58:42,291490-01:00", "2026-11-22T11:58:42.291490Z"),
            ("2026-11-22T10:58:42Z", "2026-11-22T10:58:42.000000Z"),
            ("2026-11-22 10:58:42.5", "2026-11-22T09:58:42.500000Z"),
            ("2026-11-32 10:58:42.5", "-"),
            ("2026-11-22T25:58:42", "-"),
        ] {
            assert_eq!(shown(Scan(text.as_bytes()).iso()), want, "{text}");
        }
        let ctime = |s: &str| shown(Scan(s.as_bytes()).ctime());
        assert_eq!(ctime("Sun Nov  2 10:58:47 2026"), "2026-11-02T09:58:47.000000Z");
        assert_eq!(ctime("Sun Nov 31 10:58:47 2026"), "-");
    }

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
        let mut show = |stamp| calendar.moment(stamp).unwrap().to_string();
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Yearless(1, 1, SECOND)), "2026-01-01T00:00:01.000000Z");
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Clock(DAY - 1)), "2025-12-31T23:59:59.999999Z");
        assert_eq!(show(Stamp::Clock(1000)), "2026-01-01T00:00:00.000001Z");
        assert_eq!(show(Stamp::Since(SECOND)), "+1.000000s");
        assert_eq!(show(Stamp::Since(SECOND)), "+2.000000s");
    }
}
