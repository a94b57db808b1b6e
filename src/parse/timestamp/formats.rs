//! The parts that the times of logs are made of: dates, clock times, offsets from UTC.

use jiff::civil::Date;

use super::{HOUR, MINUTE, SECOND, Stamp};
use crate::parse::cursor::Cursor;

impl Cursor<'_> {
    /// `HH:MM:SS` and a fraction, as nanoseconds since midnight.
    pub(crate) fn clock(&mut self) -> Option<i64> {
        let mut cursor = *self;
        let hours = cursor.one_or_two_digits()?;
        cursor.require(b":")?;
        let minutes = cursor.one_or_two_digits()?;
        cursor.require(b":")?;
        let seconds = cursor.one_or_two_digits()?;
        if hours > 23 || minutes > 59 || seconds > 60 {
            return None;
        }
        let fraction = cursor.fraction_or_comma() as i64;
        *self = cursor;
        Some(hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction)
    }

    /// `2026-11-22`, `2026/11/22`, `2026.11.22`, or `2026 Nov 22` of some devices.
    pub(crate) fn date(&mut self) -> Option<Date> {
        let mut cursor = *self;
        let year = cursor.number_up_to(4)? as i16;
        let (month, day) = if cursor.eat(b" ") {
            cursor.month_and_day()?
        } else {
            let separator: &[u8] = match cursor.peek() {
                b'/' => b"/",
                b'.' => b".",
                _ => b"-",
            };
            cursor.require(separator)?;
            let month = cursor.number_up_to(2)? as i8;
            cursor.require(separator)?;
            (month, cursor.number_up_to(2)? as i8)
        };
        let date = Date::new(year, month, day).ok()?;
        *self = cursor;
        Some(date)
    }

    /// ISO 8601 and RFC 3339: `2026-11-22T10:58:42.202182+00:00`, `…+0000`, `…Z`, or none of these;
    /// `T` may be a blank, and the date of any form of [`date`](Cursor::date).
    pub(crate) fn iso(&mut self) -> Option<Stamp> {
        let mut cursor = *self;
        let date = cursor.date()?;
        if !cursor.eat(b"T") && !cursor.eat(b" ") {
            return None;
        }
        let ns = cursor.clock()?;
        let offset = cursor.utc_offset();
        *self = cursor;
        Some(match offset {
            Some(offset) => Stamp::utc(date, ns - offset),
            None => Stamp::Civil(date, ns),
        })
    }

    /// As access logs (Common Log Format) write it: `22/Nov/2026:10:58:42 +0000`, also without the zone.
    pub(crate) fn common_log_time(&mut self) -> Option<Stamp> {
        let mut cursor = *self;
        let day = cursor.two_digits()?;
        let date = cursor.0.get(..9)?;
        let [b'/', month @ .., b'/', _, _, _, _] = date else { return None };
        let month = month_of(month)?;
        let year = Cursor(&date[5..]).number_up_to(4)?;
        let date = Date::new(year as i16, month, day as i8).ok()?;
        cursor.0 = &cursor.0[9..];
        cursor.require(b":")?;
        let ns = cursor.clock()?;
        let mut zone = cursor;
        let offset = zone.eat(b" ").then(|| zone.utc_offset()).flatten();
        *self = if offset.is_some() { zone } else { cursor };
        Some(match offset {
            Some(offset) => Stamp::utc(date, ns - offset),
            None => Stamp::Civil(date, ns),
        })
    }

    /// `Z`, `+00:00`, `+0000`, as nanoseconds east of UTC.
    fn utc_offset(&mut self) -> Option<i64> {
        if self.eat(b"Z") {
            return Some(0);
        }
        let mut cursor = *self;
        let sign = if cursor.eat(b"+") {
            1
        } else {
            cursor.require(b"-")?;
            -1
        };
        let hours = cursor.two_digits()?;
        cursor.eat(b":");
        let minutes = cursor.two_digits().unwrap_or(0);
        *self = cursor;
        Some(sign * (hours * HOUR + minutes * MINUTE))
    }

    #[inline(always)]
    fn one_or_two_digits(&mut self) -> Option<i64> {
        self.two_digits().or_else(|| self.number_up_to(1))
    }

    #[inline(always)]
    fn two_digits(&mut self) -> Option<i64> {
        let [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] = self.0 else { return None };
        self.0 = rest;
        Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
    }

    /// Seconds since 1970 (or the boot) with a fraction, as nanoseconds.
    pub(crate) fn seconds(&mut self) -> Option<i64> {
        let whole = self.number_up_to(12)?;
        whole.checked_mul(SECOND)?.checked_add(self.fraction_or_comma() as i64)
    }

    /// `Nov 22`; there may be two blanks before the day.
    pub(crate) fn month_and_day(&mut self) -> Option<(i8, i8)> {
        let mut cursor = *self;
        let month = month_of(cursor.0.get(..3)?)?;
        cursor.skip(3);
        cursor.require(b" ")?;
        cursor.blanks();
        let day = cursor.number_up_to(2).filter(|d| (1..=31).contains(d))?;
        *self = cursor;
        Some((month, day as i8))
    }

    /// The three letters of a day of the week and a blank.
    pub(super) fn weekday(&mut self) -> bool {
        let Some((day, [b' ', rest @ ..])) = self.0.split_first_chunk() else { return false };
        let found = matches!(day, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun");
        if found {
            self.0 = rest;
        }
        found
    }

    /// As ctime(3) and date(1) write it: `Sun Nov 22 10:58:47 2026`, `Sun Nov 22 10:58:47 AM UTC 2026`.
    pub(crate) fn ctime(&mut self) -> Option<Stamp> {
        let mut cursor = *self;
        if !cursor.weekday() {
            return None;
        }
        let (month, day) = cursor.month_and_day()?;
        cursor.blanks();
        let mut ns = cursor.clock()?;
        cursor.blanks();
        if cursor.eat(b"AM ") {
            ns %= 12 * HOUR;
        } else if cursor.eat(b"PM ") {
            ns = ns % (12 * HOUR) + 12 * HOUR;
        }
        let zone = if cursor.peek().is_ascii_digit() { b"" } else { cursor.word() };
        let is_zone = |b: &u8| b.is_ascii_uppercase() || b"+-0123456789".contains(b);
        if zone.len() > 5 || !zone.iter().all(is_zone) {
            return None;
        }
        cursor.blanks();
        let year = cursor.number_up_to(4)?;
        let date = Date::new(year as i16, month, day).ok()?;
        *self = cursor;
        Some(if is_utc(zone) { Stamp::utc(date, ns) } else { Stamp::Civil(date, ns) })
    }
}

