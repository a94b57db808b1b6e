//! Decodes a frame down to its innermost TCP header.
//!
//! Each function of `link`, `network` and `tunnel` removes one header; the loop here continues
//! with the content.

use super::layer::{End, Layer, Segment, Step, Unread};
use super::link::{self, Way};
use super::network::{self, FLAGS_END};
use super::tunnel;
use crate::parse::deduplicate::PacketKind;
use crate::parse::host::{Ends, Host};

/// Maximum number of layers; a frame with more is malformed.
const MAX_LAYERS: usize = 40;

/// The content of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A TCP packet of a connection.
    Tcp(Tcp),
    /// A TCP packet that was captured too short to see its flags.
    Short,
    /// A TCP packet that does nothing but acknowledge.
    Acknowledgement,
    /// Something that cannot open a TCP connection.
    Other,
    /// A SYN inside a tunnel, where those are not asked for.
    Tunnelled,
    /// Something that may contain TCP, and is not decoded.
    Unread(Unread),
}

/// The part of a TCP packet that matters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tcp {
    /// The ends of the connection; of a SYN+ACK or a RST, the source is the server.
    pub ends: Ends,
    /// Its role in the connection.
    pub kind: PacketKind,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK; the sequence number of a RST.
    pub server_isn: Option<u32>,
    /// The IP ID of a SYN.
    pub id: Option<u16>,
    /// Whether the packet came in or went out, if the link layer shows it.
    pub inward: Option<bool>,
    /// Where it was seen, if the link layer shows it.
    pub point: Option<u32>,
}

/// What of a capture matters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection {
    /// Packets of the client that follow the handshake.
    pub onward: bool,
    /// Packets outside tunnels alone.
    pub outer: bool,
}

/// Reads a frame of link type `link`. Its end may not be captured.
pub(crate) fn read(link: i32, frame: &[u8], cut: bool, selection: Selection) -> Packet {
    let mut decoder = Decoder::default();
    // Above these bits stands the length of the frame check sequence.
    match decoder.tcp(link & 0xffff, frame) {
        Ok(segment) => decoder.packet(&segment, cut, selection),
        Err(End::Truncated) if cut => Packet::Short,
        Err(End::Short) => Packet::Short,
        Err(End::Truncated | End::NoTcp) => Packet::Other,
        Err(End::Unread(_)) if selection.outer && decoder.tunnelled => Packet::Other,
        Err(End::Unread(unread)) => Packet::Unread(unread),
    }
}

/// What is known of a frame while its headers are taken off.
#[derive(Default)]
struct Decoder<'a> {
    way: Way,
    /// The sender's address on the link.
    sender: Option<&'a [u8]>,
    tunnelled: bool,
}

