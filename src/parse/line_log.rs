//! Logs of firewalls, monitors and clouds that have one event a line: what their readers share.
//!
//! A reader is a type that implements [`LineLog`]. It parses a line; prefixes of loggers
//! before every line, the order of several files, times, directions and the reasons for an incomplete
//! report are handled here.

use super::calls::{Call, Calls, Step};
use super::decoration::layers::{Layers, first_lines};
use super::decoration::wrapper;
use super::deduplicate::{Deduplicator, PacketObservation};
pub(crate) use super::event::Event;
use super::event_filter::{EventFilter, Seen};
use super::found::FoundConnections;
use super::gaps::Gaps;
use super::host::Ends;
use super::input::{Input, common_name};
use super::left_out::LeftOut;
use super::line_order::LineOrder;
use super::paired::Paired;
use super::reader::{Context, Setting};
use super::requests::{Requests, WrittenFor};
use super::sessions::Sessions;
use super::timestamp::{self, Calendar, Dated, Stamp};
use super::{lines, losses, text};
use crate::RecordTime;
use crate::model::plural;

/// What a line says.
#[derive(Debug)]
pub(crate) enum ParsedLine {
    /// A connection. Its `time` is that of the stamp, less what [`Event::before`] says.
    Connection(Box<Event>),
    /// The same if the line tells no more than the time, the ends, and perhaps whether it was established.
    Ends(Stamp, Ends, Option<bool>),
    /// A packet that belongs to a connection attempt; its `time` is that of the stamp, and set once it is known.
    Packet(Stamp, PacketObservation),
    /// A system call; what it means may depend on those before.
    Call(Box<Call>),
    /// Of this format, and not of a connection that counts.
    Other,
    /// The same, but such a line is there only if connections are recorded.
    Evidence,
    /// Of this format, and perhaps of a connection, but its fields cannot be read.
    Broken,
    /// Of this format: the record itself says that it lost events here.
    Lost,
    /// Of this format, and of a connection that had begun before the record.
    Midstream,
    /// Of this format, and of a TCP packet or session that the recording machine blocked.
    Blocked,
    /// Of this format, and of a connection that the record calls outbound.
    Outbound,
    /// Not of this format.
    Foreign,
}

impl Event {
    /// The parsed line of this event.
    pub(crate) fn parsed(self) -> ParsedLine {
        ParsedLine::Connection(Box::new(self))
    }
}

impl Call {
    /// The parsed line of this call.
    pub(crate) fn parsed(self) -> ParsedLine {
        ParsedLine::Call(Box::new(self))
    }
}

/// A format with one event a line.
pub(crate) trait LineLog: Sync + 'static {
    /// Determines the form of a record from its first lines.
    fn of(lines: &[&[u8]]) -> Self
    where
        Self: Sized;

    /// Reads a line.
    fn parse_line(&self, line: &[u8]) -> ParsedLine;

    /// Reads a line of which nothing but the ends and the time of a connection is used.
    fn parse_ends(&self, line: &[u8]) -> ParsedLine {
        self.parse_line(line)
    }

    /// Whether a line is certainly of this log, even if it does not count.
    fn is_own(&self, line: &[u8]) -> bool {
        matches!(
            self.parse_ends(line),
            ParsedLine::Connection(_)
                | ParsedLine::Ends(..)
                | ParsedLine::Packet(..)
                | ParsedLine::Midstream
                | ParsedLine::Blocked
                | ParsedLine::Outbound
        )
    }

    /// What a record without connections lacks, if some records never have any: what would show that they are
    /// recorded, and how to record them.
    fn without_evidence(&self) -> Option<&'static str> {
        None
    }

    /// Where the log's own text begins in a line, if `at` is behind what looks like the prefixes of other programs:
    /// they may have a form in common.
    fn begin(&self, _line: &[u8], at: usize) -> usize {
        at
    }

    /// Whether lines that belong together are found only in the order of their times.
    fn needs_order(&self) -> bool {
        false
    }

    /// Whether a line that can be read may still lack its end, such as digits of a port.
    fn may_be_cut(&self, _line: &[u8]) -> bool {
        false
    }

    /// The stamp of a line, whatever else is in it.
    fn stamp(&self, line: &[u8]) -> Stamp {
        match self.parse_line(line) {
            ParsedLine::Connection(event) => event.stamp,
            ParsedLine::Packet(stamp, _) | ParsedLine::Ends(stamp, ..) => stamp,
            ParsedLine::Call(call) => call.stamp,
            _ => Stamp::None,
        }
    }
}

/// Makes the reader of a format from the first lines of a record. What follows is compiled once and not for each
/// format: it would take 20 KB of code each.
type LogOf = fn(&[&[u8]]) -> Box<dyn LineLog>;