/// The number of a month, by the first three letters of its name.
pub(super) fn month_of(name: &[u8]) -> Option<i8> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

/// Whether an abbreviation of a time zone is that of UTC. Others are ambiguous (`CST`, `IST`).
pub(super) fn is_utc(zone: &[u8]) -> bool {
    matches!(zone, b"UTC" | b"GMT")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn dates_and_times_are_read_in_each_form() {
        let at = (10 * 3600 + 58 * 60 + 42) * SECOND;
        let day = date(2026, 11, 22);
        for (text, want) in [
            ("2026-11-22T10:58:42.202182+00:00", Some(Stamp::utc(day, at + 202_182_000))),
            ("2026-11-22T10:58:42+0130", Some(Stamp::utc(day, at - 90 * 60 * SECOND))),
            (
                "2026-11-22T10:58:42,291490-01:00",
                Some(Stamp::utc(day, at + 3600 * SECOND + 291_490_000)),
            ),
            ("2026-11-22T10:58:42Z", Some(Stamp::utc(day, at))),
            ("2026 Nov 22 10:58:42 gw", Some(Stamp::Civil(day, at))),
            ("2026-11-22 10:58:42.5", Some(Stamp::Civil(day, at + SECOND / 2))),
            ("2026-11-32 10:58:42.5", None),
            ("2026-11-22T25:58:42", None),
        ] {
            assert_eq!(Cursor(text.as_bytes()).iso(), want, "{text}");
        }
        assert_eq!(Stamp::utc(day, at), Stamp::Epoch(1_795_345_122 * SECOND));
        assert_eq!(Stamp::utc(date(9999, 1, 1), 0), Stamp::None);
        assert_eq!(Cursor(b"2026/11/22 10:58:42").iso(), Some(Stamp::Civil(day, at)));
        assert_eq!(Cursor(b"2026/11-22 10:58:42").iso(), None);
        let common = |s: &str| Cursor(s.as_bytes()).common_log_time();
        assert_eq!(common("22/Nov/2026:10:58:42 +0130]"), Some(Stamp::utc(day, at - 90 * MINUTE)));
        assert_eq!(common("22/Nov/2026:10:58:42.5] x"), Some(Stamp::Civil(day, at + SECOND / 2)));
        for damaged in
            ["22/Now/2026:10:58:42", "32/Nov/2026:10:58:42", "22/Nov/2026 10:58:42", "22/Nov"]
        {
            assert_eq!(common(damaged), None, "{damaged}");
        }
        let ctime = |s: &str| Cursor(s.as_bytes()).ctime();
        let want = Stamp::Civil(date(2026, 11, 2), at + 5 * SECOND);
        assert_eq!(ctime("Sun Nov  2 10:58:47 2026"), Some(want));
        assert_eq!(ctime("Sun Nov 31 10:58:47 2026"), None);
        assert_eq!(ctime("Sun Nov  2 10:58:47 CET 2026"), Some(want));
        assert_eq!(ctime("Sun Nov  2 10:58:47 AM -03 2026"), Some(want));
        let evening = Stamp::utc(date(2026, 11, 2), at + 5 * SECOND + 12 * HOUR);
        assert_eq!(ctime("Sun Nov  2 10:58:47 PM UTC 2026"), Some(evening));
        let noon = Stamp::utc(date(2026, 11, 2), 12 * HOUR);
        assert_eq!(ctime("Sun Nov  2 12:00:00 PM GMT 2026"), Some(noon));
        assert_eq!(ctime("Sun Nov  2 10:58:47 gw1 2026"), None);
    }
}
