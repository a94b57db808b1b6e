//! [`Threads`]: the watched threads, with their events, processes and names.
//!
//! PERF_RECORD_FORK, EXIT and COMM report threads. /proc would miss short-lived threads and
//! processes.
//!
//! # Which threads have events
//!
//! clone(2) copies the events of the calling thread at its beginning. The record of the creation
//! is written at its end, and only then does the new thread show in /proc. So when events are
//! opened on a thread, one clone of it may be in progress that has copied none, or not all of
//! them. Its record follows: it is the first one of that thread after its events were opened. This
//! one new thread gets events of its own. All later ones have inherited.
//!
//! A thread is settled once no such clone can be in progress: after that first record, after an
//! accept that returned since, or once it was seen to wait. What a settled thread creates is
//! watched from its start; see [`Threads::unsettled`].

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;

use crate::sys::ptrace::Tid;
use crate::trace::procfs;

use super::counters::{FamilyId, Place};
use super::events::Families;
use super::record::{Accept, Fork, Thread};
use super::same_accept::SampledAccept;

/// A thread id may be used again this long after its thread was created, at the earliest.
const REUSE_NS: u64 = 1_000_000;

/// Why a report is incomplete if threads may lack events.
pub(super) const CREATED_UNSEEN: &str = "threads were created while tcptally attached or while the \
                                         ring buffer was full, and may have accepted connections \
                                         that are not counted; start again";

/// The watched threads.
#[derive(Debug, Default)]
pub(super) struct Threads {
    known: HashMap<Tid, Known>,
    processes: HashMap<Tid, BTreeSet<Tid>>,
    unsettled: BTreeSet<Tid>,
}

#[derive(Debug)]
struct Known {
    pid: Tid,
    family: FamilyId,
    /// Since when: CLOCK_MONOTONIC.
    since: u64,
    /// When events were opened on this very thread, which may have inherited some as well.
    opened: Option<(u64, u64)>,
    /// Whether a PERF_RECORD_FORK reported its creation.
    is_forked: bool,
    /// Whether it has had a family's events since its start.
    is_certain: bool,
    comm: Option<Arc<str>>,
    last: Option<SampledAccept>,
}

