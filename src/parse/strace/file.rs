//! Reads one file into a [`Log`]: in several threads where its parts can be read in any order,
//! else as it comes.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::clock::{Base, Dates};
use super::compact::CompactAccept;
use super::line::{Block, Given};
use super::log::{Log, connection};
use crate::Connection;
use crate::Sink;
use crate::parse::Options;
use crate::parse::coalesce::Coalescer;
use crate::parse::input::{Input, Plain};
use crate::parse::lines;
use crate::parse::parallel::{self, Parts};

/// Where briefs are not certain in so many parts, they will seldom be.
const TOO_OFTEN: u32 = 4;
/// They are tried again in every so many parts.
const RETRY: u64 = 64;

/// Whether to try briefs in this part, after so many in which they were not certain.
fn tries_briefs(again: u32, part: u64) -> bool {
    again < TOO_OFTEN || part.is_multiple_of(RETRY)
}

/// Reads `input` to its end.
pub fn read(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
    threads: usize,
) -> io::Result<()> {
    match input.plain() {
        Some(plain) => in_parts(&plain, log, options, sink, threads),
        // Nobody waits for what comes next, as in a pipe.
        None if input.is_compressed() && input.modified().is_some() => {
            decompressed(input, log, options, sink)
        }
        None => {
            let mut block = Block { want_comms: options.requested.comm, ..Block::default() };
            let mut dates = log.dates();
            lines::blocks(input, |text, at| {
                block.clear();
                block.read(text);
                log.take(&mut block, at);
                give(&mut block, log.base(), &mut dates, |c| sink.take(c));
                sink.pause();
            })
        }
    }
}

/// Decompressed blocks that wait to be read.
const WAITING_BLOCKS: usize = 8;

/// Reads a compressed file: one thread decompresses it, this one reads the lines.
fn decompressed(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let alike = sink.can_coalesce();
    let mut block = Block { want_comms: options.requested.comm, ..Block::default() };
    block.briefs.want_local = options.requested.local;
    let (mut again, mut part) = (0, 0);
    let mut dates = log.dates();
    let mut coalescer = Coalescer::default();
    let (send, receive) = mpsc::sync_channel::<(Vec<u8>, u64)>(WAITING_BLOCKS);
    let end = thread::scope(|scope| {
        let decompress = scope.spawn(move || {
            lines::blocks(input, |text, at| {
                // The other side ends before this one only if it panics.
                let _ = send.send((text.to_vec(), at));
            })
        });
        for (text, at) in receive {
            block.clear();
            block.briefs.requested = alike && tries_briefs(again, part);
            part += 1;
            block.read(&text);
            if log.takes_brief(&block) {
                again = if block.briefs.is_empty() { again } else { 0 };
            } else {
                again += 1;
                block.clear();
                block.briefs.requested = false;
                block.read(&text);
            }
            log.take(&mut block, at);
            give_block(&mut block, log.base(), &mut dates, alike.then_some(&mut coalescer), sink);
        }
        decompress.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    coalescer.end(sink);
    end
}

/// Gives the connections of a block; those alike perhaps only at the end of `alike`.
fn give_block(
    block: &mut Block,
    base: Base,
    dates: &mut Dates,
    alike: Option<&mut Coalescer>,
    sink: &mut dyn Sink,
) {
    let Some(alike) = alike else { return give(block, base, dates, |c| sink.take(c)) };
    let brief = |brief: &CompactAccept| {
        (brief.ip, usize::from(brief.local), dates.record_time(base.apply(brief.stamp)))
    };
    alike.take_briefs(block.briefs.list(), &block.briefs.locals, brief, sink);
    give(block, base, dates, |c| alike.take(c, sink));
}

/// What a thread works on.
#[derive(Default)]
struct Job {
    buffer: Vec<u8>,
    /// Where the lines of the part are in it.
    lines: Range<usize>,
    block: Block,
    at: u64,
    base: Base,
    dates: Option<Dates>,
    alike: Coalescer,
    error: Option<io::Error>,
}

fn in_parts(
    plain: &Plain<'_>,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
    threads: usize,
) -> io::Result<()> {
    let dates = log.dates();
    let alike = sink.can_coalesce();
    // Parts that had to be read again because briefs were not certain.
    let again = AtomicU32::new(0);
    let parts = Parts::new(plain.len, options.chunk, threads);
    let mut failed = None;
    parallel::run(
        parts.threads,
        sink,
        parallel::Steps {
            read: |part: u64, job: &mut Job| {
                let Some(start) = parts.start(part) else { return false };
                job.block.want_comms = options.requested.comm;
                job.block.briefs.want_local = options.requested.local;
                job.block.clear();
                let again = again.load(Ordering::Relaxed);
                job.block.briefs.requested = alike && tries_briefs(again, part);
                match lines::load(plain, start, parts.chunk, &mut job.buffer) {
                    Ok((from, to)) => {
                        job.at = start + from as u64;
                        job.lines = from..to;
                        job.block.read(&job.buffer[from..to]);
                    }
                    Err(e) => job.error = Some(e),
                }
                true
            },
            in_order: |job: &mut Job| {
                if log.takes_brief(&job.block) {
                    if !job.block.briefs.is_empty() {
                        again.store(0, Ordering::Relaxed);
                    }
                } else {
                    again.fetch_add(1, Ordering::Relaxed);
                    job.block.clear();
                    job.block.briefs.requested = false;
                    job.block.read(&job.buffer[job.lines.clone()]);
                }
                log.take(&mut job.block, job.at);
                job.base = log.base();
                failed = job.error.take();
                failed.is_none()
            },
            give: |job: &mut Job, sink: &mut dyn Sink| {
                let dates = job.dates.get_or_insert_with(|| dates.clone());
                let alike = alike.then_some(&mut job.alike);
                give_block(&mut job.block, job.base, dates, alike, sink);
            },
            end: |job: &mut Job, sink: &mut dyn Sink| job.alike.end(sink),
        },
    );
    failed.map_or(Ok(()), Err)
}

fn give(block: &mut Block, base: Base, dates: &mut Dates, mut take: impl FnMut(Connection)) {
    let Block { facts, given, comms, .. } = block;
    for given in given.drain(..) {
        match given {
            Given::Fact(number) => {
                take(connection(&facts[number as usize], base, dates, comms));
            }
            Given::Late(connection) => take(*connection),
        }
    }
}
