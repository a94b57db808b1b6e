//! Lines of a byte stream, in bounded memory.
//!
//! A line ends at a line feed, or at a NUL: a log that was truncated while its writer went on has
//! a hole of NULs in it, and what follows the hole is a line of its own.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memchr2, memrchr2};

use super::input::{Input, Plain, push_zeros};
use crate::sys;

/// Maximum length of a line; the rest of a longer line is skipped.
pub(super) const LONGEST: usize = 1024 * 1024;

/// Bytes that one read asks for.
const READ: usize = 128 * 1024;

/// Whether `byte` ends a line.
pub(super) fn is_end(byte: u8) -> bool {
    byte == b'\n' || byte == 0
}

/// Where the line that `text` begins with ends.
#[inline]
pub(super) fn end(text: &[u8]) -> usize {
    // Most lines are short, and a call would take longer.
    const NEAR_BLOCKS: usize = 8;
    let (blocks, _) = text.as_chunks::<64>();
    let near = &blocks[..blocks.len().min(NEAR_BLOCKS)];
    for (n, block) in near.iter().enumerate() {
        let ends = sys::digits::line_ends(block);
        if ends != 0 {
            return 64 * n + ends.trailing_zeros() as usize;
        }
    }
    let far = near.as_flattened().len();
    memchr2(b'\n', 0, &text[far..]).map_or(text.len(), |n| far + n)
}

/// How many NULs `text` begins with.
pub(super) fn hole(text: &[u8]) -> usize {
    let (eights, _) = text.as_chunks::<8>();
    let n = 8 * eights.iter().take_while(|eight| **eight == [0; 8]).count();
    n + text[n..].iter().take_while(|b| **b == 0).count()
}

/// The lines of `block`, each with its offset.
pub(super) fn each(block: &[u8], mut line: impl FnMut(&[u8], usize)) {
    let mut at = 0;
    while at < block.len() {
        let end = at + end(&block[at..]);
        line(&block[at..end.min(at + LONGEST)], at);
        at = end + 1;
    }
}

/// Removes terminal sequences, such as the colours of journalctl and grep.
pub(super) fn without_terminal_sequences(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(0x1b, text) else { return Cow::Borrowed(text) };
    let mut clean = text[..first].to_vec();
    let mut rest = &text[first..];
    while !rest.is_empty() {
        rest = rest.get(terminal_sequence(rest)..).unwrap_or_default();
        let n = memchr(0x1b, rest).unwrap_or(rest.len());
        clean.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
    }
    Cow::Owned(clean)
}

/// Returns the length of the terminal sequence (ECMA-48) at the beginning of `text`.
pub(super) fn terminal_sequence(text: &[u8]) -> usize {
    match text.get(1) {
        // CSI: parameters, intermediate bytes, a final byte.
        Some(b'[') => {
            let n = text[2..].iter().take_while(|b| (0x20..0x40).contains(*b)).count();
            let end = text.get(2 + n).is_some_and(|b| (0x40..0x7f).contains(b));
            2 + n + usize::from(end)
        }
        // OSC, DCS, SOS, PM, APC: to BEL or ST. One that has no end is only its first two bytes.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = text[2..].iter().enumerate().find_map(|(at, byte)| match byte {
                0x07 => Some(at + 1),
                0x1b if text.get(2 + at + 1) == Some(&b'\\') => Some(at + 2),
                _ => None,
            });
            2 + end.unwrap_or(0)
        }
        Some(0x20..0x30) => {
            let n = text[1..].iter().take_while(|b| (0x20..0x30).contains(*b)).count();
            1 + n + usize::from(text.get(1 + n).is_some_and(|b| (0x30..0x7f).contains(b)))
        }
        Some(0x30..0x7f) => 2,
        _ => 1,
    }
}

