//! Reads a text many lines at a time: a file in several threads, a stream in one.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use super::coalesce::Coalescer;
use super::found::FoundConnections;
use super::input::Input;
use super::lines;
use super::parallel::{self, Parts};
use super::reader::Context;
use crate::Sink;

/// A part of the text.
struct Job<B> {
    buffer: Vec<u8>,
    /// Where the lines are in the buffer.
    lines: Range<usize>,
    block: B,
    found: FoundConnections,
    error: Option<io::Error>,
}

impl<B: Default> Default for Job<B> {
    fn default() -> Job<B> {
        Job {
            buffer: Vec::new(),
            lines: 0..0,
            block: B::default(),
            found: FoundConnections::default(),
            error: None,
        }
    }
}

/// Reads `input` to its end. `read` reads whole lines, each by itself, and
/// `in_order` makes connections of the result. Both must give the same result however the lines are
/// divided.
pub(super) fn read<B: Default + Send>(
    input: &mut Input,
    cx: &mut Context<'_>,
    read: impl Fn(&[u8], &mut B) + Sync,
    mut in_order: impl FnMut(&[u8], &mut B, &mut FoundConnections) + Send,
) -> io::Result<()> {
    let Some(plain) = input.plain() else {
        let mut block = B::default();
        let mut found = FoundConnections::default();
        return lines::blocks(input, |text, _| {
            read(text, &mut block);
            in_order(text, &mut block, &mut found);
            found.give(None, cx.sink);
            cx.sink.pause();
        });
    };
    let used = cx.sink.used_fields();
    let parts = Parts::new(plain.len, cx.options.chunk, cx.threads());
    let mut failed = None;
    parallel::run(
        parts.threads,
        &mut *cx.sink,
        parallel::Steps {
            read: |part: u64, job: &mut Job<B>| {
                let Some(start) = parts.start(part) else { return false };
                match lines::load(&plain, start, parts.chunk, &mut job.buffer) {
                    Ok((from, to)) => {
                        job.lines = from..to;
                        let clean = lines::without_terminal_sequences(&job.buffer[from..to]);
                        if let Cow::Owned(clean) = clean {
                            job.lines = 0..clean.len();
                            job.buffer = clean;
                        }
                        read(&job.buffer[job.lines.clone()], &mut job.block);
                    }
                    Err(e) => job.error = Some(e),
                }
                true
            },
            in_order: |job: &mut Job<B>| {
                failed = job.error.take();
                if failed.is_some() {
                    return false;
                }
                job.found.used = used;
                in_order(&job.buffer[job.lines.clone()], &mut job.block, &mut job.found);
                true
            },
            give: |job: &mut Job<B>, held: &mut Coalescer, sink: &mut dyn Sink| {
                job.found.give(used.can_coalesce().then_some(held), sink);
            },
            join: Coalescer::join,
            end: Coalescer::end,
        },
    );
    failed.map_or(Ok(()), Err)
}
