//! [`Attach`]: what the engines that attach to running processes have in common.

use crate::model::event_source::EventSource;
use crate::sys::ptrace::Tid;

use super::attach::Targets;
use super::auto_engine::AutoEngine;
use super::error::Error;
use super::sample::Sampler;
use super::tracer::{Options, Remark, Tracer};

/// A source that attaches to running processes.
pub(crate) trait Attach: EventSource<Error = Error> + Sized {
    /// Attaches to processes. When this returns, what they accept counts.
    fn attach(targets: Targets, options: Options) -> Result<Self, Error>;

    /// Notices: the chosen engine and the reason, and the attached processes.
    fn remarks(&self) -> &[Remark];

    /// Whether a signal has ended the count.
    fn is_leaving(&self) -> bool;

    /// Whether it watches a process now.
    fn watches(&mut self, pid: Tid) -> bool;
}

macro_rules! attach {
    ($($source:ty),*) => {$(
        impl Attach for $source {
            fn attach(targets: Targets, options: Options) -> Result<Self, Error> {
                <$source>::attach(targets, options)
            }

            fn remarks(&self) -> &[Remark] {
                <$source>::remarks(self)
            }

            fn is_leaving(&self) -> bool {
                <$source>::is_leaving(self)
            }

            fn watches(&mut self, pid: Tid) -> bool {
                <$source>::watches(self, pid)
            }
        }
    )*};
}

attach!(AutoEngine, Sampler, Tracer);
