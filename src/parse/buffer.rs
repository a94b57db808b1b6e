//! [`ConnectionBuffer`]: connections on their way from a reader to a sink.

use super::coalesce::Coalescer;
use crate::Connection;
use crate::Sink;

/// What was found in a part of a record.
#[derive(Default)]
pub(super) struct ConnectionBuffer {
    /// In the order of the record.
    pub all: Vec<Connection>,
    waiting: Coalescer,
}

impl ConnectionBuffer {
    /// Gives all away; with `alike`, perhaps only at the [`end`](ConnectionBuffer::end).
    pub(super) fn give(&mut self, alike: bool, sink: &mut dyn Sink) {
        let ConnectionBuffer { all, waiting } = self;
        if alike {
            all.drain(..).for_each(|connection| waiting.take(connection, sink));
        } else {
            all.drain(..).for_each(|connection| sink.take(connection));
        }
    }

    /// Gives what has waited for more like it.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) {
        self.waiting.end(sink);
    }
}
