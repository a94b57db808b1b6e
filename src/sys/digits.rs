//! Finds ASCII digits in 64 bytes at once (SSE2).

#![allow(unsafe_code)]

/// Returns which bytes are ASCII digits; the first byte is the lowest bit.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn digits(bytes: &[u8; 64]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8, _mm_sub_epi8,
    };
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

/// Returns which bytes are ASCII digits; the first byte is the lowest bit.
#[cfg(not(target_arch = "x86_64"))]
pub fn digits(bytes: &[u8; 64]) -> u64 {
    bytes.iter().rev().fold(0, |digits, b| digits << 1 | u64::from(b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::digits;

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
}
