//! What to do about processes whose events the kernel has ended at their exec.

use crate::sys::perf_ring::monotonic_now;
use crate::trace::perf::PerfError;
use crate::trace::procfs;

use super::executions::Meaning;
use super::record::Thread;
use super::sampler::Sampler;
use super::unsuitable::OTHER_PRIVILEGES;

impl Sampler {
    /// Whether a record of the end of a thread is not about the thread, which is watched still, but about
    /// its former events.
    pub(super) fn goes_on(&mut self, thread: Thread, time: u64) -> bool {
        let is_running = || !procfs::is_ending(thread.tid);
        let goes_on = match self.executions.meaning(thread.tid, time, is_running) {
            Meaning::End => false,
            Meaning::Known => true,
            Meaning::EndOfEvents(comm) => self.open_again(thread, &comm),
        };
        if !goes_on {
            self.executions.forget(thread.tid);
        }
        goes_on
    }

    /// Opens events for a process whose events have ended at its exec, which only root may. Returns
    /// whether it has some.
    fn open_again(&mut self, thread: Thread, comm: &str) -> bool {
        // A tracer opened events of its own at the exec.
        if self.covered.has(thread.tid) {
            return false;
        }
        let opened = self.open(thread);
        self.incomplete(format!(
            "processes executed {comm} with other privileges, so that the kernel ended their events; {}",
            match opened {
                Ok(()) | Err(PerfError::Gone) => "connections may have been missed at that time",
                Err(_) => "their connections are not counted from then on; run tcptally as root",
            }
        ));
        // Under a tracer without CAP_SYS_PTRACE, programs would not get their other privileges: ptrace(2).
        if matches!(opened, Ok(()) | Err(PerfError::Gone)) && procfs::has_ptrace_capability() {
            // A tracer stops its successors at the exec, and has new events before they accept.
            let creator = self.executions.creator(thread.pid);
            for pid in
                creator.or_else(|| procfs::parent(thread.pid)).into_iter().chain([thread.pid])
            {
                if self.threads.of_process(pid).next().is_some() {
                    self.note_unsuitable_process(pid, OTHER_PRIVILEGES);
                }
            }
        }
        self.executions.opened_again(thread.tid, monotonic_now());
        opened.is_ok()
    }
}
