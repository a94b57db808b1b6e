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
