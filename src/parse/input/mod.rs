//! [`Input`]: one file, or stdin, decompressed if need be.

mod archive;
mod convert;
mod docker;
mod encoding;
mod json;
mod json_members;
mod logfmt;
mod objects;
mod packed;
pub(super) mod samples;
pub(super) mod source;
mod spool;

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

pub(super) use self::archive::Members;
pub(super) use self::json::{UnwrapStatus, may_be_wrapped, unwrap_line, unwrap_object};
use self::samples::Samples;
pub(crate) use self::source::Plain;
use self::source::{CountedStream, Source};
pub(super) use self::spool::copy as copy_to_temporary_file;
use super::error::InputError;
use super::progress::Progress;

/// Bytes that one read asks for.
const READ_AT_ONCE: usize = 256 * 1024;

/// Bytes that are looked at first; more than enough in most cases, and little for thousands of
/// files.
const FIRST_BYTES: usize = 16 * 1024;

/// One open record. Reading from it gives the decompressed bytes from the beginning.
pub(crate) struct Input {
    name: String,
    path: Option<PathBuf>,
    /// When the file was written last; `None` for a pipe.
    modified: Option<Timestamp>,
    source: Source,
    /// Its first bytes, read ahead to detect the format.
    head: Vec<u8>,
    /// Number of bytes that its reader has taken.
    given: usize,
    /// Whether the source has no more bytes behind the head.
    ended: bool,
    /// Whether it consists of zeros only.
    is_hole: bool,
    /// The file that it is decompressed or converted from, with the first offset and the end in bytes.
    origin: Option<(Arc<File>, u64, u64)>,
    /// Whether it is a member of an archive, so that its path is not one of a file.
    is_member: bool,
    /// The times of its lines, if they are taken out of JSON objects.
    unwrapped: Option<json::LineTimes>,
    unwrap_status: Arc<UnwrapStatus>,
    /// What converts its text, if anything does, see [`Input::convert`].
    conversion: Option<Conversion>,
    /// Pieces of a stream, if they are wanted.
    samples: Option<Arc<Mutex<Samples>>>,
    progress: Arc<Progress>,
}

/// Makes another text of the text of an input.
pub(crate) type Conversion = fn(Box<dyn Read + Send>) -> Box<dyn Read + Send>;

/// Raises the limit of open files if it is too low for `files`: `-ff` makes one of every thread.
pub(super) fn allow(files: usize) {
    const STANDARD_STREAMS: i32 = 3;
    const OTHERS: u64 = 64;
    if !crate::sys::files::has_room(files as u64 + OTHERS, STANDARD_STREAMS) {
        // If it cannot be raised, opening the files fails with a message.
        crate::sys::files::raise_limit();
    }
}

/// The bytes of all `files` together, if all are regular.
pub(super) fn size(files: &[PathBuf]) -> Option<u64> {
    files
        .iter()
        .map(|f| std::fs::metadata(f).ok().filter(Metadata::is_file).map(|m| m.len()))
        .sum::<Option<u64>>()
}

/// Appends `n` zeros, to read into. `Vec::resize` does so a byte at a time where code is optimised for size.
pub(super) fn push_zeros(buffer: &mut Vec<u8>, n: usize) {
    static ZEROS: [u8; 4096] = [0; 4096];
    buffer.reserve(n);
    let mut left = n;
    while left > 0 {
        let piece = left.min(ZEROS.len());
        buffer.extend_from_slice(&ZEROS[..piece]);
        left -= piece;
    }
}

