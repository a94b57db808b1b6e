//! [`State`]: what has been counted and shown, and what is still to be.

use std::io;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tcptally::live::Live;
use tcptally::period::Bound;
use tcptally::{Account, Connection, Moment};

use super::Watch;
use crate::run::message;
use crate::run::metrics::Metrics;
use crate::run::outlet::Outlet;
use crate::run::reporter::Reporter;

/// How old an [`Account`] may be in metrics.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What has been counted and shown, and when there is more to do.
pub struct State {
    reporter: Reporter,
    pub outlet: Outlet,
    /// What the output is called.
    place: String,
    metrics: Option<Metrics>,
    /// When metrics are told again how the source fares.
    tell_at: Option<Instant>,
    /// When counting ends.
    end: Option<Bound>,
    stop_at: Option<Instant>,
    /// How long after its end connections of an interval may come.
    pub lateness: Duration,
    counting: bool,
}

impl State {
    pub fn new(what: Watch) -> anyhow::Result<State> {
        let Watch { mut request, output, metrics, .. } = what;
        let format = request.format(output.stream(), !output.continues());
        let events = request.format(output.stream(), !output.continues());
        let place = output.name();
        let outlet = Outlet::new(output, events)?;
        let end = request.count.filter.period.until.take();
        let reporter = Reporter::new(request, format, Some(Moment::now()));
        Ok(State {
            reporter,
            outlet,
            place,
            metrics,
            tell_at: None,
            end,
            stop_at: None,
            lateness: Duration::ZERO,
            counting: true,
        })
    }

    /// The source has arrived: to get there may have taken a while.
    pub fn begin(&mut self, duration: Option<SignedDuration>) {
        self.stop_at =
            duration.and_then(|d| Instant::now().checked_add(Duration::try_from(d).ok()?));
    }

    pub fn deadline(&self) -> Option<Instant> {
        if !self.counting {
            return None;
        }
        let until = match &self.end {
            Some(Bound::At(t)) => instant(*t),
            _ => None,
        };
        let close =
            self.reporter.next_end().and_then(|end| instant(end)?.checked_add(self.lateness));
        [self.stop_at, self.tell_at, until, close].into_iter().flatten().min()
    }

    pub fn is_over(&self) -> bool {
        let past = |bound: &Bound| matches!(bound, Bound::At(t) if *t <= Moment::now());
        self.counting
            && (self.outlet.closed()
                || self.stop_at.is_some_and(|t| t <= Instant::now())
                || self.end.as_ref().is_some_and(past))
    }

    pub fn take(&mut self, mut c: Connection) {
        if !self.counting {
            return;
        }
        if let Some(time) = c.time {
            self.show_intervals(time);
        }
        if let Some(metrics) = &self.metrics {
            metrics.take(&c);
        }
        if !self.reporter.request.events {
            self.reporter.take(c);
        } else if self.reporter.request.count.passes(&c) {
            c.machine.clone_from(&self.reporter.request.event_host);
            self.outlet.event(c);
        }
    }

    /// Tells metrics how the source fares, once in a while.
    pub fn tell(&mut self, live: &mut impl Live) {
        let Some(metrics) = self.metrics.as_ref().filter(|_| self.counting) else { return };
        let now = Instant::now();
        if self.tell_at.is_none_or(|at| at <= now) {
            metrics.update(live.account());
            self.tell_at = now.checked_add(TELL_EVERY);
        }
    }

    /// Shows the intervals that have ended.
    pub fn show_intervals(&mut self, now: Moment) {
        let lateness = SignedDuration::try_from(self.lateness).unwrap_or(SignedDuration::MAX);
        let now = now.shifted(-lateness);
        if self.counting && self.reporter.next_end().is_some_and(|end| end <= now) {
            self.outlet.text(self.reporter.ended(now));
        }
    }

    /// Shows the tally so far.
    pub fn show(&mut self, mut account: Account) {
        let request = &self.reporter.request;
        if request.events {
            let total = request.count.sums.total;
            message::note_aside(request.quiet, format_args!("{total} connections so far"));
            return;
        }
        account.ended.get_or_insert_with(Moment::now);
        let mut text = Vec::new();
        if self.reporter.report(&account, &mut text).is_ok() {
            self.outlet.text(text);
        }
    }

    /// Shows the tally, and counts no more.
    pub fn end(&mut self, account: Account) {
        self.outlet.text(self.reporter.rest(Some(Moment::now())));
        if self.reporter.request.events {
            self.reporter.say_notes(&account);
        } else {
            self.show(account);
        }
        self.counting = false;
    }

    /// Shows the tally, unless that has been done, and waits until all is written. Says whether
    /// it is.
    pub fn finish(self, mut account: Account) -> bool {
        account.ended.get_or_insert_with(Moment::now);
        let State { mut reporter, mut outlet, place, counting, .. } = self;
        if counting {
            outlet.text(reporter.rest(Some(Moment::now())));
        }
        let dropped = outlet.dropped;
        let (output, mut error) = outlet.finish();
        if counting && reporter.request.events {
            reporter.say_notes(&account);
        } else if let (true, Some(mut output)) = (counting, output)
            && !error.as_ref().is_some_and(closed)
        {
            error = output.write(|out| reporter.report(&account, out)).err().or(error);
        }
        if dropped > 0 {
            message::error(format_args!(
                "{dropped} events or interval rows were dropped, because whoever reads the \
                 output was too slow"
            ));
        }
        match error {
            Some(e) if !closed(&e) => {
                message::error(format_args!("the report could not be written to {place}: {e}"));
                false
            }
            _ => true,
        }
    }
}

/// Whether the reader wanted no more, which is no failure.
fn closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// When the clock will show this time, if nobody sets it.
fn instant(t: Moment) -> Option<Instant> {
    let wait = t.timestamp()?.duration_since(Timestamp::now());
    Instant::now().checked_add(Duration::try_from(wait).unwrap_or_default())
}
