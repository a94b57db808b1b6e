//! [`EncodedKey`]: the values of a row as bytes that are fast to compare and to hash.

use std::hash::{Hash, Hasher};

/// Maximum length without an allocation. An address with a port fits.
const SHORT: usize = 23;

/// Up to 23 bytes, then their number. Aligned, so that it is compared as three words.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Short([u8; SHORT + 1]);

impl Short {
    #[inline]
    fn words(&self) -> [u64; 3] {
        let (words, _) = self.0.as_chunks::<8>();
        [0, 1, 2].map(|n| words.get(n).map_or(0, |word| u64::from_ne_bytes(*word)))
    }
}

#[derive(Clone)]
enum Bytes {
    Short(Short),
    Long(Box<[u8]>),
}

/// The values of a row, encoded by [`Keys::code`](super::key::Keys::code).
#[derive(Clone)]
pub(crate) struct EncodedKey(Bytes);

impl EncodedKey {
    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(short) => short.0.get(..usize::from(short.0[SHORT])).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for EncodedKey {
    #[inline]
    fn eq(&self, other: &EncodedKey) -> bool {
        match (&self.0, &other.0) {
            (Bytes::Short(a), Bytes::Short(b)) => a.words() == b.words(),
            (Bytes::Long(a), Bytes::Long(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for EncodedKey {}

impl Hash for EncodedKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Bytes::Short(short) => short.words().iter().for_each(|word| state.write_u64(*word)),
            Bytes::Long(bytes) => state.write(bytes),
        }
    }
}

impl std::fmt::Debug for EncodedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().fmt(f)
    }
}

impl From<&[u8]> for EncodedKey {
    fn from(bytes: &[u8]) -> EncodedKey {
        let mut writer = Writer::default();
        writer.put(bytes);
        writer.code()
    }
}

/// Builds an [`EncodedKey`].
#[derive(Default)]
pub(super) struct Writer {
    short: [u8; SHORT + 1],
    length: usize,
    /// All bytes, if there are more than [`SHORT`].
    long: Vec<u8>,
}

impl Writer {
    /// Appends `bytes`.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.short.get_mut(self.length..end) {
            Some(place) if end <= SHORT => place.copy_from_slice(bytes),
            _ => self.put_long(bytes),
        }
        self.length = end;
    }

    #[cold]
    fn put_long(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.length]);
        }
        self.long.extend_from_slice(bytes);
    }

    /// The encoded key.
    #[inline]
    pub(super) fn code(mut self) -> EncodedKey {
        EncodedKey(match u8::try_from(self.length) {
            Ok(length) if self.length <= SHORT => {
                self.short[SHORT] = length;
                Bytes::Short(Short(self.short))
            }
            _ => Bytes::Long(self.long.into_boxed_slice()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_number_are_kept() {
        let all: Vec<u8> = (1..=60).collect();
        for n in 0..all.len() {
            let code = EncodedKey::from(&all[..n]);
            assert_eq!(code.bytes(), &all[..n]);
            for cut in 0..=n {
                let mut writer = Writer::default();
                writer.put(&all[..cut]);
                writer.put(&all[cut..n]);
                assert_eq!(writer.code(), code, "{cut} of {n}");
            }
        }
    }

    #[test]
    fn zeros_at_the_end_count() {
        assert_ne!(EncodedKey::from(&[1_u8][..]), EncodedKey::from(&[1_u8, 0][..]));
        assert_ne!(EncodedKey::from(&[][..]), EncodedKey::from(&[0; 23][..]));
    }
}
