//! [`EventWriter`]: writes on a thread of its own, so that a slow reader never slows what is watched.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tcptally::Connection;
use tcptally::format::Format;

use super::output::Output;

/// So many events and reports wait for the reader at most.
const WAITING: usize = 1 << 15;

/// Written at once, as soon as there is so much.
const CHUNK: usize = 1 << 16;

/// A reader that takes nothing for so long is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Until it is looked again whether there is room.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

enum Item {
    Event(Box<Connection>),
    Text(Vec<u8>),
}

/// Writes what it is given in its own time, and drops what does not fit the queue.
pub struct EventWriter {
    queue: SyncSender<Item>,
    thread: JoinHandle<(Output, Option<io::Error>)>,
    closed: Arc<AtomicBool>,
    /// Events and reports that were dropped.
    pub dropped: u64,
    /// Whether the queue may be waited for, at least until it is clear that the reader is stuck.
    pub waits: bool,
}

impl EventWriter {
    /// Starts the thread. Events are written in `format`.
    pub fn new(output: Output, format: Box<dyn Format>) -> io::Result<EventWriter> {
        let (queue, receiver) = sync_channel(WAITING);
        let closed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("outlet".into()).spawn({
            let closed = closed.clone();
            move || write(output, format, &receiver, &closed)
        })?;
        Ok(EventWriter { queue, thread, closed, dropped: 0, waits: false })
    }

    /// Whether nobody reads any more.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes one connection.
    pub fn event(&mut self, connection: Connection) {
        self.send(Item::Event(Box::new(connection)));
    }

    /// Writes a text.
    pub fn text(&mut self, text: Vec<u8>) {
        if !text.is_empty() {
            self.send(Item::Text(text));
        }
    }

    fn send(&mut self, item: Item) {
        let mut result = self.queue.try_send(item);
        // A reader that has missed something will not miss less for being waited for.
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

    /// Waits until all is written, and gives the output back.
    pub fn finish(self) -> (Option<Output>, Option<io::Error>) {
        drop(self.queue);
        match self.thread.join() {
            Ok((output, error)) => (Some(output), error),
            Err(_) => (None, None),
        }
    }
}

fn write(
    mut output: Output,
    mut format: Box<dyn Format>,
    queue: &Receiver<Item>,
    closed: &AtomicBool,
) -> (Output, Option<io::Error>) {
    let mut error = None;
    let mut text = Vec::new();
    while let Ok(item) = queue.recv() {
        let mut next = Some(item);
        while let Some(item) = next {
            let result = match item {
                Item::Event(connection) => format.event(&connection, &mut text),
                Item::Text(more) => {
                    text.extend(more);
                    Ok(())
                }
            };
            error = error.or(result.err());
            next = if text.len() < CHUNK { queue.try_recv().ok() } else { None };
        }
        if error.is_none() {
            error = output.write(|out| out.write_all(&text)).err();
            if error.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                closed.store(true, Ordering::Relaxed);
            }
        }
        text.clear();
    }
    (output, error)
}
