//! Messages to the user, on stderr behind the name of the program.

use std::fmt::Display;
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tcptally::sys::wake;

/// What went wrong. A stderr that cannot be written to is no reason to fail.
pub fn error(text: impl Display) {
    let _ = wake::writing(|| writeln!(anstream::stderr().lock(), "tcptally: {text}"));
}

/// What the user should know, unless he wants to hear of errors only.
pub fn notice(quiet: bool, text: impl Display) {
    if !quiet {
        error(text);
    }
}

/// The thread that writes notes for others.
static BACKGROUND: Mutex<Option<(Sender<String>, JoinHandle<()>)>> = Mutex::new(None);

/// [`notice`] for those who must not wait until it is written, which takes as long as nobody reads:
/// on a terminal from Ctrl-S to Ctrl-Q. What is traced stands still while its tracer waits.
pub fn notice_in_background(quiet: bool, text: impl Display) {
    if quiet {
        return;
    }
    let mut background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
    let (notes, _) = background.get_or_insert_with(|| {
        let (sender, receiver) = channel::<String>();
        (sender, std::thread::spawn(move || receiver.into_iter().for_each(error)))
    });
    // Its thread ends only with the sender.
    let _ = notes.send(text.to_string());
}

/// Waits until all notes are written.
pub fn finish() {
    let background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((notes, thread)) = background {
        drop(notes);
        let _ = thread.join();
    }
}
