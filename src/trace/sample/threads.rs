//! The watched threads: which events each has, to which process it belongs, what it is called.
//!
//! PERF_RECORD_FORK, EXIT and COMM tell it without a look at /proc, where short-lived threads and
//! processes are gone by the time that somebody looks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::sys::ptrace::Tid;

use super::events::{Families, FamilyId};
use super::record::{Fork, Thread};

/// An event may be opened on a thread that is just creating another one: this has the event if
/// it was opened before the kernel copied the thread's events. The record of the creation comes a
/// little later, so it proves nothing about events that were opened so shortly before.
const THREAD_DOUBT_NS: u64 = 50_000_000;
/// The same for processes: the kernel copies their memory in between.
const PROCESS_DOUBT_NS: u64 = 1_000_000_000;
/// Two records of the same creation, by two events, are not further apart.
const SAME_FORK_NS: u64 = 1_000_000;
/// Two samples of the same accept, by two events, are not further apart.
const SAME_ACCEPT_NS: u64 = 1_000_000;

/// The watched threads.
#[derive(Debug, Default)]
pub(super) struct Threads {
    known: HashMap<Tid, Known>,
    processes: HashMap<Tid, BTreeSet<Tid>>,
}

#[derive(Debug)]
struct Known {
    pid: Tid,
    family: FamilyId,
    /// Since when: CLOCK_MONOTONIC.
    since: u64,
    /// When events were opened on this very thread, which may have inherited some as well.
    opened: Option<(u64, u64)>,
    comm: Option<Arc<str>>,
    /// Its last accept, and which events told of it first.
    last: Option<(u64, Option<i32>, FamilyId)>,
}

/// What is to be done about a new thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inheritance {
    /// It has its creator's events.
    Certain,
    /// It may have been copied before its creator got all events.
    Doubtful,
}

impl Threads {
    /// Whether a thread is watched.
    pub(super) fn knows(&self, tid: Tid) -> bool {
        self.known.contains_key(&tid)
    }

    /// How many threads are watched.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// The watched processes.
    pub(super) fn processes(&self) -> impl Iterator<Item = Tid> {
        self.processes.keys().copied()
    }

    /// The watched threads of a process.
    pub(super) fn of_process(&self, pid: Tid) -> impl Iterator<Item = Tid> {
        self.processes.get(&pid).into_iter().flatten().copied()
    }

    /// The name of a thread, if it is known.
    pub(super) fn comm(&self, tid: Tid) -> Option<Arc<str>> {
        self.known.get(&tid)?.comm.clone()
    }

    /// Events were opened on this thread.
    pub(super) fn opened(
        &mut self,
        thread: Thread,
        family: FamilyId,
        comm: Option<Arc<str>>,
        families: &mut Families,
    ) {
        let opened = families.get(family).map(|f| f.opened);
        let comm = comm.or_else(|| self.comm(thread.tid));
        let since = opened.map_or(0, |(begun, _)| begun);
        let former = self.remove(thread.tid).map(|known| known.family);
        self.insert(thread, Known { pid: thread.pid, family, since, opened, comm, last: None });
        recount(former, Some(family), families);
    }

