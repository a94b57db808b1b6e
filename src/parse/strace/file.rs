//! Reads one file into a [`Log`]: in several threads where its parts can be read in any order,
//! else as it comes.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::block::{Block, Given};
use super::block_reader;
use super::compact::{Briefs, CompactAccept};
use super::log::{Log, connection};
use super::rescue;
use crate::Connection;
use crate::Sink;
use crate::parse::Options;
use crate::parse::coalesce::Coalescer;
use crate::parse::host::Address;
use crate::parse::input::{Input, Plain};
use crate::parse::lines::{self, Piece};
use crate::parse::parallel::{self, Parts};
use crate::parse::timestamp::{Base, Dates, Stamp};

/// After this number of parts whose briefs were not certain, they are tried seldom.
const MAX_UNCERTAIN_PARTS: u32 = 4;
/// From then on they are tried in one part of this number.
const RETRY_PARTS: u64 = 64;

/// Whether to try briefs in this part, after `again` parts in which they were not certain.
fn tries_briefs(again: u32, part: u64) -> bool {
    again < MAX_UNCERTAIN_PARTS || part.is_multiple_of(RETRY_PARTS)
}

/// Reads `input` to its end.
pub(super) fn read(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
    threads: usize,
) -> io::Result<()> {
    match input.plain() {
        Some(plain) => in_parts(&plain, log, options, sink, threads),
        // Nobody waits for what comes next, as in a pipe.
        None if input.modified().is_some() => converted(input, log, options, sink),
        None => {
            let mut block = Block { want_comms: options.requested.comm, ..Block::default() };
            let mut dates = log.dates();
            let mut passed = PassedAccept::default();
            lines::pieces(input, |piece| {
                match piece {
                    Piece::Lines(text, at) => {
                        passed = PassedAccept::default();
                        block.clear();
                        block_reader::read(&mut block, text);
                        log.take(&mut block, at);
                        give(&mut block, log.base(), &mut dates, |c| sink.take(c));
                    }
                    Piece::Rest(text) if passed.is_first(text) => log.passed_accept(),
                    Piece::Rest(_) => {}
                }
                sink.pause();
            })
        }
    }
}

/// Whether an accept was found in what is passed over of a line.
#[derive(Default)]
struct PassedAccept(bool);

impl PassedAccept {
    /// Whether `text` has the first one.
    fn is_first(&mut self, text: &[u8]) -> bool {
        !self.0 && {
            self.0 = rescue::has_accept(text);
            self.0
        }
    }
}

/// Converted blocks that wait to be read.
const WAITING_BLOCKS: usize = 8;

/// Reads a file that is compressed or has lines in JSON: one thread converts it, this one reads the lines.
fn converted(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let alike = sink.used_fields().can_coalesce();
    let mut block = Block { want_comms: options.requested.comm, ..Block::default() };
    block.briefs.want_local = options.requested.local || options.requested.local_ip;
    let (mut again, mut part) = (0, 0);
    let mut dates = log.dates();
    let mut coalescer = Coalescer::default();
    // Lines and their offset; without: an accept in what was passed over.
    let (send, receive) = mpsc::sync_channel::<(Vec<u8>, Option<u64>)>(WAITING_BLOCKS);
    let end = thread::scope(|scope| {
        let convert = move || {
            let mut passed = PassedAccept::default();
            lines::pieces(input, |piece| {
                // The other side ends before this one only if it panics.
                let _ = match piece {
                    Piece::Lines(text, at) => {
                        passed = PassedAccept::default();
                        send.send((text.to_vec(), Some(at)))
                    }
                    Piece::Rest(text) if passed.is_first(text) => send.send((Vec::new(), None)),
                    Piece::Rest(_) => Ok(()),
                };
            })
        };
        let convert = thread::Builder::new().spawn_scoped(scope, convert)?;
        for (text, at) in receive {
            let Some(at) = at else {
                log.passed_accept();
                continue;
            };
            block.clear();
            block.briefs.requested = alike && tries_briefs(again, part);
            part += 1;
            block_reader::read(&mut block, &text);
            if log.takes_brief(&block) {
                again = if block.briefs.is_empty() { again } else { 0 };
            } else {
                again += 1;
                block.clear();
                block.briefs.requested = false;
                block_reader::read(&mut block, &text);
            }
            log.take(&mut block, at);
            give_block(&mut block, log.base(), &mut dates, alike.then_some(&mut coalescer), sink);
        }
        convert.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    let Briefs { locals, .. } = &block.briefs;
    let mut time = |stamp: Stamp| dates.record_time(base.apply(stamp));
    let v4 = |brief: &CompactAccept<u32>| {
        let time = time(block.briefs.stamp(brief));
        (Address::V4(brief.ip), usize::from(brief.local), time)
    };
    alike.take_briefs(block.briefs.v4(), locals, v4, sink);
    let v6 = |brief: &CompactAccept<[u64; 2]>| {
        let time = time(block.briefs.stamp(brief));
        (Address::V6(brief.ip), usize::from(brief.local), time)
    };
    alike.take_briefs(block.briefs.v6(), locals, v6, sink);
    give(block, base, dates, |c| alike.take(c, sink));
}

/// A part of the file.
#[derive(Default)]
struct Job {
    buffer: Vec<u8>,
    /// Where the lines of the part are in it.
    lines: Range<usize>,
    block: Block,
    at: u64,
    base: Base,
    dates: Option<Dates>,
    /// Whether what was passed over of the last line has an accept.
    passed_accept: bool,
    error: Option<io::Error>,
}

impl Job {
    /// Reads the part of `chunk` bytes at `start`.
    fn load(&mut self, plain: &Plain<'_>, start: u64, chunk: usize) -> io::Result<()> {
        self.passed_accept = false;
        let (from, to) = lines::load(plain, start, chunk, &mut self.buffer)?;
        // The buffer begins one byte before the part, to tell whether a line begins there.
        let begin = start - u64::from(start > 0);
        self.at = begin + from as u64;
        self.lines = from..to;
        let text = &self.buffer[from..to];
        block_reader::read(&mut self.block, text);
        let end = begin + to as u64;
        if text.last().is_some_and(|b| !lines::is_end(*b)) && end < plain.len {
            let mut passed = PassedAccept::default();
            lines::rest(plain, end, |text| self.passed_accept |= passed.is_first(text))?;
        }
        Ok(())
    }
}

fn in_parts(
    plain: &Plain<'_>,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
    threads: usize,
) -> io::Result<()> {
    let dates = log.dates();
    let alike = sink.used_fields().can_coalesce();
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
                job.block.briefs.want_local = options.requested.local || options.requested.local_ip;
                job.block.clear();
                let again = again.load(Ordering::Relaxed);
                job.block.briefs.requested = alike && tries_briefs(again, part);
                job.error = job.load(plain, start, parts.chunk).err();
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
                    block_reader::read(&mut job.block, &job.buffer[job.lines.clone()]);
                }
                log.take(&mut job.block, job.at);
                if std::mem::take(&mut job.passed_accept) {
                    log.passed_accept();
                }
                job.base = log.base();
                failed = job.error.take();
                failed.is_none()
            },
            give: |job: &mut Job, held: &mut Coalescer, sink: &mut dyn Sink| {
                let dates = job.dates.get_or_insert_with(|| dates.clone());
                let alike = alike.then_some(held);
                give_block(&mut job.block, job.base, dates, alike, sink);
            },
            join: Coalescer::join,
            end: Coalescer::end,
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
