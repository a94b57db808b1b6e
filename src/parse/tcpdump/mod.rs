//! Output of tcpdump 3.x to 4.99, with any of its output options.

mod flags;
mod head;
pub(super) mod line;
mod packets;
mod prefix;
mod tunnel;

use memchr::memmem;

use self::line::{Line, Packet};
use self::packets::{Packets, ReadLine};
use super::decoration::layers::Layers;
use super::deduplicate::{Deduplicator, Give, PacketKind, PacketObservation, WITHOUT_SYN};
use super::gaps::{self, Gaps};
use super::input::Input;
use super::lines;
use super::reader::{Context, RecordFormat};
use super::timestamp::{self, Calendar, Dated, SECOND, Stamp};
use crate::model::plural;
use crate::{RecordTime, ShortfallKind};

/// The text of tcpdump.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "tcpdump",
    about: "text that tcpdump printed",
    connection: "a TCP packet that opens a connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise,
    run: |_| Some(String::new()),
    read,
};

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |text, _| found = found || is_tcpdumps(text));
    found
}

fn is_tcpdumps(text: &[u8]) -> bool {
    let (stamp, rest) = line::stamp(text);
    match line::read(rest) {
        Line::Packet(_)
        | Line::Quick
        | Line::Cut
        | Line::Blocked
        | Line::Hidden
        | Line::Header(_) => true,
        Line::Other => {
            let own = rest.starts_with(b"reading from file ") || rest.starts_with(b"listening on ");
            own && memmem::find(rest, b"link-type ").is_some()
                || text.starts_with(b"tcpdump: ")
                || stamp != Stamp::None
                    && rest.starts_with(b"IP")
                    && memmem::find(rest, b" > ").is_some()
        }
    }
}

/// The meaning of a clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clocks {
    /// The time of day.
    Day,
    /// The time since the packet before (`-ttt`).
    Before,
    /// The time since the first packet (`-ttttt`).
    First,
}

/// Finds where times of day follow differences, because the text of another run of tcpdump does.
#[derive(Clone, Copy, Debug, Default)]
struct DayFinder {
    /// The clock times before.
    last: i64,
    /// Number of clock times so far.
    seen: u64,
    /// How many of the last ones may be times of day: they are large, and one follows the other closely.
    alike: u64,
}

/// A difference is rarely larger, and a time of day mostly is.
const MIN_TIME_OF_DAY: i64 = 3600 * SECOND;

/// The next packet comes mostly within this time.
const MAX_PAUSE: i64 = 10 * SECOND;

/// So many times in a row are times of day.
const MIN_TIMES_OF_DAY: u64 = 3;

impl DayFinder {
    /// Takes the next clock time. Returns the number of those before the first time of day, if it is one.
    fn take(&mut self, ns: i64) -> Option<u64> {
        let is_near = (0..=MAX_PAUSE).contains(&(ns - self.last));
        self.alike = if ns < MIN_TIME_OF_DAY {
            0
        } else if is_near {
            self.alike + 1
        } else {
            1
        };
        (self.last, self.seen) = (ns, self.seen + 1);
        (self.alike >= MIN_TIMES_OF_DAY).then(|| self.seen - self.alike)
    }
}

impl Clocks {
    /// Differences begin with 0; those to the first packet never go back.
    ///
    /// Also returns the number of those before the first time of day, if there are some behind differences.
    fn of(head: &[u8], prefixes: &Layers) -> (Clocks, Option<u64>) {
        let (mut first, mut last, mut back, mut n) = (None, 0, false, 0);
        let (mut days, mut differences) = (DayFinder::default(), None);
        lines::each(head, |text, _| {
            // The last line may be cut in its time.
            if let (Stamp::Clock(ns), [_, ..]) = line::stamp(prefixes.strip(text).1) {
                first = first.or(Some(ns));
                back |= ns < last;
                last = ns;
                n += 1;
                differences = differences.or(days.take(ns));
            }
        });
        match first {
            Some(0) if back || n < 2 => (Clocks::Before, differences),
            Some(0) => (Clocks::First, None),
            _ => (Clocks::Day, None),
        }
    }

