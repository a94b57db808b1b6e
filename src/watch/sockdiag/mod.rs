//! The engine `sockdiag`, for every user.
//!
//! NETLINK_SOCK_DIAG lists the TCP sockets of a network namespace (dumps: `dumper`), and reports each
//! socket that is closed (destroy events: `receiver`). The `tracker` combines both, and `source` decides when
//! to dump.
//!
//! The crate netlink-packet-sock-diag does not support the kernel's port filter in requests, and
//! netlink-sys supports neither recvmmsg(2) nor socket filters. So the messages are decoded in
//! `sys::sock_diag`, which reads only a few fields of each.

mod age;
mod dump;
pub(super) mod dumper;
mod flush_probe;
mod listeners;
mod missing;
mod receiver;
pub(super) mod source;
pub(super) mod tracker;

pub use dumper::open_connections;
#[cfg(feature = "internals")]
pub use tracker::track_messages;
