//! Types shared by all sources, the filter, the counters and the formats.

pub(crate) mod connection;
pub(crate) mod event_source;
pub(crate) mod record_time;
pub(crate) mod sink;
pub(crate) mod status;
pub(crate) mod text;

pub use connection::Connection;
pub use record_time::RecordTime;
pub use sink::{Sink, Summary, UsedFields};
pub use status::{InputResult, ShortfallKind, SourceStatus};
pub(crate) use text::plural;
