//! Counts the TCP connections that a server accepts, by address.
//!
//! Data flows one way. A source produces [`Connection`]s: [`trace`] observes a process, [`watch`] asks
//! the kernel about a port, [`parse`] reads records such as strace logs. A [`filter`] selects
//! connections, and [`count`] counts them by key.
//! Sources know neither each other nor what happens to their connections. What a source could not
//! see is in its [`SourceStatus`].
//!
//! The program `tcptally` is built from the same crate; its command line is not part of this interface.
//!
//! # Count in a record
//!
//! ```
//! use tcptally::count::{Count, Keys, Order, Tally};
//! use tcptally::filter::Filter;
//! use tcptally::parse::{Options, parse};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let log = folder.path().join("strace.log");
//! # let accept = r#"accept(3, {sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("192.0.2.7")}, [16]) = 4"#;
//! # std::fs::write(&log, format!("{accept}\n{accept}\n"))?;
//! let filter = Filter { from: vec!["192.0.2.0/24".parse()?], ..Filter::default() };
//! let mut count = Count::new(filter, Tally::new(Keys::default(), None, None));
//! let outcome = parse(&[log], &Options::default(), &mut count);
//! assert!(outcome.failures.is_empty() && outcome.status.is_complete());
//!
//! let (keys, table) = (&count.tally.keys, &count.tally.whole);
//! for row in Order::default().select(table).rows {
//!     let (key, entry) = table.row(row);
//!     let address = keys.decode(key).next().expect("one key");
//!     assert_eq!((address.to_string(), entry.count), ("192.0.2.7".to_string(), 2));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Start a server and print its connections
//!
//! ```no_run
//! use tcptally::trace::{Options, Start, Tracer};
//! use tcptally::{Event, EventSource};
//!
//! # fn main() -> Result<(), tcptally::trace::Error> {
//! let start = Start { argv: vec!["redis-server".into()], deny_io_uring: false };
//! let mut tracer = Tracer::spawn(start, Options::default())?;
//! loop {
//!     match tracer.next(None)? {
//!         Event::Connection(connection) => println!("{:?}", connection.ip),
//!         Event::Ended(_) => return Ok(()),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//! # Watch a port
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//!
//! use tcptally::watch::{Options, Watcher};
//! use tcptally::{Event, EventSource};
//!
//! # fn main() -> Result<(), tcptally::watch::Error> {
//! let mut watcher = Watcher::start(Options { ports: vec![443..=443], ..Options::default() })?;
//! let end = Instant::now() + Duration::from_secs(60);
//! loop {
//!     match watcher.next(Some(end))? {
//!         Event::Connection(connection) => println!("{:?}", connection.ip),
//!         Event::Deadline | Event::Ended(_) => break,
//!         _ => {}
//!     }
//! }
//! for connection in watcher.stop_counting()? {
//!     println!("{:?}", connection.ip);
//! }
//! println!("complete: {}", watcher.status().is_complete());
//! # Ok(())
//! # }
//! ```
#![warn(clippy::unwrap_used, clippy::expect_used)]
// The items that tests use of private modules are reachable with the feature only.
#![cfg_attr(feature = "internals", warn(unreachable_pub))]

mod cli;
pub mod count;
pub mod filter;
mod format;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod model;
pub mod parse;
mod sys;
pub mod time;
pub mod trace;
pub mod watch;

pub use model::connection::{RequestedFields, Transport};
pub use model::event_source::{Ending, Event, EventSource};
pub use model::record_time::RecordTimeError;
pub use model::status::Shortfall;
pub use model::{
    Connection, InputResult, RecordTime, ShortfallKind, Sink, SourceStatus, Summary, UsedFields,
};

/// Runs the program `tcptally` with the arguments of this process. Returns its exit status.
#[doc(hidden)]
pub fn run_program() -> i32 {
    cli::main()
}
