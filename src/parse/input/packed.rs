//! Compressed inputs: which compression, and how it is undone.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Compressions that somebody else must undo: magic number and the command that does.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "xz -dc"),
    (b"BZh", "bzip2 -dc"),
    (b"\x04\x22\x4d\x18", "lz4 -dc"),
    (b"PK\x03\x04", "unzip -p"),
];

/// The command that undoes the compression of what begins with `magic`, if it is one that is not
/// read here.
pub(super) fn foreign(magic: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(begin, _)| magic.starts_with(begin)).map(|(_, tool)| *tool)
}

/// Compressions that are read.
#[derive(Clone, Copy)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// That of what begins with `magic`.
    pub(super) fn of(magic: &[u8]) -> Option<Packing> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// What `raw` is, decompressed.
    pub(super) fn unpack(self, raw: Box<dyn BufRead + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Packing::Gzip => Box::new(Gzip::new(raw)),
            Packing::Zstd => Box::new(Zstd(zstd::Decoder::with_buffer(raw)?)),
        })
    }
}

/// zstd, frame after frame. A frame says how much memory its decompression takes, and one of more than
/// 128 MiB is refused.
struct Zstd(zstd::Decoder<'static, Box<dyn BufRead + Send>>);

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            if !error.to_string().contains("too much memory") {
                return error;
            }
            io::Error::new(
                error.kind(),
                "its decompression needs more than 128 MiB of memory (it was made with --long); pipe \
                 it: zstd -dc --long=31 FILE | tcptally parse -",
            )
        })
    }
}

/// gzip, member after member. Zeros behind the last one are padding, as gzip(1) has it.
struct Gzip {
    member: Option<GzDecoder<Box<dyn BufRead + Send>>>,
}

impl Gzip {
    fn new(from: Box<dyn BufRead + Send>) -> Gzip {
        Gzip { member: Some(GzDecoder::new(from)) }
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some(ended) = self.member.take() else { break };
            let mut from = ended.into_inner();
            loop {
                let next = from.fill_buf()?;
                let zeros = next.iter().take_while(|b| **b == 0).count();
                if zeros == next.len() && zeros > 0 {
                    from.consume(zeros);
                    continue;
                }
                if next.is_empty() {
                    break;
                }
                from.consume(zeros);
                self.member = Some(GzDecoder::new(from));
                break;
            }
        }
        Ok(0)
    }
}