/// Whether a new thread has inherited the events of the one that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inheritance {
    /// It has its creator's events, or events of its own.
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

    /// The threads that may be about to create another one without events, each with its process.
    pub(super) fn unsettled(&self) -> Vec<Thread> {
        let known = |tid: &Tid| Some(Thread { pid: self.known.get(tid)?.pid, tid: *tid });
        self.unsettled.iter().filter_map(known).collect()
    }

    /// Records that a thread is not creating another one, or started to do so after its events were opened.
    pub(super) fn settle(&mut self, tid: Tid) {
        self.unsettled.remove(&tid);
    }

    /// Whether a thread may lack events: none were opened on it, and it is not known which it has
    /// inherited.
    pub(super) fn is_uncertain(&self, tid: Tid) -> bool {
        self.known.get(&tid).is_none_or(|known| !known.is_certain && known.opened.is_none())
    }

    /// The events that the threads of these processes have.
    pub(super) fn families(&self, pids: &BTreeSet<Tid>) -> BTreeSet<FamilyId> {
        let threads = self.known.values().filter(|known| pids.contains(&known.pid));
        threads.map(|known| known.family).collect()
    }

    /// How many threads have events of these families.
    pub(super) fn of_families(&self, families: &BTreeSet<FamilyId>) -> usize {
        self.known.values().filter(|known| families.contains(&known.family)).count()
    }

    /// Records that these events are being replaced: no thread certainly has the new ones yet. All threads
    /// must certainly have the old ones.
    pub(super) fn renew(&mut self, former: &BTreeSet<FamilyId>) {
        for known in self.known.values_mut().filter(|known| former.contains(&known.family)) {
            (known.opened, known.is_forked, known.is_certain) = (None, false, false);
        }
    }

    /// Records that events were opened on this thread.
    pub(super) fn opened(
        &mut self,
        thread: Thread,
        family: FamilyId,
        comm: Option<Arc<str>>,
        families: &mut Families,
    ) {
        let opened = families.get(family).map(|f| f.opened);
        let former = self.remove(thread.tid);
        let comm = comm.or_else(|| former.as_ref().and_then(|known| known.comm.clone()));
        let (is_forked, is_certain) =
            former.as_ref().map_or((false, false), |known| (known.is_forked, known.is_certain));
        let since = opened.map_or(0, |(begun, _)| begun);
        let (former, last) = former.map_or((None, None), |known| (Some(known.family), known.last));
        let pid = thread.pid;
        let known = Known { pid, family, since, opened, is_forked, is_certain, comm, last };
        self.insert(thread, known);
        if !is_certain {
            self.unsettled.insert(thread.tid);
        }
        recount(former, Some(family), families);
    }

    /// The watched thread that had this id before one that was created at `time`.
    pub(super) fn former(&self, tid: Tid, time: u64) -> Option<Thread> {
        let known = self.known.get(&tid).filter(|known| time > known.since + REUSE_NS)?;
        Some(Thread { pid: known.pid, tid })
    }

    /// A time at which a thread ran: CLOCK_MONOTONIC.
    pub(super) fn begin(&self, tid: Tid) -> Option<u64> {
        self.known.get(&tid).map(|known| known.since)
    }

    /// The watched threads, each with its [`begin`](Threads::begin).
    pub(super) fn with_begin(&self) -> impl Iterator<Item = (Thread, u64)> {
        self.known.iter().map(|(tid, known)| (Thread { pid: known.pid, tid: *tid }, known.since))
    }

    /// A thread was created at `time`, as events of the family `reported_by` tell.
    pub(super) fn forked(
        &mut self,
        fork: Fork,
        time: u64,
        reported_by: Option<FamilyId>,
        families: &mut Families,
    ) -> Inheritance {
        let child = fork.child;
        // Each event of the creator reports it.
        if self.known.get(&child.tid).is_some_and(|known| known.is_forked) {
            return Inheritance::Certain;
        }
        let inheritance = self.inheritance(fork.parent.tid, time);
        let parent = self.known.get(&fork.parent.tid);
        let comm = parent.and_then(|known| known.comm.clone());
        let family = parent.map(|known| known.family).or(reported_by);
        let is_certain = inheritance == Inheritance::Certain;
        if let Some(known) = self.known.get_mut(&child.tid) {
            (known.is_forked, known.is_certain) = (true, is_certain);
            let has_events = is_certain || known.opened.is_some();
            if is_certain {
                self.settle(child.tid);
            }
            return if has_events { Inheritance::Certain } else { Inheritance::Doubtful };
        }
        let Some(family) = family else { return Inheritance::Doubtful };
        let known = Known {
            pid: child.pid,
            family,
            since: time,
            opened: None,
            is_forked: true,
            is_certain,
            comm,
            last: None,
        };
        self.insert(child, known);
        recount(None, Some(family), families);
        inheritance
    }

    /// Returns which events a thread created by `parent` has inherited, if its record has this time.
    fn inheritance(&mut self, parent: Tid, time: u64) -> Inheritance {
        let Some(known) = self.known.get(&parent) else { return Inheritance::Doubtful };
        match known.opened {
            _ if known.is_certain => Inheritance::Certain,
            None => Inheritance::Doubtful,
            Some((_, end)) if time < end => Inheritance::Doubtful,
            // The first one has been reported by now.
            Some(_) if self.unsettled.remove(&parent) => Inheritance::Doubtful,
            Some(_) => Inheritance::Certain,
        }
    }

    /// Removes a thread that has ended.
    pub(super) fn ended(&mut self, thread: Thread, families: &mut Families) {
        if let Some(known) = self.remove(thread.tid) {
            recount(Some(known.family), None, families);
        }
    }

    /// Sets the name of a thread.
    pub(super) fn renamed(&mut self, thread: Thread, comm: Arc<str>) {
        if let Some(known) = self.known.get_mut(&thread.tid) {
            known.comm = Some(comm);
        }
    }

    /// Handles an exec. Whichever thread called exec, it has the id of the process from now on, and the end of
    /// all other threads was reported before.
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

    /// Whether a sample of an event of `family` counts. It does not if another event has sampled the same
    /// accept, because a thread may have events of its own and inherited ones. Adds a thread that is not
    /// known yet.
    pub(super) fn counts(
        &mut self,
        accept: &Accept,
        (time, event): (u64, u64),
        (family, place): (FamilyId, Place),
        families: &mut Families,
    ) -> bool {
        let Thread { pid, tid } = accept.thread;
        if !self.knows(tid) {
            let comm = procfs::comm(tid);
            let known = Known {
                pid,
                family,
                since: time,
                opened: None,
                is_forked: false,
                is_certain: false,
                comm,
                last: None,
            };
            self.insert(accept.thread, known);
            recount(None, Some(family), families);
        }
        let Some(known) = self.known.get_mut(&tid) else { return true };
        if known.opened.is_some_and(|(_, end)| time > end) {
            self.unsettled.remove(&tid);
        }
        if known
            .last
            .as_mut()
            .is_some_and(|last| last.add_sample(accept, event, families.counters()))
        {
            return false;
        }
        known.last = Some(SampledAccept::new(accept, (time, event), place));
        true
    }

    fn insert(&mut self, thread: Thread, known: Known) {
        self.processes.entry(known.pid).or_default().insert(thread.tid);
        self.known.insert(thread.tid, known);
    }

    fn remove(&mut self, tid: Tid) -> Option<Known> {
        let known = self.known.remove(&tid)?;
        self.unsettled.remove(&tid);
        if let Some(threads) = self.processes.get_mut(&known.pid) {
            threads.remove(&tid);
            if threads.is_empty() {
                self.processes.remove(&known.pid);
            }
        }
        Some(known)
    }
}

