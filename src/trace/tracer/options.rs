//! What to trace, and what a tracer tells the user at its start.

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

/// Something to tell the user before the first connection comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it is shown only with `--verbose`.
    pub is_detail: bool,
    /// A sentence.
    pub text: String,
}
