//! Asks the kernel about connections to a port, without touching the server that has it.
//!
//! NETLINK_SOCK_DIAG tells every user of a network namespace which TCP sockets there are (a
//! [dump](dumper)), and of each one's end (a notice, taken in by a [`receiver`]). The [`tracker`]
//! puts both together. What is counted are connections that the kernel has completed, whether
//! or not the server ever accepts them.
//!
//! netlink-packet-sock-diag has no room in its request for the kernel's own filter of ports, and
//! netlink-sys no recvmmsg(2) or socket filter: what is used of both would be two functions, so
//! the messages are read in [`wire`], where only a few fields of each are looked at.
//!
//! Where this process may use it, the [`tracepoint`] of the kernel tells new connections with exact
//! times instead. The [`watcher`] chooses.
//!
//! Linux 4.19 or newer.

pub mod age;
pub mod dump;
pub mod dumper;
pub mod error;
pub mod flush_probe;
pub mod listeners;
pub mod missing;
pub mod namespace;
pub mod options;
pub mod ports;
pub mod receiver;
pub mod signals;
pub mod snmp;
pub mod sockdiag;
pub mod tracepoint;
pub mod tracker;
pub mod watcher;
pub mod wire;

pub use error::Error;
pub use namespace::Namespace;
pub use options::{Engine, Options};
pub use watcher::Watcher;
