//! Reads one file into a [`Log`]: in several threads where its parts can be read in any order,
//! else as it comes.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::block::{Block, Given};
use super::block_reader;
use super::compact::{Briefs, CompactAccept};
use super::log::{Log, connection};
use super::{rescue, wrapped};
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
        None => as_it_comes(input, log, options, sink),
    }
}

/// Reads a stream.
fn as_it_comes(
    input: &mut Input,
    log: &mut Log,
    options: &Options,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let mut block = Block { want_comms: options.requested.comm, ..Block::default() };
    let mut dates = log.dates();
    let mut take = |text: &[u8], at, log: &mut Log, sink: &mut dyn Sink| {
        block.clear();
        block_reader::read(&mut block, text);
        log.take(&mut block, at);
        give(&mut block, log.base(), &mut dates, |c| sink.take(c));
    };
    let (mut passed, mut open) = (PassedAccept::default(), OpenEnd::default());
    let end = lines::pieces(input, |piece| {
        match piece {
            Piece::Lines(text, at) => {
                passed = PassedAccept::default();
                let (text, at) = open.hold(text, at);
                take(&text, at, log, sink);
            }
            Piece::Rest(text) if passed.is_first(text) => log.passed_accept(),
            Piece::Rest(_) => {}
        }
        sink.pause();
    });
    take(&open.text, open.at, log, sink);
    end
}

/// The first lines of a wrapped call, until the others are there.
#[derive(Default)]
struct OpenEnd {
    text: Vec<u8>,
    at: u64,
}

impl OpenEnd {
    /// Returns the lines in `text`, which is at `at`, behind those that were held, and holds back the first lines of a
    /// wrapped call at its end.
    fn hold<'a>(&mut self, text: &'a [u8], at: u64) -> (Cow<'a, [u8]>, u64) {
        let (mut text, at) = match std::mem::take(self) {
            OpenEnd { text: held, .. } if held.is_empty() => (Cow::Borrowed(text), at),
            held => (Cow::Owned([&held.text, text].concat()), held.at),
        };
        let length = text.len() - wrapped::open_end(&text);
        if length < text.len() {
            *self = OpenEnd { text: text[length..].to_vec(), at: at + length as u64 };
            text.to_mut().truncate(length);
        }
        (text, at)
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
            let (mut passed, mut open) = (PassedAccept::default(), OpenEnd::default());
            let end = lines::pieces(input, |piece| {
                // The other side ends before this one only if it panics.
                let _ = match piece {
                    Piece::Lines(text, at) => {
                        passed = PassedAccept::default();
                        let (text, at) = open.hold(text, at);
                        send.send((text.into_owned(), Some(at)))
                    }
                    Piece::Rest(text) if passed.is_first(text) => send.send((Vec::new(), None)),
                    Piece::Rest(_) => Ok(()),
                };
            });
            let _ = send.send((open.text, Some(open.at)));
            end
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
    /// The first lines of a wrapped call at their end, which the next part has to read.
    open: OpenEnd,
    /// Whether no lines follow.
    is_last: bool,
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
        let end = begin + to as u64;
        self.is_last = end >= plain.len;
        self.set_lines(begin + from as u64, from..to);
        let text = &self.buffer[from..to];
        block_reader::read(&mut self.block, &self.buffer[self.lines.clone()]);
        if text.last().is_some_and(|b| !lines::is_end(*b)) && end < plain.len {
            let mut passed = PassedAccept::default();
            lines::rest(plain, end, |text| self.passed_accept |= passed.is_first(text))?;
        }
        Ok(())
    }

    /// Takes these lines of the buffer, which are at `at` of the file, without an open end.
    fn set_lines(&mut self, at: u64, lines: Range<usize>) {
        let open = if self.is_last { 0 } else { wrapped::open_end(&self.buffer[lines.clone()]) };
        let end = lines.end - open;
        let text = self.buffer[end..lines.end].to_vec();
        self.open = OpenEnd { text, at: at + (end - lines.start) as u64 };
        (self.at, self.lines) = (at, lines.start..end);
    }

    /// Takes the first lines of a wrapped call that the part before held.
    fn prepend(&mut self, first: &OpenEnd) {
        let own = self.lines.start..self.lines.end + self.open.text.len();
        self.buffer = [&first.text, &self.buffer[own]].concat();
        self.set_lines(first.at, 0..self.buffer.len());
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
    let mut open = OpenEnd::default();
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
                let is_joined = !open.text.is_empty();
                if is_joined {
                    job.prepend(&open);
                }
                open = std::mem::take(&mut job.open);
                if !is_joined && log.takes_brief(&job.block) {
                    if !job.block.briefs.is_empty() {
                        again.store(0, Ordering::Relaxed);
                    }
                } else {
                    again.fetch_add(u32::from(!is_joined), Ordering::Relaxed);
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
    // The file has become shorter.
    log.unreadable += u64::from(!open.text.is_empty());
    failed.map_or(Ok(()), Err)
}

fn give(block: &mut Block, base: Base, dates: &mut Dates, mut take: impl FnMut(Connection)) {
    let Block { facts, given, late, comms, .. } = block;
    let mut late = late.drain(..);
    for given in given.drain(..) {
        match given {
            Given::Fact(number) => {
                take(connection(&facts[number as usize], base, dates, comms));
            }
            Given::Late => {
                if let Some(connection) = late.next() {
                    take(connection);
                }
            }
        }
    }
}
