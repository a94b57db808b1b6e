//! [`Connection`], the core type shared by all modules.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::RecordTime;

/// One TCP connection that a server accepted. A field that the source does not know is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Connection {
    /// When accept returned.
    pub time: Option<RecordTime>,
    /// The client's address. An IPv4 client of an IPv6 socket has its IPv4 address here.
    pub ip: Option<IpAddr>,
    /// The client's name, if the record has names instead of addresses; then `ip` is `None`.
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
    /// The container of the process that accepted; `none` outside of containers.
    pub container: Option<Arc<str>>,
    /// The new descriptor.
    pub fd: Option<i32>,
    /// The machine that accepted, if the record names it.
    pub machine: Option<Arc<str>>,
    /// TCP statistics, from `watch` and its events only.
    pub transport: Option<Box<Transport>>,
}

/// TCP statistics of a connection, as the kernel's tcp_info gives them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transport {
    /// The true time is within `time` plus or minus this.
    pub time_uncertainty: Duration,
    /// Time from the beginning to the end, or to the last observation.
    pub duration: Option<Duration>,
    /// The true duration is within `duration` plus or minus this.
    pub duration_uncertainty: Duration,
    /// Bytes received from the client. May be off by one if the connection ended with a reset.
    pub bytes_in: Option<u64>,
    /// Bytes sent to the client and acknowledged.
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

    /// Whether the bounds of the duration are further apart than it is long. Then only the upper
    /// bound is meaningful.
    pub fn is_duration_bound(&self) -> bool {
        self.duration.is_some_and(|duration| self.duration_uncertainty.saturating_mul(2) > duration)
    }
}

/// The costly fields of a [`Connection`] that are needed. A source may leave the others `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RequestedFields {
    /// `local_ip` and `local_port`.
    pub local: bool,
    /// `local_ip`, even where it costs more than `local_port` does.
    pub local_ip: bool,
    /// `comm`.
    pub comm: bool,
    /// `pid`.
    pub pid: bool,
    /// `container`.
    pub container: bool,
}

impl RequestedFields {
    /// All of them.
    pub const ALL: RequestedFields =
        RequestedFields { local: true, local_ip: true, comm: true, pid: true, container: true };
}

/// The names of the fields of events, in order: the same for all sources and formats.
pub(crate) const EVENT_FIELDS: [&str; 17] = [
    "time",
    "elapsed",
    "time_uncertainty",
    "host",
    "pid",
    "tid",
    "comm",
    "fd",
    "local_ip",
    "local_port",
    "peer_ip",
    "peer_port",
    "bytes_in",
    "bytes_out",
    "duration",
    "duration_uncertainty",
    "rtt",
];

/// Converts an IPv4-mapped IPv6 address to the IPv4 address, which is what is counted.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
