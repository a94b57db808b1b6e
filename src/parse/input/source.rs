//! [`Source`]: the bytes of an input, from a file whose parts can be read in any order, or from a stream.
//! [`Converted`] converts a text while it is read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::parse::progress::Progress;

/// The source of the bytes of an input.
pub(super) enum Source {
    /// Bytes `at..end` of a regular file that is not compressed.
    Plain { file: Arc<File>, at: u64, end: u64 },
    /// Anything that can only be read from front to back.
    Stream { from: Box<dyn Read + Send>, compressed: bool },
}

/// A regular file that is not compressed, so that its parts can be read in any order.
pub(crate) struct Plain<'a> {
    pub(super) file: &'a File,
    pub(super) start: u64,
    /// Its bytes from the start.
    pub len: u64,
    pub(super) progress: &'a Progress,
}

impl Plain<'_> {
    /// Reads into `buffer` at `at`, until it is full or the file ends.
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let filled = self.peek_at(buffer, at)?;
        self.progress.add(filled);
        Ok(filled)
    }

    /// The same, but not counted as progress.
    pub(crate) fn peek_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], self.start + at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

/// Reads bytes `at..end` of a file and reports them to [`Progress`]. Positions for
/// seeking are those from `start` on.
pub(super) struct Counted {
    pub file: Arc<File>,
    pub start: u64,
    pub at: u64,
    pub end: u64,
    pub progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let n = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += n as u64;
        self.progress.add(n);
        Ok(n)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // Only tar seeks, and only forward from where it is.
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let at = self.at.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        self.at = at;
        Ok(at.saturating_sub(self.start))
    }
}

/// Reports to [`Progress`] what is read through it.
pub(super) struct CountedStream {
    pub from: File,
    pub progress: Arc<Progress>,
}

impl Read for CountedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.progress.add(n);
        Ok(n)
    }
}

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Converts a text in pieces.
pub(crate) trait Convert: Send {
    /// Converts the next bytes, which may begin and end anywhere, and appends the result to `text`.
    /// No bytes: the text has ended.
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>);
}

/// Converts whole lines.
struct Lines<F> {
    /// The beginning of a line.
    pending: Vec<u8>,
    longest: usize,
    convert: F,
}

impl<F: FnMut(&[u8], &mut Vec<u8>) + Send> Convert for Lines<F> {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        // What is pending has no line feed.
        let before = self.pending.len();
        self.pending.extend_from_slice(raw);
        let end = match memchr::memrchr(b'\n', raw) {
            _ if raw.is_empty() || self.pending.len() > self.longest => self.pending.len(),
            Some(end) => before + end + 1,
            None => return,
        };
        for line in self.pending[..end].split_inclusive(|b| *b == b'\n') {
            (self.convert)(line, text);
        }
        self.pending.drain(..end);
    }
}

/// Returns the text of `raw`. `convert` appends what a line, with its line feed, becomes. A line of more than
/// `longest` bytes is converted in pieces.
pub(crate) fn convert_lines(
    raw: Box<dyn Read + Send>,
    longest: usize,
    convert: impl FnMut(&[u8], &mut Vec<u8>) + Send + 'static,
) -> Box<dyn Read + Send> {
    Box::new(Converted::new(raw, Lines { pending: Vec::new(), longest, convert }))
}

/// Reads `raw` as `convert` gives it.
pub(crate) struct Converted<C> {
    raw: Box<dyn Read + Send>,
    convert: C,
    buffer: Vec<u8>,
    /// Converted.
    text: Vec<u8>,
    /// How much of it was given.
    given: usize,
    ended: bool,
}

impl<C: Convert> Converted<C> {
    pub(crate) fn new(raw: Box<dyn Read + Send>, convert: C) -> Converted<C> {
        let buffer = vec![0; READ_BYTES];
        Converted { raw, convert, buffer, text: Vec::new(), given: 0, ended: false }
    }
}

impl<C: Convert> Read for Converted<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.ended {
            self.text.clear();
            self.given = 0;
            let n = self.raw.read(&mut self.buffer)?;
            self.ended = n == 0;
            self.convert.convert(&self.buffer[..n], &mut self.text);
        }
        let n = buffer.len().min(self.text.len() - self.given);
        buffer[..n].copy_from_slice(&self.text[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}
