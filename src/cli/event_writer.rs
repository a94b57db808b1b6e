//! [`EventWriter`]: writes the output in a separate thread, so that a slow reader does not slow down a
//! traced server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Connection;
use crate::format::Format;
use crate::sys::capability::{self, Duty};

use super::message;
use super::output::Output;
use super::rotation::Former;

/// Maximum number of events and texts in the queue.
const QUEUE_ITEMS: usize = 1 << 15;

/// Bytes that are collected before a write.
const WRITE_BYTES: usize = 1 << 16;

/// Time after which a reader that reads nothing is treated as stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two attempts to append to a full queue.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

enum Item {
    Event(Box<Connection>),
    Text(Vec<u8>),
    /// Reopens the file, and writes this text if it is empty.
    Reopen(Vec<u8>),
    /// Ends the file, and begins a new one with this text.
    Rotate(Vec<u8>, Former),
}

/// The state when everything has been written.
pub(super) struct Finished {
    pub output: Output,
    /// Why the output could not be written completely.
    pub error: Option<io::Error>,
    /// Whether the error was printed when it occurred.
    pub is_reported: bool,
}

/// Writes events and texts asynchronously. Drops what does not fit in the queue.
pub(super) struct EventWriter {
    queue: SyncSender<Item>,
    thread: JoinHandle<Finished>,
    closed: Arc<AtomicBool>,
    /// Whether the file was reopened and is empty.
    is_new: Arc<AtomicBool>,
    /// Events and reports that were dropped.
    pub dropped: u64,
    /// Whether the caller may wait for the queue, until the reader counts as stuck.
    pub waits: bool,
}

impl EventWriter {
    /// Starts the thread. Events are written in `format`.
    pub(super) fn new(output: Output, format: Box<dyn Format>) -> io::Result<EventWriter> {
        let (queue, receiver) = sync_channel(QUEUE_ITEMS);
        let [closed, is_new] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let thread = std::thread::Builder::new().name("output".into()).spawn({
            let (closed, is_new) = (closed.clone(), is_new.clone());
            move || {
                // This thread may have been started before a command is. Failure is harmless: nothing is executed.
                let _ = capability::renounce_new();
                let _ = capability::give_up_beyond(Duty::Files);
                write(output, format, &receiver, &closed, &is_new)
            }
        })?;
        Ok(EventWriter { queue, thread, closed, is_new, dropped: 0, waits: false })
    }

    /// Whether the reader has closed the output.
    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes one connection.
    pub(super) fn event(&mut self, connection: Connection) {
        self.send(Item::Event(Box::new(connection)));
    }

    /// Writes a text.
    pub(super) fn text(&mut self, text: Vec<u8>) {
        if !text.is_empty() {
            self.send(Item::Text(text));
        }
    }

    /// Reopens the output file, and writes `headings` if it is empty.
    pub(super) fn reopen(&mut self, headings: Vec<u8>) {
        self.send(Item::Reopen(headings));
    }

    /// Ends the output file, and begins a new one with `headings`.
    pub(super) fn rotate(&mut self, headings: Vec<u8>, former: Former) {
        self.send(Item::Rotate(headings, former));
    }

    /// Whether the file has been reopened and was empty, since the last call.
    pub(super) fn take_is_new(&self) -> bool {
        self.is_new.swap(false, Ordering::Relaxed)
    }

    fn send(&mut self, item: Item) {
        let mut result = self.queue.try_send(item);
        // After the first drop the output is incomplete anyway.
        if self.waits && self.dropped == 0 {
            let until = Instant::now() + WRITE_TIMEOUT;
            while let Err(TrySendError::Full(item)) = result {
                if until <= Instant::now() {
                    result = Err(TrySendError::Full(item));
                    break;
                }
                std::thread::sleep(RETRY_INTERVAL);
                result = self.queue.try_send(item);
            }
        }
        self.dropped += u64::from(result.is_err());
    }

    /// Waits until everything is written. `None` if the thread panicked, which has been printed.
    pub(super) fn finish(self) -> Option<Finished> {
        drop(self.queue);
        self.thread.join().ok()
    }
}

