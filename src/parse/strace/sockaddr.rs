//! Socket addresses as strace prints them, between braces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::connection::canonical;
use crate::parse::cursor::{Cursor, unescape};

/// Address and port of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// IPv4 addresses mapped into IPv6 are IPv4 here.
    pub ip: IpAddr,
    /// In host order.
    pub port: u16,
}

/// What an address argument shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shown {
    /// It is not in this part of the line.
    #[default]
    Absent,
    /// NULL, or a pointer.
    Hidden,
    /// An internet address, but not which.
    Unread,
    /// An internet address.
    Inet(End),
    /// Not an internet address.
    Foreign,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
    /// Another family that is known.
    Other,
    /// What stands there is no family.
    Unknown,
}

/// Reads from the opening brace to behind the closing one. `None`: this is not an address, or it
/// is cut off.
#[inline]
pub(crate) fn sockaddr(c: &mut Cursor<'_>) -> Option<Shown> {
    if let Some(end) = plain_inet(c) {
        return Some(Shown::Inet(end));
    }
    any(c)
}

/// The form that nearly all are in.
#[inline]
fn plain_inet(c: &mut Cursor<'_>) -> Option<End> {
    let mut probe = *c;
    if !probe.eat_all(b"{sa_family=AF_INET, sin_port=htons(") {
        return None;
    }
    let port = u16::try_from(probe.number()?).ok()?;
    if !probe.eat_all(b"), sin_addr=inet_addr(\"") {
        return None;
    }
    let mut octets = [0; 4];
    for (n, octet) in octets.iter_mut().enumerate() {
        if n > 0 && !probe.eat(b".") {
            return None;
        }
        *octet = u8::try_from(probe.number()?).ok()?;
    }
    if !probe.eat_all(b"\")}") {
        return None;
    }
    *c = probe;
    Some(End { ip: IpAddr::V4(octets.into()), port })
}

fn any(c: &mut Cursor<'_>) -> Option<Shown> {
    let mut probe = *c;
    if probe.eat(b"{ ") {
        let shown = of_truss(&mut probe)?;
        *c = probe;
        return Some(shown);
    }
    probe.eat(b"{");
    if probe.eat(b"...}") {
        *c = probe;
        return Some(Shown::Hidden);
    }
    // `sin_family=` and `sun_family=` up to 4.4.
    let word = probe.0.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if !probe.0[..word].ends_with(b"_family") || probe.0.get(word) != Some(&b'=') {
        return None;
    }
    probe.skip(word + 1);
    let family = family(&mut probe);
    let mut port = None;
    let mut ip = None;
    // Whether a field is of another family.
    let mut other = false;
    loop {
        if probe.eat(b"}") {
            // 4.2 to 4.4 close it twice.
            probe.eat(b"}");
            break;
        }
        if probe.eat(b",") {
            probe.spaces();
        }
        let before = probe.0.len();
        other |= family != Family::Other && !is_field_of_inet(probe.0);
        field(&mut probe, family, &mut port, &mut ip)?;
        if probe.0.len() == before {
            return None;
        }
    }
    *c = probe;
    Some(match (family, ip, port) {
        (Family::Other, None, None) => Shown::Foreign,
        // Only internet addresses have an IP address or a port.
        (Family::Other, ..) => return None,
        (_, Some(ip), port) => Shown::Inet(End { ip: canonical(ip), port: port.unwrap_or(0) }),
        (Family::Unknown, None, _) => return None,
        _ if other => return None,
        _ => Shown::Unread,
    })
}

/// Whether a field is one of an internet address, or tells nothing.
fn is_field_of_inet(field: &[u8]) -> bool {
    [&b"sin"[..], b"inet_", b"sa_data=", b"."].iter().any(|name| field.starts_with(name))
}

/// ` AF_INET 198.51.100.7:40755 }`, as FreeBSD's truss shows an address.
fn of_truss(c: &mut Cursor<'_>) -> Option<Shown> {
    if !c.0.starts_with(b"AF_") {
        return None;
    }
    let family = family(c);
    c.spaces();
    let text = &c.0[..memchr::memchr(b'}', c.0)?];
    c.skip(text.len() + 1);
    match family {
        Family::V4 | Family::V6 => {
            let text = text.trim_ascii();
            let (ip, port) = text.split_at(memchr::memrchr(b':', text)?);
            let ip = ip.strip_prefix(b"[").and_then(|ip| ip.strip_suffix(b"]")).unwrap_or(ip);
            let mut digits = Cursor(&port[1..]);
            let port = u16::try_from(digits.number()?).ok()?;
            Some(
                self::text(ip)
                    .map_or(Shown::Unread, |ip| Shown::Inet(End { ip: canonical(ip), port })),
            )
        }
        Family::Other => {
            let text = text.trim_ascii();
            (text.is_empty() || text.starts_with(b"\"")).then_some(Shown::Foreign)
        }
        Family::Unknown => None,
    }
}

