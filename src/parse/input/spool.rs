//! Copies a record to a temporary file in bounded space: an archive of a few bytes can contain terabytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use nix::sys::statvfs::fstatvfs;

/// Bytes that are read at a time, and that are not written if they are all zero.
const BLOCK_BYTES: usize = 64 * 1024;

/// Copies `from` to an empty file, and returns its size. Blocks of zeros take no space. At most half
/// of the free space of the file system may be taken, and the file may not become larger than that.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] beyond that. The file contains what came before.
pub(crate) fn copy(from: &mut impl Read, to: &mut File) -> io::Result<u64> {
    let limit = limit(to)?;
    copy_up_to(limit, from, to)
}

/// How large a temporary copy in the file system of `file` may become.
pub(crate) fn limit(file: &File) -> io::Result<u64> {
    let free = fstatvfs(file)?;
    Ok(free.blocks_available().saturating_mul(free.fragment_size()) / 2)
}

/// The error beyond the limit.
pub(crate) fn too_large(limit: u64) -> io::Error {
    let text = format!(
        "its content is larger than {} MiB, half of the free space for temporary files; set TMPDIR \
         to a directory with more space, or decompress and unpack it, and give the files in it",
        limit >> 20
    );
    io::Error::new(io::ErrorKind::StorageFull, text)
}

fn copy_up_to(limit: u64, from: &mut impl Read, to: &mut File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut size = 0;
    loop {
        let mut filled = 0;
        let end = loop {
            match from.read(&mut block[filled..]) {
                Ok(0) => break Ok(()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        if size + filled as u64 > limit {
            to.set_len(size)?;
            return Err(too_large(limit));
        }
        if block[..filled].iter().any(|b| *b != 0) {
            to.write_all(&block[..filled])?;
        } else {
            to.seek(SeekFrom::Current(filled as i64))?;
        }
        size += filled as u64;
        if end.is_err() || filled < BLOCK_BYTES {
            to.set_len(size)?;
            return end.map(|()| size);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_take_no_space() {
        let mut copy = tempfile::tempfile().unwrap();
        let data = [vec![7; 10], vec![0; 20 << 20], vec![8; 10]].concat();
        assert_eq!(copy_up_to(u64::MAX, &mut &data[..], &mut copy).unwrap(), data.len() as u64);
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut read = Vec::new();
        copy.rewind().unwrap();
        copy.read_to_end(&mut read).unwrap();
        assert!(read == data);
        let mut copy = tempfile::tempfile().unwrap();
        assert_eq!(copy_up_to(u64::MAX, &mut &[0; 100][..], &mut copy).unwrap(), 100);
        assert_eq!(copy.metadata().unwrap().len(), 100);
    }

    #[test]
    fn a_copy_ends_at_its_limit() {
        let mut copy = tempfile::tempfile().unwrap();
        let error = copy_up_to(1 << 20, &mut io::repeat(0), &mut copy).unwrap_err();
        assert!(error.to_string().contains("1 MiB"), "{error}");
        assert!(error.to_string().contains("TMPDIR"), "{error}");
        assert_eq!(copy.metadata().unwrap().len(), 1 << 20);
        let mut copy = tempfile::tempfile().unwrap();
        assert_eq!(
            copy_up_to(1 << 20, &mut io::repeat(9).take(1 << 20), &mut copy).unwrap(),
            1 << 20
        );
    }
}
