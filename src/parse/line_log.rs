//! Logs of firewalls, monitors and clouds that have one event a line: what their readers share.
//!
//! A reader is a type that implements [`LineLog`]. It parses a line; prefixes of loggers
//! before every line, the order of several files, times, directions and the reasons for an incomplete
//! report are handled here.

use super::calls::{Call, Calls, SeenCalls, Step};
use super::decoration::layers::{Layers, first_lines};
use super::decoration::wrapper;
use super::deduplicate::{Deduplicator, PacketObservation};
pub(crate) use super::event::Event;
use super::host::Host;
use super::input::{Input, common_name};
use super::reader::{Context, Setting};
use super::requests::Requests;
use super::timestamp::{self, Dated, Stamp};
use super::{lines, text};
use crate::{Connection, RecordTime, ShortfallKind};

/// What a line says.
#[derive(Debug)]
pub(crate) enum ParsedLine {
    /// A connection. Its `time` is that of the stamp, less what [`Event::before`] says.
    Connection(Box<Event>),
    /// A packet that belongs to a connection attempt; its `time` is that of the stamp.
    Packet(Stamp, Box<PacketObservation>),
    /// A system call; what it means may depend on those before.
    Call(Box<Call>),
    /// Of this format, and not of a connection that counts.
    Other,
    /// Of this format, and perhaps of a connection, but its fields cannot be read.
    Broken,
    /// Of this format: the record itself says that it lost events here.
    Lost,
    /// Of this format, and of a connection that had begun before the record.
    Midstream,
    /// Of this format, and of a TCP packet or session that the recording machine blocked.
    Blocked,
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

    /// Where the log's own text begins in a line, if `at` is behind what looks like the prefixes of other programs:
    /// they may have a form in common.
    fn begin(&self, _line: &[u8], at: usize) -> usize {
        at
    }

    /// Whether a line that can be read may still lack its end, such as digits of a port.
    fn may_be_cut(&self, _line: &[u8]) -> bool {
        false
    }

    /// The stamp of a line, whatever else is in it.
    fn stamp(&self, line: &[u8]) -> Stamp {
        match self.parse_line(line) {
            ParsedLine::Connection(event) => event.stamp,
            ParsedLine::Packet(stamp, _) => stamp,
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
        PrefixedLog { log: log_of(&bare), layers }
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

    /// Reads a line with its prefixes.
    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let (outer, line) = self.strip(line);
        match self.log.parse_line(line) {
            ParsedLine::Connection(mut event) if event.stamp == Stamp::None => {
                event.stamp = outer;
                ParsedLine::Connection(event)
            }
            ParsedLine::Packet(Stamp::None, packet) => ParsedLine::Packet(outer, packet),
            ParsedLine::Call(mut call) if call.stamp == Stamp::None => {
                call.stamp = outer;
                ParsedLine::Call(call)
            }
            parsed => parsed,
        }
    }

    /// Whether a line contains an event behind prefixes that not all lines have.
    fn is_elsewhere(&self, line: &[u8]) -> bool {
        wrapper::without_prefixes(line).any(|stripped| match self.log.parse_line(stripped.rest) {
            ParsedLine::Connection(_) | ParsedLine::Packet(..) => true,
            ParsedLine::Call(call) => matches!(call.step, Step::Accepted { .. }),
            _ => false,
        })
    }
}

/// What the lines of a block say.
#[derive(Default)]
struct Block {
    parsed: Vec<ParsedLine>,
    broken: u64,
    lost: u64,
    elsewhere: u64,
    midstream: u64,
    blocked: u64,
}

impl Block {
    fn read(&mut self, text: &[u8], look: &PrefixedLog) {
        let mut parsed = std::mem::take(&mut self.parsed);
        parsed.clear();
        *self = Block { parsed, ..Block::default() };
        let whole = text.last().copied().is_some_and(lines::is_end);
        lines::each(text, |line, at| match look.parse_line(line) {
            ParsedLine::Connection(_) | ParsedLine::Packet(..) | ParsedLine::Call(_)
                if !whole && at + line.len() == text.len() && look.log.may_be_cut(line) =>
            {
                self.broken += 1;
            }
            ParsedLine::Other => {}
            ParsedLine::Broken => self.broken += 1,
            ParsedLine::Lost => self.lost += 1,
            ParsedLine::Midstream => self.midstream += 1,
            ParsedLine::Blocked => self.blocked += 1,
            ParsedLine::Foreign => self.elsewhere += u64::from(look.is_elsewhere(line)),
            parsed => self.parsed.push(parsed),
        });
    }
}

/// What was seen of all inputs.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Connections in the record, in both directions.
    pub connections: u64,
    /// Connections that may not have been established: the record does not show it.
    pub undecided: u64,
    /// Packets of TCP.
    pub packets: u64,
    /// Calls of accept.
    pub calls: SeenCalls,
    /// Lines that were left out, because a line before is of the same connection.
    pub requests: u64,
}