/// Whether threads that may have been inside clone(2) have left it since.
#[derive(Debug, Default)]
pub(super) struct Progress(HashMap<Tid, u64>);

impl Progress {
    /// Whether a thread waits or has run its own code since this was first asked. A thread that
    /// creates another one runs in the kernel or sleeps there uninterruptibly.
    pub(super) fn has_settled(&mut self, tid: Tid) -> bool {
        /// Less may be an error of the kernel's bookkeeping.
        const TICKS: u64 = 3;
        let has_settled = match procfs::state_and_user_time(tid) {
            Some(('R' | 'D', ticks)) => ticks >= *self.0.entry(tid).or_insert(ticks) + TICKS,
            _ => true,
        };
        if has_settled {
            self.0.remove(&tid);
        }
        has_settled
    }
}

/// Moves a thread from one family to another.
fn recount(from: Option<FamilyId>, to: Option<FamilyId>, families: &mut Families) {
    if let Some(family) = to.and_then(|id| families.get_mut(id)) {
        family.threads += 1;
    }
    if let Some(family) = from.and_then(|id| families.get_mut(id)) {
        family.threads = family.threads.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(opened: Option<(u64, u64)>, is_certain: bool) -> Known {
        Known {
            pid: 1,
            family: FamilyId::default(),
            since: 0,
            opened,
            is_forked: is_certain,
            is_certain,
            comm: None,
            last: None,
        }
    }

    fn with(tid: Tid, opened: Option<(u64, u64)>, is_certain: bool) -> Threads {
        let mut threads = Threads::default();
        threads.insert(Thread { pid: 1, tid }, known(opened, is_certain));
        if opened.is_some() {
            threads.unsettled.insert(tid);
        }
        threads
    }

    #[test]
    fn the_first_thread_created_after_the_events_were_opened_may_lack_them() {
        let mut threads = with(1, Some((100, 110)), false);
        assert_eq!(threads.inheritance(1, 105), Inheritance::Doubtful, "while they were opened");
        assert_eq!(threads.inheritance(1, 5_000), Inheritance::Doubtful, "its clone may be older");
        assert_eq!(threads.inheritance(1, 5_001), Inheritance::Certain);
    }

    #[test]
    fn a_thread_created_later_has_replaced_the_one_with_its_id() {
        let threads = with(1, None, true);
        assert_eq!(threads.former(1, REUSE_NS), None, "each event of its creator reports it");
        assert_eq!(threads.former(1, REUSE_NS + 1), Some(Thread { pid: 1, tid: 1 }));
        assert_eq!(threads.former(2, REUSE_NS + 1), None);
    }

    #[test]
    fn threads_created_by_a_settled_thread_have_inherited_events() {
        let mut threads = with(1, Some((100, 110)), false);
        threads.settle(1);
        assert_eq!(threads.inheritance(1, 5_000), Inheritance::Certain);
    }

    #[test]
    fn threads_that_have_inherited_pass_it_on_and_others_do_not() {
        assert_eq!(with(1, None, true).inheritance(1, 5), Inheritance::Certain);
        assert_eq!(with(1, None, false).inheritance(1, 5), Inheritance::Doubtful);
        assert_eq!(Threads::default().inheritance(1, 5), Inheritance::Doubtful);
    }
}