fn write(
    mut output: Output,
    mut format: Box<dyn Format>,
    queue: &Receiver<Item>,
    closed: &AtomicBool,
    is_new: &AtomicBool,
) -> Finished {
    let mut error = None;
    let mut has_failed = false;
    let mut is_reported = false;
    let mut text = Vec::new();
    while let Ok(item) = queue.recv() {
        // A report that replaces the file is not joined with the next.
        let at_most = if output.is_replaced() { 0 } else { WRITE_BYTES };
        let (formatted, new_file) = gather(item, queue, at_most, &mut *format, &mut text);
        error = error.or(formatted.err());
        if error.is_none() {
            let written = output.write_text(&text);
            error = explain(written, &output, &mut has_failed);
            match error.as_ref().map(io::Error::kind) {
                Some(io::ErrorKind::BrokenPipe) => closed.store(true, Ordering::Relaxed),
                Some(_) => is_reported = true,
                None => {}
            }
        }
        text.clear();
        match new_file {
            Some(NewFile { headings, former: None }) => {
                error = error.or(reopen(&mut output, &headings, is_new).err());
            }
            Some(NewFile { headings, former: Some(former) }) if error.is_none() => {
                error = rotate(&mut output, &mut *format, &headings, &former).err();
            }
            _ => {}
        }
    }
    if error.is_none() {
        let finished = format.finish(&mut text);
        let written = finished.and_then(|()| output.write_text(&text));
        error = written.and_then(|()| output.complete()).err();
    }
    Finished { output, error, is_reported }
}

/// A request to reopen the output file, or to rotate it if there is a former one.
struct NewFile {
    headings: Vec<u8>,
    former: Option<Former>,
}

/// Adds `item` and those that wait in `queue` to `text`, until it has `at_most` bytes or a new file begins.
fn gather(
    item: Item,
    queue: &Receiver<Item>,
    at_most: usize,
    format: &mut dyn Format,
    text: &mut Vec<u8>,
) -> (io::Result<()>, Option<NewFile>) {
    let mut result = Ok(());
    let mut next = Some(item);
    while let Some(item) = next {
        let formatted = match item {
            Item::Event(connection) => format.event(&connection, text),
            Item::Text(more) => {
                text.extend(more);
                Ok(())
            }
            Item::Reopen(headings) => return (result, Some(NewFile { headings, former: None })),
            Item::Rotate(headings, former) => {
                return (result, Some(NewFile { headings, former: Some(former) }));
            }
        };
        result = result.and(formatted);
        next = if text.len() < at_most { queue.try_recv().ok() } else { None };
    }
    (result, None)
}

/// Reports a failed write (such as a full disk) at once, because counting may continue for days. Returns the error
/// if the output cannot be used any more. If each report replaces the previous one, the next report is a new attempt.
fn explain(written: io::Result<()>, output: &Output, has_failed: &mut bool) -> Option<io::Error> {
    let had_failed = std::mem::replace(has_failed, written.is_err());
    let error = written.err()?;
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Some(error);
    }
    let what = output.cannot_write();
    if output.is_replaced() {
        if !had_failed {
            message::error(format_args!(
                "{what}: {error}; the previous report is kept until the next one"
            ));
        }
        return None;
    }
    message::error(format_args!("{what}: {error}; nothing more is written to it"));
    Some(error)
}

/// Reopens the output file. A new one begins with `headings`.
fn reopen(output: &mut Output, headings: &[u8], is_new: &AtomicBool) -> io::Result<()> {
    match output.reopen() {
        Ok(()) if !output.continues() => {
            is_new.store(true, Ordering::Relaxed);
            output.write_text(headings)
        }
        Ok(()) => Ok(()),
        Err(e) => {
            message::error(format_args!("{}: {e}", output.cannot_reopen()));
            Ok(())
        }
    }
}

/// Ends the output file, and begins a new one with `headings`.
fn rotate(
    output: &mut Output,
    format: &mut dyn Format,
    headings: &[u8],
    former: &Former,
) -> io::Result<()> {
    let is_beside = output.is_beside();
    let mut text = Vec::new();
    if is_beside {
        format.finish(&mut text)?;
        output.write_text(&text)?;
    }
    match output.rotate(&former.suffix) {
        Err(e) if is_beside => return Err(e),
        Err(e) => {
            let name = output.name();
            message::error(format_args!("cannot rotate {name}: {e}; writing continues to it"));
            return Ok(());
        }
        Ok(()) => {}
    }
    if let Some(keep) = former.keep
        && let Err(e) = output.remove_former(keep)
    {
        message::error(format_args!("cannot remove old files of {}: {e}", output.name()));
    }
    if is_beside {
        text.clear();
        format.event_headings(&mut text)?;
        return output.write_text(&text);
    }
    output.write_text(headings)
}
