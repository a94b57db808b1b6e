//! [`Reporter`]: counts connections, and writes intervals when they end.

use std::io;
use std::mem::discriminant;

use crate::Sink;
use crate::count::Tally;
use crate::count::table::Table;
use crate::format::{Clock, Format, ReportSection};
use crate::time::Bound;
use crate::{Connection, RecordTime, SourceStatus};
use jiff::SignedDuration;

use super::intervals::{MAX_EMPTY_INTERVALS, cover, intervals, is_partial, partial};
use super::notes::{print_notes, report, say_notes};
use super::request::Request;

/// Counts connections, and knows which intervals have been written.
pub(super) struct Reporter {
    /// What is counted, with the counts so far.
    pub request: Request,
    /// The format of the report.
    pub format: Box<dyn Format>,
    /// The beginning of the first interval that has not been written.
    next: Option<RecordTime>,
    /// The time since which connections are observed, if they are reported as they happen. Then
    /// none belongs to an interval long ago.
    observed_from: Option<RecordTime>,
    /// The time at which observing ended.
    observed_until: Option<RecordTime>,
    /// Whether the interval before `next` has been shown.
    shown: bool,
}

impl Reporter {
    /// Creates a reporter. Intervals are written from the beginning of the period on, but not from
    /// before `start`; without both, from the first connection on.
    pub(super) fn new(
        request: Request,
        format: Box<dyn Format>,
        start: Option<RecordTime>,
    ) -> Reporter {
        let since = match &request.count.filter.period.since {
            Some(Bound::At(since)) => Some(*since),
            _ => None,
        };
        let interval = request.count.tally.interval.as_ref();
        let first =
            start.max(since.filter(|s| start.is_none_or(|t| discriminant(&t) == discriminant(s))));
        let next = first.zip(interval).map(|(start, i)| i.around(start).0);
        let observed_from = start.and(first);
        Reporter { request, format, next, observed_from, observed_until: None, shown: false }
    }

    /// Writes headings once more: a new output file begins.
    pub(super) fn begin_file(&mut self) {
        self.format = self.request.format(None, true);
    }

    /// Counts one connection.
    pub(super) fn take(&mut self, mut c: Connection) {
        if let Some(next) = self.next.filter(|_| self.observed_from.is_some() && self.shown) {
            c.time = c.time.map(|time| time_in_next(time, &c, next));
        }
        let time = c.time;
        let count = &mut self.request.count;
        let before = count.sums.total;
        count.take(c);
        if self.next.is_none() && count.sums.total > before {
            self.next = time.zip(count.tally.interval.as_ref()).map(|(t, i)| i.around(t).0);
        }
    }

    /// Whether intervals are written when they end.
    fn rolls(&self) -> bool {
        !self.request.events
            && !self.request.kind.is_one_document()
            && self.request.count.tally.has_intervals()
    }

    /// The end of the next interval that is written when it ends.
    pub(super) fn next_end(&self) -> Option<RecordTime> {
        let interval = self.request.count.tally.interval.as_ref()?;
        self.next.filter(|_| self.rolls()).map(|start| interval.around(start).1)
    }

    /// Returns the text of intervals that have ended by `now`, and of earlier ones to which
    /// connections were added later.
    pub(super) fn ended(&mut self, now: RecordTime) -> Vec<u8> {
        let mut text = Vec::new();
        let Some(interval) = self.request.count.tally.interval.clone().filter(|_| self.rolls())
        else {
            return text;
        };
        let Some(mut next) = self.next.filter(|next| discriminant(next) == discriminant(&now))
        else {
            return text;
        };
        let mut empty = 0;
        loop {
            let (start, end) = interval.around(next);
            if end > now || end <= start {
                break;
            }
            let filled = self.request.count.tally.intervals.first_key_value();
            let filled = filled.is_some_and(|(first, _)| *first <= start);
            empty = if filled { 0 } else { empty + 1 };
            if empty <= MAX_EMPTY_INTERVALS {
                self.show(start, end, &mut text);
                next = end;
            } else {
                // A single wrong date must not cause years of empty rows.
                let first = self.request.count.tally.intervals.keys().next().copied();
                next = interval.around(first.unwrap_or(now).min(now)).0.max(end);
                empty = 0;
            }
        }
        self.shown |= self.next != Some(next);
        self.next = Some(next);
        text
    }

    /// Returns the text of all remaining intervals, when no more connections come. The last interval
    /// is that of the end of the period, or of `now`.
    pub(super) fn rest(&mut self, now: Option<RecordTime>) -> Vec<u8> {
        self.observed_until = now;
        let tally = &self.request.count.tally;
        let until = match &self.request.count.filter.period.until {
            Some(Bound::At(until)) => Some(*until),
            _ => now,
        };
        let last = tally.intervals.keys().next_back().copied();
        let last = last.into_iter().chain(until.map(RecordTime::just_before)).max();
        let Some((last, interval)) = last.zip(tally.interval.as_ref()) else { return Vec::new() };
        let end = interval.around(last).1;
        if self.next.is_none() {
            self.next = tally.intervals.keys().next().copied();
        }
        let mut text = self.ended(end);
        // Intervals of the other kind of time, and late connections.
        if self.rolls() {
            self.show_late(None, &mut text);
        }
        text
    }

