//! Counts the connections to a port by asking the kernel. The server is not involved.
//!
//! NETLINK_SOCK_DIAG lists the TCP sockets of a network namespace for every user (dumps: `dumper`),
//! and reports each socket that is closed (notices: `receiver`). The `tracker` combines both.
//! Connections count when the kernel has completed them, whether or not the server accepts them.
//!
//! The crate netlink-packet-sock-diag does not support the kernel's port filter in requests, and
//! netlink-sys supports neither recvmmsg(2) nor socket filters. So the messages are decoded in
//! `sys::sock_diag`, which reads only a few fields of each.
//!
//! If this process may use it, the kernel's tracepoint for socket states (`tracepoint`) reports new
//! connections with exact times instead. [`Watcher`] chooses the engine.
//!
//! Linux 4.19 or newer.

mod age;
mod dump;
mod dumper;
mod error;
mod flush_probe;
mod listeners;
mod missing;
mod namespace;
mod options;
mod ports;
mod receiver;
mod signals;
mod sockdiag;
mod tracepoint;
mod tracker;
mod watcher;

#[cfg(feature = "internals")]
pub use tracepoint::decode_state_change;
#[cfg(feature = "internals")]
pub use tracker::track_messages;

pub use dumper::open_connections;
pub use error::Error;
pub use namespace::Namespace;
pub(crate) use options::RESOLUTION;
pub use options::{Engine, Options};
pub use tracepoint::unavailable::{ForeignListener, Unavailable, UnseenNamespaces};
pub use watcher::Watcher;
