//! Counts a tracer's system calls: strace -c on the tracer itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::processes::{self, Started, wait_for};

/// A count that goes on until its end.
pub struct Calls {
    strace: Started,
    summary: PathBuf,
}

impl Calls {
    /// Begins to count the system calls of a process.
    pub fn count(pid: i32, dir: &Path) -> Result<Calls> {
        let summary = dir.join("calls");
        let mut argv: Vec<OsString> = ["strace", "-c", "-f", "-qq", "-o"].map(Into::into).into();
        argv.extend([summary.clone().into_os_string(), "-p".into(), pid.to_string().into()]);
        let dir = dir.join("strace-c");
        fs::create_dir(&dir)?;
        let mut strace = processes::start(&argv, &dir)?;
        wait_for("strace to attach to the tracer", || {
            strace.must_run()?;
            Ok(processes::are_traced(&[pid], strace.pid()).then_some(()))
        })?;
        Ok(Calls { strace, summary })
    }

    /// How many there were.
    pub fn end(mut self) -> Result<u64> {
        self.strace.signal(Signal::SIGINT);
        self.strace.wait()?;
        let text = fs::read_to_string(&self.summary)?;
        let total = text.lines().rev().find(|l| l.trim_end().ends_with("total"));
        let total = total.with_context(|| format!("strace -c gives no total:\n{text}"))?;
        let numbers: Vec<&str> = total.split_ascii_whitespace().collect();
        // Percent, seconds, microseconds each, calls, and errors if there were any. These are
        // calls that SIGCHLD interrupts, as it does in a traced process only.
        let number = |i: usize| numbers.get(i).and_then(|n| n.parse::<u64>().ok());
        Ok(number(3).context("no number of calls")?.saturating_sub(number(4).unwrap_or(0)))
    }
}
