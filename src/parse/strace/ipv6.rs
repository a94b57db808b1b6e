//! Reads IPv6 addresses, of which a log may have millions.

use std::net::Ipv6Addr;

use crate::sys;

/// Bytes before an address that are read with it, since four are read for the digits of a group.
pub(super) const BEFORE: usize = 4;
/// An address is looked for in so many bytes behind these. The longest without an IPv4 part has 39.
const LENGTH: usize = 48;
/// What [`ipv6`] takes.
pub(super) type Text = [u8; BEFORE + LENGTH];

/// The IPv6 address without an IPv4 part that `text` has behind its first [`BEFORE`] bytes, and its length. Several
/// times as fast as the standard library.
#[inline(always)]
pub(super) fn ipv6(text: &Text) -> Option<(Ipv6Addr, usize)> {
    let (digits, colons) = sys::digits::hex_digits_and::<LENGTH>(text.last_chunk()?, b':');
    let end = (!(digits | colons)).trailing_zeros() as usize;
    if end >= LENGTH {
        return None;
    }
    let colons = colons & below(end);
    // Where two follow each other.
    let gaps = colons & colons >> 1;
    let bits = if gaps == 0 {
        let (address, groups) = groups(text, 0, colons | 1 << end)?;
        (groups == 8).then_some(address)?
    } else {
        let gap = gaps.trailing_zeros() as usize;
        let (mut head, mut before, mut tail, mut behind) = (0, 0, 0, 0);
        if gap > 0 {
            (head, before) = groups(text, 0, colons & below(gap + 1))?;
        }
        if gap + 2 < end {
            (tail, behind) = groups(text, gap + 2, colons & !below(gap + 2) | 1 << end)?;
        }
        // `::` stands for one group or more, and once.
        if before + behind > 7 {
            return None;
        }
        head.checked_shl(16 * (8 - before)).unwrap_or(0) | tail
    };
    Some((Ipv6Addr::from(bits), end))
}

/// The address in any form that `text` has before a quotation mark, and its length.
#[cold]
pub(super) fn quoted(text: &[u8]) -> Option<(Ipv6Addr, usize)> {
    // The longest address has 45 bytes.
    let length = memchr::memchr(b'"', text.get(..50)?)?;
    Some((std::str::from_utf8(&text[..length]).ok()?.parse().ok()?, length))
}

/// The bits below this one.
#[inline(always)]
fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}

/// The groups of digits from `start` on, which end where `ends` has bits, and their number.
#[inline(always)]
fn groups(text: &Text, mut start: usize, mut ends: u64) -> Option<(u128, u32)> {
    // Of four bytes, the last ones.
    const LAST: [u32; 4] = [!0, 0xff00_0000, 0xffff_0000, 0xffff_ff00];
    let (mut address, mut count, mut wrong) = (0_u128, 0, 0);
    while ends != 0 {
        let end = ends.trailing_zeros() as usize;
        ends &= ends - 1;
        let length = end.wrapping_sub(start);
        // One to four: one less has no higher bits.
        wrong |= length.wrapping_sub(1);
        let four = u32::from_le_bytes(*text.get(end..)?.first_chunk()?);
        let halves = (four & 0x0f0f_0f0f) + (four >> 6 & 0x0101_0101) * 9;
        let halves = halves & LAST[length & 3];
        let pairs = (halves << 4 | halves >> 8) & 0x00ff_00ff;
        address = address << 16 | u128::from((pairs & 0xff) << 8 | pairs >> 16);
        count += 1;
        start = end + 1;
    }
    (wrong <= 3).then_some((address, count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn ipv6_reads_what_the_library_reads(
            bits: u128, mask in prop::collection::vec(any::<bool>(), 8), text in "[0-9a-fA-Fg/@G`:]{0,12}",
        ) {
            let kept = mask.iter().fold(0, |m, kept| m << 16 | if *kept { 0xffff } else { 0_u128 });
            let ip = Ipv6Addr::from(bits & kept);
            let shown = ip.to_string();
            let read = |text: &str| {
                let line = format!("6, \"{text}\", &sin6_addr), sin6_scope_id=0}}, [28], 0) = 7\n");
                let (ip, length) = ipv6(line.as_bytes().first_chunk()?)?;
                (length == text.len()).then_some(ip)
            };
            prop_assert_eq!(read(&shown), Some(ip).filter(|_| !shown.contains('.')));
            prop_assert_eq!(read(&shown.to_uppercase()), read(&shown));
            prop_assert_eq!(read(&text), text.parse().ok(), "{}", text);
        }
    }
}
