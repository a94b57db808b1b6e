//! The forms that nearly all lines of large logs are in, read without looking for the end of the
//! line first. What is not exactly so is left to [`line`](mod@super::line), which reads every form;
//! what is read here, it would read the same.

use super::accepted::{Accepted, LinePart, Range};
use super::call::{Call, Name, Returned, named};
use super::compact::Recent;
use super::ipv6::ipv6;
use super::prefix::{EPOCH, EPOCH_END, clock};
use super::syscalls::is_syscall;
use super::window::{LENGTH, Window};
use crate::parse::coalesce::Address;
use crate::parse::digits::few_of_eight;
use crate::parse::timestamp::Stamp;

const NANOS: [u64; 8] = [0, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100];

/// What a line is.
pub(super) enum Line {
    /// A whole call of accept that gave a connection.
    Accepted,
    /// The second half of one.
    Resumed,
    /// A call that matters.
    Call {
        /// The thread; 0 if the line has none.
        pid: u32,
        /// What the prefix says.
        stamp: Stamp,
        /// The nanoseconds that the whole call took, or 0.
        spent: i64,
        /// Which part of it the line holds.
        part: LinePart,
        /// The call.
        call: Call,
        /// The bytes of the line with its line feed.
        length: usize,
    },
    /// A call that does not matter.
    Other(Stamp),
}

/// Reads the line that begins the window. `recent` are annotations that it may have. An accepted
/// connection is written to `accepted`.
#[inline(always)]
pub(super) fn line(bytes: &[u8; LENGTH], recent: &Recent, accepted: &mut Accepted) -> Option<Line> {
    let mut w = Window::new(bytes, recent)?;
    let pid = pid(&mut w)?;
    let stamp = time(&mut w)?;
    if w.eat(b"accept4(").is_some() || w.eat(b"accept(").is_some() {
        return accept(w, pid, stamp, accepted);
    }
    if w.eat(b"close(").is_some() {
        return close(w, pid, stamp);
    }
    if w.eat(b"<... accept4 resumed>").is_some() || w.eat(b"<... accept resumed>").is_some() {
        w.eat(b" ");
        from_address(w, accepted)?;
        (accepted.pid, accepted.stamp, accepted.listener) = (pid, stamp, -1);
        accepted.annotations[0] = (0, 0);
        // The line bears the time of the return.
        accepted.spent = 0;
        return Some(Line::Resumed);
    }
    let name = w.bytes.get(w.at..)?;
    if !matches!(name.first()?, b'a'..=b'z' | b'_') {
        return None;
    }
    let n = name.iter().position(|b| !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))?;
    (name[n] == b'(' && named(&name[..n]).is_none() && is_syscall(&name[..n]))
        .then_some(Line::Other(stamp))
}

/// `1234  `, `[pid  1234] `, or nothing, which is 0.
#[inline(always)]
fn pid(w: &mut Window<'_>) -> Option<u32> {
    let bracket = w.peek()? == b'[';
    if bracket {
        w.eat(b"[pid ")?;
        w.spaces()?;
    } else if !(1..8).contains(&w.digits()) || w.bytes[2] == b':' {
        return Some(0);
    }
    let (pid, _) = w.number()?;
    if bracket {
        w.eat(b"]")?;
    }
    w.eat(b" ")?;
    w.spaces()?;
    Some(pid)
}

/// `10:53:30.174673 `, `1795344802.927766 `, `     0.004183 `, the first with the last in brackets,
/// or nothing.
#[inline(always)]
fn time(w: &mut Window<'_>) -> Option<Stamp> {
    let here = w.bytes.get(w.at..)?;
    let (seconds, is_clock) = match w.digits() {
        2 if here[2] == b':' => {
            let seconds = clock(here)?;
            w.at += 8;
            (seconds, true)
        }
        10 => {
            let hundreds = few_of_eight(*here.first_chunk()?, 8);
            let ones = u64::from(here[8] - b'0') * 10 + u64::from(here[9] - b'0');
            w.at += 10;
            let seconds = hundreds * 100 + ones;
            ((EPOCH..EPOCH_END).contains(&seconds).then_some(seconds)?, false)
        }
        0 if here.first()? != &b' ' => return Some(Stamp::None),
        0..8 => return relative(w).map(Stamp::Since),
        _ => return None,
    };
    let mut ns = seconds * 1_000_000_000;
    if w.peek()? == b'.' {
        w.at += 1;
        let (fraction, n) = w.number()?;
        ns += u64::from(fraction) * NANOS[n];
    }
    w.eat(b" ")?;
    if w.eat(b"(+").is_some() {
        relative(w)?;
    }
    Some(if is_clock { Stamp::Clock(ns as i64) } else { Stamp::Epoch(ns as i64) })
}

