//! [`EventSource`]: the interface of sources that observe connections as they happen, `trace` and `watch`.

use std::time::{Duration, Instant};

use crate::{Connection, SourceStatus};

/// A source that reports connections as they happen. The caller asks for the next event.
pub trait EventSource {
    /// Why observing failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Waits for the next event, at most until `deadline`.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Self::Error>;

    /// The next connection that is known already, if it precedes all other events.
    fn next_known(&mut self) -> Option<Connection> {
        None
    }

    /// Stops counting. Detaches if that is safe, otherwise keeps supervising silently. Returns
    /// the connections that were accepted by then; call [`next`](EventSource::next) until it returns
    /// [`Event::Ended`].
    fn stop_counting(&mut self) -> Result<Vec<Connection>, Self::Error>;

    /// The status so far.
    fn status(&mut self) -> SourceStatus;

    /// Whether a late call of [`next`](EventSource::next) does not harm a server.
    fn can_wait(&self) -> bool {
        false
    }

    /// The maximum delay of a reported connection.
    fn lateness(&self) -> Duration {
        Duration::ZERO
    }
}

/// An event of an [`EventSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was accepted.
    Connection(Connection),
    /// The deadline has passed.
    Deadline,
    /// SIGUSR1: the user wants the tally so far.
    Asked,
    /// SIGHUP: output files are to be reopened. Only in the program `tcptally`; otherwise SIGHUP ends a source.
    Reopen,
    /// A message for the user, to be printed now.
    Notice(String),
    /// The source has ended.
    Ended(Ending),
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The processes were detached, or have ended and were not started by tcptally.
    Detached,
    /// The spawned command was detached and continues with this process id.
    CommandDetached(i32),
    /// The spawned command exited with this status.
    Exited(i32),
    /// The spawned command was killed by this signal.
    Killed(i32),
}
