//! Link types: decodes the headers before the network layer, with the direction and place of the packet.
//!
//! The list: <https://www.tcpdump.org/linktypes.html>.

use super::layer::{End, Layer, Step, Unread, after, byte_at, u16_at};
use super::network::snap;

/// Facts about a packet from the link layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Whether the packet came in or went out.
    pub inward: Option<bool>,
    /// Where the packet was seen: a hash of its interface, or of who sent it on this link.
    pub point: Option<u32>,
}

impl Way {
    /// Of a byte that is 0 for a packet that came in.
    fn of(sent: u8) -> Way {
        Way { inward: Some(sent == 0), point: None }
    }
}

/// FNV-1a: the bytes are few and nobody's secret.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// Takes the header of a frame of link type `link` off. What it says goes to `way`.
pub(super) fn link<'a>(link: i32, frame: &'a [u8], way: &mut Way) -> Step<'a> {
    match link {
        1 => Ok(Layer::Ethernet(frame)),
        113 => cooked(frame, way),
        276 => {
            way.inward = direction(byte_at(frame, 10)?);
            way.point = frame.get(4..8).map(hash);
            Ok(Layer::Ethertype(u16_at(frame, 0)?, after(frame, 20)?))
        }
        12 | 14 | 101 | 228 | 229 => Ok(Layer::Ip(frame)),
        // NULL and LOOP: the family, in the one or the other byte order. The version says it too.
        0 | 108 => Ok(Layer::Ip(after(frame, 4)?)),
        239 => nflog(frame, way),
        258 => pktap(frame, way),
        _ => serial(link, frame, way).or_else(|end| match end {
            End::Unread(Unread::Link(_)) => other(link, frame),
            end => Err(end),
        }),
    }
}

/// Of LINUX_SLL and SLL2: 0 to us, 1 and 2 to many, 3 to others, 4 from us.
fn direction(kind: u8) -> Option<bool> {
    match kind {
        0..=2 => Some(true),
        4 => Some(false),
        _ => None,
    }
}

/// LINUX_SLL.
fn cooked<'a>(frame: &'a [u8], way: &mut Way) -> Step<'a> {
    way.inward = direction(byte_at(frame, 1)?);
    way.point = frame.get(..14).map(hash);
    let protocol = u16_at(frame, 14)?;
    let rest = after(frame, 16)?;
    match protocol {
        // 802.3 without LLC; 802.2.
        1 => Err(End::NoTcp),
        4 => Ok(Layer::Llc(rest)),
        _ => Ok(Layer::Ethertype(protocol, rest)),
    }
}

/// PPP, HDLC and frame relay in their forms.
fn serial<'a>(link: i32, frame: &'a [u8], way: &mut Way) -> Step<'a> {
    match link {
        // PPP, perhaps with its HDLC header, or Cisco's.
        9 | 50 if matches!(frame, [0x0f | 0x8f, 0, ..]) => cisco_hdlc(frame),
        9 | 50 => Ok(Layer::Ppp(frame)),
        51 => Ok(Layer::Ppp(after(frame, 6)?)),
        104 => cisco_hdlc(frame),
        107 => frame_relay(frame),
        166 => {
            *way = Way::of(byte_at(frame, 0)?);
            Ok(Layer::Ppp(after(frame, if frame.get(1) == Some(&3) { 2 } else { 1 })?))
        }
        204..=206 => {
            *way = Way::of(byte_at(frame, 0)?);
            let rest = after(frame, 1)?;
            match link {
                204 => Ok(Layer::Ppp(rest)),
                205 => cisco_hdlc(rest),
                _ => frame_relay(rest),
            }
        }
        // SLIP: the direction, and 15 bytes for compressed headers.
        8 => {
            *way = Way::of(byte_at(frame, 0)?);
            Ok(Layer::Ip(after(frame, 16)?))
        }
        _ => Err(End::Unread(Unread::Link(link as u16))),
    }
}

