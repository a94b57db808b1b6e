//! Members of tar archives, each an [`Input`] of its own.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use jiff::Timestamp;

use super::source::{Counted, Source};
use super::{Input, spool};
use crate::parse::error::{ArchiveError, InputError};

/// Bytes of a header, and of what headers and contents are multiples of.
const BLOCK: usize = 512;

/// Whether a file that begins with `head` is a tar archive: its first header has the magic number
/// of one, or the checksum of the form before there was a magic number.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<BLOCK>() else { return false };
    if block.get(257..262) == Some(b"ustar") {
        return true;
    }
    let header = tar::Header::from_byte_slice(block);
    let named = block[0] != 0 && block[..100].iter().all(|b| *b == 0 || (b' '..0x7f).contains(b));
    named && header.cksum().is_ok_and(|sum| sum == checksum(block))
}

/// The sum of the bytes of a header, with blanks in place of the sum itself.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let bytes = block.iter().enumerate();
    bytes.map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum()
}

/// Whether the last block is empty, as in every archive that was written to its end.
fn ends_with_zeros(file: &File, end: u64) -> bool {
    let mut block = [1; BLOCK];
    let at = end.saturating_sub(BLOCK as u64);
    file.read_exact_at(&mut block, at).is_ok() && block == [0; BLOCK]
}

/// What was found in an archive.
pub(crate) struct Members {
    /// The files, each ready to be read.
    pub inputs: Vec<Input>,
    /// Why the archive or a member could not be read to its end.
    pub failures: Vec<InputError>,
}

/// A member, before its content was looked at.
struct Member {
    input: Input,
    /// Whether the archive ends before it does.
    is_cut: bool,
}

impl Members {
    fn add(&mut self, member: Member) {
        if member.is_cut {
            let name = member.input.name().to_owned();
            self.failures.push(ArchiveError::CutOff { name }.into());
        }
        match member.input.prepare() {
            Ok(input) => self.inputs.push(input),
            Err(error) => self.failures.push(error),
        }
    }
}

impl Input {
    /// Reads enough of the beginning, and returns whether this is a tar archive.
    pub(crate) fn is_tar(&mut self) -> bool {
        // Headers have NULs behind the name, and texts have none.
        while self.head.len() < BLOCK && self.head.contains(&0) {
            // An error comes again when the record is read.
            if !self.grow().unwrap_or(false) {
                break;
            }
        }
        is_tar(&self.head)
    }

    /// Opens the members of this archive. One that has to be decompressed is copied to a
    /// temporary file first, so that its members can be read in any order.
    pub(crate) fn members(mut self) -> Members {
        let mut members = Members { inputs: Vec::new(), failures: Vec::new() };
        let (file, start, end) = match self.in_a_file(&mut members.failures) {
            Ok(place) => place,
            Err(error) => {
                members.failures.push(ArchiveError::Copy { name: self.name, error }.into());
                return members;
            }
        };
        let raw = Counted {
            file: Arc::clone(&file),
            start,
            at: start,
            end,
            progress: Arc::new(super::Progress::new(false, None, None)),
        };
        let mut archive = tar::Archive::new(raw);
        // One archive may follow another.
        archive.set_ignore_zeros(true);
        let entries = match archive.entries_with_seek() {
            Ok(entries) => entries,
            Err(error) => {
                members.failures.push(ArchiveError::List { name: self.name, error }.into());
                return members;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| self.member(&file, start, end, entry)) {
                Ok(None) => {}
                Ok(Some(member)) => members.add(member),
                Err(error) => {
                    let error = ArchiveError::Interrupted { name: self.name, error };
                    members.failures.push(error.into());
                    return members;
                }
            }
        }
        if members.failures.is_empty() && !ends_with_zeros(&file, end) {
            members.failures.push(ArchiveError::NoEnd { name: self.name }.into());
        }
        members
    }

    /// The file that has the archive, and where in it.
    fn in_a_file(&mut self, failures: &mut Vec<InputError>) -> io::Result<(Arc<File>, u64, u64)> {
        if let Source::Plain { file, at, end } = &self.source {
            return Ok((Arc::clone(file), *at, *end));
        }
        let mut copy = tempfile::tempfile()?;
        let copied = spool::copy(self, &mut copy);
        let end = copy.stream_position()?;
        if let Err(error) = copied {
            if end == 0 {
                return Err(error);
            }
            failures.push(ArchiveError::Interrupted { name: self.name.clone(), error }.into());
        }
        Ok((Arc::new(copy), 0, end))
    }

    /// The input of a member; `None` if it is no file.
    fn member<R: Read>(
        &self,
        file: &Arc<File>,
        start: u64,
        archive_end: u64,
        mut entry: tar::Entry<'_, R>,
    ) -> io::Result<Option<Member>> {
        let header = entry.header();
        let kind = header.entry_type();
        if !kind.is_file() && !kind.is_contiguous() && !kind.is_gnu_sparse() {
            return Ok(None);
        }
        let path = entry.path()?.into_owned();
        let written = header.mtime().ok().and_then(|t| i64::try_from(t).ok());
        let written = written.and_then(|t| Timestamp::from_second(t).ok());
        let (file, at, end) = if kind.is_gnu_sparse() {
            let mut copy = tempfile::tempfile()?;
            let limit = spool::limit(&copy)?;
            if entry.size() > limit {
                return Err(spool::too_large(limit));
            }
            let length = spool::copy(&mut entry, &mut copy)?;
            (Arc::new(copy), 0, length)
        } else {
            let at = start.saturating_add(entry.raw_file_position());
            (Arc::clone(file), at, at.saturating_add(entry.size()))
        };
        let name = format!("{}: {}", self.name, path.display());
        let is_cut = !kind.is_gnu_sparse() && end > archive_end;
        let end = if is_cut { archive_end } else { end };
        let place = self.path.as_deref().map_or_else(|| path.clone(), |own| own.join(&path));
        let source = Source::Plain { file, at, end };
        let input = Input::new(name, Some(place), written, source, Arc::clone(&self.progress));
        Ok(Some(Member { input: Input { is_member: true, ..input }, is_cut }))
    }
}
