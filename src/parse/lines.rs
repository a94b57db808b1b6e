//! Lines of a byte stream, in bounded memory.
//!
//! A line ends at a line feed, or at a NUL: a log that was truncated while its writer went on has
//! a hole of NULs in it, and what follows the hole is a line of its own.

use std::io::{self, Read};

use memchr::{memchr2, memrchr2};

use super::input::Input;

/// What is longer than this is cut; the rest of such a line is passed over.
pub const LONGEST: usize = 1024 * 1024;

/// Bytes that one read asks for.
const READ: usize = 128 * 1024;

/// Whether `byte` ends a line.
pub fn is_end(byte: u8) -> bool {
    byte == b'\n' || byte == 0
}

/// Where the line that `text` begins with ends.
#[inline]
pub fn end(text: &[u8]) -> usize {
    memchr2(b'\n', 0, text).unwrap_or(text.len())
}

/// How many NULs `text` begins with.
pub fn hole(text: &[u8]) -> usize {
    let (eights, _) = text.as_chunks::<8>();
    let n = 8 * eights.iter().take_while(|eight| **eight == [0; 8]).count();
    n + text[n..].iter().take_while(|b| **b == 0).count()
}

/// The lines of `block`, each with its offset.
pub fn each(block: &[u8], mut line: impl FnMut(&[u8], usize)) {
    let mut at = 0;
    while at < block.len() {
        let end = at + end(&block[at..]);
        line(&block[at..end.min(at + LONGEST)], at);
        at = end + 1;
    }
}

/// Reads `input` to its end and gives whole lines, many at once, as soon as they are there: from
/// a pipe, whatever one read(2) gave. `block` gets the bytes and the offset of the first.
pub fn blocks(input: &mut Input, mut block: impl FnMut(&[u8], u64)) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut offset = 0;
    // In the rest of a line that was too long.
    let mut passing = false;
    loop {
        // What is left from before has no end of a line in it.
        let mut searched = buffer.len();
        buffer.resize(searched + READ, 0);
        let read = input.read(&mut buffer[searched..]);
        buffer.truncate(searched + *read.as_ref().unwrap_or(&0));
        if !matches!(read, Ok(1..)) {
            if !passing && !buffer.is_empty() {
                block(&buffer, offset);
            }
            return read.map(|_| ());
        }
        if passing {
            let end = memchr2(b'\n', 0, &buffer);
            passing = end.is_none();
            let passed = end.map_or(buffer.len(), |n| n + 1);
            buffer.drain(..passed);
            offset += passed as u64;
            searched = 0;
        }
        if let Some(end) = memrchr2(b'\n', 0, &buffer[searched..]).map(|n| searched + n + 1) {
            block(&buffer[..end], offset);
            buffer.drain(..end);
            offset += end as u64;
        }
        if buffer.len() > LONGEST {
            block(&buffer[..LONGEST], offset);
            offset += buffer.len() as u64;
            buffer.clear();
            passing = true;
        }
    }
}
