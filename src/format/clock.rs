//! [`Clock`]: formats times for people, in their time zone.

use jiff::tz::TimeZone;

use crate::RecordTime;
use crate::count::table::Entry;

/// How much of a time is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// `11:30`
    Minutes,
    /// `11:30:05`
    Time,
    /// `11:30:05.1`
    Tenths,
    /// `11:30:05.123`
    Millis,
    /// `11-22 11:30`
    DayAndTime,
    /// `2026-11-22`
    Date,
    /// `2026-11-22 11:30:05`
    Full,
    /// `2026-11-22 11:30:05.123456`
    Micros,
}

/// Formats times for people: local times, or times since a record began.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zone: TimeZone,
    detail: Detail,
}

impl Clock {
    /// Creates a clock with this detail.
    pub(crate) fn new(zone: &TimeZone, detail: Detail) -> Clock {
        Clock { zone: zone.clone(), detail }
    }

    /// Creates a clock with the detail that distinguishes the times from the first to the last.
    pub(crate) fn between(zone: &TimeZone, all: &Entry) -> Clock {
        let date = |t: Option<RecordTime>| Some(zone.to_datetime(t?.timestamp()?).date());
        let detail = match (date(all.first), date(all.last)) {
            (Some(a), Some(b)) if a != b && a.year() == b.year() => Detail::DayAndTime,
            (Some(a), Some(b)) if a != b => Detail::Date,
            _ => Detail::Time,
        };
        Clock::new(zone, detail)
    }

    /// Creates a clock for times of single connections of today.
    pub(crate) fn of_times(zone: &TimeZone) -> Clock {
        Clock::new(zone, Detail::Millis)
    }

    /// The name of the detail for the script of the HTML report, if [`between`](Clock::between) chose it.
    pub(super) fn detail_name(&self) -> &'static str {
        match self.detail {
            Detail::DayAndTime => "day",
            Detail::Date => "date",
            _ => "time",
        }
    }

    /// Formats a time; an unknown time is empty.
    pub(crate) fn show(&self, time: Option<RecordTime>) -> String {
        let Some(time) = time else { return String::new() };
        let Some(t) = time.timestamp() else {
            return match time {
                RecordTime::Elapsed(ns) => format!("{:+.1}s", ns as f64 / 1e9),
                RecordTime::Clock(_) => time.to_string(),
            };
        };
        let format = match self.detail {
            Detail::Minutes => "%H:%M",
            Detail::Time => "%H:%M:%S",
            Detail::Tenths => "%H:%M:%S%.1f",
            Detail::Millis => "%H:%M:%S%.3f",
            Detail::DayAndTime => "%m-%d %H:%M",
            Detail::Date => "%Y-%m-%d",
            Detail::Full => "%Y-%m-%d %H:%M:%S",
            Detail::Micros => "%Y-%m-%d %H:%M:%S%.6f",
        };
        t.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    /// Formats a span: the date once if it is the same, and the zone.
    pub(crate) fn span(zone: &TimeZone, from: RecordTime, to: RecordTime) -> String {
        let full = Clock::new(zone, Detail::Full);
        let all = Entry { first: Some(from), last: Some(to), ..Entry::default() };
        let end = match Clock::between(zone, &all) {
            same_day @ Clock { detail: Detail::Time, .. } => same_day.show(Some(to)),
            _ => full.show(Some(to)),
        };
        let zone = to.timestamp().map(|t| t.to_zoned(zone.clone()).strftime(" %Z").to_string());
        format!("{} to {end}{}", full.show(Some(from)), zone.unwrap_or_default())
    }
}
