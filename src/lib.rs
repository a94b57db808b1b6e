//! Counts the TCP connections that a server accepts, by address.
//!
//! Data flows one way. A source produces [`Connection`]s: [`trace`] observes a process, [`watch`] asks
//! the kernel about a port, [`parse`] reads records such as strace logs. A [`filter`] selects
//! connections, [`count`] counts them by key, and a [`format`](mod@format) writes the report.
//! Sources know neither each other nor what happens to their connections.
//!
//! All `unsafe` code is in [`sys`].
//!
//! # Count in a record
//!
//! ```
//! use tcptally::count::{Tally, counter::Count, key::Keys, order::Order};
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
//! use tcptally::model::live::{Event, Live};
//! use tcptally::trace::{Options, Tracer, spawn::Start};
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
