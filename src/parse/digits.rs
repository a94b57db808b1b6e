//! Reads the numbers and addresses of records. A record may have millions.

use std::net::Ipv4Addr;

/// A number in decimal digits and nothing else, if it fits.
#[inline]
pub(super) fn number<N: TryFrom<u64>>(text: &[u8]) -> Option<N> {
    // So many digits fit in any case.
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let (mut value, rest) = match text.split_first_chunk() {
        Some((eight, rest)) if eight_digits(*eight).1 == 8 => (few_of_eight(*eight, 8), rest),
        Some(_) => return None,
        None => (0, text),
    };
    for b in rest {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    N::try_from(value).ok()
}

/// An IPv4 address, as [`Ipv4Addr`] itself reads it: without leading zeros.
#[inline(always)]
pub(super) fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (a, rest) = octet(text)?;
    let (b, rest) = octet(rest.strip_prefix(b".")?)?;
    let (c, rest) = octet(rest.strip_prefix(b".")?)?;
    let (d, rest) = octet(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(a, b, c, d))
}

/// The number below 256 that `text` begins with, and what follows it.
#[inline(always)]
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |n: usize| {
        let digit = text.get(n)?.wrapping_sub(b'0');
        (digit < 10).then_some(u32::from(digit))
    };
    let mut value = digit(0)?;
    let mut length = 1;
    if let Some(tens) = digit(1) {
        // No leading zero.
        if value == 0 {
            return None;
        }
        value = 10 * value + tens;
        length = 2;
        if let Some(ones) = digit(2) {
            value = 10 * value + ones;
            length = 3;
        }
    }
    Some((u8::try_from(value).ok()?, &text[length..]))
}

/// The number that `text` begins with, and how many digits it has; 8 stands for 8 or more.
#[inline(always)]
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ipv4_reads_what_the_library_reads(ip: u32, text in "[0-9.]{6,16}", octets: [u16; 4]) {
            let shown = Ipv4Addr::from(ip).to_string();
            prop_assert_eq!(ipv4(shown.as_bytes()), Some(Ipv4Addr::from(ip)));
            prop_assert_eq!(ipv4(text.as_bytes()), text.parse().ok());
            let near = octets.map(|octet| (octet % 300).to_string()).join(".");
            prop_assert_eq!(ipv4(near.as_bytes()), near.parse().ok());
        }
    }

    #[test]
    fn only_digits_that_fit_are_a_number() {
        assert_eq!(number(b"65535"), Some(65535_u16));
        assert_eq!(number(b"007"), Some(7_u8));
        assert_eq!(number(b"18446744073709551615"), None::<u64>);
        assert_eq!(number(b"1234567890123456789"), Some(1_234_567_890_123_456_789_u64));
        for digits in 1..=19 {
            let text = &b"1234567890123456789"[..digits];
            assert_eq!(number::<u64>(text), std::str::from_utf8(text).unwrap().parse().ok());
            let mut other = text.to_vec();
            other[digits / 2] = b':';
            assert_eq!(number::<u64>(&other), None);
        }
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
