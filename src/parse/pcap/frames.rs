//! The frames of pcap and pcapng files.

use pcap_parser::nom::{self, Needed};
use pcap_parser::pcapng::{Block, PcapNGOption, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, PcapError, parse_pcap_frame,
    parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};

use crate::RecordTime;

/// Maximum length of a packet.
const LONGEST: usize = 1 << 26;

/// The magic number of pcapng files, the same in both byte orders.
pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The block type of packets in the first versions of pcapng.
const OBSOLETE_PACKET: u32 = 2;

/// A captured frame.
pub(super) struct Frame<'a> {
    /// When it was captured.
    pub time: Option<RecordTime>,
    /// The link type of its interface; `None`: the capture does not describe it.
    pub link: Option<i32>,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Whether it was longer.
    pub cut: bool,
    /// Where the capture says it: whether it came in or went out.
    pub inward: Option<bool>,
    /// The number of its interface, if there are several.
    pub point: Option<u32>,
}

/// An interface of a pcapng section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    link: i32,
    /// Units of its stamps in a second.
    resolution: u64,
    /// What its stamps count from, in seconds since 1970.
    offset: i64,
}

/// The format of the following records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// pcap: what its header says.
    Pcap { big_endian: bool, modified: bool, nanoseconds: bool, link: i32 },
    /// pcapng: what its blocks said so far.
    Pcapng { big_endian: bool, interfaces: Vec<Interface> },
}

/// Why there are no more frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next begins where it is not wanted.
    Limit,
    /// This number of further bytes is needed for the next.
    Needs(usize),
    /// What comes is no part of a capture.
    Broken(&'static str),
}

const NO_HEADER: &str = "no header of a capture";
const NO_BLOCK: &str = "a block that is no part of a capture";
const TOO_LONG: &str = "a packet longer than any can be";

impl Stop {
    fn of<I>(error: nom::Err<PcapError<I>>) -> Stop {
        match error {
            nom::Err::Incomplete(Needed::Size(n)) if n.get() > LONGEST => Stop::Broken(TOO_LONG),
            nom::Err::Incomplete(Needed::Size(n)) => Stop::Needs(n.get()),
            nom::Err::Incomplete(Needed::Unknown) => Stop::Needs(1),
            _ => Stop::Broken(NO_HEADER),
        }
    }
}

/// The block of a pcapng file that `bytes` begin with.
fn block_at(bytes: &[u8], big_endian: bool) -> Result<&[u8], Stop> {
    let Some([kind, length, third]) = bytes.first_chunk::<12>().map(|b| b.as_chunks::<4>().0)
    else {
        return Err(Stop::Needs(12 - bytes.len()));
    };
    // The first block of a section tells its byte order itself.
    let big_endian = if *kind == SECTION { *third == [0x1a, 0x2b, 0x3c, 0x4d] } else { big_endian };
    let length = if big_endian { u32::from_be_bytes(*length) } else { u32::from_le_bytes(*length) };
    match length as usize {
        0..12 => Err(Stop::Broken(NO_BLOCK)),
        length if length > LONGEST => Err(Stop::Broken(TOO_LONG)),
        length => bytes.get(..length).ok_or_else(|| Stop::Needs(length - bytes.len())),
    }
}

impl Format {
    /// Returns the format of a file that begins with `head`, and where its records begin.
    pub(super) fn of(head: &[u8]) -> Result<(Format, usize), Stop> {
        if head.starts_with(&SECTION) {
            // The first block says more.
            return Ok((Format::Pcapng { big_endian: false, interfaces: Vec::new() }, 0));
        }
        let (rest, header) = parse_pcap_header(head).map_err(Stop::of)?;
        let format = Format::Pcap {
            big_endian: header.is_bigendian(),
            modified: header.is_modified_format(),
            nanoseconds: header.is_nanosecond_precision(),
            link: header.network.0,
        };
        Ok((format, head.len() - rest.len()))
    }

