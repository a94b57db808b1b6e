//! Ethernet, ethertypes, LLC, MPLS, IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::layer::{End, Layer, Segment, Step, Unread, after, byte_at, u16_at};

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;

/// Up to the flags of a TCP header.
pub(super) const FLAGS_END: usize = 14;

/// An Ethernet frame without its preamble.
#[inline]
pub(super) fn ethernet(frame: &[u8]) -> Step<'_> {
    Ok(Layer::Ethertype(u16_at(frame, 12)?, after(frame, 14)?))
}

/// What follows an ethertype, or the length field of IEEE 802.3.
#[inline]
pub(super) fn ethertype(ethertype: u16, rest: &[u8]) -> Step<'_> {
    match ethertype {
        IPV4 | IPV6 => Ok(Layer::Ip(rest)),
        _ => rare_ethertype(ethertype, rest),
    }
}

fn rare_ethertype(ethertype: u16, rest: &[u8]) -> Step<'_> {
    match ethertype {
        0..=1500 => Ok(Layer::Llc(rest)),
        // VLAN tags: IEEE 802.1Q, 802.1ad, and what came before it; VN-Tag has two more bytes.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
            Ok(Layer::Ethertype(u16_at(rest, 2)?, after(rest, 4)?))
        }
        // IEEE 802.1BR (E-TAG) and Cisco's VN-Tag.
        0x893f => Ok(Layer::Ethertype(u16_at(rest, 6)?, after(rest, 8)?)),
        0x8926 => Ok(Layer::Ethertype(u16_at(rest, 4)?, after(rest, 6)?)),
        // IEEE 802.1ah: the I-TAG, then a whole frame.
        0x88e7 => Ok(Layer::Ethernet(after(rest, 4)?)),
        0x6558 => Ok(Layer::Ethernet(rest)),
        0x8847 | 0x8848 => Ok(Layer::Mpls(rest)),
        // PPPoE sessions.
        0x8864 => Ok(Layer::Ppp(after(rest, 6)?)),
        0x880b => Ok(Layer::Ppp(rest)),
        // MACsec that protects without encryption: tag, perhaps the channel, and the ethertype.
        0x88e5 if byte_at(rest, 0)? & 0x0c == 0 => {
            let tag = if rest[0] & 0x20 == 0 { 6 } else { 14 };
            Ok(Layer::Ethertype(u16_at(rest, tag)?, after(rest, tag + 2)?))
        }
        // TRILL: options are in units of four bytes.
        0x22f3 => {
            let options = usize::from(u16_at(rest, 0)? >> 6 & 0x1f);
            Ok(Layer::Ethernet(after(rest, 6 + 4 * options)?))
        }
        0x894f => service_header(rest),
        _ if carries_no_ip(ethertype) => Err(End::NoTcp),
        _ => Err(End::Unread(Unread::Ethertype(ethertype))),
    }
}

/// Ethertypes of protocols that are no envelope of IP.
fn carries_no_ip(ethertype: u16) -> bool {
    matches!(
        ethertype,
        // ARP, wake-on-LAN, CDP and NHRP behind SNAP, DECnet, reverse ARP, AppleTalk, IPX.
        0x0806 | 0x0842 | 0x2000..=0x2004 | 0x6000..=0x6009 | 0x8035 | 0x809b | 0x80f3
            | 0x8137 | 0x8138
            // Spanning tree of VLANs behind SNAP, reservation, audio and video, SNMP.
            | 0x010b | 0x22ea | 0x22f0 | 0x814c
            // Pause, LACP, WLAN, PPPoE discovery, Broadcom's and Realtek's, HomePlug, EAPOL.
            | 0x8808 | 0x8809 | 0x8863 | 0x886c | 0x887b | 0x888e | 0x8899
            // Industry: PROFINET, EtherCAT, POWERLINK, GOOSE and its kin.
            | 0x8892 | 0x88a2 | 0x88a4 | 0x88ab | 0x88b8..=0x88ba | 0x88cd
            // LLDP, preauthentication, LLTD, HomePlug AV, MRP, MMRP, MVRP, PTP.
            | 0x88c7 | 0x88cc | 0x88d9 | 0x88dc | 0x88e1 | 0x88e3 | 0x88f5..=0x88f7
            // NC-SI, PRP, connectivity faults, FCoE, RoCE, fast roaming, 1905.1, loopback.
            | 0x88f8 | 0x88fb | 0x8902 | 0x8906 | 0x8914 | 0x8915 | 0x890d | 0x892f | 0x893a
            // OSI, behind GRE and HDLC.
            | 0x9000 | 0x00fe | 0xfefe
    )
}

