//! [`Sink`]: receives the connections of a source.

use std::any::Any;
use std::sync::Arc;

use crate::{Connection, RecordTime};

/// Receives connections from a source that reads at its own pace. A source with several threads gives
/// each thread a sink made by [`part`](Sink::part), and merges them in the order of the record.
pub trait Sink: Any + Send {
    /// Takes one connection.
    fn take(&mut self, connection: Connection);

    /// Called when the source has no more connections at the moment, so that the counts can be shown.
    fn pause(&mut self) {}

    /// Takes `count` connections. Only the times of the first one (that of `connection`) and of the
    /// `last` one are known. The bytes are those of all together.
    fn take_many(&mut self, connection: Connection, count: u64, last: Option<RecordTime>) {
        for n in 1..=count {
            let time = match n {
                1 => connection.time,
                n if n == count => last,
                _ => None,
            };
            let transport = connection.transport.clone().filter(|_| count == 1);
            self.take(Connection { time, transport, ..connection.clone() });
        }
    }

    /// Returns an empty sink that does the same work.
    fn part(&self) -> Box<dyn Sink>;

    /// Adds what `later`, a [`part`](Sink::part) of this sink, took. If the sink
    /// [`is_ordered`](Sink::is_ordered), those connections come after its own.
    fn merge(&mut self, later: Box<dyn Sink>);

    /// The connections that were counted since this was called last. A source asks it of the sink that
    /// it gives the connections of one input to.
    fn take_summary(&mut self) -> Summary {
        Summary::default()
    }

    /// Names the machine of connections that do not name theirs, until this is called again. `None`:
    /// the sink's own default.
    fn set_machine(&mut self, _machine: Option<Arc<str>>) {}

    /// Whether the order of parts matters to the result. If not, a source may keep one part per
    /// thread.
    fn is_ordered(&self) -> bool {
        true
    }

    /// What the sink uses of a connection. A source may give connections together that are equal in that.
    fn used_fields(&self) -> UsedFields {
        UsedFields::All
    }
}

/// What a sink uses of connections, beside their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UsedFields {
    /// Any field, of each connection.
    #[default]
    All,
    /// The remote address, the local address and port, and the first and the last time.
    Ends,
    /// The remote address, and the first and the last time.
    Peer,
}

impl UsedFields {
    /// Whether a source may give several connections together.
    pub(crate) fn can_coalesce(self) -> bool {
        self != UsedFields::All
    }
}

/// How many connections a sink has counted, and when they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Their number.
    pub total: u64,
    /// The time of the first, if any has one.
    pub first: Option<RecordTime>,
    /// The time of the last.
    pub last: Option<RecordTime>,
}

impl Summary {
    /// Adds what another summary has.
    pub fn add(&mut self, other: Summary) {
        self.total = self.total.saturating_add(other.total);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
    }
}

/// Returns the sink behind `part`, or `None` if it is of another type.
pub(crate) fn downcast<S: Sink>(part: Box<dyn Sink>) -> Option<S> {
    let part: Box<dyn Any> = part;
    part.downcast().ok().map(|part| *part)
}

impl Sink for Vec<Connection> {
    fn take(&mut self, connection: Connection) {
        self.push(connection);
    }

    fn part(&self) -> Box<dyn Sink> {
        Box::new(Vec::new())
    }

    fn merge(&mut self, later: Box<dyn Sink>) {
        self.extend(downcast::<Vec<Connection>>(later).unwrap_or_default());
    }
}