/// What [`pieces`] gives.
pub(super) enum Piece<'a> {
    /// Whole lines, and the offset of the first byte.
    Lines(&'a [u8], u64),
    /// A part of what is passed over of a line that is too long. It begins with the last bytes
    /// before it, so that no word is divided.
    Rest(&'a [u8]),
}

/// Bytes at the end of a piece that come again with the next.
pub(super) const OVERLAP: usize = 32;

/// Reads `input` to its end and gives whole lines, many at once, as soon as they are there: from
/// a pipe, whatever one read(2) gave. `block` gets the bytes, without terminal sequences, and the
/// offset of the first.
pub(super) fn blocks(input: &mut Input, mut block: impl FnMut(&[u8], u64)) -> io::Result<()> {
    pieces(input, |piece| {
        if let Piece::Lines(lines, offset) = piece {
            block(&without_terminal_sequences(lines), offset);
        }
    })
}

/// The same, with the rests of lines that are too long.
pub(super) fn pieces(input: &mut Input, mut give: impl FnMut(Piece<'_>)) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut offset = 0;
    // The last bytes of what was passed over.
    let mut overlap: Vec<u8> = Vec::new();
    // In the rest of a line that was too long.
    let mut passing = false;
    loop {
        // What is left from before has no end of a line in it.
        let mut searched = buffer.len();
        push_zeros(&mut buffer, READ);
        let read = input.read(&mut buffer[searched..]);
        buffer.truncate(searched + *read.as_ref().unwrap_or(&0));
        if !matches!(read, Ok(1..)) {
            if !passing && !buffer.is_empty() {
                give(Piece::Lines(&buffer, offset));
            }
            return read.map(|_| ());
        }
        if passing {
            let end = memchr2(b'\n', 0, &buffer);
            passing = end.is_none();
            let passed = end.map_or(buffer.len(), |n| n + 1);
            overlap.extend(buffer.drain(..passed));
            give(Piece::Rest(&overlap));
            overlap.drain(..overlap.len().saturating_sub(OVERLAP));
            offset += passed as u64;
            searched = 0;
        }
        if let Some(end) = memrchr2(b'\n', 0, &buffer[searched..]).map(|n| searched + n + 1) {
            give(Piece::Lines(&buffer[..end], offset));
            buffer.drain(..end);
            offset += end as u64;
        }
        if buffer.len() > LONGEST {
            give(Piece::Lines(&buffer[..LONGEST], offset));
            give(Piece::Rest(&buffer[LONGEST - OVERLAP..]));
            offset += buffer.len() as u64;
            overlap.clear();
            overlap.extend_from_slice(&buffer[buffer.len() - OVERLAP..]);
            buffer.clear();
            passing = true;
        }
    }
}

/// Reads the lines that begin in the `chunk` bytes of `plain` at `start`; gives where in the
/// buffer they are.
pub(super) fn load(
    plain: &Plain<'_>,
    start: u64,
    chunk: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<(usize, usize)> {
    // The byte before shows whether a line begins with the first.
    let before = usize::from(start > 0);
    let left = usize::try_from(plain.len - start).unwrap_or(usize::MAX);
    let own = before + chunk.min(left);
    buffer.truncate(own);
    push_zeros(buffer, own - buffer.len());
    let read = plain.read_at(buffer, start - before as u64)?;
    buffer.truncate(read);
    let own = own.min(read);
    let none = Ok((0, 0));
    if own <= before {
        return none;
    }
    let first = if before == 0 || is_end(buffer[0]) {
        before
    } else {
        match memchr::memchr2(b'\n', 0, &buffer[before..own]) {
            Some(n) if before + n + 1 < own => before + n + 1,
            _ => return none,
        }
    };
    // The last line may go on behind them.
    let last = memchr::memrchr2(b'\n', 0, &buffer[first..own]).map_or(first, |n| first + n + 1);
    let mut searched = own;
    let end = loop {
        if last == own {
            break own;
        }
        if let Some(n) = memchr::memchr2(b'\n', 0, &buffer[searched..]) {
            break searched + n + 1;
        }
        searched = buffer.len();
        if searched - last > LONGEST {
            break searched;
        }
        let more = (searched - last).clamp(512, 64 * 1024);
        let left = plain.len - (start - before as u64) - searched as u64;
        let more = more.min(usize::try_from(left).unwrap_or(more));
        push_zeros(buffer, more);
        let read =
            plain.read_at(&mut buffer[searched..], start - before as u64 + searched as u64)?;
        buffer.truncate(searched + read);
        if read == 0 {
            break searched;
        }
    };
    Ok((first, end))
}

/// Gives what [`load`] left out of a line that is too long: what follows `at`, up to its end.
pub(super) fn rest(plain: &Plain<'_>, at: u64, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
    let mut at = at.saturating_sub(OVERLAP as u64);
    let mut buffer = vec![0; READ];
    // The overlap has no end of a line in it.
    let mut kept = 0;
    loop {
        let read = plain.read_at(&mut buffer[kept..], at)?;
        let text = &buffer[..kept + read];
        let end = memchr2(b'\n', 0, &text[kept..]).map(|n| kept + n);
        piece(&text[..end.unwrap_or(text.len())]);
        if read == 0 || end.is_some() {
            return Ok(());
        }
        at += read as u64;
        let length = text.len();
        kept = length.min(OVERLAP);
        buffer.copy_within(length - kept..length, 0);
    }
}
