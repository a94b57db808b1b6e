//! [`Converted`]: a reader that converts its text while it is read.

use std::io::{self, Read};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Converts a text in pieces.
pub(crate) trait Convert: Send {
    /// Converts the next bytes, which may begin and end anywhere, and appends the result to `text`.
    /// No bytes: the text has ended.
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>);
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
