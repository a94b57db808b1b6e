//! The signals of a watch: some end it, one asks for the tally so far.

use crate::sys::wake;

use super::error::{Doing, Error};

/// Signals that end the watch, and the one that asks for the tally so far.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
const ASKING: i32 = libc::SIGUSR1;

/// What signals have asked for since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The end.
    pub end: bool,
    /// The tally so far.
    pub tally: bool,
}

/// Installs the handlers.
pub(super) fn install() -> Result<(), Error> {
    wake::install(&[&ENDING[..], &[ASKING]].concat()).doing("installing signal handlers")
}

/// What has come since the last call.
pub(super) fn wanted() -> Wanted {
    if !wake::is_due() {
        return Wanted::default();
    }
    let signals = wake::take();
    wake::at(None);
    Wanted { end: ENDING.iter().any(|s| signals.has(*s)), tally: signals.has(ASKING) }
}