impl Input {
    /// Opens `path`; `-` is stdin.
    pub(super) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Input, InputError> {
        let stdin = path == Path::new("-");
        let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
        let say = |error| InputError::Open { name: name.clone(), error };
        let file = if stdin {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(say)?)
        } else {
            File::open(path).map_err(say)?
        };
        let metadata = file.metadata().map_err(say)?;
        if metadata.is_dir() {
            return Err(if stdin {
                InputError::StdinIsDirectory
            } else {
                InputError::Directory { name }
            });
        }
        let modified = metadata
            .is_file()
            .then(|| metadata.modified().ok().and_then(|t| Timestamp::try_from(t).ok()))
            .flatten();
        let path = (!stdin).then(|| path.to_owned());
        let progress = Arc::clone(progress);
        let at =
            if metadata.is_file() && stdin { (&file).stream_position().unwrap_or(0) } else { 0 };
        // Files in /proc say that they are empty, and are not.
        let source = if metadata.is_file() && metadata.len() > at {
            Source::Plain { file: Arc::new(file), at, end: metadata.len() }
        } else {
            let from = CountedStream { from: file, progress: Arc::clone(&progress) };
            Source::Stream { from: Box::new(from), compressed: false }
        };
        Input::new(name, path, modified, source, progress).prepare()
    }

    fn new(
        name: String,
        path: Option<PathBuf>,
        modified: Option<Timestamp>,
        source: Source,
        progress: Arc<Progress>,
    ) -> Input {
        Input {
            name,
            path,
            modified,
            source,
            head: Vec::new(),
            given: 0,
            ended: false,
            is_hole: false,
            origin: None,
            is_member: false,
            unwrapped: None,
            unwrap_status: Arc::default(),
            conversion: None,
            samples: None,
            progress,
        }
    }

    /// Creates an input from text in memory, of which so much is looked at first as of a file.
    pub(super) fn as_of_file(text: &[u8]) -> Input {
        let (first, rest) = text.split_at(FIRST_BYTES.min(text.len()));
        Input::from_memory(io::Cursor::new(first.to_vec()).chain(io::Cursor::new(rest.to_vec())))
    }

    /// Creates an input from text in memory.
    pub(super) fn from_text(text: &[u8]) -> Input {
        Input::from_memory(io::Cursor::new(text.to_vec()))
    }

    /// Creates an input whose first bytes are what the first read gives.
    fn from_memory(text: impl Read + Send + 'static) -> Input {
        let source = Source::Stream { from: Box::new(text), compressed: false };
        let progress = Arc::new(Progress::new(false, None, None));
        let mut input = Input::new(String::new(), None, None, source, progress);
        // Memory is read without errors.
        let _ = input.grow();
        input
    }

    /// Samples this input, one of `inputs` that are read together. The samples of a stream are
    /// there when it was read.
    pub(super) fn sample(&mut self, inputs: usize) -> Arc<Mutex<Samples>> {
        let mut samples = Samples::new(inputs);
        let plain = self.plain();
        let is_stream = plain.is_none();
        if let Some(plain) = plain {
            samples.read(plain.len, |buffer, at| plain.peek_at(buffer, at));
        }
        let samples = Arc::new(Mutex::new(samples));
        self.samples = is_stream.then(|| Arc::clone(&samples));
        samples
    }

    /// Opens the same content again, if that is possible.
    pub(crate) fn again(&self) -> Option<Input> {
        let silent = Arc::new(Progress::new(false, None, None));
        let place = match &self.source {
            Source::Plain { file, at, end } => Some((file, *at, *end)),
            Source::Stream { .. } => self.origin.as_ref().map(|(file, at, end)| (file, *at, *end)),
        };
        let mut again = match place {
            Some((file, at, end)) => {
                let source = Source::Plain { file: Arc::clone(file), at, end };
                let (name, path) = (self.name.clone(), self.path.clone());
                let input = Input::new(name, path, self.modified, source, silent);
                if self.origin.is_none() {
                    return Some(input);
                }
                input.prepare().ok()?
            }
            None => {
                // A file only: a pipe with a name gives its content once.
                self.modified?;
                Input::open(self.path.as_deref()?, &silent).ok()?
            }
        };
        if let Some(times) = self.unwrapped {
            again.unwrap_json(times).ok()?;
        }
        if let Some(conversion) = self.conversion {
            again.convert(conversion);
        }
        Some(again)
    }

    /// What is seen of the JSON objects around its lines while it is read.
    pub(super) fn unwrap_status(&self) -> Arc<UnwrapStatus> {
        Arc::clone(&self.unwrap_status)
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that has these bytes, for programs that can read nothing else.
    pub(crate) fn file_path(&self) -> Option<&Path> {
        let own = !self.is_member && self.origin.is_none() && self.plain().is_some();
        self.path().filter(|_| own)
    }

    /// Where it is; `None` for stdin. For a member of an archive, where it would be.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// When it was written last, if it is a file.
    pub(crate) fn modified(&self) -> Option<Timestamp> {
        self.modified
    }

    /// Whether it had to be decompressed.
    pub(crate) fn is_compressed(&self) -> bool {
        matches!(self.source, Source::Stream { compressed: true, .. })
    }

    /// The file itself, if its parts can be read in any order.
    pub(crate) fn plain(&self) -> Option<Plain<'_>> {
        match &self.source {
            Source::Plain { file, at, end } => {
                Some(Plain { file, start: *at, len: end - at, progress: &self.progress })
            }
            Source::Stream { .. } => None,
        }
    }

    /// How many bytes of a file it is made of; `None`: it is not a file, or not known.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        match (&self.source, &self.origin) {
            (Source::Plain { at, end, .. }, _) | (_, Some((_, at, end))) => {
                Some(end.saturating_sub(*at))
            }
            (Source::Stream { .. }, None) => None,
        }
    }

    /// The first bytes, as many as were looked at so far.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether it has bytes, and all are zero.
    pub(super) fn is_hole(&self) -> bool {
        self.is_hole
    }

    /// Reads more of the first bytes. Returns false at the end.
    pub(super) fn grow(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let old = self.head.len();
        let mut head = std::mem::take(&mut self.head);
        push_zeros(&mut head, READ_AT_ONCE);
        let read = self.fetch(&mut head[old..], old as u64);
        head.truncate(old + *read.as_ref().unwrap_or(&0));
        self.head = head;
        // An error comes again when the record is read.
        self.ended = matches!(read, Ok(0));
        read.map(|n| n > 0)
    }

    /// If nothing but NULs was seen so far, passes over all of them. They are what remains of a log
    /// that was truncated while its writer went on where it was, and there may be gigabytes.
    pub(super) fn skip_hole(&mut self) -> io::Result<()> {
        if self.ended || self.head.is_empty() || self.head.iter().any(|b| *b != 0) {
            return Ok(());
        }
        let mut seen = self.head.len() as u64;
        loop {
            if let Source::Plain { file, at, end } = &mut self.source {
                // What was never written need not be read.
                let from = i64::try_from(*at + seen).unwrap_or(i64::MAX);
                let data = nix::unistd::lseek(&*file, from, nix::unistd::Whence::SeekData);
                *at =
                    data.ok().and_then(|at| u64::try_from(at).ok()).unwrap_or(*at + seen).min(*end);
                seen = 0;
            }
            let mut head = std::mem::take(&mut self.head);
            head.clear();
            push_zeros(&mut head, READ_AT_ONCE);
            let n = self.fetch(&mut head, seen)?;
            head.truncate(n);
            if n == 0 {
                self.ended = true;
                self.is_hole = true;
                return Ok(());
            }
            let nothing = head.iter().all(|b| *b == 0);
            self.head = head;
            if !nothing {
                return Ok(());
            }
            seen = n as u64;
        }
    }

    /// One read(2) at `at`, which is where a stream is anyway.
    fn fetch(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            let read = match &mut self.source {
                Source::Plain { file, at: start, end } => {
                    let left = (*end - *start).saturating_sub(at);
                    let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    file.read_at(&mut buffer[..want], *start + at)
                }
                Source::Stream { from, .. } => from.read(buffer),
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.read_next(buffer)?;
        if let Some(samples) = &self.samples {
            samples.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..n]);
        }
        Ok(n)
    }
}

