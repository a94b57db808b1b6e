//! [`Filter`]: selects connections by local port, remote network and period.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::model::connection::canonical;
use crate::time::{Period, Place};
use crate::{Connection, RecordTime};

/// Which connections are counted. The default passes all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Local ports; empty: all.
    pub ports: Ports,
    /// Remote networks that are counted; empty: all.
    pub from: Vec<Network>,
    /// Remote networks that are not counted.
    pub not_from: Vec<Network>,
    /// The period in which they were accepted.
    pub period: Period,
}

/// The result of [`Filter::judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is counted.
    Pass,
    /// It is not selected.
    Drop,
    /// Its local port, on which the result depends, is not known.
    UnknownPort,
    /// Its peer, on which the result depends, is not known.
    UnknownPeer,
    /// Its time, on which the result depends, is not known.
    UnknownTime,
}

impl Filter {
    /// Decides whether a connection is counted. One failed condition is enough to drop it, whatever
    /// else is unknown.
    pub fn judge(&self, c: &Connection) -> Verdict {
        self.judge_many(c, c.time)
    }

    /// Decides for several connections with the same ends, from the time of `c` to `last`.
    pub(crate) fn judge_many(&self, c: &Connection, last: Option<RecordTime>) -> Verdict {
        let port = match c.local_port {
            _ if self.ports.0.is_empty() => Verdict::Pass,
            Some(port) if self.ports.contains(port) => Verdict::Pass,
            Some(_) => return Verdict::Drop,
            None => Verdict::UnknownPort,
        };
        let peer = match c.ip {
            _ if self.from.is_empty() && self.not_from.is_empty() => Verdict::Pass,
            Some(ip) if self.wants(ip) => Verdict::Pass,
            Some(_) => return Verdict::Drop,
            None => Verdict::UnknownPeer,
        };
        let time = match self.period.place_between(c.time, last) {
            Place::Inside => Verdict::Pass,
            Place::Outside => return Verdict::Drop,
            Place::Unknown => Verdict::UnknownTime,
        };
        [port, peer, time].into_iter().find(|v| *v != Verdict::Pass).unwrap_or(Verdict::Pass)
    }

    fn wants(&self, ip: IpAddr) -> bool {
        let ip = canonical(ip);
        let among = |networks: &[Network]| networks.iter().any(|n| n.0.contains(&ip));
        (self.from.is_empty() || among(&self.from)) && !among(&self.not_from)
    }
}

/// Ports and ranges of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// The port, if there is exactly one.
    pub(crate) fn single(&self) -> Option<u16> {
        match &self.0[..] {
            [range] if range.start() == range.end() => Some(*range.start()),
            _ => None,
        }
    }
}

/// In the form that [`FromStr`] reads.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// Not a number, 0, or a number above 65535.
    #[error("'{0}' is not a port; give numbers from 1 to 65535, as in 80,443,8000-8010")]
    NotAPort(String),
    /// A range whose first port is greater than its last.
    #[error("'{0}' is not a range of ports; give the lower port first")]
    Reversed(String),
}

/// `80,443,8000-8010`.
impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(s: &str) -> Result<Ports, PortsError> {
        let port = |s: &str| s.trim().parse().map_err(|_| PortsError::NotAPort(s.trim().into()));
        let mut ports = Vec::new();
        for part in s.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range: RangeInclusive<u16> = port(first)?..=port(last)?;
            if *range.end() == 0 {
                return Err(PortsError::NotAPort(part.trim().into()));
            }
            if range.is_empty() {
                return Err(PortsError::Reversed(part.trim().into()));
            }
            ports.push(range);
        }
        Ok(Ports(ports))
    }
}

/// A network of clients, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// A text is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError(String);

/// `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`. A network within `::ffff:0:0/96` is the IPv4
/// network that it maps, because an IPv4 client of an IPv6 socket has its IPv4 address.
impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(s: &str) -> Result<Network, NetworkError> {
        let s = s.trim();
        let unclear = || NetworkError(s.into());
        let net = match s.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip),
            Err(_) => s.parse::<IpNet>().map_err(|_| unclear())?,
        };
        let mapped = match net {
            IpNet::V6(net) if net.prefix_len() >= 96 => net.addr().to_ipv4_mapped().zip(Some(net)),
            _ => None,
        };
        let net = match mapped {
            Some((ip, net)) => {
                Ipv4Net::new(ip, net.prefix_len() - 96).map_err(|_| unclear())?.into()
            }
            None => net,
        };
        Ok(Network(net.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Bound;

    fn connection(ip: &str, local_port: u16) -> Connection {
        Connection {
            ip: ip.parse().ok(),
            local_port: Some(local_port).filter(|p| *p != 0),
            ..Connection::default()
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let ports: Ports = "80, 443,8000-8010".parse().unwrap();
        let filter = Filter { ports, ..Filter::default() };
        for (port, verdict) in [
            (443, Verdict::Pass),
            (8000, Verdict::Pass),
            (8010, Verdict::Pass),
            (8011, Verdict::Drop),
            (0, Verdict::UnknownPort),
        ] {
            assert_eq!(filter.judge(&connection("::1", port)), verdict, "{port}");
        }
        for s in ["", "0", "80,", "http", "65536", "90-80", "-1", "1-2-3"] {
            assert!(s.parse::<Ports>().is_err(), "{s}");
        }
    }

    #[test]
    fn addresses_pass_that_are_in_from_and_not_in_not_from() {
        let networks = |s: &str| s.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<_>>();
        let filter = Filter {
            from: networks("10.0.0.0/8 ::ffff:192.0.2.0/120 2001:db8::/32"),
            not_from: networks("10.1.2.3"),
            ..Filter::default()
        };
        for (ip, verdict) in [
            ("10.1.2.4", Verdict::Pass),
            ("::ffff:10.1.2.4", Verdict::Pass),
            ("10.1.2.3", Verdict::Drop),
            ("::ffff:10.1.2.3", Verdict::Drop),
            ("192.0.2.200", Verdict::Pass),
            ("192.0.3.0", Verdict::Drop),
            ("2001:db8:ffff::", Verdict::Pass),
            ("2001:db9::", Verdict::Drop),
            ("?", Verdict::UnknownPeer),
        ] {
            assert_eq!(filter.judge(&connection(ip, 0)), verdict, "{ip}");
        }
        assert_eq!("::ffff:10.9.9.9/104".parse::<Network>().unwrap().0.to_string(), "10.0.0.0/8");
        for s in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(s.parse::<Network>().is_err(), "{s}");
        }
    }

    #[test]
    fn one_failed_condition_decides_despite_unknown_fields() {
        let filter = Filter {
            ports: "80".parse().unwrap(),
            from: vec!["10.0.0.0/8".parse().unwrap()],
            period: Period { since: Some(Bound::At(RecordTime::Clock(5))), ..Period::default() },
            ..Filter::default()
        };
        assert_eq!(filter.judge(&Connection::default()), Verdict::UnknownPort);
        assert_eq!(filter.judge(&connection("?", 80)), Verdict::UnknownPeer);
        assert_eq!(filter.judge(&connection("10.0.0.1", 80)), Verdict::UnknownTime);
        let early = Connection { time: Some(RecordTime::Clock(4)), ..Connection::default() };
        assert_eq!(filter.judge(&early), Verdict::Drop);
    }
}
