//! [`Host`]: one end of a connection as a record names it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use super::digits;
use crate::{Connection, RecordTime};

/// An IP address in its canonical form (IPv4 in IPv6 is IPv4), in whole words. Of an [`IpAddr`], the processor
/// would have to read words that it has just written in other parts, and wait until they are in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4, in host order.
    V4(u32),
    /// The high and the low half of an IPv6 address that is no IPv4 address.
    V6([u64; 2]),
}

impl Address {
    /// An IPv6 address, or the IPv4 address that is mapped into it.
    #[inline(always)]
    pub(crate) fn of_v6(ip: Ipv6Addr) -> Address {
        let bits = ip.to_bits();
        match bits >> 32 {
            0xffff => Address::V4(bits as u32),
            _ => Address::V6([(bits >> 64) as u64, bits as u64]),
        }
    }

    /// The address.
    #[inline]
    pub fn ip(self) -> IpAddr {
        match self {
            Address::V4(ip) => Ipv4Addr::from(ip).into(),
            Address::V6([high, low]) => {
                Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
            }
        }
    }
}

impl From<IpAddr> for Address {
    #[inline]
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => Address::V4(ip.into()),
            IpAddr::V6(ip) => Address::of_v6(ip),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// An address, or a name where the record has names in place of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(Address),
    /// As printed.
    Name(Arc<str>),
}

impl Host {
    /// Reads an address; `None` if it is none.
    pub fn address(text: &[u8]) -> Option<Host> {
        if let Some(ip) = digits::ipv4(text) {
            return Some(Host::v4(ip));
        }
        let text = std::str::from_utf8(text).ok()?;
        let address = text.parse::<IpAddr>().ok().or_else(|| {
            // The zone of a link-local address has a meaning on the recording machine only.
            text.split_once('%')?.0.parse().ok()
        });
        address.map(Host::from)
    }

    /// An IPv4 address.
    #[inline]
    pub(super) fn v4(ip: Ipv4Addr) -> Host {
        Host::Ip(Address::V4(ip.into()))
    }

    /// Reads an address, perhaps in brackets, before the last colon, and gives what is behind the colon.
    pub(super) fn before_colon(text: &[u8]) -> Option<(Host, &[u8])> {
        let colon = memchr::memrchr(b':', text)?;
        let host = &text[..colon];
        let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        Some((Host::address(bare.unwrap_or(host))?, &text[colon + 1..]))
    }

    /// Reads an address or a host name; `None` if it can be neither.
    pub(crate) fn address_or_name(text: &[u8]) -> Option<Host> {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        Host::address(text).or_else(|| {
            let name = std::str::from_utf8(text).ok()?;
            let named = !text.is_empty() && text.iter().all(fits) && !text.contains(&b':');
            named.then(|| Host::Name(name.into()))
        })
    }

    /// What a connection has as its peer if this is the field `ip` of one of our own records.
    pub(crate) fn of_field(text: Option<&str>) -> (Option<IpAddr>, Option<Arc<str>>) {
        match text {
            Some(text) => match Host::address(text.as_bytes()) {
                Some(host) => (host.ip(), None),
                None => (None, Some(text.into())),
            },
            None => (None, None),
        }
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(ip.ip()),
            Host::Name(_) => None,
        }
    }

    /// The name; `None` if it is an address, or empty because it is not known.
    fn name(&self) -> Option<Arc<str>> {
        match self {
            Host::Name(name) if !name.is_empty() => Some(Arc::clone(name)),
            Host::Ip(_) | Host::Name(_) => None,
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Host::Ip(ip) => ip.ip().is_loopback(),
            Host::Name(name) => name.starts_with("localhost"),
        }
    }
}

/// A text that is neither an address nor a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address, nor a host name as tcpdump without -n prints it")]
pub struct HostError(String);

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Host {
        Host::Ip(ip.into())
    }
}

/// An address, or a host name as tcpdump without `-n` prints it.
impl FromStr for Host {
    type Err = HostError;

    fn from_str(s: &str) -> Result<Host, HostError> {
        Host::address_or_name(s.trim().as_bytes()).ok_or_else(|| HostError(s.to_owned()))
    }
}

/// The client and the server of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The client.
    pub client: Host,
    /// Its port, if known.
    pub client_port: Option<u16>,
    /// The server.
    pub server: Host,
    /// The server's port, if known.
    pub server_port: Option<u16>,
}

