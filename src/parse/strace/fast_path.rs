//! The forms that nearly all lines of large logs are in, read without looking for the end of the
//! line first. What is not exactly so is left to [`line`](mod@super::line), which reads every form;
//! what is read here, it would read the same.

use super::accepted::{Accepted, LinePart, Range};
use super::call::{Call, Name, Returned, named};
use super::compact::Recent;
use super::ipv6::ipv6;
use super::prefix::{EPOCH, EPOCH_END, clock};
use super::syscalls::is_syscall;
use crate::parse::coalesce::Address;
use crate::parse::digits::few_of_eight;
use crate::parse::timestamp::Stamp;
use crate::sys;

/// Only lines with so many bytes behind their beginning are looked at.
pub(super) const WINDOW: usize = 512;

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

/// A place in the window.
struct Window<'a> {
    bytes: &'a [u8; WINDOW],
    at: usize,
    /// Which of the bytes from `marked` on are no digits.
    others: u64,
    marked: usize,
    recent: &'a Recent,
}

impl<'a> Window<'a> {
    #[inline(always)]
    fn new(bytes: &'a [u8; WINDOW], recent: &'a Recent) -> Option<Window<'a>> {
        let mut w = Window { bytes, at: 0, others: 0, marked: 0, recent };
        w.mark::<32>()?;
        Some(w)
    }

    /// Looks for the digits of the next `N` bytes (at most 64) at once: where one number ends, and so
    /// where the next begins, is then known without waiting for memory. A number that goes on behind
    /// them seems to end there.
    #[inline(always)]
    fn mark<const N: usize>(&mut self) -> Option<()> {
        self.others = !sys::digits::digits::<N>(self.bytes.get(self.at..)?.first_chunk()?);
        self.marked = self.at;
        Some(())
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn eat<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let here = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        if !same(here, text) {
            return None;
        }
        self.at += N;
        Some(())
    }

    /// How many digits are here.
    #[inline(always)]
    fn digits(&self) -> u32 {
        self.others.checked_shr((self.at - self.marked) as u32).unwrap_or(0).trailing_zeros()
    }

    /// A number of one to seven digits, and how many they are.
    #[inline(always)]
    fn number(&mut self) -> Option<(u32, usize)> {
        let n = self.digits() as usize;
        if !(1..8).contains(&n) {
            return None;
        }
        let eight = self.bytes.get(self.at..)?.first_chunk::<8>()?;
        self.at += n;
        Some((few_of_eight(*eight, n) as u32, n))
    }

    /// A number of one to three digits.
    #[inline(always)]
    fn small(&mut self) -> Option<u32> {
        let n = self.digits();
        if !(1..4).contains(&n) {
            return None;
        }
        let four = u32::from_le_bytes(*self.bytes.get(self.at..)?.first_chunk()?) ^ 0x3030_3030;
        self.at += n as usize;
        // Zeros in front.
        let three = four << (32 - 8 * n);
        Some((three >> 8 & 0xff) * 100 + (three >> 16 & 0xff) * 10 + (three >> 24))
    }

    /// Four numbers below 256 with points between them, in at most 15 of the bytes that were marked.
    #[inline(always)]
    fn ipv4(&mut self) -> Option<u32> {
        // A byte before each octet, since four bytes are read for its three.
        let text = self.bytes.get(self.at.checked_sub(1)?..)?.first_chunk::<20>()?;
        let mut others = self.others >> ((self.at - self.marked) & 63);
        let mut ip = 0;
        let mut start = 0;
        let mut too_large = 0;
        for n in 0..4 {
            let end = others.trailing_zeros();
            others &= others.wrapping_sub(1);
            let digits = end.wrapping_sub(start);
            if !(1..4).contains(&digits) || end > 15 {
                return None;
            }
            let place = start as usize + 1;
            let four = u32::from_le_bytes(*text.get(place..)?.first_chunk()?) ^ 0x3030_3030;
            // Zeros in front.
            let three = four << (32 - 8 * digits);
            let octet = (three >> 8 & 0xff) * 100 + (three >> 16 & 0xff) * 10 + (three >> 24);
            too_large |= octet;
            ip = ip << 8 | octet;
            if n < 3 && text.get(end as usize + 1) != Some(&b'.') {
                return None;
            }
            start = end + 1;
        }
        self.at += start as usize - 1;
        (too_large < 256).then_some(ip)
    }

    /// The end of the line.
    #[inline(always)]
    fn end(&mut self) -> Option<()> {
        self.eat(b"\n").or_else(|| self.eat(b"\r\n"))
    }

    /// `<TCP:[0.0.0.0:80]>`, or nothing.
    #[inline(always)]
    fn listener(&mut self) -> Option<Range> {
        if self.peek()? != b'<' {
            return Some((0, 0));
        }
        let from = self.at;
        if let Some(n) = self.recent.listener.begins(self.bytes.get(from..)?) {
            self.at += n;
            return Some((from, self.at));
        }
        self.annotation()
    }

    /// `<TCP:[192.0.2.1:80->192.0.2.77:40001]>`, or nothing. `peer` is where address and port are
    /// before it in the line.
    #[inline(always)]
    fn connection(&mut self, peer: [Range; 2]) -> Option<(Range, Option<usize>)> {
        if self.peek()? != b'<' {
            return Some(((0, 0), None));
        }
        let from = self.at;
        let here = self.bytes.get(from..)?;
        for (n, local) in self.recent.locals.iter().enumerate() {
            let Some(length) = local.begins(here) else { continue };
            self.at += length;
            if self.peer(peer).is_some() {
                return Some(((from, self.at), Some(n)));
            }
            self.at = from;
            break;
        }
        Some((self.annotation()?, None))
    }

    /// `192.0.2.77:40001]>`.
    #[inline(always)]
    fn peer(&mut self, [ip, port]: [Range; 2]) -> Option<()> {
        let bracket = self.eat(b"[").is_some();
        self.again(ip)?;
        if bracket {
            self.eat(b"]")?;
        }
        self.eat(b":")?;
        self.again(port)?;
        self.eat(b"]>")
    }

    /// The same text as there.
    #[inline(always)]
    fn again(&mut self, (from, to): Range) -> Option<()> {
        // Neither an address nor a port is longer.
        let here = self.bytes.get(self.at..)?.first_chunk::<48>()?;
        let there = self.bytes.get(from..)?.first_chunk::<48>()?;
        if sys::digits::shared(here, there) < to - from {
            return None;
        }
        self.at += to - from;
        Some(())
    }

    #[inline(always)]
    fn annotation(&mut self) -> Option<Range> {
        let from = self.at;
        if self.eat(b"<TCP:[").is_none() {
            self.eat(b"<TCPv6:[")?;
        }
        // The end of the line, quotes and escapes are left to the general path.
        let is_end = |b: &u8| b.is_ascii_hexdigit() || b":.[]".contains(b);
        let here = self.bytes.get(self.at..)?;
        let mut n = here.iter().take_while(|b| is_end(b)).count();
        if here.get(n..)?.starts_with(b"->") {
            n += 2;
            n += here.get(n..)?.iter().take_while(|b| is_end(b)).count();
        }
        if here.get(n) != Some(&b'>') || here.get(n.checked_sub(1)?) != Some(&b']') {
            return None;
        }
        self.at += n + 1;
        self.mark::<16>()?;
        Some((from, self.at))
    }

    #[inline(always)]
    fn spaces(&mut self) -> Option<()> {
        while self.peek()? == b' ' {
            self.at += 1;
        }
        Some(())
    }
}