/// `     0.004183 `, or `     0.004183) `.
#[inline(always)]
fn relative(w: &mut Window<'_>) -> Option<i64> {
    w.spaces()?;
    w.mark_again::<16>()?;
    let mut ns = u64::from(w.number()?.0) * 1_000_000_000;
    if w.peek()? == b'.' {
        w.at += 1;
        let (fraction, n) = w.number()?;
        ns += u64::from(fraction) * NANOS[n];
    }
    w.eat(b")");
    w.eat(b" ")?;
    w.spaces()?;
    Some(ns as i64)
}

#[inline(always)]
fn accept(mut w: Window<'_>, pid: u32, stamp: Stamp, accepted: &mut Accepted) -> Option<Line> {
    w.mark_again::<8>()?;
    let fd = w.number()?.0 as i32;
    let annotation = w.listener()?;
    w.eat(b", ")?;
    if w.peek()? == b' ' {
        // The general path reads the annotation.
        if annotation != (0, 0) {
            return None;
        }
        w.eat(b" <unfinished ...>")?;
        w.end()?;
        let call = Call { fd, ..Call::new(Name::Accept) };
        return Some(Line::Call {
            pid,
            stamp,
            spent: 0,
            part: LinePart::Entry,
            call,
            length: w.at,
        });
    }
    from_address(w, accepted)?;
    (accepted.pid, accepted.stamp, accepted.listener) = (pid, stamp, fd);
    accepted.annotations[0] = annotation;
    Some(Line::Accepted)
}

#[inline(always)]
fn close(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<Line> {
    w.mark_again::<8>()?;
    let fd = w.number()?.0 as i32;
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= 0")?;
    w.end()?;
    let call = Call { fd, returned: Returned::Value(0), ..Call::new(Name::Close) };
    Some(Line::Call { pid, stamp, spent: 0, part: LinePart::Whole, call, length: w.at })
}

/// Reads an accept from its address on into `accepted`.
#[inline(always)]
fn from_address(mut w: Window<'_>, accepted: &mut Accepted) -> Option<()> {
    let (ip, port, peer) = match w.bytes.get(w.at + 18)? {
        b'6' => address6(&mut w)?,
        _ => address4(&mut w)?,
    };
    w.mark::<64>()?;
    w.small()?;
    if w.eat(b" => ").is_some() || w.eat(b"->").is_some() {
        w.small()?;
    }
    w.eat(b"]")?;
    if w.eat(b", SOCK_CLOEXEC").is_some() {
        w.eat(b"|SOCK_NONBLOCK");
    } else if w.eat(b", SOCK_NONBLOCK").is_some() || w.eat(b", 0").is_some() {
        // Flags do not matter.
    }
    w.eat(b") = ")?;
    let (fd, _) = w.number()?;
    let (annotation, known_local) = w.connection(peer)?;
    let mut spent = 0;
    if w.eat(b" <").is_some() {
        w.mark::<16>()?;
        spent = i64::from(w.number()?.0) * 1_000_000_000;
        w.eat(b".")?;
        let (fraction, n) = w.number()?;
        spent += i64::from(fraction) * NANOS[n] as i64;
        w.eat(b">")?;
    }
    w.end()?;
    accepted.annotations[1] = annotation;
    (accepted.ip, accepted.port, accepted.fd) = (ip, port, fd);
    (accepted.spent, accepted.length, accepted.known_local) = (spent, w.at, known_local);
    Some(())
}

#[inline(always)]
fn address4(w: &mut Window<'_>) -> Option<(Address, u16, [Range; 2])> {
    w.eat(b"{sa_family=AF_INET, sin_port=htons(")?;
    w.mark::<48>()?;
    let from = w.at;
    let port = u16::try_from(w.number()?.0).ok()?;
    let port_text = (from, w.at);
    w.eat(b"), sin_addr=inet_addr(\"")?;
    let from = w.at;
    let ip = w.ipv4()?;
    let ip_text = (from, w.at);
    w.eat(b"\")}, [")?;
    Some((Address::V4(ip), port, [ip_text, port_text]))
}

/// The form of strace 5.0 and later.
#[inline(always)]
fn address6(w: &mut Window<'_>) -> Option<(Address, u16, [Range; 2])> {
    w.eat(b"{sa_family=AF_INET6, sin6_port=htons(")?;
    w.mark::<16>()?;
    let from = w.at;
    let port = u16::try_from(w.number()?.0).ok()?;
    let port_text = (from, w.at);
    w.eat(b"), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"")?;
    // The longest address has 45 bytes.
    let text = w.bytes.get(w.at..w.at + 50)?;
    let (ip, length) = match ipv6(text) {
        Some((ip, length)) if text.get(length) == Some(&b'"') => (ip, length),
        _ => {
            let text = &text[..memchr::memchr(b'"', text)?];
            (std::str::from_utf8(text).ok()?.parse().ok()?, text.len())
        }
    };
    let ip_text = (w.at, w.at + length);
    w.at += length;
    w.eat(b"\", &sin6_addr), sin6_scope_id=0}, [")?;
    Some((Address::of_v6(ip), port, [ip_text, port_text]))
}