impl Ends {
    /// Seen from the other end.
    #[must_use]
    pub(super) fn turned(self) -> Ends {
        Ends {
            client: self.server,
            client_port: self.server_port,
            server: self.client,
            server_port: self.client_port,
        }
    }

    /// Whether the connection came to one of `local`; without any, all did.
    pub(super) fn inbound(&self, local: &[Host]) -> bool {
        local.is_empty() || self.server.is_loopback() || local.contains(&self.server)
    }

    /// Whether both ends are on one machine, where every packet goes out and comes in.
    pub(super) fn on_one_machine(&self) -> bool {
        self.client == self.server || self.server.is_loopback()
    }

    /// Whether both ends are the same, as of a socket that connects to itself.
    pub(super) fn is_one_socket(&self) -> bool {
        self.client == self.server && self.client_port == self.server_port
    }

    /// A connection between these ends at `time`.
    pub(super) fn connection_at(&self, time: Option<RecordTime>) -> Connection {
        Connection { time, ..self.connection() }
    }

    /// A connection between these ends.
    pub(super) fn connection(&self) -> Connection {
        Connection {
            ip: self.client.ip(),
            host: self.client.name(),
            port: self.client_port,
            local_ip: self.server.ip(),
            local_port: self.server_port,
            ..Connection::default()
        }
    }
}

/// Whether a line has two addresses of IP or more.
pub(crate) fn has_two_addresses(line: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_hexdigit() || b".:".contains(b);
    line.split(|b| !is_part(b)).filter(|word| begins_with_address(word)).nth(1).is_some()
}

/// Whether a word begins with an address, which a port may follow.
fn begins_with_address(word: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(word) else { return false };
    let is_ipv4 = || {
        let mut parts = text.split(['.', ':']);
        let byte = |part: Option<&str>| part.is_some_and(|part| part.parse::<u8>().is_ok());
        text.bytes().filter(|b| *b == b'.').count() >= 3 && (0..4).all(|_| byte(parts.next()))
    };
    let is_ipv6 = || {
        let colons = text.bytes().filter(|b| *b == b':').count();
        colons >= 2
            && [text, text.rsplit_once([':', '.']).map_or("", |(host, _)| host)]
                .iter()
                .any(|text| text.parse::<Ipv6Addr>().is_ok())
    };
    is_ipv4() || is_ipv6()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_an_address_are_the_same_host() {
        let show = |s: &str| Host::address_or_name(s.as_bytes());
        assert_eq!(show("::ffff:192.0.2.7"), show("192.0.2.7"));
        assert_eq!(show("2001:0db8:0000:0000:0000:0000:0000:0001"), show("2001:db8::1"));
        assert_eq!(show("fe80::1%eth0"), show("fe80::1"));
        assert_eq!(show("www.example.org"), Some(Host::Name("www.example.org".into())));
        for s in ["", "a b", "2001:db8", "<x>"] {
            assert_eq!(show(s), None, "{s}");
        }
    }

    #[test]
    fn only_the_server_end_makes_it_inbound() {
        let host = |s: &str| s.parse::<Host>().unwrap();
        let ends = |a: &str, b: &str| Ends {
            client: host(a),
            client_port: None,
            server: host(b),
            server_port: Some(80),
        };
        let local = [host("192.0.2.77")];
        assert!(ends("198.51.100.1", "192.0.2.77").inbound(&local));
        assert!(!ends("192.0.2.77", "198.51.100.1").inbound(&local));
        assert!(ends("127.0.0.1", "127.0.0.1").inbound(&local));
        assert!(ends("192.0.2.77", "198.51.100.1").inbound(&[]));
    }

    #[test]
    fn addresses_in_a_line_are_found() {
        for line in [
            "a 192.0.2.77:443 -> 198.51.100.7.40755 b",
            "src=2001:db8::7 dst=2001:db8:77::1",
            "{\"a\":\"192.0.2.77\",\"b\":\"[2001:db8::1]:443\"}",
        ] {
            assert!(has_two_addresses(line.as_bytes()), "{line}");
        }
        for line in ["192.0.2.77 10:58:42 00:11:22:33:44:55", "version 1.2.3 of 192.0.2.77", ""] {
            assert!(!has_two_addresses(line.as_bytes()), "{line}");
        }
    }
}
