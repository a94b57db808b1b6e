//! Finds ASCII digits, and compares bytes, up to 64 at once (SSE2).

#![allow(unsafe_code)]

/// Returns which of at most 64 bytes are ASCII digits; the first byte is the lowest bit. `N` is a
/// multiple of 16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn digits<const N: usize>(bytes: &[u8; N]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8, _mm_sub_epi8,
    };
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    let mut digits = 0;
    for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: every x86-64 has SSE2, and the load reads these 16 bytes, aligned or not.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(sixteen.as_ptr().cast::<__m128i>());
            // Maps '0' to '9' to the ten smallest signed bytes.
            let moved = _mm_sub_epi8(bytes, _mm_set1_epi8((b'0' ^ 0x80) as i8));
            _mm_movemask_epi8(_mm_cmpgt_epi8(_mm_set1_epi8(i8::MIN + 10), moved))
        };
        digits |= u64::from(mask as u16) << (16 * n);
    }
    digits
}

/// Returns how many bytes `a` and `b` begin with that are the same.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn shared<const N: usize>(a: &[u8; N], b: &[u8; N]) -> usize {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    let mut mask = 0;
    let both = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
    for (n, (a, b)) in both.enumerate() {
        // SAFETY: every x86-64 has SSE2, and the loads read these 16 bytes, aligned or not.
        let bits = unsafe {
            let a = _mm_loadu_si128(a.as_ptr().cast::<__m128i>());
            _mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_loadu_si128(b.as_ptr().cast::<__m128i>())))
        };
        mask |= u64::from(bits as u16) << (16 * n);
    }
    (!mask).trailing_zeros() as usize
}

/// Returns which bytes are ASCII digits; the first byte is the lowest bit.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn digits<const N: usize>(bytes: &[u8; N]) -> u64 {
    bytes.iter().rev().fold(0, |digits, b| digits << 1 | u64::from(b.is_ascii_digit()))
}

/// Returns how many bytes `a` and `b` begin with that are the same.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn shared<const N: usize>(a: &[u8; N], b: &[u8; N]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::{digits, shared};

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
