//! [`Connection`], the one type that all rooms know, and [`Sink`], where sources put it.

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
    /// Bytes received from the client. One too many or too few where it was not closed in order.
    pub bytes_in: Option<u64>,
    /// Bytes sent to the client, and acknowledged.
    pub bytes_out: Option<u64>,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
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

/// Takes connections from a source that reads at its own pace.
pub trait Sink {
    /// Takes one connection.
    fn take(&mut self, connection: Connection);
    /// The source has nothing more at the moment: what was taken may be shown.
    fn pause(&mut self) {}

    /// Takes `count` connections of which only the times of the first, which is that of
    /// `connection`, and of the `last` are known. Its bytes are those of all together.
    fn take_many(&mut self, connection: Connection, count: u64, last: Option<RecordTime>) {
        for n in 1..=count {
            let time = match n {
                1 => connection.time,
                n if n == count => last,
                _ => None,
            };
            let transport = connection.transport.clone().filter(|_| count == 1);
            self.take(Connection { time, transport, ..connection.clone() });
        }
    }
}

/// A [`Sink`] that can work in several threads: each part takes a share of the connections, and
/// the parts are merged in the order of the record.
pub trait Split: Sink + Send + Sized {
    /// An empty sink that does the same work.
    fn part(&self) -> Self;
    /// Adds what `later` took. It took connections that come after those of `self`, if
    /// [`ordered`](Split::ordered) asks for that.
    fn merge(&mut self, later: Self);
    /// Whether the order of parts matters to the result. Where it does not, a source may keep
    /// one part per thread.
    fn ordered(&self) -> bool {
        true
    }
    /// Whether only the remote address, the local address and port, and the first and the last
    /// time of connections matter: then a source may give those with the same ends together.
    fn alike(&self) -> bool {
        false
    }
}

impl Sink for Vec<Connection> {
    fn take(&mut self, connection: Connection) {
        self.push(connection);
    }
}

impl Split for Vec<Connection> {
    fn part(&self) -> Self {
        Vec::new()
    }

    fn merge(&mut self, later: Self) {
        self.extend(later);
    }
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
