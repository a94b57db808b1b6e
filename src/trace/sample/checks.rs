//! What is checked from time to time: whether all was seen, and what else the processes do.

use std::time::{Duration, Instant};

use crate::sys::ptrace::Tid;
use crate::trace::error::{Doing, Error};
use crate::trace::procfs;

use super::record::Thread;
use super::sampler::{POLL_INTERVAL, SAMPLE_TIMEOUT, Sampler};
use super::threads::CREATED_UNSEEN;

/// How often what was seen is compared with what the kernel counted.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// To compare may cost this part of the time at most.
const CHECK_SHARE: u32 = 50;
/// Maximum number of processes, and of threads of each, whose buffer lengths are read when counting begins.
const MAX_INSPECTED: usize = 16;

impl Sampler {
    /// What is done once a second: compares, closes events that nobody has any more, looks whether
    /// the processes have ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        // Those that are being replaced are needed without a thread.
        if !self.renewals.are_in_progress() {
            self.families.close_unused(self.processed_until);
        }
        self.compare()?;
        if self.rings.have_cpus_changed() {
            self.incomplete(
                "CPUs were switched on or off, and connections accepted on new ones are not seen; \
                 start again",
            );
        }
        if self.records_lost > self.records_lost_before {
            self.records_lost_before = self.records_lost;
            self.forget_ended();
            self.open_uncertain();
            if !self.threads.unsettled().is_empty() {
                self.incomplete(CREATED_UNSEEN);
            }
        }
        if !self.threads.unsettled().is_empty() {
            self.settle();
        }
        self.look_for_other_calls();
        self.next_check = Instant::now() + CHECK_EVERY.max(begin.elapsed() * CHECK_SHARE);
        Ok(())
    }

    /// Looks for calls that accept and that no event sees.
    pub(super) fn look_for_other_calls(&mut self) {
        if self.families.have_seen_io_uring() && !std::mem::replace(&mut self.io_uring_seen, true) {
            self.warn_of_io_uring();
        }
        let processes: Vec<Tid> = self.threads.processes().collect();
        for pid in processes {
            if !self.by_int80.contains(&pid)
                && self.threads.of_process(pid).any(procfs::accepts_by_int80)
            {
                self.by_int80.insert(pid);
                self.note_unsuitable_process(pid, "it accepts by int 0x80");
                self.incomplete(format!(
                    "process {pid} calls accept by int 0x80, as 32-bit code does, which the engine \
                     sample does not see; connections that it accepted so are not counted; \
                     '--engine syscall' counts them"
                ));
            }
        }
    }

    /// Compares what was seen with what the kernel counted.
    pub(super) fn compare(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        let counts = self.families.counts().doing("reading the kernel's count of accepts")?;
        loop {
            self.round(false);
            let lost = self.families.missing(&counts);
            // What is lost does not come later.
            if lost <= self.lost || begin.elapsed() >= SAMPLE_TIMEOUT {
                self.lost = lost;
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits for calls of accept that tell how long the buffers are, where that is not known.
    pub(super) fn prove_buffers(&mut self) {
        let end = Instant::now() + SAMPLE_TIMEOUT;
        while self.programs.unproven() > 0 && Instant::now() < end {
            let processes: Vec<Tid> = self.threads.processes().take(MAX_INSPECTED).collect();
            for pid in processes {
                let threads: Vec<Tid> = self.threads.of_process(pid).take(MAX_INSPECTED).collect();
                threads.into_iter().for_each(|tid| self.look_at_buffer(Thread { pid, tid }));
            }
            std::thread::sleep(POLL_INTERVAL);
            self.round(false);
        }
    }
}