/// The network service header, RFC 8300.
pub(super) fn service_header(rest: &[u8]) -> Step<'_> {
    let length = usize::from(byte_at(rest, 1)? & 0x3f) * 4;
    let inner = after(rest, length.max(8))?;
    match byte_at(rest, 3)? {
        1 | 2 => Ok(Layer::Ip(inner)),
        3 => Ok(Layer::Ethernet(inner)),
        5 => Ok(Layer::Mpls(inner)),
        _ => Err(End::Unread(Unread::Ethertype(0x894f))),
    }
}

/// IEEE 802.2, with SNAP or without it.
pub(super) fn llc(rest: &[u8]) -> Step<'_> {
    match [byte_at(rest, 0)?, byte_at(rest, 1)?, byte_at(rest, 2)?] {
        [0xaa, 0xaa, 0x03] => snap(after(rest, 3)?),
        [0x06, 0x06, 0x03] => Ok(Layer::Ip(after(rest, 3)?)),
        // ISO, with a network layer identifier.
        [0xfe, 0xfe, 0x03] if matches!(byte_at(rest, 3)?, 0xcc | 0x8e) => {
            Ok(Layer::Ip(after(rest, 4)?))
        }
        _ => Err(End::NoTcp),
    }
}

/// An organisation, and a number that it gave.
pub(super) fn snap(rest: &[u8]) -> Step<'_> {
    let number = u16_at(rest, 3)?;
    let inner = after(rest, 5)?;
    match rest[..3] {
        [0, 0, 0 | 0xf8] => Ok(Layer::Ethertype(number, inner)),
        // Bridged Ethernet, RFC 2684.
        [0, 0x80, 0xc2] if matches!(number, 1 | 7) => {
            Ok(Layer::Ethernet(if looks_like_ethernet(inner)? { inner } else { after(inner, 2)? }))
        }
        // Of the IEEE, Cisco and Apple: spanning tree, discovery and the like.
        [0, 0x80, 0xc2] | [0, 0, 0x0c] | [0x08, 0x00, 0x07] => Err(End::NoTcp),
        _ => Err(End::Unread(Unread::Named("LLC/SNAP of an organisation"))),
    }
}

/// Labels, and behind the last an IP packet or an Ethernet pseudowire (RFC 4448): no field says
/// which, so the bytes have to.
pub(super) fn mpls(mut rest: &[u8]) -> Step<'_> {
    while byte_at(rest, 2)? & 1 == 0 {
        rest = after(rest, 4)?;
    }
    let inner = after(rest, 4)?;
    if looks_like_ip(inner)? {
        return Ok(Layer::Ip(inner));
    }
    let first = byte_at(inner, 0)?;
    if first >> 4 == 0 {
        let behind_control_word = after(inner, 4)?;
        if looks_like_ethernet(behind_control_word)? {
            return Ok(Layer::Ethernet(behind_control_word));
        }
    }
    match first >> 4 {
        _ if looks_like_ethernet(inner)? => Ok(Layer::Ethernet(inner)),
        // The associated channel (RFC 5586): OAM.
        1 => Err(End::NoTcp),
        _ => Err(End::Unread(Unread::Named("MPLS pseudowire"))),
    }
}

