//! Follows growing files, as `tail -F` does, also when they are rotated.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Seek, SeekFrom, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::parse::InputError;

use super::lock::lock;

/// Time between two looks at the end of a file.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes of a read.
const READ_BYTES: usize = 1 << 16;

/// Files that are being followed. They are read from pipes.
pub(super) struct Followed {
    /// The paths of the pipes, to be read in place of the files.
    pub paths: Vec<PathBuf>,
    /// The reading ends, open until all paths have been opened.
    pipes: Vec<OwnedFd>,
    /// Whether to end at the end of the files.
    stops: Arc<AtomicBool>,
    /// Why files could not be read to their end.
    failures: Arc<Mutex<Vec<InputError>>>,
}

impl Followed {
    /// Ends at the present end of the files. Returns whether that ends all inputs.
    pub(super) fn stop(&self) -> bool {
        self.stops.store(true, Ordering::Relaxed);
        !self.paths.is_empty() && self.pipes.len() == self.paths.len()
    }

    /// Removes and returns the errors of files. They are complete once the pipes are at their end.
    pub(super) fn take_failures(&self) -> Vec<InputError> {
        std::mem::take(&mut lock(&self.failures))
    }
}

/// Follows regular files from their beginning on. Other files, such as pipes, are kept as they are.
pub(super) fn follow(files: &[PathBuf]) -> io::Result<Followed> {
    let mut followed = Followed {
        paths: Vec::new(),
        pipes: Vec::new(),
        stops: Arc::default(),
        failures: Arc::default(),
    };
    for path in files {
        if !path.metadata()?.is_file() {
            followed.paths.push(path.clone());
            continue;
        }
        let file = File::open(path)?;
        let (reader, mut writer) = pipe()?;
        followed.paths.push(format!("/dev/fd/{}", reader.as_raw_fd()).into());
        followed.pipes.push(reader.into());
        let (path, stops) = (path.clone(), followed.stops.clone());
        let failures = followed.failures.clone();
        let work = move || {
            if let Err(error) = copy(file, &path, &mut writer, &stops) {
                let name = path.display().to_string();
                lock(&failures).push(InputError::Interrupted { name, error: error.into() });
            }
            // Only now: a reader that sees the end must find the error.
            drop(writer);
        };
        std::thread::Builder::new().name("follow".into()).spawn(work)?;
    }
    Ok(followed)
}

/// Copies what a file contains and what is appended to it, then what a new file of the same name contains. Ends
/// when nobody reads the pipe any more.
///
/// # Errors
/// Those of the file.
fn copy(mut file: File, path: &Path, pipe: &mut PipeWriter, stops: &AtomicBool) -> io::Result<()> {
    let mut bytes = vec![0; READ_BYTES];
    let mut at = 0;
    let mut is_replaced = false;
    loop {
        let n = file.read(&mut bytes)?;
        if n > 0 {
            if pipe.write_all(&bytes[..n]).is_err() {
                return Ok(());
            }
            at += n as u64;
            continue;
        }
        let is_over = stops.load(Ordering::Relaxed);
        if is_replaced {
            // The old file was read to its end after the new one had appeared.
            match File::open(path) {
                Ok(new) => {
                    (file, at, is_replaced) = (new, 0, false);
                    continue;
                }
                // Removed again, or not yet readable for this user.
                Err(error) if is_over && error.kind() != io::ErrorKind::NotFound => {
                    return Err(error);
                }
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
        let own = file.metadata()?;
        if own.len() < at {
            // Truncated in place (copytruncate).
            file.seek(SeekFrom::Start(0))?;
            at = 0;
            continue;
        }
        is_replaced = path.metadata().is_ok_and(|m| (m.dev(), m.ino()) != (own.dev(), own.ino()));
        if !is_replaced && is_over {
            return Ok(());
        }
        if !is_replaced {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_file_is_followed_over_rotation_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let followed = follow(std::slice::from_ref(&path)).unwrap();
        let mut lines = BufReader::new(File::open(&followed.paths[0]).unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        assert_eq!(next(), "one");
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(log, "two").unwrap();
        assert_eq!(next(), "two");
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        writeln!(log, "three").unwrap();
        fs::write(&path, "four\n").unwrap();
        assert_eq!([next(), next()], ["three", "four"]);
        let log = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        (&log).write_all(b"5\n").unwrap();
        assert_eq!(next(), "5");
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_a_failure() {
        // A regular file, and reading it at 0 fails with EIO.
        let path = PathBuf::from("/proc/self/mem");
        let followed = follow(std::slice::from_ref(&path)).unwrap();
        let mut text = String::new();
        File::open(&followed.paths[0]).unwrap().read_to_string(&mut text).unwrap();
        let failures: Vec<String> =
            followed.take_failures().iter().map(ToString::to_string).collect();
        assert_eq!(text, "");
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains("/proc/self/mem: Input/output error"), "{failures:?}");
    }
}
