//! Types shared by the decoders of this folder: one protocol layer, and why decoding ends.

use std::fmt;
use std::net::IpAddr;

/// A protocol layer, and its bytes from its header on.
#[derive(Debug)]
pub(super) enum Layer<'a> {
    /// A frame of this link type, <https://www.tcpdump.org/linktypes.html>.
    Link(i32, &'a [u8]),
    Ethernet(&'a [u8]),
    /// What an ethertype announces.
    Ethertype(u16, &'a [u8]),
    Llc(&'a [u8]),
    Ppp(&'a [u8]),
    /// IEEE 802.11.
    Wifi(&'a [u8]),
    Mpls(&'a [u8]),
    /// IPv4 or IPv6, by the version field.
    Ip(&'a [u8]),
    /// What an IP packet carries that is not TCP: the protocol number, and the payload.
    Payload(u8, &'a [u8]),
    Tcp(Segment<'a>),
}

/// A TCP segment and what its IP header says.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The IP ID, unless 0.
    pub id: Option<u16>,
    pub bytes: &'a [u8],
}

/// The next layer, or why there is none.
pub(super) type Step<'a> = Result<Layer<'a>, End>;

/// Why decoding ends before a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The bytes end. `packet::read` decides whether the capture cut them.
    Truncated,
    /// The bytes end, and not because of the capture's snap length.
    Short,
    /// Nothing here can open a TCP connection.
    NoTcp,
    /// It may contain TCP, and is not decoded.
    Unread(Unread),
}

/// What is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// A link type.
    Link(u16),
    /// An ethertype.
    Ethertype(u16),
    /// An IP protocol number.
    IpProtocol(u8),
    /// A PPP protocol number.
    Ppp(u16),
    /// Anything that has a name and no number.
    Named(&'static str),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, name) = match self {
            Unread::Link(n) => return write!(f, "link type {n}"),
            Unread::Ethertype(n) => (format!("ethertype {n:#06x}"), ethertype_name(*n)),
            Unread::IpProtocol(n) => (format!("IP protocol {n}"), ip_protocol_name(*n)),
            Unread::Ppp(n) => (format!("PPP protocol {n:#06x}"), ppp_name(*n)),
            Unread::Named(name) => return f.write_str(name),
        };
        match name {
            Some(name) => write!(f, "{name} ({number})"),
            None => f.write_str(&number),
        }
    }
}

fn ethertype_name(ethertype: u16) -> Option<&'static str> {
    Some(match ethertype {
        0x4305 => "B.A.T.M.A.N.",
        0x8870 => "jumbo frame",
        0x88e5 => "encrypted MACsec",
        0x8903 => "FabricPath",
        0x8909 => "Cisco metadata",
        _ => return None,
    })
}

fn ip_protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        47 => "GRE",
        50 => "ESP",
        55 => "minimal encapsulation",
        108 => "IPComp",
        115 => "L2TPv3",
        142 => "ROHC",
        143 => "Ethernet",
        _ => return None,
    })
}

fn ppp_name(protocol: u16) -> Option<&'static str> {
    Some(match protocol {
        0x0031 => "bridging",
        0x003d => "multilink fragment",
        0x0053 | 0x0055 => "encryption",
        0x00fb | 0x00fd => "compressed or encrypted datagram",
        _ => return None,
    })
}

/// The big-endian number at `at`.
#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, End> {
    let two = bytes.get(at..).and_then(|rest| rest.first_chunk());
    two.map(|two| u16::from_be_bytes(*two)).ok_or(End::Truncated)
}

/// The byte at `at`.
#[inline]
pub(super) fn byte_at(bytes: &[u8], at: usize) -> Result<u8, End> {
    bytes.get(at).copied().ok_or(End::Truncated)
}

/// What follows the first `length` bytes.
#[inline]
pub(super) fn after(bytes: &[u8], length: usize) -> Result<&[u8], End> {
    bytes.get(length..).ok_or(End::Truncated)
}
