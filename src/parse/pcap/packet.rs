//! From a frame to what its TCP header says.
//!
//! Link types: <https://www.tcpdump.org/linktypes.html>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::parse::deduplicate::PacketKind;
use crate::parse::host::{Ends, Host};

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// A TCP packet that tells of a connection.
    Tcp(Tcp),
    /// A TCP packet of which not enough was captured to see its flags.
    Short,
    /// Anything else.
    Other,
    /// The link type is not known here.
    UnknownLink,
}

/// The part of a TCP packet that matters.
#[derive(Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Whose connection it is: of a SYN+ACK the source is the server.
    pub ends: Ends,
    /// What it says.
    pub part: PacketKind,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The IP ID of a SYN.
    pub id: Option<u16>,
    /// Whether the packet came in or went out, where the link layer tells.
    pub inward: Option<bool>,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Reads a frame of link type `link`, of which perhaps only the beginning was captured. Packets
/// of the client that follow the handshake matter only with `onward`.
pub fn read(link: i32, frame: &[u8], cut: bool, onward: bool) -> Packet {
    // Above these bits stands the length of the frame check sequence.
    let (inward, ip) = match network(link & 0xffff, frame) {
        Link::Ip(inward, ip) => (inward, ip),
        Link::Other if cut && frame.len() < 20 => return Packet::Short,
        Link::Other => return Packet::Other,
        Link::Unknown => return Packet::UnknownLink,
    };
    let short = || if cut { Packet::Short } else { Packet::Other };
    let Some(transport) = transport(ip) else { return short() };
    let Transport::Tcp { source, destination, id, segment } = transport else {
        return Packet::Other;
    };
    // Without the flags there is nothing to know.
    let Some(tcp) = segment.first_chunk::<14>() else { return short() };
    let flags = tcp[13];
    let has = |flag: u8| flags & flag != 0;
    let (fin, syn, rst, ack) = (has(0x01), has(0x02), has(0x04), has(0x10));
    let part = match (syn, ack) {
        // No system opens a connection with these.
        (true, _) if fin || rst => return Packet::Other,
        (true, false) => PacketKind::Syn,
        (true, true) => PacketKind::SynAck,
        (false, true) if onward && !rst => PacketKind::Onward,
        (false, _) => return Packet::Other,
    };
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let ends = Ends {
        client: Host::from(source),
        client_port: Some(u16::from_be_bytes([tcp[0], tcp[1]])),
        server: Host::from(destination),
        server_port: Some(u16::from_be_bytes([tcp[2], tcp[3]])),
    };
    let (ends, isn, id) = match part {
        PacketKind::Syn => (ends, Some(word(4)), id),
        PacketKind::SynAck => (ends.turned(), Some(word(8).wrapping_sub(1)), None),
        PacketKind::Onward => (ends, None, None),
    };
    Packet::Tcp(Tcp { ends, part, isn, id, inward })
}

enum Link<'a> {
    Ip(Option<bool>, &'a [u8]),
    Other,
    Unknown,
}

fn network(link: i32, frame: &[u8]) -> Link<'_> {
    // Of LINUX_SLL and SLL2: 0 to us, 1 and 2 to many, 3 to others, 4 from us.
    let direction = |kind: u8| match kind {
        0..=2 => Some(true),
        4 => Some(false),
        _ => None,
    };
    let (inward, found) = match link {
        1 => (None, frame.get(14..).and_then(|rest| by_type(u16_at(frame, 12)?, rest))),
        113 => {
            let inward = frame.get(1).and_then(|kind| direction(*kind));
            (inward, frame.get(16..).and_then(|rest| by_type(u16_at(frame, 14)?, rest)))
        }
        276 => {
            let inward = frame.get(10).and_then(|kind| direction(*kind));
            (inward, frame.get(20..).and_then(|rest| by_type(u16_at(frame, 0)?, rest)))
        }
        12 | 14 | 101 | 228 | 229 => (None, Some(frame)),
        // NULL and LOOP: the family, in the one or the other byte order. The version says it too.
        0 | 108 => (None, frame.get(4..)),
        // PPP, perhaps with its HDLC header.
        9 | 50 => {
            let rest = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
            (None, ppp(rest))
        }
        _ => return Link::Unknown,
    };
    found.map_or(Link::Other, |ip| Link::Ip(inward, ip))
}

