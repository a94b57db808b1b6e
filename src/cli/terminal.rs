//! The terminal that a screen is drawn on.

use std::fs::{File, OpenOptions};
use std::io;

/// Why the screen cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScreenError {
    #[error(
        "--live needs a terminal; --interval 20s prints a line for each interval to anything, and --metrics serves the counts"
    )]
    NoTerminal,
    #[error(
        "--live cannot draw on the terminal type '{0}' (TERM); --interval 20s prints a line for each interval instead"
    )]
    Dumb(String),
}

/// Checks whether there can be a screen.
pub(super) fn check() -> Result<(), ScreenError> {
    let kind = std::env::var("TERM").unwrap_or_default();
    if kind.is_empty() || kind == "dumb" {
        return Err(ScreenError::Dumb(kind));
    }
    tty().map(drop).map_err(|_| ScreenError::NoTerminal)
}

/// Opens the terminal of this process.
pub(super) fn tty() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}
