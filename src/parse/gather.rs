//! [`Gather`]: a [`Split`] whose type the readers need not know.

use std::any::Any;

use crate::model::connection::Split;
use crate::{Connection, RecordTime};

/// Where a reader puts connections. Object-safe, so that readers are plain functions in a table.
pub trait Gather: Send {
    /// Takes one connection.
    fn take(&mut self, connection: Connection);
    /// There is nothing more at the moment, as [`Sink::pause`](crate::Sink::pause) says.
    fn pause(&mut self);
    /// Takes many alike, as [`Sink::take_many`](crate::model::connection::Sink::take_many) says.
    fn take_many(&mut self, connection: Connection, count: u64, last: Option<RecordTime>);
    /// Whether the order of parts matters, as [`Split::ordered`] says.
    fn ordered(&self) -> bool;
    /// Whether those alike may come together, as [`Split::alike`] says.
    fn alike(&self) -> bool;
    /// An empty one that does the same work.
    fn part(&self) -> Box<dyn Gather>;
    /// Adds what `later`, a part of this one, took.
    fn merge(&mut self, later: Box<dyn Gather>);
    /// For [`merge`](Gather::merge).
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<S: Split + 'static> Gather for S {
    fn take(&mut self, connection: Connection) {
        crate::model::connection::Sink::take(self, connection);
    }

    fn pause(&mut self) {
        crate::model::connection::Sink::pause(self);
    }

    fn take_many(&mut self, connection: Connection, count: u64, last: Option<RecordTime>) {
        crate::model::connection::Sink::take_many(self, connection, count, last);
    }

    fn ordered(&self) -> bool {
        Split::ordered(self)
    }

    fn alike(&self) -> bool {
        Split::alike(self)
    }

    fn part(&self) -> Box<dyn Gather> {
        Box::new(Split::part(self))
    }

    fn merge(&mut self, later: Box<dyn Gather>) {
        if let Ok(later) = later.into_any().downcast::<S>() {
            Split::merge(self, *later);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
