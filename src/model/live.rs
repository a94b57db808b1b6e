//! [`Live`]: what sources that watch have in common, as against records that are read.

use std::time::{Duration, Instant};

use crate::{Connection, SourceStatus};

/// A source that gives connections as they come. The caller asks for the next event.
pub trait Live {
    /// Why watching failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Waits for the next event, at the longest until `deadline`.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Self::Error>;

    /// Counts no more: lets go of what is watched where that is safe, else goes on without a
    /// word. Gives what had come by then; call [`next`](Live::next) until it gives
    /// [`Event::Ended`].
    fn stop_counting(&mut self) -> Result<Vec<Connection>, Self::Error>;

    /// How the source has fared so far.
    fn status(&mut self) -> SourceStatus;

    /// Whether nothing that is watched suffers if the next event is asked for somewhat later.
    fn can_wait(&self) -> bool {
        false
    }

    /// How long after its time a connection may still be given.
    fn lateness(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a [`Live`] source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was accepted.
    Connection(Connection),
    /// The deadline has passed.
    Deadline,
    /// SIGUSR1: somebody wants the tally so far.
    Asked,
    /// Something that the user must know now.
    Notice(String),
    /// Nothing is watched any more.
    Ended(Ending),
}

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What was watched has been let go, or is gone and was not ours.
    Detached,
    /// The spawned command was let go, and runs on under this process id.
    CommandDetached(i32),
    /// The spawned command exited with this status.
    Exited(i32),
    /// The spawned command was killed by this signal.
    Killed(i32),
}