    fn show(&mut self, start: RecordTime, end: RecordTime, text: &mut Vec<u8>) {
        self.show_late(Some(start), text);
        let table = self.request.count.tally.intervals.remove(&start);
        self.write_part(start, end, table.as_ref(), text);
    }

    /// Writes intervals that begin before `start`.
    fn show_late(&mut self, start: Option<RecordTime>, text: &mut Vec<u8>) {
        while let Some(first) = self.request.count.tally.intervals.first_entry() {
            if start.is_some_and(|start| *first.key() >= start) {
                break;
            }
            let (late, table) = first.remove_entry();
            let interval = self.request.count.tally.interval.as_ref();
            let (start, end) = interval.map_or((late, late), |i| i.around(late));
            self.write_part(start, end, Some(&table), text);
        }
    }

    fn write_part(
        &mut self,
        start: RecordTime,
        end: RecordTime,
        table: Option<&Table>,
        text: &mut Vec<u8>,
    ) {
        let Tally { keys, .. } = &self.request.count.tally;
        let order = self.request.order;
        let observed = (self.observed_from, self.observed_until);
        let is_partial = is_partial((start, end), observed);
        let (start, end) = (Some(start), Some(end));
        let table_of_all = Some(&self.request.count.tally.whole);
        self.format.prepare_intervals(&ReportSection {
            start: None,
            end: None,
            is_partial: false,
            keys,
            table: table_of_all,
            order,
        });
        let part = ReportSection { start, end, is_partial, keys, table, order };
        // Writing to a vector does not fail.
        let _ = self.format.interval(&part, text);
    }

    /// Writes the report on what was counted so far, and prints its notes unless it contains them.
    pub(super) fn report(
        &mut self,
        status: &SourceStatus,
        out: &mut dyn io::Write,
    ) -> io::Result<()> {
        let notes = self.write(status, out)?;
        if !self.format.tells_notes() {
            print_notes(&notes, status, self.request.quiet);
        }
        Ok(())
    }

    /// Writes the report on what was counted so far, and returns its notes.
    pub(super) fn write(
        &mut self,
        status: &SourceStatus,
        out: &mut dyn io::Write,
    ) -> io::Result<Vec<String>> {
        let also = status.started.into_iter().chain(status.ended.map(RecordTime::just_before));
        let also: Vec<RecordTime> = also.collect();
        cover(&mut self.request.count, &also);
        let Request { count, order, .. } = &self.request;
        let mut report = report(status, count, *order);
        if count.tally.interval.is_some()
            && (self.request.has_timeline()
                || self.request.kind.is_one_document() && count.tally.has_intervals())
        {
            let (mut parts, left_out) = intervals(count, *order, also);
            if let Some((started, ended)) = self.observed(status) {
                for part in &mut parts {
                    let interval = part.start.zip(part.end);
                    part.is_partial = interval
                        .is_some_and(|interval| is_partial(interval, (Some(started), Some(ended))));
                }
            }
            report.intervals = Some(parts);
            report.notes.extend(left_out);
        }
        report.notes.extend(self.partial_intervals(status));
        self.format.report(&report, out)?;
        Ok(report.notes)
    }

    /// The times from and until which an event source observed connections.
    fn observed(&self, status: &SourceStatus) -> Option<(RecordTime, RecordTime)> {
        let (mut started, ended) = self.observed_from.and(status.started).zip(status.ended)?;
        if let Some(Bound::At(since)) = &self.request.count.filter.period.since {
            started = started.max(*since);
        }
        Some((started, ended))
    }

    /// The note about intervals that were not observed from their beginning to their end.
    fn partial_intervals(&self, status: &SourceStatus) -> Option<String> {
        let Request { count, zone, .. } = &self.request;
        let interval = count.tally.interval.as_ref().filter(|_| count.tally.has_intervals())?;
        let (started, ended) = self.observed(status)?;
        let what = match partial(interval, started, ended) {
            (true, true) => "the first and the last interval are",
            (true, false) => "the first interval is",
            (false, true) => "the last interval is",
            (false, false) => return None,
        };
        let span = Clock::span(zone, started, ended);
        Some(format!("{what} partial: connections were counted from {span}"))
    }

    /// Prints the notes to stderr, for events.
    pub(super) fn say_notes(&self, status: &SourceStatus) {
        say_notes(status, &self.request.count, self.request.quiet);
    }
}

/// The time by which a connection is counted. If its interval has been shown, that is the
/// beginning of the `next` one, provided that its time is uncertain enough for that.
fn time_in_next(time: RecordTime, c: &Connection, next: RecordTime) -> RecordTime {
    let uncertainty = c.transport.as_ref().map(|t| t.time_uncertainty).unwrap_or_default();
    let latest = time.shifted(SignedDuration::try_from(uncertainty).unwrap_or(SignedDuration::MAX));
    if time < next && next <= latest { next } else { time }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::connection::Transport;

    use super::*;

    #[test]
    fn late_connections_count_in_the_next_interval_if_they_may_have_begun_in_it() {
        let time = |at| {
            let uncertainty = Duration::from_nanos(10);
            let transport = Transport { time_uncertainty: uncertainty, ..Transport::default() };
            let c = Connection { transport: Some(transport.into()), ..Connection::default() };
            time_in_next(RecordTime::Clock(at), &c, RecordTime::Clock(100))
        };
        assert_eq!(
            [89, 90, 99, 100, 101].map(time),
            [89, 100, 100, 100, 101].map(RecordTime::Clock)
        );
    }
}
