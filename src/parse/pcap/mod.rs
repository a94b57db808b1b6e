//! Captures of packets: pcap and pcapng, as tcpdump, dumpcap and others write them.

mod block;
mod frames;
mod layer;
mod link;
mod network;
pub(super) mod packet;
mod parts;
mod tunnel;

use std::cmp::Reverse;

use self::block::{Block, Sums};
use self::frames::{Format, SECTION};
use self::packet::Selection;
use self::parts::End;
use super::deduplicate::{Deduplicator, WITHOUT_SYN};
use super::error::InputError;
use super::input::Input;
use super::reader::{Context, RecordFormat, Setting};
use crate::model::plural;
use crate::{RecordTime, ShortfallKind};

/// Captures.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "pcap",
    about: "capture of packets, pcap or pcapng",
    connection: "a TCP packet that opens a connection",
    is_text: false,
    is_json: false,
    is_snapshot: false,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// Maximum number of kinds of undecoded packets that a warning lists.
const MAX_LISTED: usize = 6;

const MAGICS: &[[u8; 4]] = &[
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xcd, 0x34],
    SECTION,
];

fn recognise(head: &[u8]) -> bool {
    let Some(magic) = head.first_chunk::<4>() else { return false };
    // The magic number of pcapng is four line ends too (0a 0d 0d 0a); its byte order identifies it.
    let orders = [&[0x1a, 0x2b, 0x3c, 0x4d][..], &[0x4d, 0x3c, 0x2b, 0x1a]];
    MAGICS.contains(magic)
        && (*magic != SECTION || head.get(8..12).is_some_and(|order| orders.contains(&order)))
        && !is_sysdig(head)
}

/// Whether a file is a capture of sysdig or Falco. It has the sections of pcapng, and blocks of its own.
pub(super) fn is_sysdig(head: &[u8]) -> bool {
    // The machine, processes, users, interfaces and events, in several versions.
    const BLOCKS: std::ops::Range<u32> = 0x201..0x240;
    let word = |at: usize| head.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
    let Some(length) = word(4).and_then(|length| usize::try_from(length).ok()) else {
        return false;
    };
    head.starts_with(&SECTION) && word(length).is_some_and(|block| BLOCKS.contains(&block))
}

fn first_time(head: &[u8]) -> Option<RecordTime> {
    let (mut format, begin) = Format::of(head).ok()?;
    let mut first = None;
    format.each(&head[begin..], usize::MAX, &mut 0, &mut |frame| {
        first = first.or(frame.time);
    });
    first
}

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    // The SYN+ACK to a SYN at the end of one file may be in the next.
    inputs.sort_by_cached_key(|input| first_time(input.head()));
    let name = super::common_name(inputs.iter());
    let mut deduplicator = Deduplicator::new(cx);
    let selection = Selection { onward: deduplicator.wants_onward(), outer: cx.options.outer };
    let mut sums = Sums::default();
    for mut input in inputs {
        let end = parts::read(&mut input, cx, selection, |block: &mut Block, found| {
            sums.add(&block.sums);
            for sighting in block.sightings.drain(..) {
                deduplicator.see(sighting, &mut |ends, time| found.push_ends(ends, time));
            }
        });
        let name = input.name();
        match end {
            End::Whole => {}
            End::Cut => {
                let text = format!("{name}: the capture is cut off in its last packet");
                cx.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
            }
            End::Broken(what) => {
                cx.failures.push(InputError::Capture { name: name.into(), what });
            }
            End::Failed(e) => cx.record_read_error(&input, e),
        }
    }
    warn(&name, &sums, cx);
    deduplicator.finish(&name, cx.status, &mut |ends, time| cx.sink.take(ends.connection_at(time)));
}

/// Says what was left out, and why.
fn warn(name: &str, sums: &Sums, cx: &mut Context<'_>) {
    let Sums { seen, without_data, short, unread, tunnelled, dropped } = sums;
    let is_explained = *short + *tunnelled + *dropped > 0 || !unread.is_empty();
    cx.require_evidence(*seen == 0 || *without_data > 0 || is_explained, name, WITHOUT_SYN);
    let status = &mut *cx.status;
    status.record_shortfall(
        ShortfallKind::UnreadableLines,
        *short,
        format!(
            "{name}: {short} of {} captured too short to see TCP flags; tcpdump -s 256 captures enough, also in \
             tunnels",
            plural(*seen, "packet was", "packets were")
        ),
    );
    let all: u64 = unread.iter().map(|(_, n)| n).sum();
    let mut unread = unread.clone();
    unread.sort_by_key(|(_, n)| Reverse(*n));
    let mut list: Vec<String> =
        unread.iter().take(MAX_LISTED).map(|(what, n)| format!("{what}: {n}")).collect();
    if unread.len() > MAX_LISTED {
        list.push(format!("and {} other kinds", unread.len() - MAX_LISTED));
    }
    status.record_shortfall(
        ShortfallKind::UnreadInput,
        all,
        format!(
            "{name}: {all} of {} not decoded, and connections in them are not counted ({})",
            plural(*seen, "packet is", "packets are"),
            list.join(", ")
        ),
    );
    status.record_shortfall(
        ShortfallKind::UnreadInput,
        *dropped,
        format!(
            "{name}: the capture says that {} dropped; connections may be missing",
            plural(*dropped, "packet was", "packets were")
        ),
    );
    if *tunnelled > 0 {
        status.warn(format!(
            "{name}: {} left out because of {}",
            plural(*tunnelled, "SYN packet inside a tunnel is", "SYN packets inside tunnels are"),
            cx.options.name(Setting::Outer)
        ));
    }
}