    /// Calls `take` for each frame of the records that begin in the first `limit` of `bytes`, and
    /// returns where the next record begins. `dropped` counts packets that the capture says it lost.
    pub(super) fn each(
        &mut self,
        bytes: &[u8],
        limit: usize,
        dropped: &mut u64,
        take: &mut impl FnMut(Frame<'_>),
    ) -> (usize, Stop) {
        let mut at = 0;
        loop {
            if at >= limit {
                return (at, Stop::Limit);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let read = match self {
                Format::Pcap { big_endian, modified, nanoseconds, link } => {
                    let read = match (*big_endian, *modified) {
                        (false, false) => parse_pcap_frame(rest),
                        (true, _) => parse_pcap_frame_be(rest),
                        (false, true) => parse_pcap_frame_modified(rest),
                    };
                    read.map_err(Stop::of).map(|(after, packet)| {
                        let fraction = i64::from(packet.ts_usec);
                        let fraction = if *nanoseconds { fraction } else { fraction * 1000 };
                        let ns = i64::from(packet.ts_sec) * 1_000_000_000 + fraction;
                        take(Frame {
                            time: Some(RecordTime::Clock(ns)),
                            link: Some(*link),
                            data: packet.data,
                            cut: packet.caplen < packet.origlen,
                            inward: None,
                            point: None,
                        });
                        rest.len() - after.len()
                    })
                }
                Format::Pcapng { big_endian, interfaces } => {
                    block_at(rest, *big_endian).and_then(|block| {
                        let parse = if *big_endian { parse_block_be } else { parse_block_le };
                        // It is whole: what it lacks does not come.
                        let (_, read) = parse(block).map_err(|_| Stop::Broken(NO_BLOCK))?;
                        in_section(&read, big_endian, interfaces, dropped, take);
                        Ok(block.len())
                    })
                }
            };
            match read {
                Ok(length) => at += length,
                Err(stop) => return (at, stop),
            }
        }
    }

    /// Where in `bytes`, which stand at `offset` in the file, a record seems to begin: one from
    /// which others follow. It may be wrong.
    pub(super) fn guess(&self, bytes: &[u8], offset: u64) -> Option<usize> {
        // The longest packets are seldom longer.
        const FAR: usize = 128 * 1024;
        // So many are convincing.
        const CHAIN: usize = 4;
        let (step, first) = match self {
            Format::Pcap { .. } => (1, 0),
            Format::Pcapng { .. } => (4, (4 - (offset % 4) as usize) % 4),
        };
        (first..bytes.len().min(FAR)).step_by(step).find(|start| {
            let mut at = *start;
            for n in 0..CHAIN {
                match self.length_at(bytes, at) {
                    Length::Of(length) => at += length,
                    Length::Cut => return n > 1,
                    Length::None => return false,
                }
            }
            true
        })
    }

    /// How long the record is that may begin at `at`.
    fn length_at(&self, bytes: &[u8], at: usize) -> Length {
        // Longer packets are not captured, as a rule.
        const LONG: u32 = 1 << 18;
        let word = |at: usize, big_endian: bool| {
            let bytes = *bytes.get(at..)?.first_chunk()?;
            Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
        };
        match self {
            Format::Pcap { big_endian, modified, nanoseconds, .. } => {
                let word = |n: usize| word(at + 4 * n, *big_endian);
                let (Some(fraction), Some(captured), Some(length)) = (word(1), word(2), word(3))
                else {
                    return Length::Cut;
                };
                let units = if *nanoseconds { 1_000_000_000 } else { 1_000_000 };
                if fraction >= units
                    || captured == 0
                    || captured > length.min(LONG)
                    || length > LONG
                {
                    return Length::None;
                }
                Length::Of(captured as usize + if *modified { 24 } else { 16 })
            }
            Format::Pcapng { big_endian, .. } => {
                let word = |at: usize| word(at, *big_endian);
                let (Some(kind), Some(length)) = (word(at), word(at + 4)) else {
                    return Length::Cut;
                };
                let known = (1..16).contains(&kind);
                if !known || !(12..=LONG).contains(&length) || !length.is_multiple_of(4) {
                    return Length::None;
                }
                match word(at + length as usize - 4) {
                    Some(again) if again == length => Length::Of(length as usize),
                    Some(_) => Length::None,
                    None => Length::Cut,
                }
            }
        }
    }
}

/// The length of what may be a record.
enum Length {
    Of(usize),
    /// Its bytes end before that is known.
    Cut,
    /// It is none.
    None,
}

/// Takes a block of a pcapng file.
fn in_section(
    block: &Block<'_>,
    big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    dropped: &mut u64,
    take: &mut impl FnMut(Frame<'_>),
) {
    match block {
        Block::SectionHeader(section) => {
            *big_endian = section.big_endian();
            interfaces.clear();
        }
        // A capture has few; a made-up file should not fill the memory.
        Block::InterfaceDescription(i) if interfaces.len() < 1 << 16 => {
            interfaces.push(interface(i, *big_endian));
        }
        Block::EnhancedPacket(packet) => take(enhanced_packet(packet, *big_endian, interfaces)),
        Block::SimplePacket(packet) => {
            let data = packet.packet_data();
            take(Frame {
                time: None,
                link: interfaces.first().map(|i| i.link),
                data,
                cut: data.len() < packet.origlen as usize,
                inward: None,
                point: None,
            });
        }
        Block::Unknown(block) if block.block_type == OBSOLETE_PACKET => {
            if let Some(frame) = obsolete_packet(block.data, *big_endian, interfaces, dropped) {
                take(frame);
            }
        }
        Block::InterfaceStatistics(statistics) => {
            // isb_ifdrop.
            if let Some(lost) = option(&statistics.options, 5).and_then(|v| v.first_chunk()) {
                let number = if *big_endian { u64::from_be_bytes } else { u64::from_le_bytes };
                *dropped = dropped.saturating_add(number(*lost));
            }
        }
        _ => {}
    }
}

fn interface(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Interface {
    let options = &description.options;
    let resolution = option(options, 9).and_then(|value| value.first().copied());
    let offset = option(options, 14).and_then(|value| value.first_chunk().copied());
    let number = if big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
    Interface {
        link: description.linktype.0,
        resolution: resolution.and_then(units).unwrap_or(1_000_000),
        offset: offset.map_or(0, number),
    }
}

fn enhanced_packet<'a>(
    packet: &'a EnhancedPacketBlock<'_>,
    big_endian: bool,
    interfaces: &[Interface],
) -> Frame<'a> {
    let interface = interfaces.get(packet.if_id as usize);
    let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
    // epb_flags: the direction is in the lowest two bits.
    let flags = option(&packet.options, 2)
        .and_then(|value| if big_endian { value.get(3) } else { value.first() });
    Frame {
        time: interface.and_then(|i| time(ticks, i)),
        link: interface.map(|i| i.link),
        data: packet.packet_data(),
        cut: packet.caplen < packet.origlen,
        inward: match flags.map(|f| f & 3) {
            Some(1) => Some(true),
            Some(2) => Some(false),
            _ => None,
        },
        point: (interfaces.len() > 1).then_some(packet.if_id),
    }
}

/// The packet block of the first versions of the format: like an enhanced one, with 16 bits for
/// the interface and 16 for the packets that were lost before.
fn obsolete_packet<'a>(
    data: &'a [u8],
    big_endian: bool,
    interfaces: &[Interface],
    dropped: &mut u64,
) -> Option<Frame<'a>> {
    let half = |at: usize| -> Option<u16> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let word = |at: usize| -> Option<u32> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let (number, lost) = (half(0)?, half(2)?);
    let ticks = u64::from(word(4)?) << 32 | u64::from(word(8)?);
    let (captured, length) = (word(12)?, word(16)?);
    let interface = interfaces.get(usize::from(number));
    // All ones: not known.
    *dropped = dropped.saturating_add(u64::from(lost).wrapping_rem(0xffff));
    let data = data.get(20..)?;
    let data = data.get(..captured as usize).unwrap_or(data);
    Some(Frame {
        time: interface.and_then(|i| time(ticks, i)),
        link: interface.map(|i| i.link),
        data,
        cut: data.len() < length as usize,
        inward: None,
        point: (interfaces.len() > 1).then_some(u32::from(number)),
    })
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> Option<&'a [u8]> {
    options.iter().find(|option| option.code.0 == code).map(|option| &*option.value)
}

