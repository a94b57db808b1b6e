//! New threads show themselves twice, in any order: by their own first stop, and by that of their
//! creator. A short-lived one may even have ended when its creator's is seen.

use std::collections::HashSet;

use crate::sys::ptrace::Tid;

/// Threads of which one of the two has been seen.
#[derive(Debug, Default)]
pub(super) struct PendingThreads {
    announced: HashSet<Tid>,
    appeared: HashSet<Tid>,
    ended: HashSet<Tid>,
}

impl PendingThreads {
    /// A thread stops that may be new; whether this is its first stop.
    pub fn appear(&mut self, tid: Tid, is_known: bool) -> bool {
        if self.announced.remove(&tid) {
            return true;
        }
        !is_known && self.appeared.insert(tid)
    }

    /// A thread's creator has stopped; whether there is still such a thread.
    pub fn announce(&mut self, child: Tid) -> bool {
        if self.ended.remove(&child) {
            return false;
        }
        if !self.appeared.remove(&child) {
            self.announced.insert(child);
        }
        true
    }

    /// A thread has ended.
    pub fn end(&mut self, tid: Tid) {
        self.announced.remove(&tid);
        if self.appeared.remove(&tid) {
            self.ended.insert(tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_may_come_first() {
        let mut pending_threads = PendingThreads::default();
        assert!(pending_threads.announce(1));
        assert!(pending_threads.appear(1, true));
        assert!(!pending_threads.appear(1, true));
        assert!(pending_threads.appear(2, false));
        assert!(!pending_threads.appear(2, true));
        assert!(pending_threads.announce(2));
    }

    #[test]
    fn one_that_has_ended_is_not_born() {
        let mut pending_threads = PendingThreads::default();
        assert!(pending_threads.appear(1, false));
        pending_threads.end(1);
        assert!(!pending_threads.announce(1));
        assert!(pending_threads.announce(1), "the number has come again");
    }
}
