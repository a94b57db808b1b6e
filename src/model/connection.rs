//! [`Connection`], the core type shared by all modules.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::RecordTime;

/// One TCP connection that a server accepted. What the source cannot tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Connection {
    /// When accept returned.
    pub time: Option<RecordTime>,
    /// The client's address. An IPv4 client of an IPv6 socket has its IPv4 address here.
    pub ip: Option<IpAddr>,
    /// The client's name, from a record that has names in place of addresses; then `ip` is `None`.
    pub host: Option<Arc<str>>,
    /// The client's port.
    pub port: Option<u16>,
    /// The address that the client connected to, unmapped like `ip`.
    pub local_ip: Option<IpAddr>,
    /// The port that the client connected to.
    pub local_port: Option<u16>,
    /// The process (thread group) that accepted.
    pub pid: Option<u32>,
    /// The thread that accepted.
    pub tid: Option<u32>,
    /// The name of the thread that accepted, as in `/proc/TID/comm`.
    pub comm: Option<Arc<str>>,
    /// The new descriptor.
    pub fd: Option<i32>,
    /// The machine that accepted, where the record names it.
    pub machine: Option<Arc<str>>,
    /// How it fared, from the one source that knows.
    pub transport: Option<Box<Transport>>,
}

/// How a connection fared, as the kernel's TCP tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transport {
    /// By how much `time` may be wrong, either way.
    pub time_uncertainty: Duration,
    /// From its beginning to its end, or to when it was last seen.
    pub duration: Option<Duration>,
    /// By how much `duration` may be wrong, either way.
    pub duration_uncertainty: Duration,
    /// Bytes received from the client. One too many or too few where it was not closed in order.
    pub bytes_in: Option<u64>,
    /// Bytes sent to the client, and acknowledged.
    pub bytes_out: Option<u64>,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
}

impl Transport {
    /// The bounds between which the duration is known to lie.
    pub fn duration_bounds(&self) -> Option<(Duration, Duration)> {
        let (duration, error) = (self.duration?, self.duration_uncertainty);
        Some((duration.saturating_sub(error), duration.saturating_add(error)))
    }

    /// Whether the bounds of the duration are further apart than it is long: then only the upper
    /// one tells something.
    pub fn is_duration_bound(&self) -> bool {
        self.duration.is_some_and(|duration| self.duration_uncertainty.saturating_mul(2) > duration)
    }
}

/// Which costly fields of a [`Connection`] somebody will look at. A source may leave the others
/// `None`, or fill them where they cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RequestedFields {
    /// `local_ip` and `local_port`.
    pub local: bool,
    /// `comm`.
    pub comm: bool,
    /// `pid`.
    pub pid: bool,
}

/// The address as it is counted: an IPv4 address mapped into IPv6 is the IPv4 address.
///
/// ```
/// # use tcptally::model::connection::canonical;
/// assert_eq!(canonical("::ffff:127.0.0.2".parse().unwrap()).to_string(), "127.0.0.2");
/// ```
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
