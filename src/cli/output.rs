//! [`Output`]: the stream or file that a report is written to.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::format::OutputFormat;
use crate::sys::wake;
use anyhow::anyhow;
use nix::unistd::{AccessFlags, access};
use tempfile::NamedTempFile;

use super::args::CountArgs;
use super::request::Stream;
use super::status_line::OtherText;

/// The output of a report.
#[derive(Debug)]
pub(super) enum Output {
    /// A standard stream.
    Stream(Stream),
    /// A file that is written immediately: for events and intervals, devices and pipes.
    Direct {
        /// Its path.
        path: PathBuf,
        /// The open file.
        file: File,
    },
    /// A file that keeps its old content until the new one is complete.
    Replace {
        /// Its path.
        path: PathBuf,
        /// A temporary file beside it. The first one is created at start.
        file: Option<NamedTempFile>,
    },
    /// The same, written bit by bit until [`Output::complete`].
    Beside {
        /// Its path.
        path: PathBuf,
        /// The temporary file; `None` once it has its name.
        file: Option<NamedTempFile>,
    },
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Replaced as a whole, at the end.
    Replace,
    /// The same, written bit by bit.
    Beside,
    /// Truncated at start, then written immediately.
    Truncate,
    /// Appended immediately.
    Append,
}

impl Mode {
    /// Events and intervals are written as they come, a report when it is complete.
    pub(super) fn of(args: &CountArgs) -> Mode {
        match (args.events, args.interval) {
            (true, _) if args.format == OutputFormat::Parquet => Mode::Beside,
            (true, _) => Mode::Truncate,
            (false, Some(_)) if !args.format.is_one_document() => Mode::Append,
            _ => Mode::Replace,
        }
    }
}

impl Mode {
    /// The same, for files that are rotated: what is there already is not lost.
    pub(super) fn appending(self, rotates: bool) -> Mode {
        match self {
            Mode::Truncate if rotates => Mode::Append,
            mode => mode,
        }
    }
}

impl Output {
    /// Opens the output, before anything else starts. Without a path it is `stream`; `-` is stdout.
    pub(super) fn open(path: Option<&Path>, stream: Stream, mode: Mode) -> anyhow::Result<Output> {
        match path {
            None => Ok(Output::Stream(stream)),
            Some(path) if path == Path::new("-") => Ok(Output::Stream(Stream::Stdout)),
            Some(path) => Output::file(path, mode).map_err(|error| {
                let path = path.display();
                anyhow!("cannot write the output '{path}': {error:#}; give another file with -o")
            }),
        }
    }

    fn file(path: &Path, mode: Mode) -> anyhow::Result<Output> {
        let metadata = match path.metadata() {
            Ok(metadata) => Some(metadata),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e.into()),
        };
        let regular = metadata.as_ref().is_none_or(std::fs::Metadata::is_file);
        if !matches!(mode, Mode::Replace | Mode::Beside) || !regular {
            let mut options = OpenOptions::new();
            // Appends also where it truncates first: another program may empty the file (logrotate's copytruncate).
            options.append(true).create(regular);
            let file = options.open(path)?;
            if regular && mode != Mode::Append {
                file.set_len(0)?;
            }
            return Ok(Output::Direct { path: path.to_path_buf(), file });
        }
        // A symbolic link is kept; its target is replaced.
        let path = if metadata.is_some() { path.canonicalize()? } else { path.to_path_buf() };
        if metadata.is_some() {
            OpenOptions::new().write(true).open(&path)?;
        }
        let file = Some(beside(&path)?);
        Ok(match mode {
            Mode::Beside => Output::Beside { path, file },
            _ => Output::Replace { path, file },
        })
    }

    /// The standard stream, if it is one.
    pub(super) fn stream(&self) -> Option<Stream> {
        match self {
            Output::Stream(stream) => Some(*stream),
            _ => None,
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Output::Stream(Stream::Stdout) => "stdout".into(),
            Output::Stream(Stream::Stderr) => "stderr".into(),
            Output::Direct { path, .. }
            | Output::Replace { path, .. }
            | Output::Beside { path, .. } => {
                format!("'{}'", path.display())
            }
        }
    }

    /// The context of an error of [`Output::write`].
    pub(super) fn cannot_write(&self) -> String {
        format!("cannot write the report to {}", self.name())
    }

    /// The context of an error of [`Output::reopen`].
    pub(super) fn cannot_reopen(&self) -> String {
        format!(
            "SIGHUP: cannot reopen {}; writing continues to the file that was open",
            self.name()
        )
    }

    /// Whether the file has content already.
    pub(super) fn continues(&self) -> bool {
        matches!(self, Output::Direct { file, .. } if file.metadata().is_ok_and(|m| m.is_file() && m.len() > 0))
    }

    /// Whether [`Output::reopen`] opens a file: it is a regular one that is written immediately.
    pub(super) fn can_reopen(&self) -> bool {
        matches!(self, Output::Direct { file, .. } if file.metadata().is_ok_and(|m| m.is_file()))
    }

    /// Reopens the file by its name, as log rotation requires. If that fails, keeps writing to the old file.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Output::Direct { path, file } = self {
            *file = OpenOptions::new().append(true).create(true).open(path)?;
        }
        Ok(())
    }

    /// Writes a text. An empty one changes nothing: it would replace a report.
    pub(super) fn write_text(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.write(|out| out.write_all(text)) }
    }

    /// Writes the output with `write`, and replaces the file if it is [`Output::Replace`].
    pub(super) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let _other_text = matches!(self, Output::Stream(_)).then(OtherText::begin);
        match self {
            Output::Stream(Stream::Stdout) => at_once(io::stdout().lock(), write),
            Output::Stream(Stream::Stderr) => at_once(io::stderr().lock(), write),
            Output::Direct { file, .. } => at_once(file, write),
            Output::Beside { file, .. } => match file {
                Some(file) => buffered(file.as_file_mut(), write),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
            Output::Replace { path, file } => {
                let mut file = file.take().map_or_else(|| beside(path), Ok)?;
                buffered(file.as_file_mut(), write)?;
                file.persist(path).map(drop).map_err(|e| e.error)
            }
        }
    }
}

