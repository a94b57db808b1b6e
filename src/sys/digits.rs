//! Finds ASCII digits, small bytes and ends of lines, and compares bytes, up to 64 at once, with vector instructions.

pub(crate) use super::arch::{at_most, digits, hex_digits_and, line_ends, shared};

#[cfg(test)]
mod tests {
    use super::{at_most, digits, hex_digits_and, line_ends, shared};

    #[test]
    fn every_byte_at_every_place() {
        for at in 0..64 {
            for byte in 0..=u8::MAX {
                for rest in [b'x', b'5', 0xb5] {
                    let mut bytes = [rest; 64];
                    bytes[at] = byte;
                    let rest = if rest == b'5' { !0 } else { 0 } & !(1 << at);
                    let want = rest | u64::from(byte.is_ascii_digit()) << at;
                    assert_eq!(digits(&bytes), want, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn hexadecimal_digits_and_a_byte_are_found_at_every_place() {
        for at in 0..64 {
            for byte in 0..=u8::MAX {
                for rest in [b'x', b'f'] {
                    let mut bytes = [rest; 64];
                    bytes[at] = byte;
                    let rest = if rest == b'f' { !0 } else { 0 } & !(1 << at);
                    let want = rest | u64::from(byte.is_ascii_hexdigit()) << at;
                    let (digits, colons) = hex_digits_and(&bytes, b':');
                    assert_eq!(digits, want, "{byte} at {at}");
                    assert_eq!(colons, u64::from(byte == b':') << at, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn lines_end_at_line_feeds_and_zeros() {
        for at in 0..64 {
            for byte in 0..=u8::MAX {
                for rest in [b'x', b'\n'] {
                    let mut bytes = [rest; 64];
                    bytes[at] = byte;
                    let rest = if rest == b'\n' { !0 } else { 0 } & !(1 << at);
                    let want = rest | u64::from(byte == b'\n' || byte == 0) << at;
                    assert_eq!(line_ends(&bytes), want, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn small_bytes_are_found_at_every_place() {
        for at in 0..64 {
            for byte in 0..=u8::MAX {
                for (limit, rest) in [(b' ', b'x'), (b'\t', 0xf0), (0xf0, 0xf1), (0, 1)] {
                    let mut bytes = [rest; 64];
                    bytes[at] = byte;
                    let want = u64::from(byte <= limit) << at;
                    assert_eq!(at_most(&bytes, limit), want, "{byte} at {at}, {limit}");
                }
            }
        }
    }

    #[test]
    fn shared_bytes_are_counted_to_the_first_difference() {
        let a = [b'x'; 48];
        assert_eq!(shared(&a, &a), 48);
        for n in 0..48 {
            let mut b = a;
            b[n..].fill(b'y');
            assert_eq!(shared(&a, &b), n);
        }
    }
}
