//! Compressed inputs: detects the compression, and decompresses.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use lz4_flex::frame::FrameDecoder;

/// Compressions that only another program reads: magic number, and the command that decompresses.
const FOREIGN: &[(&[u8], &str)] = &[(b"PK\x03\x04", "unzip -p")];

/// The command that decompresses an input that begins with `magic`, if its compression is not
/// supported here.
pub(super) fn foreign(magic: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(begin, _)| magic.starts_with(begin)).map(|(_, tool)| *tool)
}

/// Compressions that are read.
#[derive(Clone, Copy)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
}

impl Packing {
    /// That of what begins with `magic`.
    pub(super) fn of(magic: &[u8]) -> Option<Packing> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Packing::Bzip2),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Packing::Lz4),
            _ => None,
        }
    }

    /// The decompressed content of `raw`.
    pub(super) fn unpack(self, raw: Box<dyn BufRead + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Packing::Gzip => Box::new(Gzip::new(raw)),
            Packing::Zstd => Box::new(Zstd(zstd::Decoder::with_buffer(raw)?)),
            Packing::Xz => Box::new(Xz::new(raw)?),
            Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
            Packing::Lz4 => {
                let raw = AtEnd { from: raw, is_reached: false };
                Box::new(Lz4 { frame: FrameDecoder::new(raw), is_over: false })
            }
        })
    }
}

/// Memory that the decompression of xz may take, as that of zstd.
const XZ_MEMORY: u64 = 128 << 20;

/// xz, stream after stream.
struct Xz(XzDecoder<Box<dyn BufRead + Send>>);

impl Xz {
    fn new(raw: Box<dyn BufRead + Send>) -> io::Result<Xz> {
        let stream =
            liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
        Ok(Xz(XzDecoder::new_stream(raw, stream)))
    }
}

impl Read for Xz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let cause = error.get_ref().and_then(|e| e.downcast_ref::<liblzma::stream::Error>());
            if !matches!(cause, Some(liblzma::stream::Error::MemLimit)) {
                return error;
            }
            io::Error::new(
                error.kind(),
                "its decompression needs more than 128 MiB of memory; pipe it: xz -dc FILE | tcptally parse -",
            )
        })
    }
}

/// lz4, frame after frame.
struct Lz4 {
    frame: FrameDecoder<AtEnd>,
    is_over: bool,
}

impl Read for Lz4 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let n = self.frame.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            // For the library a frame that is cut off between two blocks ends like a whole one, which has an end
            // mark and is not read beyond that.
            let raw = self.frame.get_mut();
            if raw.is_reached {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the lz4 frame is cut off",
                ));
            }
            if raw.from.fill_buf()?.is_empty() {
                self.is_over = true;
                return Ok(0);
            }
        }
    }
}

/// Notices a read at the end.
struct AtEnd {
    from: Box<dyn BufRead + Send>,
    is_reached: bool,
}

impl Read for AtEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.is_reached |= n == 0 && !buffer.is_empty();
        Ok(n)
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
