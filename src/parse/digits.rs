//! Reads the numbers and addresses of records. A record may have millions.

use std::net::Ipv4Addr;

/// A number in decimal digits and nothing else, if it fits.
#[inline]
pub(super) fn number<N: TryFrom<u64>>(text: &[u8]) -> Option<N> {
    // So many digits fit in any case.
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut value = 0;
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    N::try_from(value).ok()
}

/// An IPv4 address, as [`Ipv4Addr`] itself reads it: without leading zeros.
#[inline]
pub(super) fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&text.len()) {
        return None;
    }
    let (mut address, mut points) = (0_u32, 0);
    // The octet that is being read, and how many digits it has.
    let (mut octet, mut digits) = (0_u32, 0);
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit < 10 {
            // A leading zero, or too many digits.
            if digits > 0 && octet == 0 || digits == 3 {
                return None;
            }
            octet = octet * 10 + u32::from(digit);
            digits += 1;
        } else if *b == b'.' && digits > 0 && octet < 256 {
            address = address << 8 | octet;
            points += 1;
            (octet, digits) = (0, 0);
        } else {
            return None;
        }
    }
    (points == 3 && digits > 0 && octet < 256).then(|| Ipv4Addr::from(address << 8 | octet))
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
    let (mut value, mut n) = (0, 0);
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + u64::from(digit);
        n += 1;
    }
    (value, n)
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
            "999999999999999",
            "1.1.1.999999999",
            "",
            "2001:db8::1",
        ] {
            assert_eq!(ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}
