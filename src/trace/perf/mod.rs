//! The pieces of the engine `perf`: one stop per successful accept, and none else.
//!
//! The kernel's tracepoints of accept ([`tracepoint`]) are opened on a thread as events that count
//! and send it SIGTRAP as its accept returns ([`events`]); ptrace reports that signal before the
//! thread runs any of its own code. Untraced, the signal would kill the process, and a tracer can
//! be killed itself, so the process is made to ignore SIGTRAP first ([`inject`]); and where a
//! thread blocks SIGTRAP, it is unblocked ([`mask`]).

pub mod events;
mod frame;
pub mod inject;
pub mod ledger;
pub mod mask;
pub mod refused;
pub mod site;
pub mod tracepoint;
pub mod trap;
pub mod watch;

pub use events::Events;
pub use refused::Refused;