    /// A thread was created at `time`, as events of the family `told_by` tell.
    pub(super) fn forked(
        &mut self,
        fork: Fork,
        time: u64,
        told_by: Option<FamilyId>,
        families: &mut Families,
    ) -> Inheritance {
        if let Some(known) = self.known.get(&fork.child.tid) {
            let is_told_already = time < known.since + SAME_FORK_NS
                || known.opened.is_some_and(|(_, end)| time < end + SAME_FORK_NS);
            if is_told_already {
                return Inheritance::Certain;
            }
            // Its end was not told: the record was lost.
            self.ended(fork.child, families);
        }
        let parent = self.known.get(&fork.parent.tid);
        // Events that were opened on the parent later are not the child's.
        let own = parent.filter(|known| known.opened.is_none_or(|(_, end)| end <= time));
        let Some(family) = own.map(|known| known.family).or(told_by) else {
            return Inheritance::Doubtful;
        };
        let is_amid_opening = parent
            .and_then(|known| known.opened)
            .is_some_and(|(begin, end)| (begin..end).contains(&time));
        let comm = parent.and_then(|known| known.comm.clone());
        let known =
            Known { pid: fork.child.pid, family, since: time, opened: None, comm, last: None };
        self.insert(fork.child, known);
        recount(None, Some(family), families);
        let doubt =
            if fork.child.pid == fork.parent.pid { THREAD_DOUBT_NS } else { PROCESS_DOUBT_NS };
        let opened = families.get(family).map_or(0, |f| f.opened.1);
        match is_amid_opening || time < opened + doubt {
            true => Inheritance::Doubtful,
            false => Inheritance::Certain,
        }
    }

    /// A thread has ended.
    pub(super) fn ended(&mut self, thread: Thread, families: &mut Families) {
        if let Some(known) = self.remove(thread.tid) {
            recount(Some(known.family), None, families);
        }
    }

    /// A thread has another name.
    pub(super) fn renamed(&mut self, thread: Thread, comm: Arc<str>) {
        if let Some(known) = self.known.get_mut(&thread.tid) {
            known.comm = Some(comm);
        }
    }

    /// A process executes another program. Whichever thread called exec, it has the id of the
    /// process from now on, and the end of all others was told before.
    pub(super) fn executed(&mut self, thread: Thread, comm: Arc<str>, families: &mut Families) {
        let others: Vec<Tid> = self.of_process(thread.pid).filter(|t| *t != thread.tid).collect();
        for tid in others {
            let Some(known) = self.remove(tid) else { continue };
            if self.knows(thread.tid) {
                recount(Some(known.family), None, families);
            } else {
                self.insert(thread, known);
            }
        }
        self.renamed(thread, comm);
    }

    /// Whether a sample of `family` counts: not if a sample of other events has told of the same
    /// accept, as a thread may have events of its own and inherited ones. A thread that is not
    /// known yet is noted.
    pub(super) fn counts(
        &mut self,
        thread: Thread,
        (time, fd): (u64, Option<i32>),
        family: FamilyId,
        families: &mut Families,
    ) -> bool {
        if !self.knows(thread.tid) {
            let comm = crate::trace::procfs::comm(thread.tid);
            let pid = thread.pid;
            let known = Known { pid, family, since: time, opened: None, comm, last: None };
            self.insert(thread, known);
            recount(None, Some(family), families);
        }
        let Some(known) = self.known.get_mut(&thread.tid) else { return true };
        // The next accept may return the same descriptor as quickly, but to the same events first.
        let is_told = known.last.is_some_and(|(t, f, told_by)| {
            told_by != family && f == fd && time.saturating_sub(t) < SAME_ACCEPT_NS
        });
        if !is_told {
            known.last = Some((time, fd, family));
        }
        !is_told
    }

    fn insert(&mut self, thread: Thread, known: Known) {
        self.processes.entry(known.pid).or_default().insert(thread.tid);
        self.known.insert(thread.tid, known);
    }

    fn remove(&mut self, tid: Tid) -> Option<Known> {
        let known = self.known.remove(&tid)?;
        if let Some(threads) = self.processes.get_mut(&known.pid) {
            threads.remove(&tid);
            if threads.is_empty() {
                self.processes.remove(&known.pid);
            }
        }
        Some(known)
    }
}

/// A thread goes from one family to another.
fn recount(from: Option<FamilyId>, to: Option<FamilyId>, families: &mut Families) {
    if let Some(family) = to.and_then(|id| families.get_mut(id)) {
        family.threads += 1;
    }
    if let Some(family) = from.and_then(|id| families.get_mut(id)) {
        family.threads = family.threads.saturating_sub(1);
    }
}
