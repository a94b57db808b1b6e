//! Handles the signals of a watch: some end it, one requests the tally so far.

use crate::sys::wake;

use super::error::{Doing, Error};

/// Signals that end the watch.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
const ASKING: i32 = libc::SIGUSR1;

/// What signals have requested since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// To end the watch.
    pub end: bool,
    /// To report the tally so far.
    pub tally: bool,
}

/// Installs the handlers.
pub(super) fn install() -> Result<(), Error> {
    wake::install(&[&ENDING[..], &[ASKING]].concat()).doing("installing signal handlers")
}

/// Returns what has been requested since the last call.
pub(super) fn wanted() -> Wanted {
    if !wake::is_due() {
        return Wanted::default();
    }
    let signals = wake::take();
    wake::at(None);
    Wanted { end: ENDING.iter().any(|s| signals.has(*s)), tally: signals.has(ASKING) }
}