fn boxed<L: LineLog>(lines: &[&[u8]]) -> Box<dyn LineLog> {
    Box::new(L::of(lines))
}

/// How a record looks: the prefixes of its lines, and its own form.
struct PrefixedLog {
    layers: Layers,
    log: Box<dyn LineLog>,
    /// Whether a container runtime (CRI) wrote the lines, perhaps in parts.
    is_of_runtime: bool,
}

fn knows(log_of: LogOf, lines: &[&[u8]]) -> bool {
    let log = log_of(lines);
    lines
        .iter()
        .any(|line| !matches!(log.parse_line(line), ParsedLine::Foreign | ParsedLine::Broken))
}

/// Whether a text that begins with `head` is a log of type `L`.
pub(crate) fn recognise<L: LineLog>(head: &[u8]) -> bool {
    is_known(boxed::<L>, head)
}

fn is_known(log_of: LogOf, head: &[u8]) -> bool {
    let lines = first_lines(head);
    knows(log_of, &lines) || !Layers::of(head, |lines| knows(log_of, lines)).0.is_empty()
}

impl PrefixedLog {
    fn of(log_of: LogOf, head: &[u8]) -> PrefixedLog {
        let head = lines::without_terminal_sequences(head);
        let layers = Layers::of(&head, |lines| knows(log_of, lines));
        let bare: Vec<&[u8]> =
            first_lines(&head).into_iter().map(|line| layers.strip(line).1).collect();
        let is_of_runtime = [" stdout ", " stderr "]
            .iter()
            .any(|stream| memchr::memmem::find(&head, stream.as_bytes()).is_some());
        PrefixedLog { log: log_of(&bare), layers, is_of_runtime }
    }

    /// Strips the prefixes.
    fn strip<'a>(&self, line: &'a [u8]) -> (Stamp, &'a [u8]) {
        let (outer, rest) = self.layers.strip(line);
        (outer, &line[self.log.begin(line, line.len() - rest.len())..])
    }

    fn stamp(&self, line: &[u8]) -> Stamp {
        let (outer, line) = self.strip(line);
        match self.log.stamp(line) {
            Stamp::None => outer,
            own => own,
        }
    }

    /// Reads a line with its prefixes. `ends_only`: nothing but the ends and the time of a connection is used.
    fn parse_line(&self, line: &[u8], ends_only: bool) -> ParsedLine {
        let (outer, line) = self.strip(line);
        match if ends_only { self.log.parse_ends(line) } else { self.log.parse_line(line) } {
            ParsedLine::Connection(mut event) if event.stamp == Stamp::None => {
                event.stamp = outer;
                ParsedLine::Connection(event)
            }
            ParsedLine::Ends(Stamp::None, ends, established) => {
                ParsedLine::Ends(outer, ends, established)
            }
            ParsedLine::Packet(Stamp::None, packet) => ParsedLine::Packet(outer, packet),
            ParsedLine::Call(mut call) if call.stamp == Stamp::None => {
                call.stamp = outer;
                ParsedLine::Call(call)
            }
            parsed => parsed,
        }
    }

    /// Whether a line with its prefixes is certainly of this log.
    fn is_own(&self, line: &[u8]) -> bool {
        self.log.is_own(self.strip(line).1)
    }

    /// Whether a line may be a record that counts.
    fn is_record(&self, line: &[u8]) -> bool {
        match self.parse_line(line, true) {
            ParsedLine::Connection(_)
            | ParsedLine::Ends(..)
            | ParsedLine::Broken
            | ParsedLine::Lost => true,
            ParsedLine::Call(call) => matches!(call.step, Step::Accepted { .. }),
            // Packets that are the same are of the same connection.
            _ => false,
        }
    }

    /// Whether a line contains an event behind prefixes that not all lines have.
    fn is_elsewhere(&self, line: &[u8]) -> bool {
        wrapper::without_prefixes(line).any(|stripped| match self.log.parse_line(stripped.rest) {
            ParsedLine::Connection(_) | ParsedLine::Ends(..) | ParsedLine::Packet(..) => true,
            ParsedLine::Call(call) => matches!(call.step, Step::Accepted { .. }),
            _ => false,
        })
    }
}

/// How the blocks of an input are read.
struct BlockReader<'a> {
    look: &'a PrefixedLog,
    events: &'a EventFilter,
    /// The calendar at the beginning of the input.
    calendar: Calendar,
}

/// What the lines of a block say.
#[derive(Default)]
struct Block {
    /// Connections before the first of `parsed`. Neither their times nor whether they count depends on another
    /// line.
    found: FoundConnections,
    /// What must be taken in the order of the lines.
    parsed: Vec<ParsedLine>,
    seen: Seen,
    left_out: LeftOut,
    gaps: Gaps,
    calendar: Option<Calendar>,
}

