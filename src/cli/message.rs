//! Messages to the user, on stderr behind the name of the program.

use std::fmt::Display;
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::service_manager::is_journal;
use super::status_line::OtherText;
use crate::model::text::{printable, printable_lines};
use crate::sys::capability::{self, Duty};
use crate::sys::wake;

/// Why a thread cannot be started: pthread_create(3), setrlimit(2).
pub(super) const NO_THREAD: &str = "no thread can be started; the limit of processes (ulimit -u), of \
                                    the container (pids) or of memory (ulimit -v) is reached";

/// Prints an error in one line. Text in it that comes from outside, such as a file name, cannot control
/// the terminal. A failure to write to stderr is ignored.
pub(super) fn error(text: impl Display) {
    print(Priority::Error, &printable(&text.to_string()));
}

/// Prints an error of several lines.
pub(super) fn error_lines(text: impl Display) {
    print(Priority::Error, &printable_lines(&text.to_string()));
}

/// Priorities of syslog(3), as the journal reads them at the start of a line.
#[derive(Clone, Copy)]
enum Priority {
    Error = 3,
    Notice = 5,
}

/// Messages held back until the screen ends.
static HELD: Mutex<Option<Vec<(Priority, String)>>> = Mutex::new(None);

/// Holds messages back while a screen is shown.
pub(super) fn hold() {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// Prints the messages that were held back.
pub(super) fn release() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    held.into_iter().flatten().for_each(|(priority, text)| print(priority, &text));
}

fn print(priority: Priority, text: &str) {
    if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        held.push((priority, text.to_owned()));
        return;
    }
    static IS_JOURNAL: LazyLock<bool> = LazyLock::new(is_journal);
    let priority = IS_JOURNAL.then(|| format!("<{}>", priority as u8)).unwrap_or_default();
    let _other_text = OtherText::begin();
    let _ = wake::writing(|| writeln!(anstream::stderr().lock(), "{priority}tcptally: {text}"));
}

fn print_notice(text: impl Display) {
    print(Priority::Notice, &printable(&text.to_string()));
}

/// Prints a notice unless `quiet`.
pub(super) fn notice(quiet: bool, text: impl Display) {
    if !quiet {
        print_notice(text);
    }
}

/// The thread that prints notices in the background.
static BACKGROUND: Mutex<Option<(Sender<String>, JoinHandle<()>)>> = Mutex::new(None);

/// Prints a notice without waiting until it is written. A terminal can block a write (Ctrl-S), and a
/// traced server waits while its tracer does.
pub(super) fn notice_in_background(quiet: bool, text: impl Display) {
    if quiet {
        return;
    }
    let mut background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
    if background.is_none() {
        let (sender, receiver) = channel::<String>();
        let print = move || {
            // It may be started before a command is. Failure is harmless: nothing is executed.
            let _ = capability::renounce_new();
            let _ = capability::give_up_beyond(Duty::Answer);
            receiver.into_iter().for_each(print_notice);
        };
        let thread = std::thread::Builder::new().name("messages".into()).spawn(print);
        *background = thread.ok().map(|thread| (sender, thread));
    }
    match background.as_ref() {
        // The thread ends only when the sender is dropped.
        Some((notes, _)) => drop(notes.send(text.to_string())),
        None => print_notice(text),
    }
}

/// Waits until all notices are written.
pub(super) fn finish() {
    let background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((notes, thread)) = background {
        drop(notes);
        let _ = thread.join();
    }
}
