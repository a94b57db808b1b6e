//! Tunnels: IP payloads that contain frames or packets.
//!
//! A UDP port does not prove a tunnel. If the bytes do not look like the tunnel of their port, they are
//! treated as other UDP.

use super::layer::{End, Layer, Step, Unread, after, byte_at, u16_at};
use super::network::{looks_like_ethernet, looks_like_ip, service_header};

/// The payload of an IP packet that is not TCP.
#[inline]
pub(super) fn payload(protocol: u8, rest: &[u8]) -> Step<'_> {
    match protocol {
        17 => udp(rest),
        4 | 41 | 94 => Ok(Layer::Ip(rest)),
        47 => gre(rest),
        97 => Ok(Layer::Ethernet(after(rest, 2)?)),
        115 => l2tpv3(rest, 0),
        137 => Ok(Layer::Mpls(rest)),
        143 => Ok(Layer::Ethernet(rest)),
        _ if is_envelope(protocol) => Err(End::Unread(Unread::IpProtocol(protocol))),
        _ => Err(End::NoTcp),
    }
}

/// IP protocols that carry others and are not decoded, and numbers that nobody assigned.
fn is_envelope(protocol: u8) -> bool {
    matches!(protocol, 50 | 53 | 55 | 57 | 92 | 93 | 95 | 96 | 98 | 99 | 104 | 108 | 109 | 129)
        || protocol == 131
        || (142..255).contains(&protocol)
}

/// Generic routing encapsulation: RFC 2784, 2890, and 2637 (PPTP, version 1).
pub(super) fn gre(rest: &[u8]) -> Step<'_> {
    let flags = u16_at(rest, 0)?;
    let protocol = u16_at(rest, 2)?;
    let has = |flag: u16| usize::from(flags & flag != 0);
    if flags & 7 == 1 {
        let inner = after(rest, 8 + 4 * (has(0x1000) + has(0x0080)))?;
        // An acknowledgement alone carries nothing.
        return if has(0x1000) == 1 { Ok(Layer::Ppp(inner)) } else { Err(End::NoTcp) };
    }
    if flags & 7 != 0 || flags & 0x4000 != 0 {
        return Err(End::Unread(Unread::IpProtocol(47)));
    }
    let sequenced = has(0x1000) == 1;
    let inner = after(rest, 4 + 4 * (has(0x8000) + has(0x2000) + has(0x1000)))?;
    match protocol {
        // Keepalive.
        0 => Err(End::NoTcp),
        // ERSPAN I has no header of its own, II eight bytes.
        0x88be if sequenced => Ok(Layer::Ethernet(after(inner, 8)?)),
        0x88be => Ok(Layer::Ethernet(inner)),
        0x22eb => erspan3(inner),
        // WCCP: version 2 has a redirect header.
        0x883e if looks_like_ip(inner)? => Ok(Layer::Ip(inner)),
        0x883e => Ok(Layer::Ip(after(inner, 4)?)),
        _ => Ok(Layer::Ethertype(protocol, inner)),
    }
}

/// ERSPAN III: twelve bytes, eight more with the O bit, and a frame or an IP packet.
fn erspan3(rest: &[u8]) -> Step<'_> {
    let last = byte_at(rest, 11)?;
    let inner = after(rest, if last & 1 == 0 { 12 } else { 20 })?;
    match byte_at(rest, 10)? >> 2 & 0x1f {
        0 => Ok(Layer::Ethernet(inner)),
        2 => Ok(Layer::Ip(inner)),
        _ => Err(End::Unread(Unread::Named("ERSPAN III of another frame type"))),
    }
}

#[inline]
fn udp(rest: &[u8]) -> Step<'_> {
    let (from, to) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
    match to {
        4789 | 8472 | 4790 | 48879 | 6081 | 6635 | 4754 | 4341 | 6080 | 37008 => {
            one_way(to, after(rest, 8)?)
        }
        _ => both_ways(from, to, rest),
    }
}

/// Tunnels whose source ports are arbitrary.
fn one_way(port: u16, data: &[u8]) -> Step<'_> {
    match port {
        4790 => vxlan_gpe(data),
        6081 => geneve(data),
        6635 if byte_at(data, 3)? > 0 => Ok(Layer::Mpls(data)),
        4754 if byte_at(data, 0)? & 0x40 == 0 => gre(data),
        4341 if looks_like_ip(after(data, 8)?)? => Ok(Layer::Ip(&data[8..])),
        6080 => gue(data),
        37008 => tzsp(data),
        4789 | 8472 | 48879 => vxlan(data),
        _ => Err(End::NoTcp),
    }
}

