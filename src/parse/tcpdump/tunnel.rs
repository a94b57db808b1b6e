//! Tunnels whose content tcpdump does not show. [`line`](super::line) has the tests.

use memchr::memmem;

use crate::parse::cursor::Cursor;

/// UDP ports of tunnels that tcpdump does not decode, all of them with `-q`. None is among those that clients get.
const TUNNEL_PORTS: [u16; 10] = [1701, 2152, 3544, 4341, 4789, 8472, 4790, 5247, 6081, 6635];

/// Ethertypes of tunnels that tcpdump does not decode: provider backbone bridges, 802.1BR, VN-Tag, TRILL, FabricPath, Cisco metadata, MACsec.
const TUNNEL_TYPES: [&[u8]; 7] =
    [b"0x88e7", b"0x893f", b"0x8926", b"0x22f3", b"0x8903", b"0x8909", b"0x88e5"];

/// The same for numbers of IP protocols: EtherIP, MPLS, Ethernet.
const TUNNEL_PROTOCOLS: [u8; 3] = [97, 137, 143];

/// Whether a packet is of a tunnel that tcpdump does not decode. `has_port` says whether it has one of these ports.
pub(super) fn is_hidden(body: &[u8], has_port: impl FnOnce(&[u16]) -> bool) -> bool {
    // `-vv`: `[no cksum] UDP, length 48`.
    let body = match memchr::memchr(b']', body) {
        Some(end) if body.starts_with(b"[") => body[end + 1..].trim_ascii_start(),
        _ => body,
    };
    if body.starts_with(b"UDP, ") {
        return has_port(&TUNNEL_PORTS);
    }
    if let Some(protocol) = body.strip_prefix(b"ip-proto-") {
        let number = Cursor(protocol).number_up_to(3).and_then(|n| u8::try_from(n).ok());
        return number.is_some_and(|number| TUNNEL_PROTOCOLS.contains(&number));
    }
    // ESP in UDP. With a key tcpdump shows what is in it.
    let body = body.strip_prefix(b"UDP-encap: ").unwrap_or(body);
    let is_gre = || memmem::find(body, b": gre-proto-0x").is_some();
    body.starts_with(b"ESP(spi=") || body.starts_with(b"GREv") && is_gre()
}

/// Whether a frame is of a tunnel that tcpdump does not decode: `… ethertype Unknown (0x88e7), length 72:`.
pub(super) fn is_hidden_frame(text: &[u8]) -> bool {
    memmem::find(text, b", ethertype Unknown (").is_some_and(|at| {
        text.get(at + 21..at + 27).is_some_and(|number| TUNNEL_TYPES.contains(&number))
    })
}
