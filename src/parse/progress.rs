//! [`Progress`]: a progress bar on stderr.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Minimum duration before progress is shown.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// Counts the bytes that were read, and shows them on a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    requested: bool,
    total: Option<u64>,
    connections: Option<Arc<AtomicU64>>,
    read: AtomicU64,
    started: Instant,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// `total`: the bytes of all inputs, and `connections`: those that were found, if that is known.
    pub(super) fn new(
        requested: bool,
        total: Option<u64>,
        connections: Option<Arc<AtomicU64>>,
    ) -> Progress {
        Progress {
            requested: requested && std::io::stderr().is_terminal(),
            total,
            connections,
            read: AtomicU64::new(0),
            started: Instant::now(),
            bar: OnceLock::new(),
        }
    }

    /// Adds `bytes` that were read.
    pub(super) fn add(&self, bytes: usize) {
        let read = self.read.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if self.requested && self.started.elapsed() > SHOW_AFTER {
            let bar = self.bar.get_or_init(|| self.draw());
            bar.set_position(read);
            if let Some(connections) = &self.connections {
                let n = connections.load(Ordering::Relaxed);
                bar.set_message(format!(", {} connections", HumanCount(n)));
            }
        }
    }

    fn draw(&self) -> ProgressBar {
        let (bar, template) = match self.total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:20} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left{msg}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {binary_bytes_per_sec}{msg}"),
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style).with_elapsed(self.started.elapsed()),
            Err(_) => bar,
        }
    }

    /// Erases the line.
    pub(super) fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
