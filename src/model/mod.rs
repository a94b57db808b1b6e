//! Types shared by all sources, the filter, the counters and the formats.
#![warn(unreachable_pub)]

pub mod connection;
pub mod live;
mod plural;
pub mod record_time;
pub mod sink;
pub mod status;

pub use connection::Connection;
pub use plural::plural;
pub use record_time::RecordTime;
pub use sink::Sink;
pub use status::{ShortfallKind, SourceStatus};