impl Block {
    fn read(&mut self, text: &[u8], reader: &BlockReader<'_>) {
        self.found.clear();
        self.found.used = reader.events.used;
        let ends_only = reader.events.used.can_coalesce();
        self.parsed.clear();
        self.seen = Seen::default();
        self.left_out = LeftOut::default();
        let look = reader.look;
        let whole = text.last().copied().is_some_and(lines::is_end);
        self.gaps.clear();
        self.gaps.scan_holes(text);
        if look.is_of_runtime {
            self.gaps.scan_parts(text);
        }
        lines::each(text, |line, at| match look.parse_line(line, ends_only) {
            _ if line.ends_with(b"]") && losses::repeated_message(line).is_some() => {
                self.gaps.see_line(text, at, line, &|line| look.is_record(line));
            }
            ParsedLine::Connection(_)
            | ParsedLine::Ends(..)
            | ParsedLine::Packet(..)
            | ParsedLine::Call(_)
                if !whole && at + line.len() == text.len() && look.log.may_be_cut(line) =>
            {
                self.left_out.broken += 1;
            }
            ParsedLine::Connection(event)
                if self.parsed.is_empty()
                    && Calendar::is_independent(event.stamp)
                    && event.written_for == WrittenFor::Connection =>
            {
                let time = self.time(event.stamp, reader);
                reader.events.take(*event, time, &mut self.seen, &mut self.found);
            }
            ParsedLine::Ends(stamp, ends, established)
                if self.parsed.is_empty() && Calendar::is_independent(stamp) =>
            {
                let time = self.time(stamp, reader);
                let (seen, found) = (&mut self.seen, &mut self.found);
                reader.events.take_ends(ends, established, time, seen, found);
            }
            ParsedLine::Packet(stamp, mut packet) if Calendar::is_independent(stamp) => {
                packet.time = self.time(stamp, reader);
                self.parsed.push(ParsedLine::Packet(stamp, packet));
            }
            ParsedLine::Other => {}
            ParsedLine::Evidence => self.left_out.evidence += 1,
            ParsedLine::Broken => self.left_out.broken += 1,
            ParsedLine::Lost => self.left_out.lost += 1,
            ParsedLine::Midstream => self.left_out.midstream += 1,
            ParsedLine::Blocked => self.left_out.blocked += 1,
            ParsedLine::Outbound => self.left_out.outbound += 1,
            ParsedLine::Foreign => {
                if losses::next_hint(line).is_some() {
                    self.gaps.see_line(text, at, line, &|line| look.is_record(line));
                }
                self.left_out.elsewhere += u64::from(look.is_elsewhere(line));
            }
            parsed => self.parsed.push(parsed),
        });
        self.gaps.end(text);
    }

    /// The time of a stamp that depends on no other.
    fn time(&mut self, stamp: Stamp, reader: &BlockReader<'_>) -> Option<RecordTime> {
        let calendar = self.calendar.get_or_insert_with(|| reader.calendar.clone());
        calendar.record_time(stamp)
    }
}

/// Maximum number of inputs of a run whose forms are remembered, to tell their lines from others.
const MAX_LOOKS: usize = 8;

/// Reads `inputs`. A reader adds what its format cannot know.
pub(crate) fn read<L: LineLog>(inputs: Vec<Input>, cx: &mut Context<'_>) -> Seen {
    read_logs(boxed::<L>, inputs, cx)
}

