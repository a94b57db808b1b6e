//! Which threads have which events: those that were opened on them, and those they inherited.

use std::collections::{HashMap, HashSet};

use crate::sys::ptrace::Tid;

/// Names events.
pub type Key = u64;

/// Threads and their events.
#[derive(Debug, Default)]
pub struct Heirs {
    keys: HashMap<Tid, Vec<Key>>,
    alive: HashMap<Key, usize>,
    /// Threads whose creator's stop has not been seen: what they inherited is not known.
    orphans: HashSet<Tid>,
    unused: Vec<Key>,
}

impl Heirs {
    /// Events were opened on a thread.
    pub fn add(&mut self, tid: Tid, key: Key) {
        self.keys.entry(tid).or_default().push(key);
        *self.alive.entry(key).or_default() += 1;
    }

    /// A new thread stops for the first time.
    pub fn appear(&mut self, tid: Tid) {
        if !self.keys.contains_key(&tid) {
            self.orphans.insert(tid);
        }
    }

    /// A thread was made by another.
    pub fn inherit(&mut self, parent: Tid, child: Tid) {
        for key in self.keys.get(&parent).cloned().unwrap_or_default() {
            self.add(child, key);
        }
        self.orphans.remove(&child);
    }

    /// A thread has ended, or has lost its events by exec.
    pub fn leave(&mut self, tid: Tid) {
        self.orphans.remove(&tid);
        for key in self.keys.remove(&tid).unwrap_or_default() {
            if let Some(alive) = self.alive.get_mut(&key) {
                *alive -= 1;
                if *alive == 0 {
                    self.alive.remove(&key);
                    self.unused.push(key);
                }
            }
        }
    }

    /// Events that nobody has any more.
    pub fn unused(&mut self) -> Vec<Key> {
        if self.orphans.is_empty() { std::mem::take(&mut self.unused) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_in_use_until_the_last_heir_has_ended() {
        let mut heirs = Heirs::default();
        heirs.add(10, 1);
        heirs.inherit(10, 11);
        heirs.leave(10);
        assert!(heirs.unused().is_empty());
        heirs.leave(11);
        assert_eq!(heirs.unused(), [1]);
        assert!(heirs.unused().is_empty());
    }

    #[test]
    fn while_a_thread_may_have_inherited_anything_all_are_in_use() {
        let mut heirs = Heirs::default();
        heirs.add(10, 1);
        heirs.appear(11);
        heirs.leave(10);
        assert!(heirs.unused().is_empty());
        heirs.leave(11);
        assert_eq!(heirs.unused(), [1]);
    }
}