/// Tunnels whose port is that of either end.
#[inline]
fn both_ways(from: u16, to: u16, rest: &[u8]) -> Step<'_> {
    let is = |port: u16| from == port || to == port;
    if is(2152) {
        gtp(after(rest, 8)?)
    } else if is(5247) {
        capwap(after(rest, 8)?)
    } else if is(1701) {
        l2tp(after(rest, 8)?)
    } else if is(3544) {
        teredo(after(rest, 8)?)
    } else if is(4500) {
        // Four zeroes begin a key exchange, one byte is a keepalive.
        let index = rest.get(8..12).ok_or(End::Truncated)?;
        let is_esp = *index != [0; 4];
        Err(if is_esp { End::Unread(Unread::Named("ESP in UDP")) } else { End::NoTcp })
    } else if is(51820) && rest.get(8..12).ok_or(End::Truncated)? == [4, 0, 0, 0] {
        Err(End::Unread(Unread::Named("WireGuard")))
    } else {
        Err(End::NoTcp)
    }
}

/// RFC 7348.
fn vxlan(data: &[u8]) -> Step<'_> {
    let strict = data.starts_with(&[8, 0, 0, 0]) && byte_at(data, 7)? == 0;
    let inner = after(data, 8)?;
    if byte_at(data, 0)? & 0x08 != 0 && (strict || looks_like_ethernet(inner)?) {
        return Ok(Layer::Ethernet(inner));
    }
    Err(End::NoTcp)
}

/// The generic protocol extension of VXLAN.
fn vxlan_gpe(data: &[u8]) -> Step<'_> {
    let flags = byte_at(data, 0)?;
    if flags & 0x0c != 0x0c {
        return vxlan(data);
    }
    let inner = after(data, 8)?;
    match byte_at(data, 3)? {
        1 | 2 => Ok(Layer::Ip(inner)),
        3 => Ok(Layer::Ethernet(inner)),
        4 => service_header(inner),
        5 => Ok(Layer::Mpls(inner)),
        _ => Err(End::Unread(Unread::Named("VXLAN-GPE of another protocol"))),
    }
}

/// RFC 8926.
fn geneve(data: &[u8]) -> Step<'_> {
    let (first, second) = (byte_at(data, 0)?, byte_at(data, 1)?);
    if first & 0xc0 != 0 || second & 0x3f != 0 || byte_at(data, 7)? != 0 {
        return Err(End::NoTcp);
    }
    let inner = after(data, 8 + usize::from(first & 0x3f) * 4)?;
    Ok(Layer::Ethertype(u16_at(data, 2)?, inner))
}

/// 3GPP TS 29.281: a packet of a user, behind extension headers.
fn gtp(data: &[u8]) -> Step<'_> {
    let flags = byte_at(data, 0)?;
    if flags & 0xf0 != 0x30 || byte_at(data, 1)? != 0xff {
        return Err(End::NoTcp);
    }
    let mut at = 8;
    if flags & 0x07 != 0 {
        let mut next = byte_at(data, 11)?;
        at = 12;
        while flags & 0x04 != 0 && next != 0 {
            let length = usize::from(byte_at(data, at)?) * 4;
            if length == 0 {
                return Err(End::NoTcp);
            }
            next = byte_at(data, at + length - 1)?;
            at += length;
        }
    }
    let inner = after(data, at)?;
    match byte_at(inner, 0)? >> 4 {
        4 | 6 if looks_like_ip(inner)? => Ok(Layer::Ip(inner)),
        _ if looks_like_ethernet(inner)? => Ok(Layer::Ethernet(inner)),
        _ if inner.starts_with(&[0xff, 3]) => Ok(Layer::Ppp(inner)),
        _ => Err(End::Unread(Unread::Named("GTP-U of another protocol"))),
    }
}