/// Units in a second by if_tsresol: a negative power of 10, or of 2 if the highest bit is set.
fn units(resolution: u8) -> Option<u64> {
    let power = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10_u64.checked_pow(power) } else { 1_u64.checked_shl(power) }
}

fn time(ticks: u64, interface: &Interface) -> Option<RecordTime> {
    let offset = i128::from(interface.offset) * 1_000_000_000;
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(interface.resolution);
    i64::try_from(i128::try_from(ns).ok()?.checked_add(offset)?).ok().map(RecordTime::Clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn units_of_time_are_powers_of_10_or_2() {
        assert_eq!([6, 9, 0, 19].map(units), [6, 9, 0, 19].map(|n| 10_u64.checked_pow(n)));
        assert_eq!([0x80, 0x94, 0xbf].map(units), [0, 20, 63].map(|n| 1_u64.checked_shl(n)));
        assert_eq!([20, 0xc0, 0xff].map(units), [None; 3]);
        let interface = Interface { link: 1, resolution: 1 << 20, offset: -5 };
        assert_eq!(time(3 << 19, &interface), Some(RecordTime::Clock(-3_500_000_000)));
        assert_eq!(time(u64::MAX, &interface), None);
    }

    /// A block whose stated length exceeds the file must not make the reader wait for the rest.
    #[test]
    fn blocks_that_are_not_as_they_should_be() {
        let section = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, !0, !0]));
        let interface = block(1, &words(&[1, 0]));
        let packet = block(6, &words(&[0, 0, 1, 4, 4, 7]));
        let start = [section, interface, packet.clone()].concat();
        for (bad, stop) in [
            (block(6, &words(&[0, 0, 1, 5000, 5000, 7])), Stop::Broken(NO_BLOCK)),
            (block(3, &[]), Stop::Broken(NO_BLOCK)),
            (words(&[6, 8, 0, 0]), Stop::Broken(NO_BLOCK)),
            (words(&[6, 1 << 30, 0, 0]), Stop::Broken(TOO_LONG)),
            (packet[..20].to_vec(), Stop::Needs(packet.len() - 20)),
            (packet[..5].to_vec(), Stop::Needs(7)),
            (Vec::new(), Stop::Needs(12)),
        ] {
            let bytes = [start.clone(), bad].concat();
            let (mut format, begin) = Format::of(&bytes).unwrap();
            let mut frames = 0;
            let end = format.each(&bytes[begin..], usize::MAX, &mut 0, &mut |_| frames += 1);
            assert_eq!((frames, end), (1, (start.len(), stop)));
        }
    }

    #[test]
    fn where_records_seem_to_begin() {
        let packet = words(&[1_795_345_122, 7, 8, 8, 1, 2]);
        let pcap = Format::Pcap { big_endian: false, modified: false, nanoseconds: false, link: 1 };
        let bytes = [vec![0; 100], packet.repeat(9)].concat();
        assert_eq!(pcap.guess(&bytes, 0), Some(100));
        assert_eq!(pcap.guess(&[0; 500], 0), None);
        let pcapng = Format::Pcapng { big_endian: false, interfaces: Vec::new() };
        let bytes = [vec![0; 100], block(6, &words(&[0, 0, 1, 4, 4, 7])).repeat(9)].concat();
        assert_eq!(pcapng.guess(&bytes, 0), Some(100));
        assert_eq!(pcapng.guess(&bytes[1..], 1), Some(99));
    }
}
