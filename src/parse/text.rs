//! Reads a text many lines at a time: in several threads where its parts can be read in any
//! order, else as it comes.

use std::io;
use std::ops::Range;
use std::sync::Mutex;

use super::context::Context;
use super::found::Found;
use super::input::Input;
use super::lines;
use super::{Gather, parallel};
use crate::Connection;

/// Bytes that a thread takes at a time: so many that what must be done in order for each does not
/// count, and so few that they stay in the cache.
const CHUNK: usize = 256 * 1024;

/// What a thread works on.
struct Job<B> {
    buffer: Vec<u8>,
    /// Where the lines are in the buffer.
    lines: Range<usize>,
    block: B,
    found: Found,
    error: Option<io::Error>,
}

impl<B: Default> Default for Job<B> {
    fn default() -> Job<B> {
        Job {
            buffer: Vec::new(),
            lines: 0..0,
            block: B::default(),
            found: Found::default(),
            error: None,
        }
    }
}

/// Reads `input` to its end. `read` makes of whole lines what they tell by themselves, and
/// `in_order` makes connections of that. What comes of it is the same however the lines are
/// divided, if these two see to that.
pub fn read<B: Default>(
    input: &mut Input,
    cx: &mut Context<'_>,
    read: impl Fn(&[u8], &mut B) + Sync,
    mut in_order: impl FnMut(&[u8], &mut B, &mut Vec<Connection>) + Send,
) -> io::Result<()> {
    let chunk = cx.options.chunk.unwrap_or(CHUNK).max(1);
    let threads = cx.threads();
    let Some(plain) = input.plain() else {
        let mut block = B::default();
        let mut found = Found::default();
        return lines::blocks(input, |text, _| {
            read(text, &mut block);
            in_order(text, &mut block, &mut found.all);
            found.give(false, cx.sink);
            cx.sink.pause();
        });
    };
    let alike = cx.sink.alike();
    let failed = Mutex::new(None);
    // No more threads than there is work for.
    let parts = plain.len.div_ceil(chunk as u64);
    let threads = usize::try_from(parts).unwrap_or(threads).min(threads);
    parallel::run(
        threads,
        &mut *cx.sink,
        parallel::Steps {
            read: |part: u64, job: &mut Job<B>| {
                let start = part.saturating_mul(chunk as u64);
                if start >= plain.len {
                    return false;
                }
                match lines::load(&plain, start, chunk, &mut job.buffer) {
                    Ok((from, to)) => {
                        job.lines = from..to;
                        read(&job.buffer[from..to], &mut job.block);
                    }
                    Err(e) => job.error = Some(e),
                }
                true
            },
            in_order: |job: &mut Job<B>| {
                if let Some(error) = job.error.take() {
                    if let Ok(mut failed) = failed.lock() {
                        *failed = Some(error);
                    }
                    return false;
                }
                in_order(&job.buffer[job.lines.clone()], &mut job.block, &mut job.found.all);
                true
            },
            give: |job: &mut Job<B>, sink: &mut dyn Gather| job.found.give(alike, sink),
            end: |job: &mut Job<B>, sink: &mut dyn Gather| job.found.end(sink),
        },
    );
    match failed.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}
