//! [`Samples`]: pieces of an input, to look for lines that its reader does not know.
//!
//! The beginning and the end of an input are sampled, and a piece at regular distances between.

/// Bytes of a piece.
const PIECE_BYTES: usize = 4096;
/// Bytes from the beginning of one piece to that of the next.
const PIECE_DISTANCE: u64 = 2 * 1024 * 1024;
/// Bytes that are sampled at the beginning, of all inputs of a run together.
const HEAD_BYTES: u64 = 256 * 1024;

/// Pieces of an input.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Bytes to sample at the beginning.
    head_bytes: u64,
    /// Whole lines, in the order of the input.
    pieces: Vec<Vec<u8>>,
    /// The bytes seen last, at least a piece if there were as many behind the head.
    tail: Vec<u8>,
    /// The number of bytes so far.
    seen: u64,
    /// Where the next piece begins.
    next: u64,
}

impl Samples {
    /// Samples one of `inputs` that are read together.
    pub(crate) fn new(inputs: usize) -> Samples {
        let head_bytes = (HEAD_BYTES / inputs.max(1) as u64).max(PIECE_BYTES as u64);
        Samples { head_bytes, next: PIECE_DISTANCE, ..Samples::default() }
    }

    /// Adds the next bytes of a stream.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let left = self.head_bytes.saturating_sub(self.seen);
        let (head, rest) = bytes.split_at(usize::try_from(left).unwrap_or(0).min(bytes.len()));
        match self.pieces.first_mut() {
            Some(first) => first.extend_from_slice(head),
            None => self.pieces.push(head.to_vec()),
        }
        self.seen += bytes.len() as u64;
        if self.seen > self.next && rest.len() > PIECE_BYTES {
            self.pieces.push(whole_lines(&rest[..PIECE_BYTES]).to_vec());
            self.next = self.seen + PIECE_DISTANCE;
        }
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(PIECE_BYTES)..]);
        if self.tail.len() > 2 * PIECE_BYTES {
            self.tail.drain(..self.tail.len() - PIECE_BYTES);
        }
    }

    /// Samples a file of `len` bytes with `read`, which reads at an offset.
    pub(crate) fn read(
        &mut self,
        len: u64,
        read: impl Fn(&mut [u8], u64) -> std::io::Result<usize>,
    ) {
        let piece = |at: u64, length: u64| {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            // Errors are reported when the record is read.
            let n = read(&mut bytes, at).unwrap_or(0);
            bytes.truncate(n);
            bytes
        };
        let head = self.head_bytes.min(len);
        self.pieces.push(piece(0, head));
        let last = len.saturating_sub(PIECE_BYTES as u64).max(head);
        let mut at = PIECE_DISTANCE;
        while at < last {
            self.pieces.push(whole_lines(&piece(at, PIECE_BYTES as u64)).to_vec());
            at += PIECE_DISTANCE;
        }
        let tail = piece(last, len - last);
        if last > head {
            self.pieces.push(after_first_line(&tail).to_vec());
        } else {
            self.tail = tail;
        }
    }

    /// Returns the pieces.
    pub(crate) fn into_pieces(mut self) -> Vec<Vec<u8>> {
        if self.seen > self.head_bytes + self.tail.len() as u64 {
            self.tail = after_first_line(&self.tail).to_vec();
        } else if let Some(first) = self.pieces.first_mut() {
            first.append(&mut self.tail);
        }
        self.pieces.push(self.tail);
        self.pieces
    }
}

/// Removes the first line, which may have begun before `bytes`.
fn after_first_line(bytes: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', bytes).map_or(&[], |n| &bytes[n + 1..])
}

/// Removes the first and the last line, which may not be whole.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let bytes = after_first_line(bytes);
    memchr::memrchr(b'\n', bytes).map_or(&[], |n| &bytes[..=n])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_middle_and_end_are_sampled_of_files_and_streams() {
        let mut text = b"first\n".to_vec();
        text.resize(5 * PIECE_DISTANCE as usize / 2, b'x');
        for (at, word) in
            [(PIECE_DISTANCE as usize + 99, "\nmiddle\n"), (text.len() - 99, "\nend\n")]
        {
            text[at..at + word.len()].copy_from_slice(word.as_bytes());
        }
        let has = |pieces: &[Vec<u8>], word: &str| {
            pieces.iter().any(|p| memchr::memmem::find(p, word.as_bytes()).is_some())
        };
        let mut file = Samples::new(1);
        file.read(text.len() as u64, |buffer, at| {
            let from = &text[at as usize..];
            let n = buffer.len().min(from.len());
            buffer[..n].copy_from_slice(&from[..n]);
            Ok(n)
        });
        let mut stream = Samples::new(1);
        text.chunks(128 * 1024).for_each(|chunk| stream.add(chunk));
        let (file, stream) = (file.into_pieces(), stream.into_pieces());
        for word in ["first", "end"] {
            assert!(has(&file, word) && has(&stream, word), "{word}");
        }
        assert!(has(&file, "middle"));
        let short = |n| {
            let mut short = Samples::new(n);
            [&b"a\nb"[..], b"c\nd\n"].iter().for_each(|part| short.add(part));
            short.into_pieces().concat()
        };
        assert_eq!(short(1), b"a\nbc\nd\n");
    }
}
