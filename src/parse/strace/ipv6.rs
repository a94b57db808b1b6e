//! Reads IPv6 addresses, of which a log may have millions.

use std::net::Ipv6Addr;

/// The number that up to four hexadecimal digits are, and how many they are.
#[inline(always)]
fn hex_of_four(four: [u8; 4]) -> (u32, usize) {
    const HIGH: u32 = 0x8080_8080;
    let x = u32::from_le_bytes(four);
    // Digits become 0 to 9 and letters 1 to 6; anything else gets its high bit set. A carry only
    // reaches the bytes behind the first that is no digit.
    let digit = x ^ 0x3030_3030;
    let letter = (x | 0x2020_2020) ^ 0x6060_6060;
    let no_digit = digit.wrapping_add(0x7676_7676) | digit;
    let no_letter = letter.wrapping_add(0x7979_7979) | letter | !letter.wrapping_add(0x7f7f_7f7f);
    let n = (no_digit & no_letter & HIGH).trailing_zeros() as usize / 8;
    if n == 0 {
        return (0, 0);
    }
    let halves = (x & 0x0f0f_0f0f) + (x >> 6 & 0x0101_0101) * 9;
    // Zeros in front, then join pairs.
    let halves = halves << (8 * (4 - n));
    let bytes = (halves << 4 | halves >> 8) & 0x00ff_00ff;
    ((bytes & 0xff) << 8 | bytes >> 16, n)
}

/// The IPv6 address without an IPv4 part that `text` begins with, and its length. Several times as
/// fast as the standard library.
#[inline]
pub(super) fn ipv6(text: &[u8]) -> Option<(Ipv6Addr, usize)> {
    // Groups before `::` and their number, and those behind it.
    let (mut head, mut groups) = (None, 0_u32);
    let mut tail = 0_u128;
    let mut at = 0;
    if text.starts_with(b"::") {
        head = Some((0, 0));
        at = 2;
    }
    loop {
        let (value, digits) = hex_of_four(*text.get(at..)?.first_chunk()?);
        if digits == 0 {
            // Nothing follows `::`.
            match head {
                Some((_, before)) if before == groups => break,
                _ => return None,
            }
        }
        tail = tail << 16 | u128::from(value);
        groups += 1;
        at += digits;
        if text.get(at) != Some(&b':') || groups > 8 {
            break;
        }
        at += 1;
        if text.get(at) == Some(&b':') {
            if head.is_some() {
                return None;
            }
            head = Some((tail, groups));
            tail = 0;
            at += 1;
        }
    }
    let address = match head {
        None if groups == 8 => tail,
        Some((head, before)) if groups < 8 => {
            // `::` stands for one group or more.
            let head = if before == 0 { 0 } else { head << (16 * (8 - before)) };
            head | tail
        }
        _ => return None,
    };
    Some((Ipv6Addr::from(address), at))
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
                let (ip, length) = ipv6(format!("{text}\", &sin6").as_bytes())?;
                (length == text.len()).then_some(ip)
            };
            prop_assert_eq!(read(&shown), Some(ip).filter(|_| !shown.contains('.')));
            prop_assert_eq!(read(&shown.to_uppercase()), read(&shown));
            prop_assert_eq!(read(&text), text.parse().ok(), "{}", text);
        }
    }
}