fn read_logs(log_of: LogOf, inputs: Vec<Input>, cx: &mut Context<'_>) -> Seen {
    let name = common_name(inputs.iter());
    let look = |head: &[u8]| PrefixedLog::of(log_of, head);
    let logs = timestamp::in_order(inputs, cx, look, PrefixedLog::stamp);
    let established = cx.options.established;
    let used = cx.sink.used_fields();
    let events = EventFilter { local: cx.options.local.clone(), established, used };
    let mut run = RunReader {
        events: &events,
        deduplicator: Deduplicator::new(cx),
        calls: Calls::default(),
        requests: Requests::default(),
        sessions: Sessions::default(),
        paired: Paired::default(),
        order: LineOrder::default(),
        seen: Seen::default(),
    };
    let mut left_out = LeftOut::default();
    let mut looks = Vec::new();
    for Dated { mut input, mut calendar, look, .. } in logs {
        let (mut of_input, mut gaps) = (LeftOut::default(), Gaps::default());
        let reader = BlockReader { look: &look, events: &events, calendar: calendar.clone() };
        let of_lines = |text: &[u8], block: &mut Block| block.read(text, &reader);
        let end = text::read(&mut input, cx, of_lines, |_, block, found| {
            of_input.add(block.left_out);
            gaps.join(&block.gaps, &|line| look.is_record(line));
            run.take(block, &mut calendar, found);
        });
        gaps.report(input.name(), cx.status);
        if looks.len() < MAX_LOOKS {
            looks.push(look);
        }
        of_input.report_of_input(&input, cx);
        left_out.add(of_input);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    if looks.first().is_some_and(|look| look.log.needs_order()) {
        run.order.report(&name, cx.status);
    }
    let without_evidence = looks.first().and_then(|look| look.log.without_evidence());
    let looks = std::rc::Rc::new(looks);
    let own = std::rc::Rc::clone(&looks);
    cx.is_own_line = Some(Box::new(move |line| own.iter().any(|look| look.is_own(line))));
    cx.is_known_line = Some(Box::new(move |line| {
        looks.iter().any(|look| !matches!(look.parse_line(line, false), ParsedLine::Foreign))
    }));
    let mut seen = run.finish(&name, cx);
    (seen.outbound, seen.blocked) = (left_out.outbound, left_out.blocked);
    seen.evidence = left_out.evidence;
    left_out.midstream += seen.unjoined.midstream;
    left_out.report(&name, &seen, cx.status);
    seen.unjoined.report(&name, cx.status);
    if let Some(text) = without_evidence {
        left_out.report_without_evidence(&name, &seen, text, cx.status);
    }
    if established && seen.undecided > 0 {
        warn_of_undecided(&name, seen.undecided, cx);
    }
    seen
}

fn warn_of_undecided(name: &str, undecided: u64, cx: &mut Context<'_>) {
    cx.status.warn(format!(
        "{name}: the record does not show whether {} established; {} counts {}",
        plural(undecided, "connection was", "connections were"),
        cx.options.name(Setting::Established),
        if undecided == 1 { "it" } else { "them" }
    ));
}

/// What is known from one block of a run to the next.
struct RunReader<'a> {
    events: &'a EventFilter,
    deduplicator: Deduplicator,
    calls: Calls,
    requests: Requests,
    sessions: Sessions,
    paired: Paired,
    order: LineOrder,
    seen: Seen,
}

impl RunReader<'_> {
    /// Adds the connections of a block, of the input that `calendar` is of, to `found`, which is empty.
    fn take(&mut self, block: &mut Block, calendar: &mut Calendar, found: &mut FoundConnections) {
        let RunReader { events, deduplicator, calls, requests, sessions, paired, order, seen } =
            self;
        seen.add(&block.seen);
        std::mem::swap(found, &mut block.found);
        for parsed in block.parsed.drain(..) {
            match parsed {
                ParsedLine::Connection(event) => {
                    let time = calendar.record_time(event.stamp);
                    match event.written_for {
                        WrittenFor::Start(number) if sessions.starts(&event.ends, number, time) => {
                            events.take(*event, time, seen, found);
                        }
                        WrittenFor::Start(_) => {}
                        WrittenFor::End(number) => {
                            sessions.ends(*event, number, time, &mut |event, time| {
                                events.take(event, time, seen, found);
                            });
                        }
                        WrittenFor::Half(half, number)
                            if paired.is_further(half, number, &event.ends) => {}
                        other if requests.is_further(other, &event.ends, time) => {
                            seen.requests += 1;
                        }
                        _ => events.take(*event, time, seen, found),
                    }
                }
                ParsedLine::Ends(stamp, ends, established) => {
                    let time = calendar.record_time(stamp);
                    events.take_ends(ends, established, time, seen, found);
                }
                ParsedLine::Packet(stamp, mut packet) => {
                    if !Calendar::is_independent(stamp) {
                        packet.time = calendar.record_time(stamp);
                    }
                    seen.packets += 1;
                    seen.attempts += u64::from(packet.kind.is_attempt());
                    order.see(stamp);
                    deduplicator.see(packet, &mut |ends, time| found.push_ends(ends, time));
                }
                ParsedLine::Call(call) => {
                    let time = calendar.record_time(call.stamp);
                    order.see(call.stamp);
                    calls.see(*call, time, &mut |event, time| {
                        events.take(event, time, seen, found);
                    });
                }
                _ => {}
            }
        }
    }

    /// Ends the run: gives what was held back, and reports what the run does not show.
    fn finish(self, name: &str, cx: &mut Context<'_>) -> Seen {
        let RunReader { events, mut deduplicator, mut calls, sessions, mut seen, .. } = self;
        let mut found = FoundConnections::default();
        let mut take = |event, time| events.take(event, time, &mut seen, &mut found);
        let calls = calls.finish(&mut take);
        let unjoined = sessions.finish(&mut take);
        (seen.calls, seen.unjoined) = (calls, unjoined);
        found.give(None, cx.sink);
        deduplicator
            .finish(name, cx.status, &mut |ends, time| cx.sink.take(ends.connection_at(time)));
        seen
    }
}
