//! Reads the numbers and addresses of records. A record may have millions.

use std::net::Ipv4Addr;

/// A number in decimal digits and nothing else, if it fits.
#[inline]
pub(super) fn number<N: TryFrom<u64>>(text: &[u8]) -> Option<N> {
    // So many digits fit in any case.
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0, |value, b| value * 10 + u64::from(b - b'0'));
    N::try_from(value).ok()
}

/// An IPv4 address, as [`Ipv4Addr`] itself reads it: without leading zeros.
#[inline]
pub(super) fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = text;
    let mut address = 0_u32;
    for place in 0..4 {
        if place > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let digits = rest.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
        let (octet, after) = rest.split_at(digits);
        if digits == 0 || digits > 1 && octet[0] == b'0' {
            return None;
        }
        let octet = octet.iter().fold(0, |value, b| value * 10 + u32::from(b - b'0'));
        if octet > 255 {
            return None;
        }
        address = address << 8 | octet;
        rest = after;
    }
    rest.is_empty().then(|| Ipv4Addr::from(address))
}

/// The number that `text` begins with, and how many digits it has; 8 stands for 8 or more.
#[inline]
pub(super) fn leading_digits(text: &[u8]) -> (u64, usize) {
    match text.first_chunk::<8>() {
        Some(eight) => eight_digits(*eight),
        None => few_digits(text),
    }
}

/// The number that eight bytes begin with, and how many digits it has. The value of eight is 0.
#[inline(always)]
pub(crate) fn eight_digits(eight: [u8; 8]) -> (u64, usize) {
    // All at once: digits become 0 to 9, anything else gets its high bit set.
    let x = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
    let others = (x.wrapping_add(0x7676_7676_7676_7676) | x) & 0x8080_8080_8080_8080;
    let n = others.trailing_zeros() as usize / 8;
    if n == 0 || n == 8 {
        return (0, n);
    }
    (few_of_eight(eight, n), n)
}

/// The number that the first `n` of eight bytes are, which are one to eight digits.
#[inline(always)]
pub(crate) fn few_of_eight(eight: [u8; 8], n: usize) -> u64 {
    let x = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
    // Zeros in front, then join pairs, fours, eights.
    let x = x << (64 - 8 * n);
    let x = x.wrapping_mul(10).wrapping_add(x >> 8);
    let low = (x & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((x >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// The same at the end of a line.
fn few_digits(text: &[u8]) -> (u64, usize) {
    let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
    (text[..n].iter().fold(0, |value, b| value * 10 + u64::from(b - b'0')), n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"65535"), Some(65535_u16));
        assert_eq!(number(b"007"), Some(7_u8));
        assert_eq!(number(b"18446744073709551615"), None::<u64>);
        for text in ["", "+1", "-1", "1 ", "65536", "0x10", "99999999999999999999999"] {
            assert_eq!(number::<u16>(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn addresses_as_the_library_reads_them() {
        for text in [
            "192.0.2.77",
            "0.0.0.0",
            "255.255.255.255",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "01.2.3.4",
            "1..2.3",
            "1.2.3.4 ",
            "1.2.3.1000",
            "",
            "2001:db8::1",
        ] {
            assert_eq!(ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}
