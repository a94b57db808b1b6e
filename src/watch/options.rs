//! [`Options`]: what is watched, and how.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The default time between dumps.
pub(crate) const RESOLUTION: Duration = Duration::from_secs(1);

/// How new connections are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchEngine {
    /// The tracepoint if it is available and has all requested fields, otherwise sock_diag.
    #[default]
    Auto,
    /// Dumps and messages about closed sockets: sock_diag(7).
    SockDiag,
    /// The kernel's tracepoint `sock:inet_sock_set_state`.
    Tracepoint,
}

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Local ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// How new connections are observed.
    pub engine: WatchEngine,
    /// The time between dumps. The tracepoint needs none.
    pub resolution: Duration,
    /// Report each connection when it closes, with its statistics, instead of at once. Only
    /// sock_diag supports that.
    pub transport: bool,
    /// Report the uncertainty of times, even if connections are reported at once.
    pub uncertainty: bool,
    /// The size in bytes of the receive buffer, or of each CPU's ring buffer; `None`: as large as
    /// is allowed.
    pub buffer: Option<usize>,
}

/// No ports. At least one must be added.
impl Default for Options {
    fn default() -> Options {
        Options {
            ports: Vec::new(),
            engine: WatchEngine::Auto,
            resolution: RESOLUTION,
            transport: false,
            uncertainty: false,
            buffer: None,
        }
    }
}
