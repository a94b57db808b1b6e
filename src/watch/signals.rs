//! [`Requests`]: signals that end a watch or request the tally so far, and deadlines.

use std::time::Instant;

use crate::model::event_source::Event;
use crate::sys::wake;

use super::error::{Doing, Error};

/// Signals that end the watch.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
/// The signal that requests the tally so far.
const TALLY: i32 = libc::SIGUSR1;

/// Installs the handlers.
pub(super) fn install() -> Result<(), Error> {
    wake::install(&[&ENDING[..], &[TALLY]].concat()).doing("installing signal handlers")
}

/// The requests that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    tally: bool,
    reopen: bool,
}

impl Requests {
    /// Takes the signals that have arrived. Returns whether one of them ends the watch.
    pub(super) fn take_signals(&mut self) -> bool {
        if !wake::is_due() {
            return false;
        }
        let signals = wake::take();
        wake::at(None);
        self.tally |= signals.has(TALLY);
        self.reopen |= signals.asks_to_reopen();
        ENDING.iter().any(|s| signals.has(*s))
    }

    /// Whether a request waits at time `now`.
    pub(super) fn is_due(&self, deadline: Option<Instant>, now: Instant) -> bool {
        self.tally || self.reopen || deadline.is_some_and(|d| d <= now)
    }

    /// Returns the event that answers a request, when all connections until `reported` have been
    /// reported.
    pub(super) fn answer(&mut self, deadline: Option<Instant>, reported: Instant) -> Option<Event> {
        if std::mem::take(&mut self.reopen) {
            return Some(Event::Reopen);
        }
        if std::mem::take(&mut self.tally) {
            return Some(Event::Asked);
        }
        deadline.is_some_and(|d| d <= reported).then_some(Event::Deadline)
    }
}
