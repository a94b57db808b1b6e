//! Counts the connections to a port by asking the kernel. The server is not involved.
//!
//! Every user can ask for the sockets of a network namespace (`sockdiag`). If this process may use
//! it, the kernel's tracepoint for socket states (`tracepoint`) reports new connections with exact
//! times instead. [`Watcher`] chooses the engine. Connections count when the kernel has completed
//! them, whether or not the server accepts them.
//!
//! Linux 4.19 or newer.

mod error;
mod handover;
mod namespace;
mod options;
mod ports;
mod signals;
mod sockdiag;
mod tracepoint;
mod watcher;

#[cfg(feature = "internals")]
pub use sockdiag::track_messages;
#[cfg(feature = "internals")]
pub use tracepoint::decode_state_change;

pub use error::Error;
pub use namespace::Namespace;
pub(crate) use options::RESOLUTION;
pub use options::{Options, WatchEngine};
pub use sockdiag::open_connections;
pub use tracepoint::error::{ForeignListener, NamespacesError, TracepointError};
pub use watcher::Watcher;
