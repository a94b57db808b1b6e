//! Reads one file into a [`Log`]: in several threads where its parts can be read in any order,
//! else as it comes.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::brief::Brief;
use super::clock::{Base, Dates};
use super::line::{Block, Given};
use super::log::{Log, connection};
use crate::Connection;
use crate::parse::alike::Alike;
use crate::parse::input::{Input, Plain};
use crate::parse::lines;
use crate::parse::{Gather, Options, parallel};

/// Bytes that a thread takes at a time: so many that what must be done in order for each does not
/// count, and so few that they stay in the cache.
const CHUNK: usize = 256 * 1024;

/// Where briefs are not certain in so many parts, they will seldom be.
const TOO_OFTEN: u32 = 4;

/// Reads `input` to its end.
pub fn read(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Gather,
    threads: usize,
) -> io::Result<()> {
    let chunk = options.chunk.unwrap_or(CHUNK).max(1);
    match input.plain() {
        Some(plain) => in_parts(&plain, chunk, log, options, sink, threads),
        None => {
            let mut block = Block { want_comms: options.wanted.comm, ..Block::default() };
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
    alike: Option<Alike>,
    error: Option<io::Error>,
}

fn in_parts(
    plain: &Plain<'_>,
    chunk: usize,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Gather,
    threads: usize,
) -> io::Result<()> {
    let dates = log.dates();
    let alike = sink.alike();
    let failed = Mutex::new(None);
    let brief = alike && !options.wanted.local;
    // Parts that had to be read again because briefs were not certain.
    let again = AtomicU32::new(0);
    // No more threads than there is work for.
    let parts = plain.len.div_ceil(chunk as u64);
    let threads = usize::try_from(parts).unwrap_or(threads).min(threads);
    parallel::run(
        threads,
        sink,
        parallel::Steps {
            read: |part: u64, job: &mut Job| {
                let start = part.saturating_mul(chunk as u64);
                if start >= plain.len {
                    return false;
                }
                job.block.want_comms = options.wanted.comm;
                job.block.clear();
                job.block.briefs.wanted = brief && again.load(Ordering::Relaxed) < TOO_OFTEN;
                match lines::load(plain, start, chunk, &mut job.buffer) {
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
                if !log.takes_brief(&job.block) {
                    again.fetch_add(1, Ordering::Relaxed);
                    job.block.clear();
                    job.block.briefs.wanted = false;
                    job.block.read(&job.buffer[job.lines.clone()]);
                }
                log.take(&mut job.block, job.at);
                job.base = log.base();
                let error = job.error.take();
                let more = error.is_none();
                if let Ok(mut failed) = failed.lock() {
                    *failed = error;
                }
                more
            },
            give: |job: &mut Job, sink: &mut dyn Gather| {
                let dates = job.dates.get_or_insert_with(|| dates.clone());
                if alike {
                    let alike = job.alike.get_or_insert_default();
                    for Brief { ip, stamp } in job.block.briefs.list() {
                        alike.take_brief(*ip, dates.moment(job.base.apply(*stamp)), sink);
                    }
                    give(&mut job.block, job.base, dates, |c| alike.take(c, sink));
                } else {
                    give(&mut job.block, job.base, dates, |c| sink.take(c));
                }
            },
            end: |job: &mut Job, sink: &mut dyn Gather| {
                if let Some(alike) = &mut job.alike {
                    alike.end(sink);
                }
            },
        },
    );
    match failed.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
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
