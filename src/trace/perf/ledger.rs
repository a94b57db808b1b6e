//! The kernel's own count of accepts, against those that were seen.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys::ptrace::Tid;

use super::Refused;
use super::events::Events;
use super::tracepoint::Tracepoints;
use crate::sys::perf::Inherit;

/// In each signal of an event of ours.
pub const COOKIE: u64 = u64::from_be_bytes(*b"tcptally");

/// All events, and what they have brought.
#[derive(Debug)]
pub struct Ledger {
    // Before the tracepoints, which must be dropped last to make closing quick.
    certain: Vec<Events>,
    /// On threads that may have inherited their creator's events as well: what these count may
    /// have been counted twice.
    doubtful: Vec<Events>,
    tracepoints: Tracepoints,
    inherit: Inherit,
    seen: u64,
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
        let tracepoints = Tracepoints::find()?;
        Ok(Ledger { certain: Vec::new(), doubtful: Vec::new(), tracepoints, inherit, seen: 0 })
    }

    /// Counts the accepts of a thread and its heirs from now on.
    pub fn open(&mut self, tid: Tid, is_doubtful: bool) -> Result<(), Refused> {
        let open = || Events::open(&self.tracepoints, tid, self.inherit, COOKIE);
        let events = match open() {
            Err(Refused::Files) if allow_more_files() => open()?,
            result => result?,
        };
        if is_doubtful { &mut self.doubtful } else { &mut self.certain }.push(events);
        Ok(())
    }

    /// An accept was seen.
    pub fn see(&mut self) {
        self.seen += 1;
    }

    /// Counts no more.
    pub fn close(&self) {
        for events in self.certain.iter().chain(&self.doubtful) {
            // Where it fails the events go on until they are dropped, which does no harm.
            let _ = events.disable();
        }
    }

    /// Compares. What is under way just now is missing too.
    pub fn balance(&self) -> io::Result<Balance> {
        let sum = |all: &[Events]| all.iter().map(Events::count).sum::<io::Result<u64>>();
        let least = sum(&self.certain)?;
        let most = least + sum(&self.doubtful)?;
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
