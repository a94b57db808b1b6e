//! Counts what a [`Live`] source gives, until it ends.

use std::io;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tcptally::connection::Sink;
use tcptally::live::{Ending, Event, Live};
use tcptally::period::Bound;
use tcptally::report::{Format, Part};
use tcptally::{Account, Moment, trace};

use super::outlet::Outlet;
use super::output::Output;
use super::request::Request;
use super::{intervals, message, report, say_notes};

/// What is to be done with the connections.
pub struct Watch {
    /// What is counted, and how it is shown.
    pub request: Request,
    /// Where.
    pub output: Output,
    /// When counting ends, from now.
    pub duration: Option<SignedDuration>,
}

/// Watches what `start` gives until that ends, and returns the exit status.
///
/// The source lives in a thread of its own, which has ended before the last report is written:
/// what was watched is free by then, however slow the report's reader is.
pub fn watch<L: Live>(
    start: impl FnOnce() -> Result<L, L::Error> + Send,
    what: Watch,
) -> anyhow::Result<i32> {
    let mut state = State::new(what)?;
    let (ending, account) = trace::let_go_at_end(|| follow(start, &mut state))?;
    if state.counting {
        state.counting = false;
        state.finish(account);
    } else {
        state.outlet.finish();
    }
    let ending = match ending {
        Ending::LetGo(pid) => trace::attend(pid)?,
        ending => ending,
    };
    Ok(match ending {
        Ending::Detached | Ending::LetGo(_) => 0,
        Ending::Exited(status) => status,
        Ending::Killed(signal) => tcptally::sys::die_of(signal),
    })
}

fn follow<L: Live>(
    start: impl FnOnce() -> Result<L, L::Error>,
    state: &mut State,
) -> anyhow::Result<(Ending, Account)> {
    let mut live = start()?;
    loop {
        match live.next(state.deadline())? {
            Event::Connection(c) => state.take(c),
            Event::Deadline => {}
            Event::Asked => state.show(live.account()),
            Event::Ended(ending) => return Ok((ending, live.account())),
        }
        state.close_intervals(Moment::now());
        if state.is_over() {
            for connection in live.stop_counting()? {
                state.take(connection);
            }
            state.end(live.account());
        }
    }
}

struct State {
    request: Request,
    format: Box<dyn Format>,
    outlet: Outlet,
    /// When counting ends.
    end: Option<Bound>,
    stop_at: Option<Instant>,
    /// The open interval.
    open: Option<(Moment, Moment)>,
    counting: bool,
}

impl State {
    fn new(what: Watch) -> anyhow::Result<State> {
        let Watch { mut request, output, duration } = what;
        let format = request.format(output.stream(), !output.continues());
        let events = request.format(output.stream(), !output.continues());
        let outlet = Outlet::new(output, events)?;
        let stop_at =
            duration.and_then(|d| Instant::now().checked_add(Duration::try_from(d).ok()?));
        let end = request.count.filter.period.until.take();
        let open = request.count.tally.interval.as_ref().map(|i| i.around(Moment::now()));
        Ok(State { request, format, outlet, end, stop_at, open, counting: true })
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.counting {
            return None;
        }
        let until = match &self.end {
            Some(Bound::At(t)) => instant(*t),
            _ => None,
        };
        let close = self.open.and_then(|(_, end)| instant(end));
        [self.stop_at, until, close].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        let past = |bound: &Bound| matches!(bound, Bound::At(t) if *t <= Moment::now());
        self.counting
            && (self.outlet.closed()
                || self.stop_at.is_some_and(|t| t <= Instant::now())
                || self.end.as_ref().is_some_and(past))
    }

    fn take(&mut self, c: tcptally::Connection) {
        if !self.counting {
            return;
        }
        if let Some(time) = c.time {
            self.close_intervals(time);
        }
        if self.request.events {
            let count = &mut self.request.count;
            if count.sums.note(count.filter.judge(&c), &c) {
                self.outlet.event(c);
            }
        } else {
            self.request.count.take(c);
        }
    }

    /// Shows the intervals that have ended.
    fn close_intervals(&mut self, now: Moment) {
        while let Some((start, end)) = self.open.filter(|(_, end)| self.counting && *end <= now) {
            self.show_interval(start, end);
            self.open = self.request.count.tally.interval.as_ref().map(|i| i.around(end));
        }
    }

    fn show_interval(&mut self, start: Moment, end: Moment) {
        if self.format.one_document() || self.request.events {
            return;
        }
        let table = self.request.count.tally.intervals.remove(&start);
        let part = Part {
            start: Some(start),
            end: Some(end),
            keys: &self.request.count.tally.keys,
            table: table.as_ref(),
            order: self.request.order,
        };
        let mut text = Vec::new();
        if self.format.interval(&part, &mut text).is_ok() {
            self.outlet.text(text);
        }
    }

    fn write(&mut self, mut account: Account, out: &mut dyn io::Write) -> io::Result<()> {
        if account.ended.is_none() {
            account.ended = Some(Timestamp::now().into());
        }
        let count = &self.request.count;
        let mut report = report(&account, count, self.request.order);
        if count.tally.interval.is_some() && self.format.one_document() {
            let period = &count.filter.period;
            report.intervals =
                Some(intervals::intervals(&count.tally, period, self.request.order).collect());
        }
        self.format.report(&report, out)?;
        if !self.format.tells_notes() {
            let intervals = count.tally.interval.is_some();
            say_notes(&account, &count.sums, intervals, self.request.quiet);
        }
        Ok(())
    }

    /// Shows the tally so far.
    fn show(&mut self, account: Account) {
        if self.request.events {
            message::note(
                self.request.quiet,
                format_args!("{} connections so far", self.request.count.sums.total),
            );
            return;
        }
        let mut text = Vec::new();
        if self.write(account, &mut text).is_ok() {
            self.outlet.text(text);
        }
    }

    /// Shows the tally, and counts no more.
    fn end(&mut self, account: Account) {
        if let Some((start, end)) = self.open.take() {
            self.show_interval(start, end);
        }
        if !self.outlet.closed() {
            self.show(account);
        }
        self.counting = false;
    }

    fn finish(mut self, account: Account) {
        if let Some((start, end)) = self.open.take() {
            self.show_interval(start, end);
        }
        let events = self.request.events;
        let mut text = Vec::new();
        let result = if events { Ok(()) } else { self.write(account.clone(), &mut text) };
        let quiet = self.request.quiet;
        if events {
            say_notes(&account, &self.request.count.sums, false, quiet);
        }
        let dropped = self.outlet.dropped;
        let (output, mut error) = self.outlet.finish();
        if let (Some(mut output), None, false) = (output, &error, events) {
            error = result.and_then(|()| output.write(|out| out.write_all(&text))).err();
        }
        if dropped > 0 {
            message::error(format_args!(
                "{dropped} events were dropped because their reader was too slow"
            ));
        }
        if let Some(error) = error.filter(|e| e.kind() != io::ErrorKind::BrokenPipe) {
            message::error(format_args!("the report could not be written: {error}"));
        }
    }
}

/// When the clock will show this time, if nobody sets it.
fn instant(t: Moment) -> Option<Instant> {
    let wait = t.timestamp()?.duration_since(Timestamp::now());
    Instant::now().checked_add(Duration::try_from(wait).unwrap_or_default())
}