impl Output {
    /// Whether each write replaces the file.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Output::Replace { .. })
    }

    /// Whether it gets its name when it is complete.
    pub(super) fn is_beside(&self) -> bool {
        matches!(self, Output::Beside { .. })
    }

    /// Gives the file this suffix, and begins a new one. An empty one stays.
    pub(super) fn rotate(&mut self, suffix: &str) -> io::Result<()> {
        match self {
            Output::Direct { file, .. } if file.metadata().is_ok_and(|m| m.len() == 0) => Ok(()),
            Output::Direct { path, .. } => {
                std::fs::rename(&*path, unused(path, suffix))?;
                self.reopen()
            }
            Output::Beside { path, file } => {
                if let Some(file) = file.take() {
                    file.persist(unused(path, suffix)).map_err(|e| e.error)?;
                }
                *file = Some(beside(path)?);
                Ok(())
            }
            Output::Stream(_) | Output::Replace { .. } => Ok(()),
        }
    }

    /// Removes the oldest of the files that [`Output::rotate`] has named, except the last `keep`.
    pub(super) fn remove_former(&self, keep: usize) -> io::Result<()> {
        let (Output::Direct { path, .. } | Output::Beside { path, .. }) = self else {
            return Ok(());
        };
        let folder = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        let mut former: Vec<String> = std::fs::read_dir(folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|other| {
                let suffix = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
                suffix.is_some_and(is_suffix)
            })
            .collect();
        former.sort();
        former.truncate(former.len().saturating_sub(keep));
        former.iter().try_for_each(|name| std::fs::remove_file(folder.join(name)))
    }

    /// Gives an output that is written bit by bit its name, when all is written.
    pub(super) fn complete(&mut self) -> io::Result<()> {
        match self {
            Output::Beside { path, file } => match file.take() {
                Some(file) => file.persist(path).map(drop).map_err(|e| e.error),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The name with this suffix, and a number if there is such a file.
fn unused(path: &Path, suffix: &str) -> PathBuf {
    let named = |more: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{suffix}{more}"));
        PathBuf::from(name)
    };
    let numbers = (1..1000).map(|n| named(&format!("-{n}")));
    let free = std::iter::once(named("")).chain(numbers).find(|path| !path.exists());
    free.unwrap_or_else(|| named(""))
}

/// Whether a text is a suffix of [`Output::rotate`]: 20261122T110000Z, or with a number.
fn is_suffix(text: &str) -> bool {
    let (time, number) = text.split_once('-').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = time.strip_suffix('Z').and_then(|time| time.split_once('T'));
    let is_time = |(day, time): (&str, &str)| {
        day.len() == 8 && time.len() == 6 && is_digits(day) && is_digits(time)
    };
    parts.is_some_and(is_time) && is_digits(number)
}

/// A temporary file in the folder of `path`, with the same permissions.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mode = path.metadata().map_or(0o666, |m| m.permissions().mode() & 0o7777);
    let folder = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    // The library's error has the path of the temporary file, and not the code.
    let mut code = None;
    let create = |path: &Path| {
        let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path);
        code = file.as_ref().err().and_then(io::Error::raw_os_error);
        file
    };
    let created = tempfile::Builder::new().prefix(".tcptally.").make_in(folder, create);
    let without_path = |error| code.map_or(error, io::Error::from_raw_os_error);
    created.map_err(|error| cause_in(folder).unwrap_or_else(|| without_path(error)))
}

/// Why no file can be created in `folder`, without the path of a temporary file that the user did
/// not name.
fn cause_in(folder: &Path) -> Option<io::Error> {
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).err().map(io::Error::from)
}

/// Writes to a stream that may be a terminal.
fn at_once(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    wake::writing(|| buffered(out, write))
}

fn buffered(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    write(&mut out)?;
    out.flush()
}
