//! Counts the TCP connections that a server accepts, by address.
//!
//! Data flows one way. A source gives [`Connection`]s: [`trace`] watches a process with ptrace,
//! [`watch`] asks the kernel about a port, [`parse`] reads records such as strace logs. The
//! [`filter`] passes the connections that were asked for, [`count`] tallies them by key, and a
//! [`format`](mod@format) writes the report. Sources do not know each other, nor what becomes of
//! their connections.
//!
//! All `unsafe` code is in [`sys`].
#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod count;
pub mod filter;
pub mod format;
pub mod model;
pub mod parse;
pub mod sys;
pub mod time;
pub mod trace;
pub mod watch;

pub use model::{Connection, RecordTime, ShortfallKind, Sink, SourceStatus};
