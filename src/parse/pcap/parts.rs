//! Reads a capture: a file in several threads, a stream in one.
//!
//! The start of a record follows from the record before. So each part of a file is read from where a
//! record seems to begin. When the parts before it are done, the guess is checked; if it was wrong,
//! the part is read again.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::block::Block;
use super::frames::{Format, Stop};
use super::packet::Selection;
use crate::Sink;
use crate::parse::coalesce::Coalescer;
use crate::parse::found::FoundConnections;
use crate::parse::input::{Input, Plain, push_zeros};
use crate::parse::parallel::{self, Parts};
use crate::parse::reader::Context;

/// Bytes that are read at a time from a stream.
const READ: usize = 256 * 1024;

/// Why reading ended.
#[derive(Debug, Default)]
pub(super) enum End {
    /// At the end of the capture.
    #[default]
    Whole,
    /// In the middle of a packet.
    Cut,
    /// At bytes that are not part of a capture.
    Broken(&'static str),
    /// The input failed.
    Failed(io::Error),
}

/// Reads `input` to its end. `in_order` gets the packets of each part, and makes connections of them.
pub(super) fn read(
    input: &mut Input,
    cx: &mut Context<'_>,
    selection: Selection,
    in_order: impl FnMut(&mut Block, &mut FoundConnections) + Send,
) -> End {
    if input.plain().is_none() {
        return stream(input, cx, selection, in_order);
    }
    let head = input.head().to_vec();
    let (format, begin) = match Format::of(&head) {
        Ok(both) => both,
        Err(Stop::Broken(what)) => return End::Broken(what),
        Err(_) if head.is_empty() => return End::Whole,
        Err(_) => return End::Cut,
    };
    match input.plain() {
        Some(plain) => in_parts(&plain, cx, selection, (format, begin as u64), &head, in_order),
        None => End::Whole,
    }
}

/// A part of the capture.
#[derive(Default)]
struct Job {
    /// Where the part begins and ends.
    start: u64,
    limit: u64,
    buffer: Vec<u8>,
    block: Block,
    found: FoundConnections,
    error: Option<io::Error>,
}

impl Job {
    /// Loads the bytes of the part at `start`; false: an error, which is kept.
    fn load(&mut self, plain: &Plain<'_>, start: u64, chunk: usize) -> bool {
        self.start = start;
        self.limit = start.saturating_add(chunk as u64).min(plain.len);
        self.block.from = None;
        self.error = None;
        let length = (self.limit - self.start) as usize;
        self.buffer.truncate(length);
        let more = length - self.buffer.len();
        push_zeros(&mut self.buffer, more);
        match plain.read_at(&mut self.buffer, self.start) {
            Ok(read) => self.buffer.truncate(read),
            Err(error) => self.error = Some(error),
        }
        self.error.is_none()
    }

    /// Reads what begins in the part at `from` or after it.
    fn read(&mut self, plain: &Plain<'_>, format: &Format, from: u64, selection: Selection) {
        let Job { start, limit, buffer, block, .. } = self;
        let read = block.read(format, (buffer, *start), (from, *limit), selection, |buffer, n| {
            let old = buffer.len();
            push_zeros(buffer, n);
            let read = plain.read_at(&mut buffer[old..], *start + old as u64)?;
            buffer.truncate(old + read);
            Ok(())
        });
        self.error = read.err();
    }
}

/// How the parts of a file are read, by several threads.
struct PartReader<'a> {
    plain: &'a Plain<'a>,
    parts: Parts,
    selection: Selection,
    /// The format and the place where the file's first packet is.
    first: Format,
    begin: u64,
    /// What most parts are read with.
    usual: Mutex<Format>,
}

impl PartReader<'_> {
    /// Reads a part as if it began with the usual format; false: there is none.
    fn read(&self, part: u64, job: &mut Job) -> bool {
        let Some(start) = self.parts.start(part) else { return false };
        if !job.load(self.plain, start, self.parts.chunk) {
            return true;
        }
        if part == 0 {
            if self.begin < job.limit {
                job.read(self.plain, &self.first, self.begin, self.selection);
            }
            return true;
        }
        let usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(n) = usual.guess(&job.buffer, job.start) {
            job.read(self.plain, &usual, job.start + n as u64, self.selection);
        }
        true
    }
}

/// What the next part in order begins with.
struct NextPart {
    format: Format,
    at: u64,
}