/// Address, control, ethertype; keepalives have the one of reverse ARP.
fn cisco_hdlc(frame: &[u8]) -> Step<'_> {
    Ok(Layer::Ethertype(u16_at(frame, 2)?, after(frame, 4)?))
}

/// RFC 2427, and Cisco's form with an ethertype.
fn frame_relay(frame: &[u8]) -> Step<'_> {
    let last = frame.iter().take(4).position(|b| b & 1 == 1);
    let address = last.ok_or(if frame.len() < 4 { End::Truncated } else { End::NoTcp })? + 1;
    let mut rest = after(frame, address)?;
    if byte_at(rest, 0)? != 3 {
        return Ok(Layer::Ethertype(u16_at(rest, 0)?, after(rest, 2)?));
    }
    rest = after(rest, 1)?;
    rest = rest.strip_prefix(&[0]).unwrap_or(rest);
    match byte_at(rest, 0)? {
        0xcc | 0x8e => Ok(Layer::Ip(after(rest, 1)?)),
        0x80 => snap(after(rest, 1)?),
        // Signalling.
        _ => Err(End::NoTcp),
    }
}

/// Link types with a header of known length before something that is decoded elsewhere.
fn other(link: i32, frame: &[u8]) -> Step<'_> {
    match link {
        7 | 129 => arcnet(link, frame),
        // Token ring: perhaps with the route through bridges.
        6 => {
            let routed = byte_at(frame, 8)? & 0x80 != 0;
            let route = if routed { usize::from(byte_at(frame, 14)? & 0x1f) } else { 0 };
            Ok(Layer::Llc(after(frame, 14 + route)?))
        }
        // FDDI: frames that carry LLC, and others.
        10 if byte_at(frame, 0)? & 0xf0 == 0x50 => Ok(Layer::Llc(after(frame, 13)?)),
        10 => Err(End::NoTcp),
        100 => Ok(Layer::Llc(frame)),
        105 => Ok(Layer::Wifi(frame)),
        // OpenBSD's and FreeBSD's enc, and pf's log.
        109 => Ok(Layer::Ip(after(frame, 12)?)),
        117 => Ok(Layer::Ip(after(frame, usize::from(byte_at(frame, 0)?).next_multiple_of(4))?)),
        119 | 127 | 163 | 192 => radio(link, frame),
        122 => Ok(Layer::Llc(after(frame, 16)?)),
        123 if byte_at(frame, 0)? & 0x0f == 2 => Ok(Layer::Llc(after(frame, 4)?)),
        138 => Ok(Layer::Ethertype(u16_at(frame, 16)?, after(frame, 18)?)),
        197 => erf(frame),
        219 => Ok(Layer::Mpls(frame)),
        226 => Ok(Layer::Ip(after(frame, 24)?)),
        240 => Ok(Layer::Ethernet(after(frame, 4)?)),
        241 => Ok(Layer::Ethernet(after(frame, 12)?)),
        // IP over InfiniBand: behind the global routing header.
        242 => Ok(Layer::Ethertype(u16_at(frame, 40)?, after(frame, 44)?)),
        274 => Ok(Layer::Ethernet(after(frame, 8)?)),
        // Tags of switches, before the addresses, or before the ethertype.
        282 => Ok(Layer::Ethernet(after(frame, 4)?)),
        281 | 284 => Ok(Layer::Ethertype(u16_at(frame, 16)?, after(frame, 18)?)),
        285 => Ok(Layer::Ethertype(u16_at(frame, 20)?, after(frame, 22)?)),
        _ => Err(End::Unread(Unread::Link(link as u16))),
    }
}

