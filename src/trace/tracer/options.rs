//! [`Options`] of a tracer, and its notices to the user.

use crate::model::connection::RequestedFields;
use crate::trace::engine::PtraceEngine;

/// What to trace, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fields of the connections that are used.
    pub requested: RequestedFields,
    /// Count only the spawned process, neither its children nor its descendants.
    pub no_children: bool,
    /// How tracees are made to stop; `None`: the cheapest engine that is safe and exact.
    pub engine: Option<PtraceEngine>,
}

/// A notice to the user before the first connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it is shown only with `--verbose`.
    pub is_detail: bool,
    /// A sentence.
    pub text: String,
}
