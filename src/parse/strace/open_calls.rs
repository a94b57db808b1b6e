//! [`OpenCalls`]: the first halves of calls, which wait for their second halves.

use super::block::Fact;
use super::call::Name;
use super::number_map::NumberMap;

/// Maximum number of first halves that wait.
const MAX_ENTRIES: usize = 100_000;

/// The calls in which threads are.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    /// The first half, by thread. Its time is from the beginning of the log.
    entries: NumberMap<u32, Fact>,
    /// First halves of accept whose thread made another call before a second half was in the log.
    passed: u64,
    /// Second halves of accept that gave a connection and whose first half was not in the log.
    orphans: u64,
}

impl OpenCalls {
    /// A thread has begun a call.
    pub(super) fn begin(&mut self, entry: Fact) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.clear();
        }
        let old = self.entries.insert(entry.pid, entry);
        self.pass(old);
    }

    /// A thread has made a whole call, so that it is in no other.
    pub(super) fn leave(&mut self, pid: u32) {
        // Lines without a process number may be of several threads.
        if pid != 0 && !self.entries.is_empty() {
            let old = self.entries.remove(&pid);
            self.pass(old);
        }
    }

    /// Removes the first half of the call `name` that has returned in `pid` (0: the line does not tell).
    pub(super) fn resume(&mut self, pid: u32, name: Name) -> Option<Fact> {
        let is_same = |entry: &Fact| {
            entry.call.name == name || (name, entry.call.name) == (Name::SocketCall, Name::Accept)
        };
        if let Some(entry) = self.entries.remove(&pid) {
            if is_same(&entry) {
                return Some(entry);
            }
            self.pass(Some(entry));
        }
        if pid == 0 { self.take_only(name) } else { None }
    }

    /// Removes the first half of the call `name` if there is only one: strace leaves out the process number of a second
    /// half when the others have ended, and `-z` leaves it out of all.
    pub(super) fn take_only(&mut self, name: Name) -> Option<Fact> {
        let mut open = self.entries.iter().filter(|(_, entry)| entry.call.name == name);
        let pid = *open.next().filter(|_| self.entries.len() == 1 || open.next().is_none())?.0;
        self.entries.remove(&pid)
    }

    /// A second half of accept without a first one gave a connection.
    pub(super) fn add_orphan(&mut self) {
        self.orphans += 1;
    }

    /// The thread has ended, or its call has.
    pub(super) fn remove(&mut self, pid: u32) {
        self.entries.remove(&pid);
    }

    /// What follows is another run's.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Accepts that must have returned, and whose second halves the log does not have.
    pub(super) fn lost(&self) -> u64 {
        // In a log whose lines are in another order, nearly all second halves are there without a first one before them.
        let is_in_order = self.orphans < self.passed / 2;
        if is_in_order { self.passed - self.orphans } else { 0 }
    }

    fn pass(&mut self, old: Option<Fact>) {
        let is_accept = |old: Fact| old.pid != 0 && old.call.name == Name::Accept;
        self.passed += u64::from(old.is_some_and(is_accept));
    }
}