/// ARCNET of BSD and Linux, RFC 1051 and RFC 1201.
fn arcnet(link: i32, frame: &[u8]) -> Step<'_> {
    // Linux puts an offset between the addresses and the protocol.
    let at = if link == 7 { 2 } else { 4 };
    match byte_at(frame, at)? {
        0xf0 => Ok(Layer::Ip(after(frame, at + 1)?)),
        // A flag and a number; an exception packet has them again.
        0xd4 | 0xc4 if byte_at(frame, at + 1)? == 0xff => Ok(Layer::Ip(after(frame, at + 8)?)),
        // Later fragments have even flags.
        0xd4 | 0xc4 if frame[at + 1] & 1 == 0 && frame[at + 1] != 0 => Err(End::NoTcp),
        0xd4 | 0xc4 => Ok(Layer::Ip(after(frame, at + 4)?)),
        _ => Err(End::NoTcp),
    }
}

/// Headers of radio measurements before an 802.11 frame.
fn radio(link: i32, frame: &[u8]) -> Step<'_> {
    let little =
        |at: usize| -> Result<usize, End> { Ok(usize::from(u16_at(frame, at)?.swap_bytes())) };
    match link {
        127 => {
            let frame_at = little(2)?;
            let padded = radiotap_flags(frame)?.is_some_and(|flags| flags & 0x20 != 0);
            let inner = after(frame, frame_at)?;
            // The padding stands in the middle of the frame.
            if padded {
                Err(End::Unread(Unread::Named("padded 802.11")))
            } else {
                Ok(Layer::Wifi(inner))
            }
        }
        192 => Ok(Layer::Link(little(4)? as i32, after(frame, little(2)?)?)),
        // AVS, which is found behind the number of Prism too.
        _ if frame.starts_with(&[0x80, 0x21, 0x10]) => {
            Ok(Layer::Wifi(after(frame, usize::from(u16_at(frame, 6)?))?))
        }
        119 => {
            let (little, big) = (little(4)?, usize::from(u16_at(frame, 6)?));
            Ok(Layer::Wifi(after(frame, if little == 0 { big } else { little })?))
        }
        _ => Err(End::Unread(Unread::Link(link as u16))),
    }
}

/// The flags of a radiotap header, if it has some.
fn radiotap_flags(frame: &[u8]) -> Result<Option<u8>, End> {
    let present = byte_at(frame, 4)?;
    let mut at = 8;
    // The highest bit of each word says that another follows.
    while byte_at(frame, at - 1)? & 0x80 != 0 {
        at += 4;
    }
    if present & 1 != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    if present & 2 != 0 { byte_at(frame, at).map(Some) } else { Ok(None) }
}

/// IEEE 802.11: only data frames carry LLC.
pub(super) fn wifi(frame: &[u8]) -> Step<'_> {
    let (mut control, mut flags) = (byte_at(frame, 0)?, byte_at(frame, 1)?);
    // Some controllers swap the two.
    if control & 0x03 != 0 && flags & 0x0f == 0x08 {
        (control, flags) = (flags, control);
    }
    let is_data = control & 0x0f == 0x08;
    let is_empty = control & 0x40 != 0;
    if !is_data || is_empty {
        return Err(End::NoTcp);
    }
    if flags & 0x40 != 0 {
        return Err(End::Unread(Unread::Named("encrypted 802.11")));
    }
    let mut length = if flags & 0x03 == 0x03 { 30 } else { 24 };
    if control & 0x80 != 0 {
        let quality = byte_at(frame, length)?;
        length += if flags & 0x80 == 0 { 2 } else { 6 };
        // Several frames in one.
        if quality & 0x80 != 0 {
            return Err(End::Unread(Unread::Named("aggregated 802.11 (A-MSDU)")));
        }
    }
    // Of a fragment but the first, the LLC header was in the first.
    if byte_at(frame, 22)? & 0x0f != 0 {
        return Err(End::NoTcp);
    }
    Ok(Layer::Llc(after(frame, length)?))
}