/// RFC 5415: the data channel between access points and their controller.
fn capwap(data: &[u8]) -> Step<'_> {
    match byte_at(data, 0)? {
        0 => {}
        1 => return Err(End::Unread(Unread::Named("CAPWAP in DTLS"))),
        _ => return Err(End::NoTcp),
    }
    let (second, third, flags) = (byte_at(data, 1)?, byte_at(data, 2)?, byte_at(data, 3)?);
    let length = usize::from(second >> 3) * 4;
    let is_later_fragment = flags & 0x80 != 0 && u16_at(data, 6)? & 0xfff8 != 0;
    let is_keepalive = flags & 0x08 != 0;
    if length < 8 || is_later_fragment || is_keepalive {
        return Err(End::NoTcp);
    }
    let inner = after(data, length)?;
    match (third & 1, third >> 1 & 0x1f) {
        (0, _) => Ok(Layer::Ethernet(inner)),
        (_, 1) => Ok(Layer::Wifi(inner)),
        _ => Err(End::Unread(Unread::Named("CAPWAP of another wireless technology"))),
    }
}

/// RFC 2661, and RFC 3931 over UDP.
fn l2tp(data: &[u8]) -> Step<'_> {
    let flags = u16_at(data, 0)?;
    let has = |flag: u16| usize::from(flags & flag != 0);
    match flags & 0x000f {
        _ if flags & 0x8000 != 0 => Err(End::NoTcp),
        2 => {
            let mut at = 6 + 2 * has(0x4000) + 4 * has(0x0800);
            if flags & 0x0200 != 0 {
                at += 2 + usize::from(u16_at(data, at)?);
            }
            Ok(Layer::Ppp(after(data, at)?))
        }
        3 => l2tpv3(data, 4),
        _ => Err(End::NoTcp),
    }
}

/// A session, behind whose number a cookie of an agreed length and perhaps a sublayer stand.
fn l2tpv3(data: &[u8], session: usize) -> Step<'_> {
    // Session 0 is the control channel.
    if after(data, session)?.starts_with(&[0; 4]) {
        return Err(End::NoTcp);
    }
    for between in [0, 4, 8, 12] {
        let inner = after(data, session + 4 + between)?;
        if looks_like_ethernet(inner)? {
            return Ok(Layer::Ethernet(inner));
        }
        if looks_like_ip(inner)? {
            return Ok(Layer::Ip(inner));
        }
    }
    Err(End::Unread(Unread::IpProtocol(115)))
}

/// RFC 4380: IPv6 behind an authentication and an origin header.
fn teredo(mut data: &[u8]) -> Step<'_> {
    if u16_at(data, 0)? == 1 {
        let (client, key) = (byte_at(data, 2)?, byte_at(data, 3)?);
        data = after(data, 13 + usize::from(client) + usize::from(key))?;
    }
    if u16_at(data, 0)? == 0 {
        data = after(data, 8)?;
    }
    if byte_at(data, 0)? >> 4 == 6 { Ok(Layer::Ip(data)) } else { Err(End::NoTcp) }
}

/// Generic UDP encapsulation of Linux: version 0 with a header, version 1 without.
fn gue(data: &[u8]) -> Step<'_> {
    let first = byte_at(data, 0)?;
    match first >> 6 {
        0 if first & 0x20 == 0 => {
            let inner = after(data, 4 + usize::from(first & 0x1f) * 4)?;
            match byte_at(data, 1)? {
                protocol @ (4 | 41) => payload(protocol, inner),
                47 => gre(inner),
                _ => Err(End::NoTcp),
            }
        }
        1 if looks_like_ip(data)? => Ok(Layer::Ip(data)),
        _ => Err(End::NoTcp),
    }
}

/// TaZmen sniffer protocol, as access points and routers mirror packets.
fn tzsp(data: &[u8]) -> Step<'_> {
    // Version 1; received, or for transmission.
    if byte_at(data, 0)? != 1 || byte_at(data, 1)? > 1 {
        return Err(End::NoTcp);
    }
    let mut at = 4;
    loop {
        match byte_at(data, at)? {
            0 => at += 1,
            1 => break,
            _ => at += 2 + usize::from(byte_at(data, at + 1)?),
        }
    }
    let inner = after(data, at + 1)?;
    match u16_at(data, 2)? {
        1 => Ok(Layer::Ethernet(inner)),
        18 => Ok(Layer::Wifi(inner)),
        119 => Ok(Layer::Link(119, inner)),
        _ => Err(End::Unread(Unread::Named("TZSP of another protocol"))),
    }
}