/// The IP packet behind an ethertype, past VLAN tags and PPPoE.
fn by_type(mut ethertype: u16, mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match ethertype {
            IPV4 | IPV6 => return Some(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                ethertype = u16_at(rest, 2)?;
                rest = rest.get(4..)?;
            }
            0x8864 => return ppp(rest.get(6..)?),
            _ => return None,
        }
    }
}

fn ppp(rest: &[u8]) -> Option<&[u8]> {
    matches!(u16_at(rest, 0)?, 0x0021 | 0x0057).then(|| rest.get(2..)).flatten()
}

enum Transport<'a> {
    Tcp { source: IpAddr, destination: IpAddr, id: Option<u16>, segment: &'a [u8] },
    Other,
}

/// What an IP packet carries; `None`: it ends too early to tell.
fn transport(ip: &[u8]) -> Option<Transport<'_>> {
    match ip.first()? >> 4 {
        4 => ipv4(ip),
        6 => ipv6(ip),
        _ => Some(Transport::Other),
    }
}

fn ipv4(ip: &[u8]) -> Option<Transport<'_>> {
    let header = ip.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    // All fragments but the first have no TCP header.
    if header[9] != 6 || fragment & 0x1fff != 0 || length < 20 {
        return Some(Transport::Other);
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // Segmentation offload leaves the length 0.
    let end = if total >= length { total.min(ip.len()) } else { ip.len() };
    if total >= length && total < length + 14 {
        // A fragment that ends before the flags.
        return Some(Transport::Other);
    }
    let address = |at: usize| {
        IpAddr::from(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]))
    };
    let id = u16::from_be_bytes([header[4], header[5]]);
    Some(Transport::Tcp {
        source: address(12),
        destination: address(16),
        id: (id != 0).then_some(id),
        segment: ip.get(length..end)?,
    })
}

