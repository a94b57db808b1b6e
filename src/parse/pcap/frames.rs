//! The frames of pcap and pcapng files.

use std::io::{self, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use crate::Moment;

/// Bytes that are held at first, and at most: no packet is longer.
const HELD: usize = 1 << 20;
const MOST: usize = 1 << 26;

/// A captured frame.
pub struct Frame<'a> {
    /// When it was captured.
    pub time: Option<Moment>,
    /// The link type of its interface.
    pub link: i32,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Whether it was longer.
    pub cut: bool,
    /// Where the capture says it: whether it came in or went out.
    pub inward: Option<bool>,
}

/// How reading ended.
#[derive(Debug)]
pub enum End {
    /// As it should.
    Whole,
    /// In the middle of a packet.
    Cut,
    /// With something that is no capture.
    Broken(String),
    /// The input failed.
    Failed(io::Error),
}

/// An interface of a pcapng section.
struct Interface {
    link: i32,
    /// Units of its stamps in a second.
    resolution: u64,
    /// What its stamps count from, in seconds since 1970.
    offset: i64,
}

/// Gives every frame, until `take` returns false. `dropped` counts packets that the capture says
/// it lost.
pub fn each(
    from: impl Read + Send,
    dropped: &mut u64,
    mut take: impl FnMut(Frame<'_>) -> bool,
) -> End {
    let failure = std::sync::Arc::new(std::sync::Mutex::new(None));
    let from = First { from, began: false, failure: std::sync::Arc::clone(&failure) };
    let mut end = End::Whole;
    let mut reader = match create_reader(HELD, from) {
        Ok(reader) => reader,
        Err(PcapError::Eof) => return End::Whole,
        Err(PcapError::Incomplete(_)) => return End::Cut,
        Err(e) => return End::Broken(described(&e)),
    };
    let mut link = 0;
    let mut nanoseconds = false;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut held = HELD;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                let more = match &block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        link = header.network.0;
                        nanoseconds = header.is_nanosecond_precision();
                        true
                    }
                    PcapBlockOwned::Legacy(packet) => {
                        let fraction = i64::from(packet.ts_usec);
                        let ns = if nanoseconds { fraction } else { fraction * 1000 };
                        take(Frame {
                            time: Some(Moment::Clock(
                                i64::from(packet.ts_sec) * 1_000_000_000 + ns,
                            )),
                            link,
                            data: packet.data,
                            cut: packet.caplen < packet.origlen,
                            inward: None,
                        })
                    }
                    PcapBlockOwned::NG(block) => {
                        in_section(block, &mut interfaces, dropped, &mut take)
                    }
                };
                reader.consume(length);
                if !more {
                    break;
                }
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::UnexpectedEof) => {
                end = End::Cut;
                break;
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() {
                    end = End::Cut;
                    break;
                }
                if reader.refill().is_err() {
                    break;
                }
            }
            Err(PcapError::BufferTooSmall) => {
                held *= 2;
                if held > MOST || !reader.grow(held) {
                    end = End::Broken("a packet longer than any can be".into());
                    break;
                }
                if reader.refill().is_err() {
                    break;
                }
            }
            Err(e) => {
                end = End::Broken(described(&e));
                break;
            }
        }
    }
    drop(reader);
    match failure.lock().ok().and_then(|mut f| f.take()) {
        Some(error) => End::Failed(error),
        None => end,
    }
}

fn described<I>(error: &PcapError<I>) -> String {
    match error {
        PcapError::HeaderNotRecognized => "no header of a capture".into(),
        _ => "a block that is no part of a capture".into(),
    }
}

/// Takes a block of a pcapng file.
fn in_section(
    block: &Block<'_>,
    interfaces: &mut Vec<Interface>,
    dropped: &mut u64,
    take: &mut impl FnMut(Frame<'_>) -> bool,
) -> bool {
    match block {
        Block::SectionHeader(_) => interfaces.clear(),
        // A capture has few; a made-up file should not fill the memory.
        Block::InterfaceDescription(i) if interfaces.len() < 1 << 16 => {
            interfaces.push(Interface {
                link: i.linktype.0,
                resolution: i.ts_resolution().filter(|r| *r > 0).unwrap_or(1_000_000),
                offset: i.ts_offset(),
            });
        }
        Block::EnhancedPacket(packet) => {
            let Some(interface) = interfaces.get(packet.if_id as usize) else { return true };
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            // epb_flags: the direction is in the lowest two bits.
            let flags =
                packet.options.iter().find(|o| o.code.0 == 2).and_then(|o| {
                    if packet.big_endian() { o.value.get(3) } else { o.value.first() }
                });
            return take(Frame {
                time: time(ticks, interface),
                link: interface.link,
                data: packet.packet_data(),
                cut: packet.caplen < packet.origlen,
                inward: match flags.map(|f| f & 3) {
                    Some(1) => Some(true),
                    Some(2) => Some(false),
                    _ => None,
                },
            });
        }
        Block::SimplePacket(packet) => {
            let Some(interface) = interfaces.first() else { return true };
            let data = packet.packet_data();
            return take(Frame {
                time: None,
                link: interface.link,
                data,
                cut: data.len() < packet.origlen as usize,
                inward: None,
            });
        }
        Block::InterfaceStatistics(statistics) => {
            // isb_ifdrop.
            let lost = statistics.options.iter().find(|o| o.code.0 == 5);
            let lost = lost.and_then(|o| o.value.first_chunk::<8>());
            if let Some(lost) = lost {
                let (le, be) = (u64::from_le_bytes(*lost), u64::from_be_bytes(*lost));
                *dropped = dropped.saturating_add(le.min(be));
            }
        }
        _ => {}
    }
    true
}

fn time(ticks: u64, interface: &Interface) -> Option<Moment> {
    let resolution = u128::from(interface.resolution);
    let ns = u128::from(ticks) * 1_000_000_000 / resolution;
    let offset = i128::from(interface.offset) * 1_000_000_000;
    let ns = i128::try_from(ns).ok()?.checked_add(offset)?;
    i64::try_from(ns).ok().map(Moment::Clock)
}

/// Makes the first read long enough for the header, and keeps what goes wrong.
struct First<R> {
    from: R,
    began: bool,
    failure: std::sync::Arc<std::sync::Mutex<Option<io::Error>>>,
}

impl<R: Read> Read for First<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The header of a pcap file, or as much of the first block of a pcapng file as is looked at.
        let wanted = if self.began { 1 } else { buffer.len().min(512) };
        self.began = true;
        let mut filled = 0;
        while filled < wanted {
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    if let Ok(mut failure) = self.failure.lock() {
                        *failure = Some(e);
                    }
                    break;
                }
            }
        }
        Ok(filled)
    }
}
