//! The state of each traced thread, in one map.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::sys::ptrace::Tid;
use crate::trace::accept_buffer::BufferEvidence;
use crate::trace::engine::PtraceEngine;
use crate::trace::procfs;

/// The state of one traced thread.
#[derive(Debug, Default)]
pub(super) struct Thread {
    engine: Option<PtraceEngine>,
    creation: Creation,
    /// Whether it was interrupted to switch to the engine `syscall` and has not stopped since.
    is_interrupted: bool,
    /// Whether it has left the engine `perf` and has not reached a system call since: a signal of
    /// its perf events may still be pending.
    pub is_leaving_perf: bool,
    /// Whether the cause of an unknown peer was looked for.
    pub is_unknown_peer_explained: bool,
    /// Whether it stops at system calls until its first accept. Set for a new thread under the
    /// engine `perf` if the process is known to block the signal of the perf events.
    pub is_awaiting_accept: bool,
    /// Whether it is in a system call that is not decoded (engine `syscall`), so that the stop at
    /// the exit need not read registers. If an exit is mistaken for an entry, no accept is missed:
    /// then the next entry is the stop that is not read.
    pub is_in_other_call: bool,
    /// What is known of the buffer that its accept calls fill.
    pub buffer: BufferEvidence,
}

/// Which of the two stops that report a new thread have been seen: its own first stop and the
/// PTRACE_EVENT_CLONE, FORK or VFORK stop of its creator. They come in either order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Creation {
    /// Both, or the thread was attached to.
    #[default]
    Complete,
    /// Only the stop of the creator.
    Announced,
    /// Only its own first stop.
    Stopped,
}

/// All traced threads.
#[derive(Debug)]
pub(super) struct Threads {
    by_tid: HashMap<Tid, Thread>,
    /// The engine of all threads. Then threads without other state have no entry in the map,
    /// which saves work for servers that create a thread per connection.
    common_engine: Option<PtraceEngine>,
    /// Threads that ended before the stop of their creator was seen.
    ended_unannounced: HashSet<Tid>,
    interrupted: usize,
    engines_used: BTreeSet<PtraceEngine>,
}

impl Threads {
    /// Threads that all use the same engine.
    pub(super) fn with_common_engine(engine: PtraceEngine) -> Threads {
        let engines_used = BTreeSet::from([engine]);
        Threads { common_engine: Some(engine), engines_used, ..Threads::recorded([]) }
    }

    /// These threads, each with an engine of its own: `syscall` until [`Threads::set_engine`].
    pub(super) fn recorded(tids: impl IntoIterator<Item = Tid>) -> Threads {
        let thread = || Thread { engine: Some(PtraceEngine::Syscall), ..Thread::default() };
        Threads {
            by_tid: tids.into_iter().map(|tid| (tid, thread())).collect(),
            common_engine: None,
            ended_unannounced: HashSet::new(),
            interrupted: 0,
            engines_used: BTreeSet::new(),
        }
    }

    /// Adds threads that have been attached to, each with an engine of its own.
    pub(super) fn add(&mut self, tids: impl IntoIterator<Item = Tid>) {
        for tid in tids {
            let thread = Thread { engine: Some(PtraceEngine::Syscall), ..Thread::default() };
            self.by_tid.entry(tid).or_insert(thread);
        }
    }

    /// The state of a thread; adds the thread if it is missing.
    pub(super) fn state(&mut self, tid: Tid) -> &mut Thread {
        self.by_tid.entry(tid).or_default()
    }

    /// The state of a thread that has any.
    pub(super) fn get(&self, tid: Tid) -> Option<&Thread> {
        self.by_tid.get(&tid)
    }

    /// The state of a thread that has any.
    pub(super) fn get_mut(&mut self, tid: Tid) -> Option<&mut Thread> {
        self.by_tid.get_mut(&tid)
    }

    /// Returns the engine of a thread. A thread or child process whose creator has not stopped
    /// yet gets the engine of its process or parent.
    pub(super) fn engine(&mut self, tid: Tid) -> PtraceEngine {
        if let Some(engine) = self.common_engine {
            return engine;
        }
        let recorded = |t: &Tid| self.by_tid.get(t).and_then(|thread| thread.engine);
        if let Some(engine) = recorded(&tid) {
            return engine;
        }
        let process = procfs::process_of(tid);
        let relatives = [process, process.and_then(procfs::parent)];
        let engine = relatives.iter().flatten().find_map(recorded).unwrap_or(PtraceEngine::Syscall);
        self.state(tid).engine = Some(engine);
        engine
    }

