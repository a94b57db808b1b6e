//! Reads the parts that several forms of lines share: addresses, flags, the time that a call took.

use super::ipv6;
use super::recent::Family;
use super::window::{Place, Window};
use crate::parse::host::Address;

/// `, SOCK_CLOEXEC|SOCK_NONBLOCK`, or nothing. Flags do not matter.
#[inline(always)]
pub(super) fn flags(w: &mut Window<'_>) {
    if w.eat(b", SOCK_CLOEXEC").is_some() {
        w.eat(b"|SOCK_NONBLOCK");
    } else if w.eat(b", SOCK_NONBLOCK").is_none() {
        w.eat(b", 0");
    }
}

/// ` <0.000019>`, or nothing, in nanoseconds.
#[inline(always)]
pub(super) fn spent(w: &mut Window<'_>) -> Option<i64> {
    if w.eat(b" <").is_none() {
        return Some(0);
    }
    w.mark::<16>()?;
    let seconds = i64::from(w.number()?.0) * 1_000_000_000;
    w.eat(b".")?;
    let fraction = w.fraction()?;
    w.eat(b">")?;
    Some(seconds + fraction as i64)
}

/// An address, its port, and where both are.
type Parts = (Address, u16, [Place; 2]);

/// `{sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr("192.0.2.77`, or of AF_INET6 as much.
#[inline(always)]
pub(super) fn address(w: &mut Window<'_>) -> Option<(Family, Parts)> {
    Some(match w.bytes.get(w.at + 18)? {
        b'6' => (Family::V6, address6(w)?),
        _ => (Family::V4, address4(w)?),
    })
}

/// What follows [`address`], up to its length: `")}, [112 => 16]`.
#[inline(always)]
pub(super) fn address_end(w: &mut Window<'_>, family: Family) -> Option<()> {
    match family {
        Family::V4 => w.eat(b"\")}, [")?,
        Family::V6 => {
            w.eat(b"\", &sin6_addr), ")?;
            if w.eat(b"sin6_flowinfo=htonl(0), ").is_none() {
                w.eat(b"sin6_flowinfo=0, ");
            }
            w.eat(b"sin6_scope_id=")?;
            if w.eat(b"0}, [").is_none() {
                interface(w)?;
                w.eat(b"}, [")?;
            }
        }
    }
    w.mark::<16>()?;
    w.small()?;
    if w.eat(b" => ").is_some() || w.eat(b"->").is_some() {
        w.small()?;
    }
    w.eat(b"]")
}

/// `if_nametoindex("eth0")`, the interface of a link-local address.
#[inline(never)]
fn interface(w: &mut Window<'_>) -> Option<()> {
    w.eat(b"if_nametoindex(\"")?;
    let here = w.bytes.get(w.at..)?;
    w.at += here.iter().position(|b| !b.is_ascii_alphanumeric() && !b"_.-@".contains(b))?;
    w.eat(b"\")")
}

#[inline(always)]
fn address4(w: &mut Window<'_>) -> Option<Parts> {
    w.eat(b"{sa_family=AF_INET, sin_port=htons(")?;
    w.mark::<48>()?;
    let from = w.at;
    let port = u16::try_from(w.number()?.0).ok()?;
    let port_text = (from, w.at);
    w.eat(b"), sin_addr=inet_addr(\"")?;
    let from = w.at;
    let ip = w.ipv4()?;
    Some((Address::V4(ip), port, [(from, w.at), port_text]))
}

/// The forms of strace 5.0 and later, and of those before.
#[inline(always)]
fn address6(w: &mut Window<'_>) -> Option<Parts> {
    w.eat(b"{sa_family=AF_INET6, sin6_port=htons(")?;
    w.mark::<16>()?;
    let from = w.at;
    let port = u16::try_from(w.number()?.0).ok()?;
    let port_text = (from, w.at);
    if w.eat(b"), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"").is_none() {
        w.eat(b"), inet_pton(AF_INET6, \"")?;
    }
    let from = w.at;
    let ip = match mapped(w) {
        Some(ip) => Address::V4(ip),
        None => {
            let text = w.bytes.get(from - ipv6::BEFORE..)?.first_chunk()?;
            let (ip, length) = match ipv6::ipv6(text) {
                Some((ip, length)) if w.bytes.get(from + length) == Some(&b'"') => (ip, length),
                _ => ipv6::quoted(w.bytes.get(from..)?)?,
            };
            w.at = from + length;
            Address::of_v6(ip)
        }
    };
    Some((ip, port, [(from, w.at), port_text]))
}

/// `::ffff:192.0.2.77`: the IPv4 address that is mapped into this one.
#[inline(always)]
fn mapped(w: &mut Window<'_>) -> Option<u32> {
    const BEFORE: &[u8; 7] = b"::ffff:";
    let from = w.at;
    w.eat(BEFORE)?;
    w.mark::<16>()?;
    let address = w.at;
    // IPv6 addresses have no zeros before an octet.
    let ip = w.ipv4().filter(|ip| {
        let length = |octet: u8| 2 + usize::from(octet > 9) + usize::from(octet > 99);
        w.at - address + 1 == ip.to_be_bytes().map(length).iter().sum::<usize>()
    });
    if ip.is_none() || w.peek() != Some(b'"') {
        w.at = from;
        return None;
    }
    ip
}