impl Input {
    /// Reads the next bytes of the head, or else of the source.
    fn read_next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given < self.head.len() {
            let n = buffer.len().min(self.head.len() - self.given);
            buffer[..n].copy_from_slice(&self.head[self.given..self.given + n]);
            self.given += n;
            return Ok(n);
        }
        if self.ended {
            return Ok(0);
        }
        let n = self.fetch(buffer, self.given as u64)?;
        self.given += n;
        // What is behind the head need not be kept; `given` goes on as the position.
        self.head = Vec::new();
        if matches!(self.source, Source::Plain { .. }) {
            self.progress.add(n);
        }
        Ok(n)
    }
}

/// Names inputs that are read together, for messages.
pub(super) fn common_name<'a>(mut inputs: impl Iterator<Item = &'a Input>) -> String {
    match (inputs.next(), inputs.count()) {
        (Some(first), 0) => first.name().to_owned(),
        (Some(first), more) => format!("{} and {more} more", first.name()),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gz(text: &str) -> Vec<u8> {
        let mut e = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(text.as_bytes()).unwrap();
        e.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> (String, Option<io::ErrorKind>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let progress = Arc::new(Progress::new(false, None, None));
        let mut input = Input::open(file.path(), &progress).unwrap();
        while input.head().len() < 3 && input.grow().unwrap_or(false) {}
        let mut text = Vec::new();
        let end = input.read_to_end(&mut text).err().map(|e| e.kind());
        (String::from_utf8(text).unwrap(), end)
    }

    #[test]
    fn reads_members_and_padding() {
        let mut both = gz("one ");
        both.extend(gz("two"));
        both.extend([0; 600]);
        assert_eq!(read(&both), ("one two".to_owned(), None));
        let mut both = zstd::encode_all(&b"one "[..], 1).unwrap();
        both.extend(zstd::encode_all(&b"two"[..], 1).unwrap());
        assert_eq!(read(&both), ("one two".to_owned(), None));
    }

    #[test]
    fn the_readable_part_of_a_cut_archive_is_read() {
        let long: String = (0..200_000).map(|i| format!("{i} ")).collect();
        let xz = liblzma::encode_all(long.as_bytes(), 1).unwrap();
        let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz2.write_all(long.as_bytes()).unwrap();
        let zstd = zstd::encode_all(long.as_bytes(), 1).unwrap();
        for whole in [gz(&long), zstd, xz, bz2.finish().unwrap()] {
            let (text, end) = read(&whole[..whole.len() - 9]);
            assert!(long.starts_with(&text) && !text.is_empty(), "{}", text.len());
            assert_eq!(end, Some(io::ErrorKind::UnexpectedEof));
        }
    }

    #[test]
    fn xz_bzip2_and_lz4_are_decompressed_stream_after_stream() {
        let text = "accept(3, NULL, NULL) = 4\n".repeat(9_000);
        let lz4 = |text: &str| {
            let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
            frame.write_all(text.as_bytes()).unwrap();
            frame.finish().unwrap()
        };
        let bz2 = |text: &str| {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(text.as_bytes()).unwrap();
            out.finish().unwrap()
        };
        let xz = |text: &str| liblzma::encode_all(text.as_bytes(), 1).unwrap();
        for packed in [lz4(&text), bz2(&text), xz(&text)] {
            assert_eq!(read(&packed), (text.clone(), None));
            let twice = [&packed[..], &packed[..]].concat();
            assert_eq!(read(&twice), (text.repeat(2), None));
        }
    }

    #[test]
    fn a_lz4_frame_that_is_cut_off_anywhere_is_no_whole_one() {
        let long: String = (0..60_000).map(|i| format!("{i} ")).collect();
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(long.as_bytes()).unwrap();
        let whole = frame.finish().unwrap();
        // The end mark is the last four bytes. Without it the file ends between two blocks.
        for cut in (1..=8).chain([1000, 50_000]) {
            let (text, end) = read(&whole[..whole.len() - cut]);
            assert!(long.starts_with(&text), "{cut}");
            assert_eq!(end, Some(io::ErrorKind::UnexpectedEof), "{cut}");
        }
    }

    #[test]
    fn names_the_tool_for_other_compressions() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"PK\x03\x04rest").unwrap();
        let e =
            Input::open(file.path(), &Arc::new(Progress::new(false, None, None))).err().unwrap();
        assert!(e.to_string().contains("unzip -p"), "{e}");
    }
}