/// Whether both are the same, in as few steps as possible and without a call of memcmp.
#[inline(always)]
fn same<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    // The last step overlaps the one before.
    let mut differ = 0;
    if let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
            differ |= u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
        }
        if !N.is_multiple_of(8) {
            differ |= u64::from_ne_bytes(*a_last) ^ u64::from_ne_bytes(*b_last);
        }
    } else if let (Some(a_last), Some(b_last)) = (a.last_chunk::<4>(), b.last_chunk::<4>()) {
        for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
            differ |= u64::from(u32::from_ne_bytes(*a) ^ u32::from_ne_bytes(*b));
        }
        if !N.is_multiple_of(4) {
            differ |= u64::from(u32::from_ne_bytes(*a_last) ^ u32::from_ne_bytes(*b_last));
        }
    } else if let (Some(a_last), Some(b_last)) = (a.last_chunk::<2>(), b.last_chunk::<2>()) {
        let (a_first, b_first) = (a[0], b[0]);
        differ |= u64::from(u16::from_ne_bytes(*a_last) ^ u16::from_ne_bytes(*b_last));
        if N == 3 {
            differ |= u64::from(a_first ^ b_first);
        }
    } else {
        differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | u64::from(a ^ b));
    }
    differ == 0
}

/// The bytes that `text` begins with; the last ones of a block are copied into `padded`.
#[inline]
pub(super) fn window<'a>(text: &'a [u8], padded: &'a mut [u8; WINDOW]) -> &'a [u8; WINDOW] {
    text.first_chunk().unwrap_or_else(|| {
        *padded = [0; WINDOW];
        padded[..text.len()].copy_from_slice(text);
        padded
    })
}

/// Reads the line that begins the window. `recent` are annotations that it may have. An accepted
/// connection is written to `accepted`.
#[inline(always)]
pub(super) fn line(bytes: &[u8; WINDOW], recent: &Recent, accepted: &mut Accepted) -> Option<Line> {
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