    fn stamp(self, stamp: Stamp) -> Stamp {
        match (self, stamp) {
            (Clocks::Before, Stamp::Clock(ns)) => Stamp::Since(ns),
            (Clocks::First, Stamp::Clock(ns)) => Stamp::Elapsed(ns),
            (_, stamp) => stamp,
        }
    }
}

/// The form of a text: its prefixes and its kind of stamp.
struct LineForm {
    prefixes: Layers,
    clocks: Clocks,
    /// How many clock times there are before the first time of day, if the text begins with differences and the head shows
    /// it.
    differences: Option<u64>,
    /// Whether packets in the beginning of the text have stamps of their own.
    is_stamped: bool,
}

impl LineForm {
    fn of(head: &[u8]) -> LineForm {
        let head = lines::without_terminal_sequences(head);
        let prefixes = prefix::of(&head);
        let (clocks, differences) = Clocks::of(&head, &prefixes);
        let is_stamped = prefix::is_stamped(&head, &prefixes);
        LineForm { prefixes, clocks, differences, is_stamped }
    }

    /// The stamp of a line: its own, or that of a prefix.
    fn stamp(&self, text: &[u8]) -> Stamp {
        let (outer, text) = self.prefixes.strip(text);
        match line::stamp(text).0 {
            Stamp::None => outer,
            own => self.clocks.stamp(own),
        }
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut deduplicator = Deduplicator::new(cx);
    let texts = timestamp::in_order(inputs, cx, LineForm::of, LineForm::stamp);
    let name = super::common_name(texts.iter().map(|text| &text.input));
    let mut seen = Seen::default();
    for Dated { mut input, calendar, look, .. } in texts {
        let mut text = Text {
            calendar,
            packets: Packets::of_text(look.is_stamped),
            look,
            days: DayFinder::default(),
            time: None,
            seen: &mut seen,
            deduplicator: &mut deduplicator,
            give: &mut |ends, time| cx.sink.take(ends.connection_at(time)),
        };
        let mut gaps = Gaps::default();
        let end = gaps::blocks(&mut input, &mut gaps, |block, _| {
            let whole = block.last().copied().is_some_and(lines::is_end);
            lines::each(block, |line, at| {
                let cut = !whole && at + line.len() == block.len();
                if cut { text.last_line(line) } else { text.line(line) }
            });
        });
        // The line of its packet is missing.
        text.seen.cut += u64::from(text.packets.awaits_packet());
        gaps.report(input.name(), cx.status);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    seen.report(&name, cx);
    deduplicator.finish(&name, cx.status, &mut |ends, time| cx.sink.take(ends.connection_at(time)));
}

/// Numbers of packets that do not count, by kind.
#[derive(Default)]
struct Seen {
    /// Packets without flags.
    quick: u64,
    /// SYNs that pf blocked.
    blocked: u64,
    /// Whether there were packets with flags.
    flagged: bool,
    /// Whether there were packets with SYN or without data, so that the record is not one of data alone.
    without_data: bool,
    /// Packets of other protocols.
    others: u64,
    /// Packets of tunnels without their content.
    hidden: u64,
    cut: u64,
    dropped: u64,
    /// Packets whose times of day were taken for the times since the packets before.
    misread: u64,
}

impl Seen {
    fn report(&self, name: &str, cx: &mut Context<'_>) {
        let Seen { quick, blocked, flagged, without_data, others, hidden, cut, dropped, misread } =
            *self;
        let is_shown = quick + blocked + hidden + cut > 0;
        let without_tcp =
            "no packet in it is of TCP, so nothing shows that such packets were captured";
        cx.require_evidence(is_shown || flagged || others == 0, name, without_tcp);
        cx.require_evidence(is_shown || !flagged || without_data, name, WITHOUT_SYN);
        cx.status.record_unreadable_lines(name, cut);
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            misread,
            format!(
                "{name}: times of day follow times since the packet before (tcpdump -ttt), and a connection of the {misread} \
                 packets at the change may count twice; put the text of each run into a file of its own"
            ),
        );
        if blocked > 0 {
            let syns = plural(blocked, "SYN that pf blocked is", "SYNs that pf blocked are");
            cx.status.warn(format!("{name}: {syns} left out"));
        }
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            quick,
            format!(
                "{name}: {} not show new connections; {}",
                plural(
                    quick,
                    "line without TCP flags (tcpdump -q) does",
                    "lines without TCP flags (tcpdump -q) do"
                ),
                if flagged { "they are left out" } else { "nothing could be counted" }
            ),
        );
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            hidden,
            format!(
                "{name}: tcpdump does not show what {} (ESP, ERSPAN, GTP; with -q also VXLAN, Geneve and L2TP); \
                 connections may be in them; tcpdump -w writes a capture, in which all but ESP can be read",
                plural(hidden, "packet of a tunnel contains", "packets of tunnels contain")
            ),
        );
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            dropped,
            format!(
                "{name}: tcpdump says that the kernel dropped {}; connections may be missing",
                plural(dropped, "packet", "packets")
            ),
        );
    }
}