fn ipv6(ip: &[u8]) -> Option<Transport<'_>> {
    let header = ip.first_chunk::<40>()?;
    let mut rest = &ip[40..];
    let mut next = header[6];
    // More headers than that are no honest packet.
    for _ in 0..16 {
        let length = match next {
            6 => {
                let address = |at: usize| -> Option<IpAddr> {
                    let bytes: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
                    Some(Ipv6Addr::from(bytes).into())
                };
                return Some(Transport::Tcp {
                    source: address(8)?,
                    destination: address(24)?,
                    id: None,
                    segment: rest,
                });
            }
            0 | 43 | 60 | 135 => (usize::from(*rest.get(1)?) + 1) * 8,
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            44 => {
                if u16_at(rest, 2)? & 0xfff8 != 0 {
                    return Some(Transport::Other);
                }
                8
            }
            _ => break,
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    Some(Transport::Other)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let [a, b] = *bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes([a, b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN from 198.51.100.1:5 to 192.0.2.77:80.
    fn syn() -> Vec<u8> {
        let mut ip =
            vec![0x45, 0, 0, 40, 0, 9, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 1, 192, 0, 2, 77];
        ip.extend([0, 5, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 1, 1, 0, 0, 0, 0]);
        ip
    }

    fn syn6(next: u8, between: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x60, 0, 0, 0, 0, 20, next, 64];
        ip.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        ip.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets());
        ip.extend(between);
        ip.extend(&syn()[20..]);
        ip
    }

    fn behind(front: &[u8], ip: &[u8]) -> Vec<u8> {
        [front, ip].concat()
    }

    fn is_syn(link: i32, frame: &[u8]) -> bool {
        matches!(
            read(link, frame, false, false),
            Packet::Tcp(Tcp { part: PacketKind::Syn, isn: Some(7), ref ends, .. })
                if ends.client_port == Some(5) && ends.server_port == Some(80)
        )
    }

    #[test]
    fn links() {
        let mac = [0; 12];
        let ethernet = |rest: &[u8]| behind(&mac, &behind(rest, &syn()));
        assert!(is_syn(1, &ethernet(&[8, 0])));
        assert!(is_syn(0x1400_0001, &ethernet(&[8, 0])));
        assert!(is_syn(1, &ethernet(&[0x81, 0, 0, 10, 8, 0])));
        assert!(is_syn(1, &ethernet(&[0x88, 0xa8, 0, 10, 0x81, 0, 0, 10, 8, 0])));
        assert!(is_syn(1, &ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21])));
        assert!(!is_syn(1, &ethernet(&[8, 6])));
        for link in [12, 14, 101, 228] {
            assert!(is_syn(link, &syn()), "{link}");
        }
        assert!(is_syn(0, &behind(&[2, 0, 0, 0], &syn())));
        assert!(is_syn(108, &behind(&[0, 0, 0, 2], &syn())));
        assert!(is_syn(0, &behind(&[30, 0, 0, 0], &syn6(6, &[]))));
        assert!(is_syn(9, &behind(&[0xff, 3, 0, 0x21], &syn())));
        let mut cooked = [0; 16];
        (cooked[1], cooked[14]) = (4, 8);
        assert!(matches!(
            read(113, &behind(&cooked, &syn()), false, false),
            Packet::Tcp(Tcp { inward: Some(false), .. })
        ));
        let mut cooked = [0; 20];
        cooked[0] = 8;
        assert!(matches!(
            read(276, &behind(&cooked, &syn()), false, false),
            Packet::Tcp(Tcp { inward: Some(true), .. })
        ));
        assert_eq!(read(105, &syn(), false, false), Packet::UnknownLink);
    }

    #[test]
    fn extension_headers_and_fragments() {
        assert!(is_syn(101, &syn6(6, &[])));
        assert!(is_syn(
            101,
            &syn6(0, &[60, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        ));
        assert!(is_syn(101, &syn6(44, &[6, 0, 0, 0, 0, 0, 0, 1])));
        assert!(is_syn(
            101,
            &syn6(51, &[6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        ));
        assert!(!is_syn(101, &syn6(44, &[6, 0, 0, 8, 0, 0, 0, 1])));
        assert!(!is_syn(101, &syn6(17, &[])));
        let mut later = syn();
        later[7] = 3;
        assert_eq!(read(101, &later, false, false), Packet::Other);
    }

    #[test]
    fn flags() {
        let with = |flags: u8| {
            let mut ip = syn();
            ip[33] = flags;
            ip[31] = 8;
            match read(101, &ip, false, true) {
                Packet::Tcp(tcp) => Some((tcp.part, tcp.isn)),
                _ => None,
            }
        };
        for (flags, want) in [
            (0x02, Some((PacketKind::Syn, Some(7)))),
            (0xc2, Some((PacketKind::Syn, Some(7)))),
            (0x2a, Some((PacketKind::Syn, Some(7)))),
            (0x12, Some((PacketKind::SynAck, Some(7)))),
            (0x52, Some((PacketKind::SynAck, Some(7)))),
            (0x18, Some((PacketKind::Onward, None))),
            (0x03, None),
            (0x06, None),
            (0x14, None),
        ] {
            assert_eq!(with(flags), want, "{flags:#x}");
        }
    }

    #[test]
    fn any_cut_is_short_and_never_a_panic() {
        for whole in [behind(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &syn())] {
            for n in 0..whole.len() {
                let read = read(1, &whole[..n], true, true);
                let enough = n >= 14 + 20 + 14;
                assert_eq!(matches!(read, Packet::Tcp(_)), enough, "{n}");
                assert_eq!(read == Packet::Short, !enough, "{n}");
            }
        }
    }
}
