//! [`Event`]: a connection in a line of a log, of one event or of a call that was joined.

use super::host::Ends;
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::Connection;

/// A connection in a line.
#[derive(Debug)]
pub(crate) struct Event {
    /// The time in the line.
    pub stamp: Stamp,
    /// Nanoseconds between the beginning of the connection and that time.
    pub before: i64,
    /// The client and the server.
    pub ends: Ends,
    /// Whether the connection was established, if the line shows it.
    pub established: Option<bool>,
    /// What causes the log to contain the line: a connection or a request.
    pub written_for: WrittenFor,
    /// Other values in the line. The ends and the time are set from the fields above.
    pub more: Connection,
}

impl Event {
    /// A connection between `ends` at the time of the line.
    pub(crate) fn new(stamp: Stamp, ends: Ends, established: Option<bool>) -> Event {
        let written_for = WrittenFor::Connection;
        Event { stamp, before: 0, ends, established, written_for, more: Connection::default() }
    }
}
