//! An [`EventSource`] of any type, so that the loop that follows one is compiled once.

use std::time::{Duration, Instant};

use crate::model::event_source::{Event, EventSource};
use crate::{Connection, SourceStatus};

/// The methods of [`EventSource`], with errors of one type.
pub(super) trait AnySource {
    fn next(&mut self, deadline: Option<Instant>) -> anyhow::Result<Event>;
    fn next_known(&mut self) -> Option<Connection>;
    fn stop_counting(&mut self) -> anyhow::Result<Vec<Connection>>;
    fn status(&mut self) -> SourceStatus;
    fn can_wait(&self) -> bool;
    fn lateness(&self) -> Duration;
}

impl<L: EventSource> AnySource for L {
    fn next(&mut self, deadline: Option<Instant>) -> anyhow::Result<Event> {
        Ok(EventSource::next(self, deadline)?)
    }

    fn next_known(&mut self) -> Option<Connection> {
        EventSource::next_known(self)
    }

    fn stop_counting(&mut self) -> anyhow::Result<Vec<Connection>> {
        Ok(EventSource::stop_counting(self)?)
    }

    fn status(&mut self) -> SourceStatus {
        EventSource::status(self)
    }

    fn can_wait(&self) -> bool {
        EventSource::can_wait(self)
    }

    fn lateness(&self) -> Duration {
        EventSource::lateness(self)
    }
}
