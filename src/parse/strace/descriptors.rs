//! [`Descriptors`]: a set of file descriptors.

/// No process has more descriptors: the default of `fs.nr_open`, proc_sys_fs(5).
const MAX: usize = 1 << 20;

/// A set of descriptors, a bit each, as large as its greatest descriptor needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors {
    words: Vec<u64>,
}

impl Descriptors {
    /// Adds one; false: the set cannot hold it.
    #[inline(always)]
    pub(super) fn add(&mut self, fd: i32) -> bool {
        // A negative one is greater than all others.
        let fd = fd as u32 as usize;
        match self.words.get_mut(fd / 64) {
            Some(word) => *word |= 1 << (fd % 64),
            None => return self.add_beyond(fd),
        }
        true
    }

    #[cold]
    fn add_beyond(&mut self, fd: usize) -> bool {
        if fd >= MAX {
            return false;
        }
        self.words.resize((fd + 1).next_multiple_of(1024) / 64, 0);
        self.words[fd / 64] |= 1 << (fd % 64);
        true
    }

    /// Whether the set can hold `fd`.
    pub(super) fn can_hold(fd: i32) -> bool {
        usize::try_from(fd).is_ok_and(|fd| fd < MAX)
    }

    /// Whether `fd` may be in the set. True of all that the set cannot hold.
    #[inline]
    pub(super) fn may_contain(&self, fd: i32) -> bool {
        let place = fd as u32 as usize;
        match self.words.get(place / 64) {
            Some(word) => word & 1 << (place % 64) != 0,
            None => !Descriptors::can_hold(fd),
        }
    }

    /// Whether both sets have a descriptor.
    pub(super) fn meets(&self, other: &Descriptors) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Whether it has none.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Removes all, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Becomes the same as `other`.
    pub(super) fn copy(&mut self, other: &Descriptors) {
        self.words.clone_from(&other.words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_that_were_added() {
        let added = [0, 3, 63, 64, 1023, 1024, 60_000, MAX as i32 - 1];
        let mut set = Descriptors::default();
        assert!(set.is_empty() && !set.may_contain(0) && !set.may_contain(MAX as i32 - 1));
        for (n, fd) in added.into_iter().enumerate() {
            assert!(set.add(fd) && set.add(fd));
            for other in added {
                let mut one = Descriptors::default();
                one.add(other);
                let has = added[..=n].contains(&other);
                assert_eq!(
                    (set.may_contain(other), set.meets(&one), one.meets(&set)),
                    (has, has, has)
                );
            }
            assert!(!set.may_contain(fd + 1) || added.contains(&(fd + 1)) || fd + 1 == MAX as i32);
        }
        let mut copy = Descriptors::default();
        copy.add(5);
        copy.copy(&set);
        assert!(copy.may_contain(60_000) && !copy.may_contain(5));
        set.clear();
        assert!(set.is_empty() && !set.meets(&copy) && !set.may_contain(3));
    }

    #[test]
    fn what_no_set_can_hold_may_be_in_each() {
        let mut set = Descriptors::default();
        for fd in [-1, i32::MIN, MAX as i32, i32::MAX] {
            assert!(!set.add(fd) && set.may_contain(fd) && !Descriptors::can_hold(fd), "{fd}");
        }
        assert!(set.is_empty());
    }
}
