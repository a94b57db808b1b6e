//! The kernel's own count of accepts, against those that were seen.

use std::collections::HashMap;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys::ptrace::Tid;

use super::Refused;
use super::events::Events;
use super::heirs::{Heirs, Key};
use super::tracepoint::Tracepoints;
use crate::sys::perf::Inherit;

/// In each signal of an event of ours.
pub const COOKIE: u64 = u64::from_be_bytes(*b"tcptally");

/// All events, and what they have brought.
#[derive(Debug)]
pub struct Ledger {
    // Before the tracepoints, which must be dropped last to make closing quick.
    open: HashMap<Key, Entry>,
    heirs: Heirs,
    next: Key,
    /// What events counted that are closed.
    closed: Counts,
    tracepoints: Tracepoints,
    inherit: Inherit,
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    events: Events,
    /// On a thread that may have inherited its creator's events as well: what these count may
    /// have been counted twice.
    is_doubtful: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    certain: u64,
    doubtful: u64,
}

impl Counts {
    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let count = entry.events.count()?;
        *(if entry.is_doubtful { &mut self.doubtful } else { &mut self.certain }) += count;
        Ok(())
    }
}

/// How the counts compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Accepts that the kernel counted and nobody saw.
    pub missing: u64,
    /// Accepts that were seen beyond those that the kernel counted.
    pub surplus: u64,
}

impl Ledger {
    /// Finds the tracepoints; nothing is counted yet.
    pub fn new(inherit: Inherit) -> Result<Ledger, Refused> {
        Ok(Ledger {
            open: HashMap::new(),
            heirs: Heirs::default(),
            next: 0,
            closed: Counts::default(),
            tracepoints: Tracepoints::find()?,
            inherit,
            seen: 0,
        })
    }

    /// Counts the accepts of a thread and its heirs from now on.
    pub fn open(&mut self, tid: Tid, is_doubtful: bool) -> Result<(), Refused> {
        let open = || Events::open(&self.tracepoints, tid, self.inherit, COOKIE);
        let events = match open() {
            Err(Refused::Files) if allow_more_files() => open()?,
            result => result?,
        };
        self.open.insert(self.next, Entry { events, is_doubtful });
        self.heirs.add(tid, self.next);
        self.next += 1;
        Ok(())
    }

    /// A new thread stops for the first time.
    pub fn appear(&mut self, tid: Tid) {
        self.heirs.appear(tid);
    }

    /// A thread has made another, which has inherited its events.
    pub fn inherit(&mut self, parent: Tid, child: Tid) {
        self.heirs.inherit(parent, child);
    }

    /// A thread has ended, or has lost its events by exec. Those that nobody has any more are
    /// closed: a server that executes a program per connection would use up our descriptors.
    pub fn leave(&mut self, tid: Tid) {
        self.heirs.leave(tid);
        for key in self.heirs.unused() {
            if let Some(entry) = self.open.remove(&key)
                && self.closed.add(&entry).is_err()
            {
                self.open.insert(key, entry);
            }
        }
    }

    /// An accept was seen.
    pub fn see(&mut self) {
        self.seen += 1;
    }

    /// Counts no more.
    pub fn close(&self) {
        for entry in self.open.values() {
            // Where it fails the events go on until they are dropped, which does no harm.
            let _ = entry.events.disable();
        }
    }

    /// Compares. What is under way just now is missing too.
    pub fn balance(&self) -> io::Result<Balance> {
        let mut counts = self.closed;
        self.open.values().try_for_each(|entry| counts.add(entry))?;
        let (least, most) = (counts.certain, counts.certain + counts.doubtful);
        Ok(Balance {
            missing: least.saturating_sub(self.seen),
            surplus: self.seen.saturating_sub(most),
        })
    }
}

/// Raises the limit of open files as far as that is allowed; whether it was lower.
fn allow_more_files() -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    limit.is_ok_and(|(soft, hard)| {
        soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    })
}
