//! [`Scan`]: reads stamps in the forms in which records have them.

use jiff::civil::Date;

use super::{SECOND, Stamp, epoch};

/// Reads stamps from the front of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a>(pub &'a [u8]);

impl<'a> Scan<'a> {
    /// Passes `what`, if it comes next.
    pub(crate) fn take(&mut self, what: &[u8]) -> bool {
        match self.0.strip_prefix(what) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Skips `what`; `None` if something else comes next.
    #[inline]
    pub(crate) fn pass(&mut self, what: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(what)?;
        Some(())
    }

    /// Skips and returns everything before the next blank.
    #[inline]
    pub(crate) fn word(&mut self) -> &'a [u8] {
        let n = self.0.iter().take_while(|b| **b != b' ').count();
        let (word, rest) = self.0.split_at(n);
        self.0 = rest;
        word
    }

    /// Passes blanks.
    pub(crate) fn blanks(&mut self) {
        let n = self.0.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.0 = &self.0[n..];
    }

    /// A number of at most `most` digits.
    pub(crate) fn number(&mut self, most: usize) -> Option<i64> {
        let n = self.0.iter().take(most.min(18)).take_while(|b| b.is_ascii_digit()).count();
        if n == 0 || self.0.get(n).is_some_and(u8::is_ascii_digit) && n < most {
            return None;
        }
        let value = self.0[..n].iter().fold(0, |value, b| value * 10 + i64::from(b - b'0'));
        self.0 = &self.0[n..];
        Some(value)
    }

    /// Nanoseconds from the digits behind a point or comma, if there is one.
    pub(crate) fn fraction(&mut self) -> i64 {
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
    pub(crate) fn clock(&mut self) -> Option<i64> {
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

    /// `2026-11-22`, or `2026 Nov 22` of some devices.
    pub(crate) fn date(&mut self) -> Option<Date> {
        let mut scan = *self;
        let year = scan.number(4)?;
        if scan.take(b" ") {
            let (month, day) = scan.month_and_day()?;
            let date = Date::new(year as i16, month, day).ok()?;
            *self = scan;
            return Some(date);
        }
        let month = scan.take(b"-").then(|| scan.number(2)).flatten()?;
        let day = scan.take(b"-").then(|| scan.number(2)).flatten()?;
        let date = Date::new(year as i16, month as i8, day as i8).ok()?;
        *self = scan;
        Some(date)
    }

    /// `2026-11-22T10:58:42.202182+00:00`, `…+0000`, `…Z`, or none of these; `T` may be a blank.
    pub(crate) fn iso(&mut self) -> Option<Stamp> {
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
    pub(crate) fn seconds(&mut self) -> Option<i64> {
        let whole = self.number(12)?;
        whole.checked_mul(SECOND)?.checked_add(self.fraction())
    }

    /// `Nov 22`, the day perhaps behind two blanks.
    pub(crate) fn month_and_day(&mut self) -> Option<(i8, i8)> {
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
    pub(crate) fn weekday(&mut self) -> bool {
        let mut scan = *self;
        let days = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
        let found = days.iter().any(|d| scan.take(*d)) && scan.take(b" ");
        if found {
            *self = scan;
        }
        found
    }

    /// As ctime(3) writes it: `Sun Nov 22 10:58:47 2026`.
    pub(crate) fn ctime(&mut self) -> Option<Stamp> {
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

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn forms() {
        let at = (10 * 3600 + 58 * 60 + 42) * SECOND;
        let day = date(2026, 11, 22);
        for (text, want) in [
            ("2026-11-22T10:58:42.202182+00:00", Some(epoch(day, at + 202_182_000))),
            ("2026-11-22T10:58:42+0130", Some(epoch(day, at - 90 * 60 * SECOND))),
            (
                "2026-11-22T10:58:42,291490-01:00",
                Some(epoch(day, at + 3600 * SECOND + 291_490_000)),
            ),
            ("2026-11-22T10:58:42Z", Some(epoch(day, at))),
            ("2026 Nov 22 10:58:42 gw", Some(Stamp::Civil(day, at))),
            ("2026-11-22 10:58:42.5", Some(Stamp::Civil(day, at + SECOND / 2))),
            ("2026-11-32 10:58:42.5", None),
            ("2026-11-22T25:58:42", None),
        ] {
            assert_eq!(Scan(text.as_bytes()).iso(), want, "{text}");
        }
        assert_eq!(epoch(day, at), Stamp::Epoch(1_795_345_122 * SECOND));
        assert_eq!(epoch(date(9999, 1, 1), 0), Stamp::None);
        let ctime = |s: &str| Scan(s.as_bytes()).ctime();
        let want = Stamp::Civil(date(2026, 11, 2), at + 5 * SECOND);
        assert_eq!(ctime("Sun Nov  2 10:58:47 2026"), Some(want));
        assert_eq!(ctime("Sun Nov 31 10:58:47 2026"), None);
    }
}