impl<'a> Decoder<'a> {
    /// The innermost TCP segment.
    #[inline]
    fn tcp(&mut self, link: i32, frame: &'a [u8]) -> Result<Segment<'a>, End> {
        let mut layer = Layer::Link(link, frame);
        for _ in 0..MAX_LAYERS {
            layer = match layer {
                Layer::Tcp(segment) => return Ok(segment),
                layer => self.step(layer)?,
            };
        }
        Err(End::Unread(Unread::Named("more than 40 headers in a frame")))
    }

    #[inline]
    fn step(&mut self, layer: Layer<'a>) -> Step<'a> {
        match layer {
            Layer::Link(link, frame) => link::link(link, frame, &mut self.way),
            Layer::Ethernet(frame) => {
                self.sender = self.sender.or_else(|| frame.get(6..12));
                network::ethernet(frame)
            }
            Layer::Ethertype(ethertype, rest) => network::ethertype(ethertype, rest),
            Layer::Ip(packet) => network::ip(packet),
            Layer::Payload(protocol, rest) => {
                let inner = tunnel::payload(protocol, rest);
                self.tunnelled |= inner.is_ok();
                inner
            }
            Layer::Llc(rest) => network::llc(rest),
            Layer::Ppp(rest) => link::ppp(rest),
            Layer::Wifi(frame) => link::wifi(frame),
            Layer::Mpls(rest) => network::mpls(rest),
            Layer::Tcp(_) => Ok(layer),
        }
    }

    /// Where the packet was seen. Inside a tunnel is another place than outside.
    fn point(&self) -> Option<u32> {
        let point = self.way.point.or_else(|| self.sender.map(link::hash))?;
        Some(if self.tunnelled { !point } else { point })
    }

    fn packet(&self, segment: &Segment<'_>, cut: bool, selection: Selection) -> Packet {
        // Without the flags the packet is of no use.
        let Some(tcp) = segment.bytes.first_chunk::<FLAGS_END>() else {
            return if cut || self.tunnelled { Packet::Short } else { Packet::Other };
        };
        let flags = tcp[13];
        let has = |flag: u8| flags & flag != 0;
        let (fin, syn, rst, ack) = (has(0x01), has(0x02), has(0x04), has(0x10));
        let has_data = segment.bytes.len() > usize::from(tcp[12] >> 4) * 4;
        let is_acknowledgement = flags & 0x3f == 0x10 && !has_data;
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let kind = match (syn, ack) {
            // No system opens a connection with these.
            (true, _) if fin || rst => return Packet::Other,
            (true, false) => PacketKind::Syn,
            (true, true) => PacketKind::SynAck,
            (false, true) if selection.onward && !rst => PacketKind::Onward,
            (false, true) if is_acknowledgement => return Packet::Acknowledgement,
            (false, _) if rst => match PacketKind::of_rst(ack, Some(word(4))) {
                Some(kind) => kind,
                None => return Packet::Other,
            },
            (false, _) => return Packet::Other,
        };
        if selection.outer && self.tunnelled {
            return if kind == PacketKind::Syn { Packet::Tunnelled } else { Packet::Other };
        }
        let ends = Ends {
            client: Host::from(segment.source),
            client_port: Some(u16::from_be_bytes([tcp[0], tcp[1]])),
            server: Host::from(segment.destination),
            server_port: Some(u16::from_be_bytes([tcp[2], tcp[3]])),
        };
        let inward = self.way.inward;
        let (ends, isn, server_isn, id, point) = match kind {
            PacketKind::Syn => (ends, Some(word(4)), None, segment.id, self.point()),
            PacketKind::SynAck => {
                (ends.turned(), Some(word(8).wrapping_sub(1)), Some(word(4)), None, self.point())
            }
            PacketKind::Rst => {
                let isn = ack.then(|| word(8).wrapping_sub(1));
                (ends.turned(), isn, Some(word(4)), None, None)
            }
            PacketKind::Onward => (ends, None, None, None, None),
        };
        Packet::Tcp(Tcp { ends, kind, isn, server_isn, id, inward, point })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const ONWARD: Selection = Selection { onward: true, outer: false };

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
            read(link, frame, false, Selection::default()),
            Packet::Tcp(Tcp { kind: PacketKind::Syn, isn: Some(7), ref ends, .. })
                if ends.client_port == Some(5) && ends.server_port == Some(80)
        )
    }

    #[test]
    fn packets_are_found_behind_each_link_header() {
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
            read(113, &behind(&cooked, &syn()), false, Selection::default()),
            Packet::Tcp(Tcp { inward: Some(false), .. })
        ));
        let mut cooked = [0; 20];
        cooked[0] = 8;
        assert!(matches!(
            read(276, &behind(&cooked, &syn()), false, Selection::default()),
            Packet::Tcp(Tcp { inward: Some(true), .. })
        ));
        let unknown = read(147, &syn(), false, Selection::default());
        assert_eq!(unknown, Packet::Unread(Unread::Link(147)));
    }

    #[test]
    fn switch_tags_and_labels_stand_before_ip() {
        let mac = [0; 12];
        assert!(is_syn(219, &behind(&[0, 1, 1, 64], &syn())));
        assert!(is_syn(281, &[&mac[..], &[0, 0, 0, 1, 8, 0], &syn()].concat()));
        assert!(is_syn(282, &[&[0, 0, 0, 1][..], &mac, &[8, 0], &syn()].concat()));
        assert!(is_syn(284, &[&mac[..], &[0xc0, 0, 0, 1, 8, 0], &syn()].concat()));
        let tag = [0xda, 0xda, 0, 0, 0xc0, 0, 0, 1, 8, 0];
        assert!(is_syn(285, &[&mac[..], &tag, &syn()].concat()));
    }

    #[test]
    fn only_packets_outside_tunnels_are_asked_for() {
        let mut ipip = syn();
        ipip[9] = 4;
        ipip.truncate(20);
        ipip[3] = 60;
        ipip.extend(syn());
        let outer = Selection { onward: false, outer: true };
        assert!(is_syn(101, &ipip));
        assert_eq!(read(101, &ipip, false, outer), Packet::Tunnelled);
        assert!(matches!(read(101, &syn(), false, outer), Packet::Tcp(_)));
    }

    #[test]
    fn undecoded_protocols_are_named() {
        for (unread, name) in [
            (Unread::IpProtocol(50), "ESP (IP protocol 50)"),
            (Unread::IpProtocol(253), "IP protocol 253"),
            (Unread::Ethertype(0x88e5), "encrypted MACsec (ethertype 0x88e5)"),
            (Unread::Ethertype(0x88b5), "ethertype 0x88b5"),
            (Unread::Ppp(0xfd), "compressed or encrypted datagram (PPP protocol 0x00fd)"),
            (Unread::Link(147), "link type 147"),
        ] {
            assert_eq!(unread.to_string(), name);
        }
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
        assert_eq!(read(101, &later, false, Selection::default()), Packet::Other);
    }

    #[test]
    fn flags_tell_the_kind_of_a_packet() {
        let with = |flags: u8| {
            let mut ip = syn();
            ip[33] = flags;
            ip[31] = 8;
            match read(101, &ip, false, ONWARD) {
                Packet::Tcp(tcp) => Some((tcp.kind, tcp.isn)),
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
            (0x14, Some((PacketKind::Rst, Some(7)))),
            (0x04, None),
        ] {
            assert_eq!(with(flags), want, "{flags:#x}");
        }
    }

    #[test]
    fn any_cut_is_short_and_never_a_panic() {
        for whole in [behind(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &syn())] {
            for n in 0..whole.len() {
                let read = read(1, &whole[..n], true, ONWARD);
                let enough = n >= 14 + 20 + 14;
                assert_eq!(matches!(read, Packet::Tcp(_)), enough, "{n}");
                assert_eq!(read == Packet::Short, !enough, "{n}");
            }
        }
    }
}