/// Netfilter's log: attributes, in the byte order of the machine that wrote it.
fn nflog<'a>(frame: &'a [u8], way: &mut Way) -> Step<'a> {
    let family = byte_at(frame, 0)?;
    let first = after(frame, 4)?.first_chunk::<2>().ok_or(End::Truncated)?;
    let little = usize::from(u16::from_le_bytes(*first)) <= frame.len();
    let number = |at: usize| -> Result<usize, End> {
        let n = u16_at(frame, at)?;
        Ok(usize::from(if little { n.swap_bytes() } else { n }))
    };
    let (mut at, mut hook, mut prefix, mut inside, mut outside) = (4, 0, 0, false, false);
    while at + 4 <= frame.len() {
        let (length, kind) = (number(at)?, number(at + 2)? & 0x3fff);
        let value = frame.get(at + 4..(at + length).min(frame.len())).ok_or(End::NoTcp)?;
        match kind {
            1 => hook = value.get(2).copied().unwrap_or(0),
            4 => inside = true,
            5 => outside = true,
            10 => prefix = hash(value),
            9 => {
                way.inward = if inside == outside { None } else { Some(inside) };
                way.point = Some(prefix ^ u32::from(hook));
                return match family {
                    2 | 10 => Ok(Layer::Ip(value)),
                    // Bridges log from the network header on.
                    7 => Ok(Layer::Ip(value)),
                    _ => Err(End::NoTcp),
                };
            }
            _ => {}
        }
        at += length.next_multiple_of(4);
    }
    Err(End::Truncated)
}

/// Apple's: which interface, which way, and the link type.
fn pktap<'a>(frame: &'a [u8], way: &mut Way) -> Step<'a> {
    let word = |at: usize| -> Result<u32, End> {
        let bytes = after(frame, at)?.first_chunk().ok_or(End::Truncated)?;
        Ok(u32::from_le_bytes(*bytes))
    };
    let inner = after(frame, word(0)? as usize)?;
    way.inward = match word(36)? & 3 {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    };
    way.point = frame.get(12..36).map(hash);
    match word(8)? {
        258 => Err(End::Unread(Unread::Link(258))),
        link => Ok(Layer::Link(i32::from(link as u16), inner)),
    }
}

/// Endace's records: 16 bytes, extension headers of eight, and the frame.
fn erf(frame: &[u8]) -> Step<'_> {
    let kind = byte_at(frame, 8)?;
    let (mut at, mut more) = (16, kind);
    while more & 0x80 != 0 {
        more = byte_at(frame, at)?;
        at += 8;
    }
    match kind & 0x7f {
        1 => serial(50, after(frame, at)?, &mut Way::default()),
        2 => Ok(Layer::Ethernet(after(frame, at + 2)?)),
        22 | 23 => Ok(Layer::Ip(after(frame, at)?)),
        _ => Err(End::Unread(Unread::Named("ERF of another type"))),
    }
}

/// PPP: the protocol has one byte or two.
pub(super) fn ppp(frame: &[u8]) -> Step<'_> {
    let mut rest = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    // Multilink: flags and a number before what may be a whole packet. Later parts have no header.
    for _ in 0..2 {
        let first = byte_at(rest, 0)?;
        let (protocol, inner) = if first & 1 == 1 {
            (u16::from(first), after(rest, 1)?)
        } else {
            (u16_at(rest, 0)?, after(rest, 2)?)
        };
        match protocol {
            0x0021 | 0x0057 => return Ok(Layer::Ip(inner)),
            0x0281 | 0x0283 => return Ok(Layer::Mpls(inner)),
            0x003d if byte_at(inner, 0)? & 0x80 == 0 => return Err(End::NoTcp),
            0x003d => rest = after(inner, 4)?,
            // Control protocols; those of other networks; Van Jacobson never compresses a SYN.
            0x4000.. | 0x0023 | 0x0025 | 0x0027 | 0x0029 | 0x002b | 0x002d | 0x002f => {
                return Err(End::NoTcp);
            }
            _ => return Err(End::Unread(Unread::Ppp(protocol))),
        }
    }
    Err(End::Unread(Unread::Ppp(0x003d)))
}