impl NextPart {
    /// Makes sure that a part was read as the parts before it require. Returns false if nothing in it begins there.
    fn check(&mut self, reader: &PartReader<'_>, job: &mut Job) -> io::Result<bool> {
        if self.at >= job.limit {
            // All of it belongs to a packet that began before.
            return Ok(false);
        }
        let block = &job.block;
        let is_right = block.from == Some(self.at) && block.before.as_ref() == Some(&self.format);
        if job.error.is_none() && !is_right {
            job.read(reader.plain, &self.format, self.at, reader.selection);
        }
        if let Some(error) = job.error.take() {
            return Err(error);
        }
        self.at = job.block.to;
        if let Some(after) = job.block.after.take_if(|after| *after != self.format) {
            reader.usual.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&after);
            self.format = after;
        }
        Ok(true)
    }
}

fn in_parts(
    plain: &Plain<'_>,
    cx: &mut Context<'_>,
    selection: Selection,
    (format, begin): (Format, u64),
    head: &[u8],
    mut in_order: impl FnMut(&mut Block, &mut FoundConnections) + Send,
) -> End {
    let parts = Parts::new(plain.len, cx.options.chunk, cx.threads());
    let used = cx.sink.used_fields();
    let mut usual = format.clone();
    usual.each(head.get(begin as usize..).unwrap_or_default(), usize::MAX, &mut 0, &mut |_| {});
    let (first, usual) = (format.clone(), Mutex::new(usual));
    let reader = PartReader { plain, parts, selection, first, begin, usual };
    let mut next = NextPart { format, at: begin };
    let mut end = End::Whole;
    parallel::run(
        reader.parts.threads,
        &mut *cx.sink,
        parallel::Steps {
            read: |part: u64, job: &mut Job| reader.read(part, job),
            in_order: |job: &mut Job| {
                match next.check(&reader, job) {
                    Ok(true) => {}
                    Ok(false) => return true,
                    Err(error) => {
                        end = End::Failed(error);
                        return false;
                    }
                }
                job.found.used = used;
                in_order(&mut job.block, &mut job.found);
                match ended(&mut job.block) {
                    Some(stopped) => end = stopped,
                    None => return true,
                }
                false
            },
            give: |job: &mut Job, held: &mut Coalescer, sink: &mut dyn Sink| {
                job.found.give(used.can_coalesce().then_some(held), sink);
            },
            join: Coalescer::join,
            end: Coalescer::end,
        },
    );
    end
}

/// How a part ended; `None`: at its limit, so that the next part follows.
fn ended(block: &mut Block) -> Option<End> {
    match block.stop.take() {
        None | Some(Stop::Limit) => None,
        Some(Stop::Needs(_)) => Some(End::Cut),
        Some(Stop::Broken(what)) => Some(End::Broken(what)),
    }
}

/// Reads what can only be read from front to back.
fn stream(
    input: &mut Input,
    cx: &mut Context<'_>,
    selection: Selection,
    mut in_order: impl FnMut(&mut Block, &mut FoundConnections),
) -> End {
    let mut buffer = Vec::new();
    let mut block = Block::default();
    let mut found = FoundConnections::default();
    let mut format = None;
    let mut needed = 1;
    loop {
        // As much as one read gives, if that is enough.
        let enough = buffer.len() + needed;
        while buffer.len() < enough {
            let old = buffer.len();
            push_zeros(&mut buffer, old.max(enough - 1) - old + READ);
            let read = input.read(&mut buffer[old..]);
            buffer.truncate(old + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) if buffer.is_empty() => return End::Whole,
                Ok(0) => return End::Cut,
                Ok(_) => {}
                Err(e) => return End::Failed(e),
            }
        }
        let format = match &mut format {
            Some(format) => format,
            None => match Format::of(&buffer) {
                Ok((read, begin)) => {
                    buffer.drain(..begin);
                    format.insert(read)
                }
                Err(Stop::Needs(n)) => {
                    needed = n;
                    continue;
                }
                Err(Stop::Broken(what)) => return End::Broken(what),
                Err(Stop::Limit) => return End::Whole,
            },
        };
        let nothing = |_: &mut Vec<u8>, _| Ok(());
        let read = block.read(format, (&mut buffer, 0), (0, u64::MAX), selection, nothing);
        if let Err(e) = read {
            return End::Failed(e);
        }
        if let Some(after) = block.after.take() {
            *format = after;
        }
        buffer.drain(..block.to as usize);
        in_order(&mut block, &mut found);
        found.give(None, cx.sink);
        cx.sink.pause();
        match block.stop.take() {
            Some(Stop::Needs(n)) => needed = n,
            Some(Stop::Broken(what)) => return End::Broken(what),
            _ => return End::Whole,
        }
    }
}
