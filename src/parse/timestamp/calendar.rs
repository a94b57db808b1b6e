//! [`Calendar`]: converts the stamps of a record that is read line by line. [`in_order`] sorts
//! several records by their first times.

use jiff::Timestamp;
use jiff::civil::Date;

use super::dates::{DATE_AHEAD, first_date, local};
use super::{ClockSpan, Dates, Stamp};
use crate::RecordTime;
use crate::parse::input::Input;
use crate::parse::lines;
use crate::parse::reader::{Context, Setting};

/// Bytes at the end of a file in which its last time is looked for.
const TAIL: u64 = 256 * 1024;

/// Converts the stamps of one record, in their order, to times.
#[derive(Clone)]
pub(crate) struct Calendar {
    dates: Dates,
    span: ClockSpan,
    /// The year of the next stamp without one.
    year: i16,
    /// The month of the last stamp without a year.
    month: Option<i8>,
    /// The first time since the boot.
    boot: Option<i64>,
}

impl Calendar {
    /// A calendar for `input`, whose lines have the times that `stamp` finds.
    pub(crate) fn new(
        input: &mut Input,
        cx: &mut Context<'_>,
        stamp: &dyn Fn(&[u8]) -> Stamp,
    ) -> Calendar {
        let zone = cx.zone();
        let now = input.modified().unwrap_or_else(Timestamp::now);
        let end = zone.to_datetime(now.saturating_add(DATE_AHEAD).unwrap_or(now));
        let mut year = end.year();
        let mut first_day = None;
        let mut first = Stamp::None;
        lines::each(input.head(), |line, _| {
            if first == Stamp::None {
                first = stamp(line);
            }
        });
        match (first, cx.options.date) {
            (Stamp::Yearless(..), Some(date)) => year = date.year(),
            (Stamp::Yearless(month, day, ns), None) => {
                let (turns, last) = years(input, stamp);
                let (month, day, ns) = last.unwrap_or((month, day, ns));
                let late = Date::new(end.year(), month, day).is_ok_and(|d| local(d, ns) > end);
                year = end.year() - turns - i16::from(late);
                if late {
                    cx.status.warn(format!(
                        "{}: the log has no year. Its last line is taken to be of {}, because it \
                         would otherwise be later than the file itself; set the date of its first \
                         line with {}",
                        input.name(),
                        end.year() - 1,
                        cx.options.name(Setting::Date)
                    ));
                }
            }
            (Stamp::Clock(_), Some(date)) => first_day = Some(date),
            (Stamp::Clock(ns), None) => {
                let span = clock_span(input, ns, stamp);
                first_day = Some(first_date(input.modified(), &zone, &span));
            }
            _ => {}
        }
        Calendar::dated(Dates::new(zone, cx.options.start, first_day), year)
    }

    fn dated(dates: Dates, year: i16) -> Calendar {
        Calendar { dates, span: ClockSpan::default(), year, month: None, boot: None }
    }

    /// The time of `stamp`. Must be called for every line whose stamp depends on others.
    pub(crate) fn record_time(&mut self, stamp: Stamp) -> Option<RecordTime> {
        let stamp = match stamp {
            Stamp::Yearless(month, day, ns) => {
                if let Some(before) = self.month {
                    self.year = self.year.saturating_add(turns(before, month));
                }
                self.month = Some(month);
                Stamp::Civil(Date::new(self.year, month, day).ok()?, ns)
            }
            Stamp::Uptime(ns) => {
                let boot = *self.boot.get_or_insert(ns);
                Stamp::Elapsed(ns.saturating_sub(boot))
            }
            other => self.span.see(other),
        };
        self.dates.record_time(stamp)
    }

    /// Whether the time of `stamp` is the same whatever stamps come before it. Then any copy of a calendar
    /// gives it, in any order.
    pub(crate) fn is_independent(stamp: Stamp) -> bool {
        matches!(stamp, Stamp::None | Stamp::Epoch(_) | Stamp::Elapsed(_) | Stamp::Civil(..))
    }

    /// What [`record_time`](Calendar::record_time) will return for the first stamp.
    pub(crate) fn peek(&self, stamp: Stamp) -> Option<RecordTime> {
        self.clone().record_time(stamp)
    }
}

/// An input and the calendar for its stamps.
pub(crate) struct Dated<L> {
    pub input: Input,
    pub calendar: Calendar,
    /// The form of the record, from its first bytes.
    pub look: L,
    first: Option<RecordTime>,
}

/// Makes calendars for `inputs` and sorts them by their first times: several come in any order,
/// and what begins in one may go on in the next. `stamp` finds the stamp of a line.
pub(crate) fn in_order<L>(
    inputs: Vec<Input>,
    cx: &mut Context<'_>,
    look: impl Fn(&[u8]) -> L,
    stamp: impl Fn(&L, &[u8]) -> Stamp,
) -> Vec<Dated<L>> {
    let dated = |mut input: Input| {
        let look = look(input.head());
        let stamp = |line: &[u8]| stamp(&look, line);
        let calendar = Calendar::new(&mut input, cx, &stamp);
        let mut first = Stamp::None;
        lines::each(input.head(), |line, _| {
            if first == Stamp::None {
                first = stamp(line);
            }
        });
        let first = calendar.peek(first);
        Dated { input, calendar, look, first }
    };
    let mut all: Vec<Dated<L>> = inputs.into_iter().map(dated).collect();
    all.sort_by_key(|dated| dated.first);
    all
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

/// How clock times pass in `input`; `first` is the first of them.
fn clock_span(input: &Input, first: i64, stamp: &dyn Fn(&[u8]) -> Stamp) -> ClockSpan {
    let mut span = ClockSpan::default();
    let Some(mut again) = input.again() else {
        span.see(Stamp::Clock(first));
        return span;
    };
    // What could be read is what will be counted.
    let _ = lines::blocks(&mut again, |text, _| {
        lines::each(text, |line, _| {
            span.see(stamp(line));
        });
    });
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::timestamp::{DAY, SECOND};

    #[test]
    fn years_and_days_turn() {
        let first = Some(jiff::civil::date(2025, 12, 31));
        let dates = Dates::new(jiff::tz::TimeZone::UTC, None, first);
        let mut calendar = Calendar::dated(dates, 2025);
        let mut show = |stamp| calendar.record_time(stamp).unwrap().to_string();
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Yearless(1, 1, SECOND)), "2026-01-01T00:00:01.000000Z");
        assert_eq!(show(Stamp::Yearless(12, 31, 0)), "2025-12-31T00:00:00.000000Z");
        assert_eq!(show(Stamp::Clock(DAY - 1)), "2025-12-31T23:59:59.999999Z");
        assert_eq!(show(Stamp::Clock(1000)), "2026-01-01T00:00:00.000001Z");
        assert_eq!(show(Stamp::Since(SECOND)), "+1.000000s");
        assert_eq!(show(Stamp::Since(SECOND)), "+2.000000s");
        assert_eq!(show(Stamp::Uptime(9 * SECOND)), "+0.000000s");
        assert_eq!(show(Stamp::Uptime(10 * SECOND)), "+1.000000s");
    }
}