/// The lines of one text, in their order.
struct Text<'a> {
    calendar: Calendar,
    look: LineForm,
    packets: Packets,
    days: DayFinder,
    /// Of the line read last that had a stamp.
    time: Option<RecordTime>,
    seen: &'a mut Seen,
    deduplicator: &'a mut Deduplicator,
    give: &'a mut Give<'a>,
}

impl Text<'_> {
    fn line(&mut self, text: &[u8]) {
        let (outer, text) = self.look.prefixes.strip(text);
        let ReadLine { stamp, line: read, id, is_continued } = self.packets.next(text, line::stamp);
        if read == Line::Other
            && let Some(at) = memmem::find(text, b" packets dropped by kernel")
        {
            let n = std::str::from_utf8(&text[..at]).ok().and_then(|n| n.trim().parse().ok());
            self.seen.dropped += n.unwrap_or(0);
        }
        self.seen.others += u64::from(read == Line::Other && stamp != Stamp::None);
        // Times that build on those before need every line, and each only once.
        if !is_continued {
            match stamp {
                Stamp::None if outer == Stamp::None || read == Line::Other => {}
                Stamp::None => self.time = self.calendar.record_time(outer),
                own => {
                    self.see_clock(own);
                    self.time = self.calendar.record_time(self.look.clocks.stamp(own));
                }
            }
        }
        self.take(read, id);
    }

    /// Notes from where on clock times are times of day.
    fn see_clock(&mut self, stamp: Stamp) {
        let (Clocks::Before, Stamp::Clock(ns)) = (self.look.clocks, stamp) else { return };
        let late = self.days.take(ns).is_some();
        if self.look.differences.is_some_and(|n| self.days.seen > n) {
            self.look.clocks = Clocks::Day;
        } else if late {
            // The packets before were taken to be hours apart.
            self.look.clocks = Clocks::Day;
            self.seen.misread += MIN_TIMES_OF_DAY - 1;
        }
    }

    /// Takes a line that does not end: tcpdump was killed while it wrote.
    fn last_line(&mut self, text: &[u8]) {
        if line::is_cut(self.look.prefixes.strip(text).1) {
            self.seen.cut += 1;
        } else {
            self.line(text);
        }
    }

    fn take(&mut self, line: Line, id: Option<u16>) {
        let packet = match line {
            Line::Packet(packet) => packet,
            Line::Quick => return self.seen.quick += 1,
            Line::Blocked => return self.seen.blocked += 1,
            Line::Cut => return self.seen.cut += 1,
            Line::Hidden => return self.seen.hidden += 1,
            Line::Header(_) | Line::Other => return,
        };
        self.seen.flagged = true;
        let Packet { ends, kind, isn, server_isn, inward, point, is_acknowledgement } = packet;
        self.seen.without_data |= is_acknowledgement;
        let Some(kind) = kind else { return };
        self.seen.without_data |= kind.is_attempt();
        let outgoing = inward == Some(kind.is_of_server()) && !ends.on_one_machine();
        if outgoing && kind != PacketKind::Syn
            || kind == PacketKind::Onward && !self.deduplicator.wants_onward()
        {
            return;
        }
        let id = id.filter(|_| kind == PacketKind::Syn);
        let time = self.time;
        let packet = PacketObservation { ends, time, kind, isn, server_isn, outgoing, id, point };
        self.deduplicator.see(packet, self.give);
    }
}