/// Whether `bytes` begin with an IP header.
pub(super) fn looks_like_ip(bytes: &[u8]) -> Result<bool, End> {
    match byte_at(bytes, 0)? >> 4 {
        4 => {
            let header = bytes.first_chunk::<20>().ok_or(End::Truncated)?;
            let length = usize::from(header[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let is_offloaded = header[10] == 0 && header[11] == 0;
            let whole = bytes.get(..length.max(20)).ok_or(End::Truncated)?;
            let lengths_fit = length >= 20 && (total == 0 || total >= length);
            Ok(lengths_fit && (is_offloaded || sum(whole) == 0xffff))
        }
        // Next headers that there are; a MAC address that begins with 6 has anything here.
        6 => Ok(matches!(
            byte_at(bytes, 6)?,
            0 | 4 | 6 | 17 | 41 | 43 | 44 | 47 | 50 | 51 | 58..=60 | 132 | 135
        )),
        _ => Ok(false),
    }
}

/// The sum that a checksum is made of, RFC 1071.
fn sum(header: &[u8]) -> u32 {
    let words = header.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Whether an Ethernet frame of a usual sort begins here.
pub(super) fn looks_like_ethernet(frame: &[u8]) -> Result<bool, End> {
    let rest = after(frame, 14)?;
    Ok(match u16_at(frame, 12)? {
        IPV4 => (0x45..0x50).contains(&byte_at(rest, 0)?),
        IPV6 => byte_at(rest, 0)? >> 4 == 6,
        0x8100 | 0x88a8 | 0x9100 => !(1501..=1535).contains(&u16_at(rest, 2)?),
        0x0806 => rest.starts_with(&[0, 1, 8, 0]),
        0x8847 | 0x8864 | 0x88cc | 0x8863 | 0x88e7 | 0x8809 | 0x9000 | 0x8902 => true,
        0..=1500 => matches!([byte_at(rest, 0)?, byte_at(rest, 2)?], [0xaa | 0x42, 3]),
        _ => false,
    })
}

/// An IP packet of either version.
#[inline]
pub(super) fn ip(packet: &[u8]) -> Step<'_> {
    match byte_at(packet, 0)? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => Err(End::NoTcp),
    }
}

#[inline]
fn ipv4(packet: &[u8]) -> Step<'_> {
    let header = packet.first_chunk::<20>().ok_or(End::Truncated)?;
    let length = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    // All fragments but the first have no TCP header.
    if fragment & 0x1fff != 0 || length < 20 {
        return Err(End::NoTcp);
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // Segmentation offload leaves the length 0.
    let end = if total >= length { total.min(packet.len()) } else { packet.len() };
    let (mut protocol, mut start) = (header[9], length);
    // The authentication header (51) does not encrypt what follows.
    while protocol == 51 {
        protocol = byte_at(packet, start)?;
        start += (usize::from(byte_at(packet, start + 1)?) + 2) * 4;
    }
    if protocol != 6 {
        return Ok(Layer::Payload(protocol, packet.get(start..end).ok_or(End::Truncated)?));
    }
    if total >= length && total < start + FLAGS_END {
        let more_fragments = fragment & 0x2000 != 0;
        return Err(if more_fragments { End::Short } else { End::NoTcp });
    }
    let address = |at: usize| {
        IpAddr::from(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]))
    };
    let id = u16::from_be_bytes([header[4], header[5]]);
    Ok(Layer::Tcp(Segment {
        source: address(12),
        destination: address(16),
        id: (id != 0).then_some(id),
        bytes: packet.get(start..end).ok_or(End::Truncated)?,
    }))
}

fn ipv6(packet: &[u8]) -> Step<'_> {
    let header = packet.first_chunk::<40>().ok_or(End::Truncated)?;
    let mut rest = &packet[40..];
    let mut next = header[6];
    // More headers than that are no honest packet.
    for _ in 0..16 {
        let length = match next {
            6 => {
                let address = |at: usize| -> Result<IpAddr, End> {
                    let bytes = header.get(at..).and_then(|b| b.first_chunk::<16>());
                    Ok(Ipv6Addr::from(*bytes.ok_or(End::Truncated)?).into())
                };
                return Ok(Layer::Tcp(Segment {
                    source: address(8)?,
                    destination: address(24)?,
                    id: None,
                    bytes: rest,
                }));
            }
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(byte_at(rest, 1)?) + 1) * 8,
            51 => (usize::from(byte_at(rest, 1)?) + 2) * 4,
            44 if u16_at(rest, 2)? & 0xfff8 != 0 => return Err(End::NoTcp),
            44 => 8,
            _ => return Ok(Layer::Payload(next, rest)),
        };
        next = byte_at(rest, 0)?;
        rest = after(rest, length)?;
    }
    Err(End::Unread(Unread::Named("IPv6 with more than 16 extension headers")))
}
