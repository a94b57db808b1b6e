//! [`StatusLine`]: the last line of a terminal while a server is watched.
//!
//! It is drawn by a thread of its own: a terminal can block writes (Ctrl-S), and a traced server waits while its
//! tracer does.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::model::plural;
use crate::sys::capability::{self, Duty};

/// How often the line is drawn.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// Whether the line is on the terminal now. The lock is held while it is drawn or erased.
static IS_DRAWN: Mutex<bool> = Mutex::new(false);

/// Number of threads that are writing other text now.
static WRITERS: AtomicUsize = AtomicUsize::new(0);

/// Text other than the line is written to the terminal as long as this exists.
pub(super) struct OtherText(());

impl OtherText {
    /// Erases the line. It is not drawn before the value is dropped.
    pub(super) fn begin() -> OtherText {
        WRITERS.fetch_add(1, Ordering::SeqCst);
        let mut is_drawn = IS_DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *is_drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        OtherText(())
    }
}

impl Drop for OtherText {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The line and the thread that draws it. Dropping it erases the line.
pub(super) struct StatusLine {
    count: Arc<AtomicU64>,
    /// Ends the thread when it is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLine {
    /// Starts to draw on a terminal; `None` if stderr is not a terminal of this job.
    pub(super) fn start(zone: TimeZone) -> Option<StatusLine> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if is_dumb || !io::stderr().is_terminal() {
            return None;
        }
        let count = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("status".into()).spawn({
            let count = count.clone();
            move || {
                // Failure is harmless: nothing is executed.
                let _ = capability::renounce_new();
                let _ = capability::give_up_beyond(Duty::Files);
                let started = Instant::now();
                while stopped.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    draw(&text(&zone, count.load(Ordering::Relaxed), started.elapsed()));
                }
            }
        });
        Some(StatusLine { count, stop: Some(stop), thread: Some(thread.ok()?) })
    }

    /// Sets the number of connections.
    pub(super) fn set(&self, count: u64) {
        self.count.store(count, Ordering::Relaxed);
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        drop(OtherText::begin());
    }
}

fn text(zone: &TimeZone, count: u64, elapsed: Duration) -> String {
    let now = jiff::Timestamp::now().to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let counted = plural(count, "connection", "connections");
    format!("{now}  {counted} in {hours}:{minutes:02}:{seconds:02}; Ctrl-C prints the report")
}

fn draw(text: &str) {
    let mut is_drawn = IS_DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    if WRITERS.load(Ordering::SeqCst) > 0 || !is_in_foreground() {
        return;
    }
    let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(w, _)| usize::from(w.0));
    // A line that fills the window would move to the next one.
    let text: String = text.chars().take(width.saturating_sub(1)).collect();
    *is_drawn |= write!(io::stderr(), "\r{text}\x1b[K").is_ok();
}

/// Whether the terminal is this job's, not a shell's or another job's: `tcptally watch ... &`.
fn is_in_foreground() -> bool {
    nix::unistd::tcgetpgrp(io::stderr()).is_ok_and(|group| group == nix::unistd::getpgrp())
}
