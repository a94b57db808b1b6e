//! Times of records: from the text of a line to a [`RecordTime`](crate::RecordTime).
//!
//! `formats` and `syslog` read a [`Stamp`] from a line. [`ClockSpan`] follows midnights from line to
//! line. [`Dates`] adds the date that a stamp lacks and converts it; [`Calendar`] does both for
//! records that are read line by line.
//!
//! Many records leave out the year or the whole date. It is the one that lets the last line be no
//! later than the file's last change. A record from a pipe is taken to be written now.

mod calendar;
mod clock_span;
mod dates;
mod file_name;
mod formats;
mod syslog;

use jiff::civil::Date;

pub(super) use self::calendar::{Calendar, Dated, in_order};
pub(super) use self::clock_span::{Base, ClockSpan};
pub(super) use self::dates::{Dates, first_date};
pub(super) use self::file_name::moment_in;

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;
/// Nanoseconds of a minute.
const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds of an hour.
const HOUR: i64 = 60 * MINUTE;
/// Nanoseconds of a day.
pub(super) const DAY: i64 = 24 * HOUR;

/// The time in one line, as far as the line contains it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamp {
    /// No time.
    #[default]
    None,
    /// Nanoseconds since 1970.
    Epoch(i64),
    /// Nanoseconds since an unknown time, such as the boot.
    Uptime(i64),
    /// Nanoseconds since the record began.
    Elapsed(i64),
    /// Nanoseconds since the line before. Behind [`ClockSpan::see`]: since the first line.
    Since(i64),
    /// A local time: the date, nanoseconds since midnight.
    Civil(Date, i64),
    /// A local time without its year: month, day, nanoseconds since midnight.
    Yearless(i8, i8, i64),
    /// Nanoseconds since midnight. Behind [`ClockSpan::see`]: since the midnight before the first line.
    Clock(i64),
}

impl Stamp {
    /// A time in UTC: the date, nanoseconds since midnight.
    pub(super) fn utc(date: Date, ns: i64) -> Stamp {
        let midnight = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
        match midnight.checked_mul(SECOND).and_then(|midnight| midnight.checked_add(ns)) {
            Some(ns) => Stamp::Epoch(ns),
            None => Stamp::None,
        }
    }

    /// The same kind of time with no nanoseconds, and the nanoseconds.
    #[inline(always)]
    pub(super) fn split(self) -> (Stamp, i64) {
        match self {
            Stamp::None => (self, 0),
            Stamp::Epoch(ns) => (Stamp::Epoch(0), ns),
            Stamp::Uptime(ns) => (Stamp::Uptime(0), ns),
            Stamp::Elapsed(ns) => (Stamp::Elapsed(0), ns),
            Stamp::Since(ns) => (Stamp::Since(0), ns),
            Stamp::Civil(date, ns) => (Stamp::Civil(date, 0), ns),
            Stamp::Yearless(month, day, ns) => (Stamp::Yearless(month, day, 0), ns),
            Stamp::Clock(ns) => (Stamp::Clock(0), ns),
        }
    }

    /// `ns` later.
    #[inline]
    pub(crate) fn plus(self, ns: i64) -> Stamp {
        match self {
            Stamp::None => Stamp::None,
            Stamp::Epoch(t) => Stamp::Epoch(t.saturating_add(ns)),
            Stamp::Uptime(t) => Stamp::Uptime(t.saturating_add(ns)),
            Stamp::Elapsed(t) => Stamp::Elapsed(t.saturating_add(ns)),
            Stamp::Since(t) => Stamp::Since(t.saturating_add(ns)),
            Stamp::Civil(date, t) => Stamp::Civil(date, t.saturating_add(ns)),
            Stamp::Yearless(month, day, t) => Stamp::Yearless(month, day, t.saturating_add(ns)),
            Stamp::Clock(t) => Stamp::Clock(t.saturating_add(ns)),
        }
    }
}