/// `AF_INET`, `0x2`, `0x2 /* AF_INET */`.
pub(crate) fn family(c: &mut Cursor<'_>) -> Family {
    let n = c.0.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let name = &c.0[..n];
    c.skip(n);
    c.comment();
    match name {
        b"AF_INET" | b"PF_INET" | b"0x2" | b"2" => Family::V4,
        b"AF_INET6" | b"PF_INET6" | b"0xa" | b"10" => Family::V6,
        _ if is_other_family(name) => Family::Other,
        _ => Family::Unknown,
    }
}

/// Address families have smaller numbers (AF_MAX in socket.h has grown to 46).
const MAX_FAMILIES: u64 = 128;

/// Whether this is the number or the name of a family that is not the internet's: address_families(7).
fn is_other_family(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"UNSPEC",
        b"UNIX",
        b"LOCAL",
        b"FILE",
        b"AX25",
        b"IPX",
        b"APPLETALK",
        b"NETROM",
        b"BRIDGE",
        b"ATMPVC",
        b"X25",
        b"ROSE",
        b"DECnet",
        b"NETBEUI",
        b"SECURITY",
        b"KEY",
        b"NETLINK",
        b"ROUTE",
        b"PACKET",
        b"ASH",
        b"ECONET",
        b"ATMSVC",
        b"RDS",
        b"SNA",
        b"IRDA",
        b"PPPOX",
        b"WANPIPE",
        b"LLC",
        b"IB",
        b"MPLS",
        b"CAN",
        b"TIPC",
        b"BLUETOOTH",
        b"IUCV",
        b"RXRPC",
        b"ISDN",
        b"PHONET",
        b"IEEE802154",
        b"CAIF",
        b"ALG",
        b"NFC",
        b"VSOCK",
        b"KCM",
        b"QIPCRTR",
        b"SMC",
        b"XDP",
        b"MCTP",
    ];
    if let Some(name) = name.strip_prefix(b"AF_").or_else(|| name.strip_prefix(b"PF_")) {
        return NAMES.contains(&name);
    }
    let mut digits = Cursor(name);
    digits.integer().is_some_and(|number| number < MAX_FAMILIES) && digits.0.is_empty()
}

/// Reads one field, up to the comma or brace behind it.
fn field(
    c: &mut Cursor<'_>,
    family: Family,
    port: &mut Option<u16>,
    ip: &mut Option<IpAddr>,
) -> Option<()> {
    if c.eat(b"sin_port=") || c.eat(b"sin6_port=") {
        if c.eat(b"htons(") {
            *port = u16::try_from(c.number()?).ok();
        } else if let Some([high, low]) = c.quoted().map(unescape).as_deref() {
            *port = Some(u16::from_be_bytes([*high, *low]));
        }
    } else if c.eat(b"sin_addr=inet_addr(") || c.eat(b"inet_pton(AF_INET6, ") {
        *ip = text(&unescape(c.quoted()?));
    } else if c.eat(b"sin_addr=") || c.eat(b"sin6_addr=") {
        if !c.0.starts_with(b"...") {
            let size = if family == Family::V4 { 4 } else { 16 };
            *ip =
                Some(unescape(c.quoted()?)).filter(|ip| ip.len() == size).and_then(|ip| bytes(&ip));
        }
    } else if c.eat(b"sa_data=") {
        // The buffer was too short for strace to decode: port, then address.
        let data = unescape(c.quoted()?);
        if let (Family::V4, [p1, p2, a, b, c, d, ..]) = (family, &*data) {
            *port = Some(u16::from_be_bytes([*p1, *p2]));
            *ip = Some(Ipv4Addr::new(*a, *b, *c, *d).into());
        } else if let (Family::V6, [p1, p2, _, _, _, _, address @ ..]) = (family, &*data) {
            *port = Some(u16::from_be_bytes([*p1, *p2]));
            *ip = address.get(..16).and_then(bytes);
        }
    }
    rest_of_field(c)
}

