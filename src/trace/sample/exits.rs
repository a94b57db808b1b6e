//! Ends of watched threads: those that a PERF_RECORD_EXIT tells, and those whose record was lost.

use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::trace::procfs;

use super::record::Thread;
use super::sampler::{Sampler, WithheldEvent};

impl Sampler {
    /// Removes a thread that had ended at `time`, and its process with the last of its threads.
    pub(super) fn exited(&mut self, thread: Thread, time: u64) {
        self.threads.ended(thread, &mut self.families);
        self.sockets.forget(thread.tid);
        match &mut self.held {
            Some(held) => held.push(WithheldEvent::Exit(thread.tid, time)),
            None => self.end(thread.tid, time),
        }
        if self.threads.of_process(thread.pid).next().is_none() {
            self.listeners.forget(thread.pid);
            self.programs.forget(thread.pid);
            self.unsuitable.forget(thread.pid);
            self.by_int80.remove(&thread.pid);
        }
    }

    /// A thread has ended: the counts that waited for it are decided.
    pub(super) fn end(&mut self, tid: Tid, time: u64) {
        let connections = self.covered.forget(tid, time);
        self.ready.extend(connections);
    }

    /// Removes the former thread whose id one that was created at `time` has, if its end was not reported.
    pub(super) fn replaced(&mut self, tid: Tid, time: u64) {
        if self.records_lost > 0
            && let Some(former) = self.threads.former(tid, time)
        {
            self.executions.forget(tid);
            self.exited(former, time);
        }
    }

    /// Removes threads whose end was not reported, because the record was lost. Another thread with the same id
    /// would be taken for them: it would have no events, and the tracer would be believed to count it.
    pub(super) fn forget_ended(&mut self) {
        let known: Vec<(Thread, u64)> = self.threads.with_begin().collect();
        let ended: Vec<(Thread, u64, u64)> = known
            .into_iter()
            .filter_map(|(thread, since)| Some((thread, since, ended_by(thread.tid, since)?)))
            .collect();
        if ended.is_empty() {
            return;
        }
        // Their last accepts are in the rings by now, and must be taken for theirs.
        self.round_past(monotonic_now());
        for (thread, since, time) in ended {
            if self.threads.begin(thread.tid) == Some(since) {
                self.executions.forget(thread.tid);
                self.exited(thread, time);
            }
        }
    }
}

/// Returns a time by which the thread had ended that ran at the time `since`; `None` if it has not.
fn ended_by(tid: Tid, since: u64) -> Option<u64> {
    let now = monotonic_now();
    match procfs::has_ended(tid) {
        true => Some(now),
        // Another thread has its id.
        false => procfs::start_time(tid).filter(|started| *started > since),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_has_ended_if_proc_shows_none_or_one_that_started_later() {
        const SECOND: u64 = 1_000_000_000;
        let (started, tid) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let before = monotonic_now() - SECOND;
        let thread = std::thread::spawn(move || {
            let _ = started.send(rustix::thread::gettid().as_raw_pid());
            let _ = wait.recv();
        });
        let tid = tid.recv().expect("the thread runs");
        assert_eq!(ended_by(tid, monotonic_now()), None, "it is the same");
        let ended = ended_by(tid, before).expect("it is another one");
        assert!((before..=monotonic_now()).contains(&ended));
        drop(end);
        thread.join().expect("it ends");
        // The kernel wakes who waits for a thread a moment before /proc shows it no more.
        let limit = monotonic_now() + 10 * SECOND;
        while ended_by(tid, monotonic_now()).is_none() && monotonic_now() < limit {
            std::thread::yield_now();
        }
        assert!(ended_by(tid, monotonic_now()).is_some());
    }
}
