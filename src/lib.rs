//! Counts the TCP connections that a server accepts, by address.
//!
//! Data flows one way. A source ([`trace`] watches a process with ptrace, [`watch`] asks the kernel
//! about a port, [`parse`] reads records such as strace logs) gives [`Connection`]s; the [`filter`] passes those that were
//! asked for; the [`tally`] counts them by key; a [`report`] format writes the result. Sources
//! know neither each other nor what becomes of their connections, and a report does not know
//! where they came from.
//!
//! All `unsafe` code is in [`sys`].

pub mod account;
pub mod cli;
pub mod connection;
pub mod count;
pub mod filter;
pub mod live;
pub mod moment;
pub mod parse;
pub mod period;
pub mod report;
pub mod sys;
pub mod tally;
pub mod trace;
pub mod watch;

pub use account::Account;
pub use connection::{Connection, Sink};
pub use moment::Moment;
