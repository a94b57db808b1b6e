//! How a tracer leaves its tracees: as it found them.

use std::io;
use std::time::{Duration, Instant};

use crate::sys::wait;
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::procfs;

use super::{Phase, Tracer};

/// How long a signal may be on its way to a thread that runs.
const IN_FLIGHT: Duration = Duration::from_millis(300);
/// How long processes may take to get back what was changed in them.
const PUTTING_BACK: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

impl Tracer {
    /// Counts no more, and lets the tracees go unless their filter needs a tracer.
    pub(super) fn detach(&mut self) -> Result<(), Error> {
        if self.phase != Phase::Counting {
            return Ok(());
        }
        if self.engines.contains(&Engine::Seccomp) {
            self.phase = Phase::Supervising;
            return Ok(());
        }
        if self.perf.is_some() {
            self.detach_perf()?;
        }
        self.drain()?;
        self.phase = Phase::Leaving;
        Ok(())
    }

    fn detach_perf(&mut self) -> Result<(), Error> {
        // The end of the count is a moment at which all that the kernel has counted has been seen.
        // It comes before the events are switched off, for that drops signals on their way.
        if self.check.next().is_some() {
            self.check.lost = self.deficit(IN_FLIGHT)?;
        }
        self.check.end();
        if let Some(perf) = &mut self.perf {
            perf.close();
        }
        let mut processes = self.tracees.all();
        processes.retain(|tid| procfs::process_of(*tid) == Some(*tid));
        // Some were given over to another engine when they had been changed already.
        let is_changed = |pid| self.perf.as_ref().is_some_and(|perf| perf.must_change(pid));
        processes.retain(|pid| self.tracees.engine(*pid) == Engine::Perf || is_changed(*pid));
        // This engine does not see a ring being set up.
        self.look_for_io_uring(processes.iter().copied());
        if let Some(perf) = &mut self.perf {
            perf.put_back_masks();
        }
        for pid in &processes {
            if let Some(perf) = &mut self.perf {
                perf.put_back(*pid);
            }
            // It takes a while for each: those that have stopped for it are not kept waiting.
            self.drain()?;
        }
        self.drain_until(PUTTING_BACK, |tracer| {
            tracer.perf.as_ref().is_none_or(super::Perf::is_settled)
        })?;
        let Some(perf) = &self.perf else { return Ok(()) };
        for pid in processes.into_iter().filter(|pid| perf.must_change(*pid)) {
            let why = perf.failure(pid);
            self.status
                .warn(format!("process {pid} still ignores SIGTRAP, which it had not: {why}"));
        }
        Ok(())
    }

    fn drain_until(
        &mut self,
        patience: Duration,
        mut is_done: impl FnMut(&Tracer) -> bool,
    ) -> Result<(), Error> {
        let end = Instant::now() + patience;
        loop {
            self.drain()?;
            if is_done(self) || Instant::now() >= end {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes the stops that have come already.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        loop {
            match wait::any_now() {
                Ok(Some(change)) => {
                    let connection = self.on_stop(change.into()).doing("tracing")?;
                    self.ready.extend(connection);
                }
                Ok(None) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing("waiting for tracees"),
            }
        }
    }
}
