//! Follows growing files, as `tail -F` does, also when they are rotated.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Seek, SeekFrom, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
}

impl Followed {
    /// Ends at the present end of the files. Returns whether that ends all inputs.
    pub(super) fn stop(&self) -> bool {
        self.stops.store(true, Ordering::Relaxed);
        !self.paths.is_empty() && self.pipes.len() == self.paths.len()
    }
}

/// Follows regular files from their beginning on. Other files, such as pipes, are kept as they are.
pub(super) fn follow(files: &[PathBuf]) -> io::Result<Followed> {
    let mut followed = Followed { paths: Vec::new(), pipes: Vec::new(), stops: Arc::default() };
    for path in files {
        if !path.metadata()?.is_file() {
            followed.paths.push(path.clone());
            continue;
        }
        let file = File::open(path)?;
        let (reader, writer) = pipe()?;
        followed.paths.push(format!("/dev/fd/{}", reader.as_raw_fd()).into());
        followed.pipes.push(reader.into());
        let (path, stops) = (path.clone(), followed.stops.clone());
        // Ends when nobody reads the pipe any more.
        let work = move || drop(copy(file, &path, writer, &stops));
        std::thread::Builder::new().name("follow".into()).spawn(work)?;
    }
    Ok(followed)
}

/// Copies what a file contains and what is appended to it, then what a new file of the same name contains.
fn copy(mut file: File, path: &Path, mut pipe: PipeWriter, stops: &AtomicBool) -> io::Result<()> {
    let mut bytes = vec![0; READ_BYTES];
    let mut at = 0;
    let mut is_replaced = false;
    loop {
        let n = file.read(&mut bytes)?;
        if n > 0 {
            pipe.write_all(&bytes[..n])?;
            at += n as u64;
            continue;
        }
        if is_replaced {
            // The old file was read to its end after the new one had appeared.
            if let Ok(new) = File::open(path) {
                (file, at, is_replaced) = (new, 0, false);
                continue;
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
        if !is_replaced && stops.load(Ordering::Relaxed) {
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
}
