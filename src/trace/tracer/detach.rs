//! How a tracer leaves its tracees: as it found them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::sys::wait;
use crate::trace::engine::Engine;
use crate::trace::error::{Doing, Error};
use crate::trace::procfs;

use super::{Phase, Tracer};

/// In test builds, names a directory: the detach announces each of its steps by a file there, and
/// goes on when `NAME.go` exists.
const STEPS_VARIABLE: &str = "TCPTALLY_DETACH_STEPS";
/// A test that fails must not leave a tracer behind.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

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
        // It comes before the events are closed, for that drops signals on their way.
        if self.check.next().is_some() {
            self.check.lost = self.last_deficit(IN_FLIGHT)?;
        }
        self.check.end();
        step("counted");
        if let Some(perf) = &mut self.perf {
            perf.close_all();
        }
        step("closed");
        let mut processes = self.tracees.all();
        processes.retain(|tid| procfs::process_of(*tid) == Some(*tid));
        processes.retain(|pid| self.tracees.engine(*pid) == Engine::Perf);
        // This engine does not see a ring being set up.
        self.look_for_io_uring(processes.into_iter());
        if let Some(perf) = &mut self.perf {
            perf.put_back_masks();
        }
        self.drain_until(PUTTING_BACK, |tracer| {
            tracer.perf.as_ref().is_none_or(super::Perf::is_settled)
        })?;
        step("restored");
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

/// Lets a test act between two steps.
fn step(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(directory) = std::env::var_os(STEPS_VARIABLE).map(PathBuf::from) else { return };
    // Where it cannot be written nobody waits for it.
    if fs::write(directory.join(name), "").is_err() {
        return;
    }
    let end = Instant::now() + STEP_TIMEOUT;
    while !directory.join(format!("{name}.go")).exists() && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}
