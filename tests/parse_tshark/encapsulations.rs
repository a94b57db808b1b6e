//! Frames of every encapsulation that is decoded, around an IP packet.

/// A link type, and what makes a frame of it.
pub struct Encapsulation {
    pub name: &'static str,
    pub link: u32,
    pub frame: fn(&[u8]) -> Vec<u8>,
}

/// The ethertype of an IP packet.
fn ethertype(ip: &[u8]) -> [u8; 2] {
    if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] }
}

fn with(front: &[u8], rest: &[u8]) -> Vec<u8> {
    [front, rest].concat()
}

fn ethernet(ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&addresses[..], &ethertype, payload].concat()
}

fn ethernet_ip(ip: &[u8]) -> Vec<u8> {
    ethernet(ethertype(ip), ip)
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    header.extend([203, 0, 113, 1, 203, 0, 113, 2]);
    with(&header, payload)
}

fn over_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet([8, 0], &ipv4(protocol, payload))
}

fn over_ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    header.extend("2001:db8:f::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    header.extend("2001:db8:f::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    ethernet([0x86, 0xdd], &with(&header, payload))
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let (port, length) = (port.to_be_bytes(), (8 + payload.len() as u16).to_be_bytes());
    let header = [0xd0, 1, port[0], port[1], length[0], length[1], 0, 0];
    over_ipv4(17, &with(&header, payload))
}

fn gre(front: &[u8], payload: &[u8]) -> Vec<u8> {
    over_ipv4(47, &with(front, payload))
}

fn gre_ip(flags: u8, optional: &[u8], ip: &[u8]) -> Vec<u8> {
    let kind = ethertype(ip);
    gre(&[&[flags, 0, kind[0], kind[1]], optional].concat(), ip)
}

fn snap(ip: &[u8]) -> Vec<u8> {
    let kind = ethertype(ip);
    with(&[0xaa, 0xaa, 3, 0, 0, 0, kind[0], kind[1]], ip)
}

fn ppp(ip: &[u8]) -> Vec<u8> {
    with(&[0, if ip[0] >> 4 == 4 { 0x21 } else { 0x57 }], ip)
}

fn wifi(ip: &[u8]) -> Vec<u8> {
    let mut header = vec![8, 1, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0, 0];
    header.extend(snap(ip));
    header
}

fn wifi_with_quality(ip: &[u8]) -> Vec<u8> {
    let mut frame = wifi(ip);
    frame[0] = 0x88;
    frame.splice(24..24, [0, 0]);
    frame
}

/// One label, the last.
const LABEL: [u8; 4] = [0, 1, 1, 64];

macro_rules! encapsulations {
    ($($name:literal, $link:literal: $frame:expr;)*) => {
        &[$(Encapsulation { name: $name, link: $link, frame: $frame }),*]
    };
}

