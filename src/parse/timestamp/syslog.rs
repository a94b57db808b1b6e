//! The times that syslog daemons, the journal and dmesg write before a line.

use jiff::civil::Date;

use super::Stamp;
use super::formats::{is_utc, month_of};
use crate::parse::cursor::Cursor;

impl Cursor<'_> {
    /// The priority of RFC 3164, `<13>`, or that and the version of RFC 5424, `<13>1 `. Files of some daemons have the
    /// version alone, and a time behind it.
    pub(crate) fn syslog_priority(&mut self) -> bool {
        let mut cursor = *self;
        if cursor.eat(b"1 ") && cursor.0.get(10) == Some(&b'T') {
            let rest = cursor;
            let is_version = cursor.iso().is_some() && cursor.0.starts_with(b" ");
            if is_version {
                *self = rest;
            }
            return is_version;
        }
        cursor = *self;
        let found = cursor.eat(b"<") && cursor.number_up_to(3).is_some() && cursor.eat(b">");
        if found {
            cursor.eat(b"1 ");
            *self = cursor;
        }
        found
    }

    /// A syslog time that begins with a name: `Nov 22 10:58:42` (RFC 3164), the same with a year
    /// behind the day, `Sun 2026-11-22 10:58:42 CET` of the journal, or that of ctime(3).
    pub(crate) fn syslog_time(&mut self) -> Option<Stamp> {
        if let Some(stamp) = self.ctime() {
            return Some(stamp);
        }
        let mut cursor = *self;
        let stamp = if cursor.weekday() { cursor.iso_with_zone() } else { cursor.month_first() };
        if stamp.is_some() {
            *self = cursor;
        }
        stamp
    }

    /// A time as [`iso`](Cursor::iso) reads it, and the name of a zone: `2026-11-22 10:58:42 CET` of
    /// `journalctl -o short-full`.
    pub(crate) fn iso_with_zone(&mut self) -> Option<Stamp> {
        let stamp = self.iso()?;
        let zone = self.zone_name();
        Some(match stamp {
            Stamp::Civil(date, ns) if is_utc(zone) => Stamp::utc(date, ns),
            other => other,
        })
    }

    /// ` CEST`: steps over it and returns the name.
    fn zone_name(&mut self) -> &[u8] {
        let Some(rest) = self.0.strip_prefix(b" ") else { return b"" };
        let n = rest.iter().take_while(|b| b.is_ascii_uppercase()).count();
        if !(3..=5).contains(&n) || rest.get(n).is_some_and(|b| *b != b' ') {
            return b"";
        }
        self.0 = &rest[n..];
        &rest[..n]
    }

    /// `17 May 2026 21:36:42.123`, or without the year, as Redis writes it.
    pub(crate) fn day_first(&mut self) -> Option<Stamp> {
        let mut cursor = *self;
        let day = cursor.number_up_to(2).filter(|d| (1..=31).contains(d))?;
        cursor.require(b" ")?;
        let month = month_of(cursor.0.get(..3)?)?;
        cursor.skip(3);
        cursor.require(b" ")?;
        let stamp = match cursor.clock() {
            Some(ns) => Stamp::Yearless(month, day as i8, ns),
            None => {
                let year = cursor.number_up_to(4)?;
                cursor.require(b" ")?;
                Stamp::Civil(Date::new(year as i16, month, day as i8).ok()?, cursor.clock()?)
            }
        };
        *self = cursor;
        Some(stamp)
    }

    /// `May 17 21:36:42`, or `May 17 2026 21:36:42`.
    fn month_first(&mut self) -> Option<Stamp> {
        let (month, day) = self.month_and_day()?;
        self.eat(b",");
        self.blanks();
        if let Some(ns) = self.clock() {
            return Some(Stamp::Yearless(month, day, ns));
        }
        let year = i16::try_from(self.number_up_to(4)?).ok()?;
        self.blanks();
        let ns = self.clock()?;
        Some(Stamp::Civil(Date::new(year, month, day).ok()?, ns))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn every_form_of_a_syslog_time() {
        let at = (21 * 3600 + 36 * 60 + 42) * 1_000_000_000;
        let day = date(2026, 5, 17);
        for (text, want) in [
            ("May 17 21:36:42 web1 app: ", Some(Stamp::Yearless(5, 17, at))),
            ("May  7 21:36:42.5", Some(Stamp::Yearless(5, 7, at + 500_000_000))),
            ("May 17 2026 21:36:42 fw1", Some(Stamp::Civil(day, at))),
            ("Sun 2026-05-17 21:36:42 CEST web1", Some(Stamp::Civil(day, at))),
            ("Sun 2026-05-17 21:36:42 UTC web1", Some(Stamp::utc(day, at))),
            ("Sun May 17 21:36:42 2026", Some(Stamp::Civil(day, at))),
            ("May 32 21:36:42", None),
            ("Sun 21:36:42", None),
        ] {
            assert_eq!(Cursor(text.as_bytes()).syslog_time(), want, "{text}");
        }
        for (text, rest) in [
            ("<13>May", Some("May")),
            ("<13>1 2026", Some("2026")),
            ("1 2026-05-17T21:36:42Z h", Some("2026-05-17T21:36:42Z h")),
            ("1 2026-05-17T21:36:42.123+02:00 h", Some("2026-05-17T21:36:42.123+02:00 h")),
            ("1 2026-05-17 21:36:42 h", None),
            ("1 2026-05-17T21:36 h", None),
            ("<x>", None),
        ] {
            let mut cursor = Cursor(text.as_bytes());
            let want = (rest.is_some(), rest.unwrap_or(text).as_bytes());
            assert_eq!((cursor.syslog_priority(), cursor.0), want, "{text}");
        }
    }
}