    /// Sets the engine of a thread.
    pub(super) fn set_engine(&mut self, tid: Tid, engine: PtraceEngine) {
        self.engines_used.insert(engine);
        if self.common_engine.is_none() {
            self.state(tid).engine = Some(engine);
        }
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.is_in_other_call = false;
        }
    }

    /// All engines that were ever used.
    pub(super) fn engines_used(&self) -> &BTreeSet<PtraceEngine> {
        &self.engines_used
    }

    /// Whether every thread is recorded, which is so unless all use a common engine.
    pub(super) fn are_recorded(&self) -> bool {
        self.common_engine.is_none()
    }

    /// Whether a thread is recorded.
    pub(super) fn is_recorded(&self, tid: Tid) -> bool {
        self.are_recorded() && self.by_tid.get(&tid).is_some_and(|thread| thread.engine.is_some())
    }

    /// The number of threads, if they are recorded.
    pub(super) fn count(&self) -> Option<u64> {
        self.are_recorded().then(|| self.all().count() as u64)
    }

    /// The recorded threads.
    pub(super) fn all(&self) -> impl Iterator<Item = Tid> {
        let recorded = self.by_tid.iter().filter(|(_, thread)| thread.engine.is_some());
        recorded.filter(|_| self.are_recorded()).map(|(tid, _)| *tid)
    }

    /// The recorded threads that use `engine`.
    pub(super) fn with_engine(&self, engine: PtraceEngine) -> Vec<Tid> {
        self.all().filter(|tid| self.by_tid[tid].engine == Some(engine)).collect()
    }

    /// Notes a stop that may be the first one of a new thread. Returns whether it is.
    pub(super) fn note_first_stop(&mut self, tid: Tid) -> bool {
        let is_recorded = self.is_recorded(tid);
        let creation = &mut self.state(tid).creation;
        match creation {
            Creation::Announced => {
                *creation = Creation::Complete;
                true
            }
            Creation::Complete if !is_recorded => {
                *creation = Creation::Stopped;
                true
            }
            Creation::Complete | Creation::Stopped => false,
        }
    }

    /// Notes that the stop of a thread's creator has been seen. The new thread gets the engine of
    /// `creator`. Returns false if the new thread has ended already.
    pub(super) fn announce(&mut self, creator: Tid, tid: Tid) -> bool {
        if self.ended_unannounced.remove(&tid) {
            return false;
        }
        let engine = self.engine(creator);
        let thread = self.state(tid);
        thread.creation = match thread.creation {
            Creation::Stopped => Creation::Complete,
            Creation::Complete | Creation::Announced => Creation::Announced,
        };
        thread.engine = Some(engine);
        true
    }

    /// Notes that a thread was interrupted: [`Threads::has_interrupted`] until its next stop.
    pub(super) fn set_interrupted(&mut self, tid: Tid) {
        let thread = self.state(tid);
        if !std::mem::replace(&mut thread.is_interrupted, true) {
            self.interrupted += 1;
        }
    }

    /// Notes a stop. Any stop answers PTRACE_INTERRUPT: no further one follows (ptrace(2)).
    /// Returns whether the thread was interrupted.
    pub(super) fn clear_interrupted(&mut self, tid: Tid) -> bool {
        let was_interrupted = self.interrupted > 0
            && self.by_tid.get_mut(&tid).is_some_and(|t| std::mem::take(&mut t.is_interrupted));
        self.interrupted -= usize::from(was_interrupted);
        was_interrupted
    }

    /// Whether a thread was interrupted and has not stopped yet.
    pub(super) fn has_interrupted(&self) -> bool {
        self.interrupted > 0
    }

    /// Removes a thread that has ended.
    pub(super) fn remove(&mut self, tid: Tid) {
        self.clear_interrupted(tid);
        if let Some(thread) = self.by_tid.remove(&tid)
            && thread.creation == Creation::Stopped
        {
            self.ended_unannounced.insert(tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_thread_is_new_at_its_first_stop_only() {
        let mut threads = Threads::recorded([100]);
        assert!(!threads.note_first_stop(100), "it was attached to");
        assert!(threads.announce(100, 1));
        assert!(threads.note_first_stop(1));
        assert!(!threads.note_first_stop(1));
        assert!(threads.note_first_stop(2));
        assert!(!threads.note_first_stop(2));
        assert!(threads.announce(100, 2));
        assert!(!threads.note_first_stop(2));
        assert!(threads.ended_unannounced.is_empty());
    }

    #[test]
    fn a_thread_that_ended_before_its_creator_stopped_is_not_added() {
        let mut threads = Threads::recorded([100]);
        assert!(threads.note_first_stop(1));
        threads.remove(1);
        assert!(!threads.announce(100, 1));
        assert!(threads.announce(100, 1), "another thread with the same id");
        assert_eq!(threads.count(), Some(2));
    }

    #[test]
    fn a_new_thread_has_the_engine_of_its_creator() {
        let mut threads = Threads::recorded([100, 200]);
        threads.set_engine(100, PtraceEngine::Perf);
        assert!(threads.announce(100, 1) && threads.announce(200, 2));
        assert_eq!(threads.engine(1), PtraceEngine::Perf);
        assert_eq!(threads.engine(2), PtraceEngine::Syscall);
        assert_eq!(threads.engines_used(), &BTreeSet::from([PtraceEngine::Perf]));
    }

    #[test]
    fn threads_with_a_common_engine_are_not_counted() {
        let mut threads = Threads::with_common_engine(PtraceEngine::Seccomp);
        threads.state(1).is_in_other_call = true;
        assert_eq!(threads.engine(1), PtraceEngine::Seccomp);
        assert_eq!((threads.count(), threads.all().count()), (None, 0));
        assert!(!threads.is_recorded(1));
    }

    #[test]
    fn every_interrupted_thread_is_waited_for() {
        let mut threads = Threads::recorded([1, 2]);
        for tid in [1, 1, 2] {
            threads.set_interrupted(tid);
        }
        threads.clear_interrupted(1);
        assert!(threads.has_interrupted());
        threads.remove(2);
        assert!(!threads.has_interrupted());
    }
}
