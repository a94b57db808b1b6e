//! [`NumberMap`] and [`SmallNumbers`]: map and set of process IDs, descriptors and inodes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys the kernel chose, such as process IDs: clients cannot make them collide, so no keyed
/// hasher is needed.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Multiply>>;

/// Hashes small numbers by multiplication with an odd number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_i32(&mut self, n: i32) {
        self.write_u64(u64::from(n as u32));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// The numbers from 0 to 1023 of a set, such as descriptors.
#[derive(Debug, Default)]
pub(super) struct SmallNumbers([u64; 16]);

impl SmallNumbers {
    pub(super) fn add(&mut self, fd: i32) {
        if let Ok(fd @ 0..1024) = usize::try_from(fd) {
            self.0[fd / 64] |= 1 << (fd % 64);
        }
    }

    /// Whether `fd` may be in the set. True of all numbers that the set cannot hold.
    #[inline]
    pub(super) fn may_contain(&self, fd: i32) -> bool {
        match usize::try_from(fd) {
            Ok(fd @ 0..1024) => self.0[fd / 64] & 1 << (fd % 64) != 0,
            _ => true,
        }
    }

    /// The set, a bit for each number.
    pub(super) fn bits(&self) -> [u64; 16] {
        self.0
    }
}