/// Steps to the comma or brace that ends the field.
fn rest_of_field(c: &mut Cursor<'_>) -> Option<()> {
    let mut depth = 0;
    loop {
        match *c.0.first()? {
            b'"' => {
                c.quoted()?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b',' | b'}' if depth == 0 => return Some(()),
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            _ => {}
        }
        c.skip(1);
    }
}

/// An address as text.
pub(crate) fn text(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An address as 4 or 16 bytes in network order.
fn bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(ip: &str, port: u16) -> Shown {
        Shown::Inet(End { ip: ip.parse().unwrap(), port })
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn addresses_are_read_in_every_form() {
        let cases: &[(&str, Shown)] = &[
            (
                r#"{sa_family=AF_INET, sin_port=htons(44303), sin_addr=inet_addr("127.0.0.3")}"#,
                inet("127.0.0.3", 44303),
            ),
            (
                r#"{sa_family=AF_INET, sin_port=htons(41847), sin_addr=inet_addr("\x31\x32\x37\x2e\x30\x2e\x30\x2e\x39")}"#,
                inet("127.0.0.9", 41847),
            ),
            (
                r#"{sa_family=0x2, sin_port="\x98\x17", sin_addr="\x7f\x00\x00\x22"}"#,
                inet("127.0.0.34", 0x9817),
            ),
            (
                r#"{sa_family=0x2, sin_port=htons(42515), sin_addr=inet_addr("127.0.0.2")}"#,
                inet("127.0.0.2", 42515),
            ),
            (
                r#"{sa_family=0x2 /* AF_INET */, sin_port=htons(50475), sin_addr=inet_addr("127.0.0.2")}"#,
                inet("127.0.0.2", 50475),
            ),
            (
                r#"{sa_family=0x2 /* AF_INET */, sin_port="\x86\x9b" /* htons(34459) */, sin_addr="\x7f\x00\x00\x02" /* inet_addr("127.0.0.2") */}"#,
                inet("127.0.0.2", 34459),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}"#,
                inet("::1", 41565),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(42937), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_flowinfo=htonl(0), sin6_scope_id=0}"#,
                inet("::1", 42937),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(41575), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_flowinfo=0, sin6_scope_id=0}"#,
                inet("::1", 41575),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(7), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "\x3a\x3a\x31", &sin6_addr), sin6_scope_id=0}"#,
                inet("::1", 7),
            ),
            (
                r#"{sa_family=0xa, sin6_port="\xa4\xc9", sin6_flowinfo="\x00\x00\x00\x00", sin6_addr="\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x5a", sin6_scope_id=0}"#,
                inet("127.0.0.90", 0xa4c9),
            ),
            (
                r#"{sa_family=0xa /* AF_INET6 */, sin6_port="\xa4\xc9" /* htons(42185) */, sin6_flowinfo="\x00\x00\x00\x00" /* htonl(0) */, sin6_addr="\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" /* inet_pton(AF_INET6, "::1") */, sin6_scope_id=0}"#,
                inet("::1", 42185),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:127.0.0.30", &sin6_addr), sin6_scope_id=0}"#,
                inet("127.0.0.30", 9),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "fe80::1", &sin6_addr), sin6_scope_id=if_nametoindex("eth0")}"#,
                inet("fe80::1", 9),
            ),
            (
                r#"{sa_family=AF_INET, sa_data="\213a\177\0\0\2"}"#,
                inet("127.0.0.2", 0o213 * 256 + 97),
            ),
            (r#"{sa_family=AF_INET, sa_data="\213a\177"}"#, Shown::Unread),
            // As a program shows it that escapes backslashes.
            (
                r#"{sa_family=AF_INET, sin_port=htons(7), sin_addr="\\x7f\\x00\\x00\\x02"}"#,
                Shown::Unread,
            ),
            (r#"{sa_family=AF_INET6, sa_data="\213a\0\0\0\0\0\0"}"#, Shown::Unread),
            (r"{sa_family=AF_INET}", Shown::Unread),
            (r"{sa_family=AF_UNIX}", Shown::Foreign),
            (r"{sa_family=AF_UNIX, NULL}", Shown::Foreign),
            (
                r#"{sa_family=AF_UNIX, sun_path=@"x\"}, [16]) = 5 {sa_family=AF_INET"}"#,
                Shown::Foreign,
            ),
            (r#"{sa_family=AF_FILE, path="/tmp/x"}"#, Shown::Foreign),
            (r#"{sa_family=AF_UNSPEC, sa_data="\0\0\0\0\0\0\0\0\0\0\0\0\0\0"}"#, Shown::Foreign),
            (r"{sa_family=AF_VSOCK, svm_cid=0x3, svm_port=0x400}", Shown::Foreign),
            (
                r"{sa_family=AF_TIPC, tipc={addrtype=TIPC_ADDR_NAME, addr={name={type=1}}}}",
                Shown::Foreign,
            ),
            (r#"{sa_family=0x2d /* AF_??? */, sa_data="\0\0"}"#, Shown::Foreign),
        ];
        for (form, want) in cases {
            let line = format!("{form}, [16]) = 4");
            let mut c = Cursor(line.as_bytes());
            assert_eq!(sockaddr(&mut c), Some(*want), "{form}");
            assert_eq!(c.0, b", [16]) = 4", "{form}");
        }
    }

    #[test]
    fn an_address_of_two_families_is_none() {
        for form in [
            r#"{sa_family=AF_INET,sa_family=AF_UNIX, sun_path="/run/x"}"#,
            r#"{sa_family=AF_INET6, sun_path="/run/x"}"#,
            r"{sa_family=AF_INET, {sa_family=AF_UNIX}}",
        ] {
            assert_eq!(sockaddr(&mut Cursor(form.as_bytes())), None, "{form}");
        }
    }

    #[test]
    fn a_cut_address_is_none() {
        let whole =
            br#"{sa_family=AF_INET, sin_port=htons(44303), sin_addr=inet_addr("127.0.0.3")}"#;
        for n in 0..whole.len() {
            assert_eq!(sockaddr(&mut Cursor(&whole[..n])), None, "{n}");
        }
    }
}