/// What tshark decodes too.
pub const ALL: &[Encapsulation] = encapsulations![
    "GRE", 1: |ip| gre_ip(0, &[], ip);
    "GRE with checksum, key and number", 1: |ip| gre_ip(0xb0, &[0; 12], ip);
    "GRE over IPv6", 1: |ip| over_ipv6(47, &with(&[&[0, 0], &ethertype(ip)[..]].concat(), ip));
    "GRE with Ethernet (NVGRE)", 1: |ip| {
        gre(&[0x20, 0, 0x65, 0x58, 0, 0, 1, 0], &ethernet_ip(ip))
    };
    "GRE with MPLS", 1: |ip| gre(&with(&[0, 0, 0x88, 0x47], &LABEL), ip);
    "PPTP", 1: |ip| gre(&[0x30, 1, 0x88, 0x0b, 0, 42, 0, 7, 0, 0, 0, 1], &ppp(ip));
    "PPTP with acknowledgement", 1: |ip| {
        gre(&[0x30, 0x81, 0x88, 0x0b, 0, 42, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1], &ppp(ip))
    };
    "ERSPAN I", 1: |ip| gre(&[0, 0, 0x88, 0xbe], &ethernet_ip(ip));
    "ERSPAN II", 1: |ip| {
        gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 10, 0, 1, 0, 0, 0, 1], &ethernet_ip(ip))
    };
    "ERSPAN III", 1: |ip| {
        let header = [0x20, 10, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
        gre(&with(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1], &header), &ethernet_ip(ip))
    };
    "ERSPAN III of a platform", 1: |ip| {
        let header = [0x20, 10, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x0c, 0, 0, 1, 0, 0, 0, 1];
        gre(&with(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1], &header), &ethernet_ip(ip))
    };
    "IPIP", 1: |ip| over_ipv4(if ip[0] >> 4 == 4 { 4 } else { 41 }, ip);
    "in IPv6", 1: |ip| over_ipv6(if ip[0] >> 4 == 4 { 4 } else { 41 }, ip);
    "behind an authentication header", 1: |ip| {
        let next = if ip[0] >> 4 == 4 { 4 } else { 41 };
        over_ipv4(51, &with(&[next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ip))
    };
    "EtherIP", 1: |ip| over_ipv4(97, &with(&[0x30, 0], &ethernet_ip(ip)));
    "MPLS in IP", 1: |ip| over_ipv4(137, &with(&LABEL, ip));
    "VXLAN", 1: |ip| udp(4789, &with(&[8, 0, 0, 0, 0, 0, 5, 0], &ethernet_ip(ip)));
    "VXLAN with a policy", 1: |ip| udp(4789, &with(&[0x88, 0, 0, 7, 0, 0, 5, 0], &ethernet_ip(ip)));
    "VXLAN with a VLAN", 1: |ip| {
        let tagged = with(&[&[0, 10][..], &ethertype(ip)].concat(), ip);
        udp(8472, &with(&[8, 0, 0, 0, 0, 0, 5, 0], &ethernet([0x81, 0], &tagged)))
    };
    "VXLAN-GPE with IP", 1: |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        udp(4790, &with(&[0x0c, 0, 0, next, 0, 0, 5, 0], ip))
    };
    "VXLAN-GPE with Ethernet", 1: |ip| {
        udp(4790, &with(&[0x0c, 0, 0, 3, 0, 0, 5, 0], &ethernet_ip(ip)))
    };
    "VXLAN-GPE with a service header", 1: |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        let service = [0x0f, 0xc2, 2, next, 0, 0, 1, 255];
        udp(4790, &[&[0x0c, 0, 0, 4, 0, 0, 5, 0][..], &service, ip].concat())
    };
    "GENEVE", 1: |ip| udp(6081, &with(&[0, 0, 0x65, 0x58, 0, 0, 5, 0], &ethernet_ip(ip)));
    "GENEVE with options", 1: |ip| {
        let kind = ethertype(ip);
        udp(6081, &with(&[2, 0, kind[0], kind[1], 0, 0, 5, 0, 1, 2, 1, 1, 0, 0, 0, 9], ip))
    };
    "GTP-U", 1: |ip| {
        let length = (ip.len() as u16).to_be_bytes();
        udp(2152, &with(&[0x30, 0xff, length[0], length[1], 0, 0, 0, 1], ip))
    };
    "GTP-U with extensions", 1: |ip| {
        let length = (ip.len() as u16 + 8).to_be_bytes();
        let header = [0x34, 0xff, length[0], length[1], 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0];
        udp(2152, &with(&header, ip))
    };
    "CAPWAP", 1: |ip| udp(5247, &with(&[0, 0x10, 0x42, 0, 0, 0, 0, 0], &ethernet_ip(ip)));
    "CAPWAP with 802.11", 1: |ip| udp(5247, &with(&[0, 0x10, 0x43, 0, 0, 0, 0, 0], &wifi(ip)));
    "Teredo", 1: |ip| {
        let inner = if ip[0] >> 4 == 6 { ip.to_vec() } else { over_ipv6(4, ip)[14..].to_vec() };
        udp(3544, &with(&[0, 0, 0x2f, 0xff, 1, 2, 3, 4], &inner))
    };
    "L2TP", 1: |ip| {
        let length = (10 + ip.len() as u16).to_be_bytes();
        udp(1701, &with(&[0x40, 2, length[0], length[1], 0, 7, 0, 9], &ppp(ip)))
    };
    "MPLS in UDP", 1: |ip| udp(6635, &with(&LABEL, ip));
    "LISP", 1: |ip| udp(4341, &with(&[0x80, 0, 0, 1, 0, 0, 0, 1], ip));
    "TZSP", 1: |ip| udp(37008, &with(&[1, 0, 0, 1, 10, 1, 7, 1], &ethernet_ip(ip)));
    "MPLS", 1: |ip| ethernet([0x88, 0x47], &with(&LABEL, ip));
    "MPLS with three labels", 1: |ip| {
        ethernet([0x88, 0x47], &[&[0, 2, 0, 64, 0, 3, 0, 64][..], &LABEL, ip].concat())
    };
    "MPLS pseudowire with a control word", 1: |ip| {
        ethernet([0x88, 0x47], &[&[0, 1, 0x11, 64, 0, 0, 0, 0][..], &ethernet_ip(ip)].concat())
    };
    "MPLS pseudowire", 1: |ip| ethernet([0x88, 0x47], &with(&[0, 1, 0x21, 64], &ethernet_ip(ip)));
    "LLC/SNAP", 1: |ip| {
        let inner = snap(ip);
        ethernet((inner.len() as u16).to_be_bytes(), &inner)
    };
    "802.1ah", 1: |ip| ethernet([0x88, 0xe7], &with(&[0, 0, 0, 9], &ethernet_ip(ip)));
    "802.1ah behind a VLAN", 1: |ip| {
        let tagged = [&[0, 10, 0x88, 0xe7, 0, 0, 0, 9][..], &ethernet_ip(ip)].concat();
        ethernet([0x88, 0xa8], &tagged)
    };
    "802.1BR", 1: |ip| {
        let kind = ethertype(ip);
        ethernet([0x89, 0x3f], &with(&[0, 0, 0, 1, 0, 0, kind[0], kind[1]], ip))
    };
    "VN-Tag", 1: |ip| {
        let kind = ethertype(ip);
        ethernet([0x89, 0x26], &with(&[0, 1, 0, 2, kind[0], kind[1]], ip))
    };
    "a service header", 1: |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        ethernet([0x89, 0x4f], &with(&[0x0f, 0xc2, 2, next, 0, 0, 1, 255], ip))
    };
    "TRILL", 1: |ip| ethernet([0x22, 0xf3], &with(&[0, 1, 0, 2, 0, 1], &ethernet_ip(ip)));
    "PPPoE", 1: |ip| {
        let length = (ip.len() as u16 + 2).to_be_bytes();
        ethernet([0x88, 0x64], &with(&[0x11, 0, 0, 1, length[0], length[1]], &ppp(ip)))
    };
    "PPPoE with a protocol of one byte", 1: |ip| {
        let length = (ip.len() as u16 + 1).to_be_bytes();
        let front = [0x11, 0, 0, 1, length[0], length[1]];
        ethernet([0x88, 0x64], &with(&front, &ppp(ip)[1..]))
    };
    "two tunnels", 1: |ip| {
        let inner = gre_ip(0, &[], ip);
        udp(4789, &with(&[8, 0, 0, 0, 0, 0, 5, 0], &inner))
    };
    "PPP", 9: |ip| with(&[0xff, 3], &ppp(ip));
    "PPP in HDLC", 50: |ip| with(&[0xff, 3], &ppp(ip));
    "Cisco HDLC", 104: |ip| with(&[&[0x0f, 0][..], &ethertype(ip)].concat(), ip);
    "frame relay", 107: |ip| with(&[0x18, 0x41, 3, if ip[0] >> 4 == 4 { 0xcc } else { 0x8e }], ip);
    "PPP with direction", 204: |ip| [&[0, 0xff, 3][..], &ppp(ip)].concat();
    "FDDI", 10: |ip| with(&[0x50, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &snap(ip));
    "token ring", 6: |ip| with(&[0x10, 0x40, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &snap(ip));
    "ARCNET", 129: |ip| with(&[1, 2, 0, 0, if ip[0] >> 4 == 4 { 0xd4 } else { 0xc4 }, 0, 0, 1], ip);
    "ATM, RFC 1483", 100: snap;
    "SUNATM", 123: |ip| with(&[2, 0, 0, 5], &snap(ip));
    "IP over fibre channel", 122: |ip| {
        with(&[2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 2], &snap(ip))
    };
    "IP over FireWire", 138: |ip| with(&with(&[2; 16], &ethertype(ip)), ip);
    "IP over InfiniBand", 242: |ip| {
        let mut front = vec![0x60, 0, 0, 0, 0, 0, 0x1b, 64];
        front.resize(40, 0);
        front.extend(ethertype(ip));
        front.extend([0, 0]);
        with(&front, ip)
    };
    "802.11", 105: wifi;
    "802.11 with quality of service", 105: wifi_with_quality;
    "radiotap", 127: |ip| with(&[0, 0, 9, 0, 2, 0, 0, 0, 0], &wifi(ip));
    "radiotap with more fields", 127: |ip| {
        let mut header = vec![0, 0, 32, 0, 0x2f, 0x40, 0, 0xa0, 0x20, 8, 0, 0];
        header.resize(32, 0);
        with(&header, &wifi_with_quality(ip))
    };
    "PPI", 192: |ip| with(&[0, 0, 8, 0, 105, 0, 0, 0], &wifi(ip));
    "NFLOG", 239: |ip| {
        let family = if ip[0] >> 4 == 4 { 2 } else { 10 };
        let kind = ethertype(ip);
        let length = (ip.len() as u16 + 4).to_le_bytes();
        let mut frame = vec![family, 0, 0, 5, 8, 0, 1, 0, kind[0], kind[1], 1, 0];
        frame.extend([6, 0, 10, 0, b'x', 0, 0, 0, 8, 0, 4, 0, 0, 0, 0, 2]);
        frame.extend([length[0], length[1], 9, 0]);
        with(&frame, ip)
    };
    "PKTAP", 258: |ip| {
        let mut header = vec![108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'e', b'n', b'0'];
        header.resize(108, 0);
        (header[36], header[40], header[44]) = (1, 2, 14);
        with(&header, &ethernet_ip(ip))
    };
    "802.3 over LINUX_SLL", 113: |ip| {
        with(&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0, 0, 4], &snap(ip))
    };
    "pf's enc", 109: |ip| {
        let family = if ip[0] >> 4 == 4 { 2 } else { 24 };
        with(&[family, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], ip)
    };
    "Endace", 197: |ip| {
        let inner = ethernet_ip(ip);
        let length = (18 + inner.len() as u16).to_be_bytes();
        let size = (inner.len() as u16).to_be_bytes();
        let mut record = vec![0; 8];
        record.extend([2, 4, length[0], length[1], 0, 0, size[0], size[1], 0, 0]);
        with(&record, &inner)
    };
];
