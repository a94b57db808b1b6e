//! [`Window`]: a place in the first bytes of a line, where numbers, addresses and fixed text are read
//! in few steps and without waiting for the bytes before them.

use super::accepted::Range;
use super::recent::{Family, Recent};
use crate::parse::digits::few_of_eight;
use crate::sys;

/// Bytes of a window. Only lines with that many bytes behind their beginning are looked at.
pub(super) const LENGTH: usize = 512;

/// A unit of the last of so many decimals, in nanoseconds.
const NANOS: [u64; 8] = [0, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100];

/// Where a text in the window begins and ends.
pub(super) type Place = (usize, usize);

/// A place in the window.
pub(super) struct Window<'a> {
    pub(super) bytes: &'a [u8; LENGTH],
    pub(super) at: usize,
    /// Which of the bytes from `marked` on are no digits.
    others: u64,
    marked: usize,
    marked_end: usize,
    recent: &'a Recent,
}

impl<'a> Window<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8; LENGTH], recent: &'a Recent) -> Option<Window<'a>> {
        let mut w = Window { bytes, at: 0, others: 0, marked: 0, marked_end: 0, recent };
        w.mark::<48>()?;
        Some(w)
    }

    /// Looks for the digits of the next `N` bytes (at most 64) at once: where one number ends, and so
    /// where the next begins, is then known without waiting for memory. A number that goes on behind
    /// them seems to end there.
    #[inline(always)]
    pub(super) fn mark<const N: usize>(&mut self) -> Option<()> {
        self.others = !sys::digits::digits::<N>(self.bytes.get(self.at..)?.first_chunk()?);
        (self.marked, self.marked_end) = (self.at, self.at + N);
        Some(())
    }

    /// Looks for the digits of the next `N` bytes (at most 16), if they may go on behind those that
    /// were marked.
    #[inline(always)]
    pub(super) fn mark_again<const N: usize>(&mut self) -> Option<()> {
        if self.at + N > self.marked_end { self.mark::<16>() } else { Some(()) }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    pub(super) fn eat<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let here = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        if !same(here, text) {
            return None;
        }
        self.at += N;
        Some(())
    }

    /// How many digits are here.
    #[inline(always)]
    pub(super) fn digits(&self) -> u32 {
        self.others.checked_shr((self.at - self.marked) as u32).unwrap_or(0).trailing_zeros()
    }

    /// A number of one to seven digits, and how many they are.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<(u32, usize)> {
        let n = self.digits() as usize;
        if !(1..8).contains(&n) {
            return None;
        }
        let eight = self.bytes.get(self.at..)?.first_chunk::<8>()?;
        self.at += n;
        Some((few_of_eight(*eight, n) as u32, n))
    }

    /// The decimals of a second, in nanoseconds.
    #[inline(always)]
    pub(super) fn fraction(&mut self) -> Option<u64> {
        if self.digits() > 7 {
            return self.nanoseconds();
        }
        let (fraction, n) = self.number()?;
        Some(u64::from(fraction) * NANOS[n])
    }

    /// Nine decimals.
    #[inline(never)]
    fn nanoseconds(&mut self) -> Option<u64> {
        let ([.., ninth], 9) = (self.bytes.get(self.at..)?.first_chunk::<9>()?, self.digits())
        else {
            return None;
        };
        let eight = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 9;
        Some(few_of_eight(*eight, 8) * 10 + u64::from(ninth - b'0'))
    }

    /// A number of one to three digits.
    #[inline(always)]
    pub(super) fn small(&mut self) -> Option<u32> {
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
    pub(super) fn ipv4(&mut self) -> Option<u32> {
        // Of four bytes, the last ones, without what makes them digits.
        const LAST: [u32; 4] = [0, 0x0f00_0000, 0x0f0f_0000, 0x0f0f_0f00];
        // Hundreds, tens and ones meet in the fourth byte.
        const PLACES: u64 = 100 << 16 | 10 << 8 | 1;
        // Four bytes before the address, since four are read for the three of an octet.
        let text = self.bytes.get(self.at.checked_sub(4)?..)?.first_chunk::<24>()?;
        let mut others = self.others >> ((self.at - self.marked) & 63);
        let (mut start, mut ip, mut wrong, mut above) = (0, 0, 0, 0);
        for n in 0..4 {
            let end = others.trailing_zeros() as usize;
            others &= others.wrapping_sub(1);
            // One to three: both have no higher bits.
            let length = end.wrapping_sub(start);
            wrong |= length.wrapping_sub(1) | length;
            let four = u32::from_le_bytes(*text[end & 15..].first_chunk()?);
            let octet = four & LAST[length & 3];
            ip = ip << 8 | u32::from(((u64::from(octet) * PLACES) >> 24) as u8);
            // The digits of 255. The first one is compared first.
            above |= 0x0002_0505_u32.wrapping_sub(octet.swap_bytes());
            if n < 3 && text[4 + (end & 15)] != b'.' {
                return None;
            }
            start = end + 1;
        }
        if wrong > 3 || above >> 31 != 0 {
            return None;
        }
        self.at += start - 1;
        Some(ip)
    }

    /// The end of the line.
    #[inline(always)]
    pub(super) fn end(&mut self) -> Option<()> {
        self.eat(b"\n").or_else(|| self.eat(b"\r\n"))
    }

    /// What is between an address and the new descriptor, if lines before had the same.
    #[inline(always)]
    pub(super) fn known_ending(&mut self, family: Family) -> Option<()> {
        self.at += self.recent.ending(family, self.bytes.get(self.at..)?)?;
        Some(())
    }

    /// `<TCP:[0.0.0.0:80]>`, or nothing, and whether [`Recent`] has it.
    #[inline(always)]
    pub(super) fn listener(&mut self) -> Option<(Range, bool)> {
        if self.peek()? != b'<' {
            return Some((Range::default(), true));
        }
        let from = self.at;
        if let Some(n) = self.recent.listener.begins(self.bytes.get(from..)?) {
            self.at += n;
            return Some((Range::new(from, self.at), true));
        }
        Some((self.annotation()?, false))
    }

    /// `<TCP:[192.0.2.1:80->192.0.2.77:40001]>`, or nothing. `peer` is where address and port are
    /// before it in the line.
    #[inline(always)]
    pub(super) fn connection(
        &mut self,
        family: Family,
        peer: [Place; 2],
    ) -> Option<(Range, Option<u8>)> {
        if self.peek()? != b'<' {
            return Some((Range::default(), None));
        }
        let from = self.at;
        let here = self.bytes.get(from..)?;
        for (n, local) in self.recent.locals.iter().enumerate() {
            let Some(length) = local.begins(here) else { continue };
            self.at += length;
            if self.peer(family, peer).is_some() {
                return Some((Range::new(from, self.at), Some(n as u8)));
            }
            self.at = from;
            break;
        }
        let annotation = self.annotation()?;
        // Its inode tells nothing of the connection.
        let is_inode = self.bytes.get(from..)?.starts_with(b"<socket:");
        Some((if is_inode { Range::default() } else { annotation }, None))
    }

    /// `192.0.2.77:40001]>`.
    #[inline(always)]
    fn peer(&mut self, family: Family, [ip, port]: [Place; 2]) -> Option<()> {
        let bracket = self.eat(b"[").is_some();
        // The longest addresses have 15 and 45 bytes.
        match family {
            Family::V4 => self.again::<16>(ip)?,
            Family::V6 => self.again::<48>(ip)?,
        }
        if bracket {
            self.eat(b"]")?;
        }
        self.eat(b":")?;
        self.again::<16>(port)?;
        self.eat(b"]>")
    }

    /// The same text as there, of at most `N` bytes.
    #[inline(always)]
    fn again<const N: usize>(&mut self, (from, to): Place) -> Option<()> {
        let (here, there) = (self.bytes.get(self.at..)?, self.bytes.get(from..)?);
        let shared = sys::digits::shared::<N>(here.first_chunk()?, there.first_chunk()?);
        if shared < to - from {
            return None;
        }
        self.at += to - from;
        Some(())
    }

    #[inline(always)]
    pub(super) fn annotation(&mut self) -> Option<Range> {
        let from = self.at;
        if self.eat(b"<socket:[").is_some() {
            self.mark::<16>()?;
            let n = self.digits() as usize;
            if !(1..16).contains(&n) {
                return None;
            }
            self.at += n;
            self.eat(b"]>")?;
            self.mark::<16>()?;
            return Some(Range::new(from, self.at));
        }
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
        Some(Range::new(from, self.at))
    }

    /// An annotation of any kind, or nothing. Nothing in it may be escaped or quoted.
    #[inline(always)]
    pub(super) fn any_annotation(&mut self) -> Option<()> {
        if self.peek()? != b'<' {
            return Some(());
        }
        let here = self.bytes.get(self.at + 1..)?;
        let (mut before, mut depth) = (b'<', 0);
        for (n, byte) in here.iter().enumerate() {
            match byte {
                b'>' if depth <= 0 || before != b'-' => {
                    self.at += n + 2;
                    return Some(());
                }
                b'[' => depth += 1,
                b']' => depth -= 1,
                b'"' | b'\\' | b'\n' | b'(' => return None,
                _ => {}
            }
            before = *byte;
        }
        None
    }

    /// `[ 288] `, `[00007f7a49728f63] `: numbers between brackets, or nothing.
    #[inline(always)]
    pub(super) fn brackets(&mut self) -> Option<()> {
        for _ in 0..3 {
            if self.peek()? != b'[' {
                break;
            }
            let here = self.bytes.get(self.at + 1..)?;
            let n = here.iter().position(|b| !b.is_ascii_hexdigit() && *b != b' ')?;
            self.at += 1 + n;
            self.eat(b"] ")?;
        }
        Some(())
    }

    #[inline(always)]
    pub(super) fn spaces(&mut self) -> Option<()> {
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
pub(super) fn first_bytes<'a>(text: &'a [u8], padded: &'a mut [u8; LENGTH]) -> &'a [u8; LENGTH] {
    text.first_chunk().unwrap_or_else(|| {
        *padded = [0; LENGTH];
        padded[..text.len()].copy_from_slice(text);
        padded
    })
}
