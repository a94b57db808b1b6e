//! Messages to the user, on stderr behind the name of the program.

use std::fmt::Display;
use std::io::Write;

/// What went wrong. A stderr that cannot be written to is no reason to fail.
pub fn error(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "tcptally: {text}");
}

/// What the user should know, unless he wants to hear of errors only.
pub fn note(quiet: bool, text: impl Display) {
    if !quiet {
        error(text);
    }
}
