//! Times of records: from what a line says to a [`RecordTime`](crate::RecordTime).
//!
//! Many records leave out the year or the whole date. It is the one that lets the last line be no
//! later than the file's last change; what comes through a pipe is taken to be of now.

mod calendar;
mod scan;

use jiff::civil::Date;

pub(super) use self::calendar::Calendar;
pub(super) use self::scan::Scan;

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;

/// What a line tells of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
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

/// A time in UTC.
pub(super) fn epoch(date: Date, ns: i64) -> Stamp {
    let midnight = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
    match midnight.checked_mul(SECOND).and_then(|midnight| midnight.checked_add(ns)) {
        Some(ns) => Stamp::Epoch(ns),
        None => Stamp::None,
    }
}