/// The events of a run that count.
struct Events {
    local: Vec<Host>,
    established: bool,
    requests: Requests,
    seen: Seen,
}

impl Events {
    /// Adds the connection of an event to `found`, if it counts.
    fn take(&mut self, event: Event, time: Option<RecordTime>, found: &mut Vec<Connection>) {
        if self.requests.is_further(event.written_for, &event.ends, time) {
            self.seen.requests += 1;
            return;
        }
        let wanted = !self.established || event.established != Some(false);
        self.seen.connections += 1;
        // A log of a server's own connections may not name its address.
        let own = event.ends.server == Host::Name("".into());
        if wanted && (own || event.ends.inbound(&self.local)) {
            self.seen.undecided += u64::from(event.established.is_none());
            found.push(connection(event, time));
        }
    }
}

/// Reads `inputs`. A reader adds what its format cannot know.
pub(crate) fn read<L: LineLog>(inputs: Vec<Input>, cx: &mut Context<'_>) -> Seen {
    read_logs(boxed::<L>, inputs, cx)
}

fn read_logs(log_of: LogOf, inputs: Vec<Input>, cx: &mut Context<'_>) -> Seen {
    let mut deduplicator = Deduplicator::new(cx);
    let name = common_name(inputs.iter());
    let look = |head: &[u8]| PrefixedLog::of(log_of, head);
    let logs = timestamp::in_order(inputs, cx, look, PrefixedLog::stamp);
    let (local, established) = (cx.options.local.clone(), cx.options.established);
    let mut events =
        Events { local, established, requests: Requests::default(), seen: Seen::default() };
    let mut calls = Calls::default();
    let (mut midstream, mut blocked) = (0, 0);
    for Dated { mut input, mut calendar, look, .. } in logs {
        let (mut broken, mut lost, mut elsewhere) = (0, 0, 0);
        let of_lines = |text: &[u8], block: &mut Block| block.read(text, &look);
        let end = text::read(&mut input, cx, of_lines, |_, block, found| {
            broken += block.broken;
            lost += block.lost;
            elsewhere += block.elsewhere;
            midstream += block.midstream;
            blocked += block.blocked;
            for parsed in block.parsed.drain(..) {
                match parsed {
                    ParsedLine::Connection(event) => {
                        let time = calendar.record_time(event.stamp);
                        events.take(*event, time, found);
                    }
                    ParsedLine::Packet(stamp, packet) => {
                        let time = calendar.record_time(stamp);
                        events.seen.packets += 1;
                        deduplicator
                            .see(PacketObservation { time, ..*packet }, &mut |c| found.push(c));
                    }
                    ParsedLine::Call(call) => {
                        let time = calendar.record_time(call.stamp);
                        calls.see(*call, time, &mut |event, time| events.take(event, time, found));
                    }
                    _ => {}
                }
            }
        });
        report(&input, broken, lost, elsewhere, cx);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    let mut last = Vec::new();
    let seen_calls = calls.finish(&mut |event, time| events.take(event, time, &mut last));
    last.into_iter().for_each(|connection| cx.sink.take(connection));
    let seen = Seen { calls: seen_calls, ..events.seen };
    deduplicator.finish(&name, cx.status, &mut |connection| cx.sink.take(connection));
    report_left_out(&name, blocked, midstream, cx);
    if established && seen.undecided > 0 {
        cx.status.warn(format!(
            "{name}: the record does not show whether {} connections were established; {} \
             counts them",
            seen.undecided,
            cx.options.name(Setting::Established)
        ));
    }
    seen
}

/// Reports how many lines of a run do not count, by kind.
fn report_left_out(name: &str, blocked: u64, midstream: u64, cx: &mut Context<'_>) {
    if blocked > 0 {
        cx.status.warn(format!(
            "{name}: {blocked} TCP packets or sessions that the firewall blocked are left out"
        ));
    }
    if midstream > 0 {
        cx.status.warn(format!(
            "{name}: {midstream} connections that had begun before the record are left out"
        ));
    }
}

/// The connection of an event at `time`.
fn connection(event: Event, time: Option<RecordTime>) -> Connection {
    let ends = event.ends.connection();
    Connection {
        time: time.map(|t| t.shifted(jiff::SignedDuration::from_nanos(-event.before))),
        ip: ends.ip,
        host: ends.host,
        port: ends.port,
        local_ip: ends.local_ip,
        local_port: ends.local_port,
        ..event.more
    }
}

/// Reports what of an input may hide connections.
fn report(input: &Input, broken: u64, lost: u64, elsewhere: u64, cx: &mut Context<'_>) {
    let name = input.name();
    cx.status.record_unreadable_lines(name, broken);
    cx.status.record_shortfall(
        ShortfallKind::LostConnections,
        lost,
        format!("{name}: the record itself says that it lost events, {lost} times"),
    );
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        elsewhere,
        format!(
            "{name}: {elsewhere} such lines stand behind the prefix of another program, which the \
             other lines do not have, and are left out; give them in a file of their own"
        ),
    );
}
