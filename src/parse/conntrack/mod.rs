//! The connection table of netfilter: events and lists of conntrack, and snapshots of the
//! kernel's own files.

pub(super) mod entry;
mod flow_elements;
pub(super) mod tables;

use std::io;

use hashbrown::HashMap;
use memchr::memmem;

use self::entry::{ESTABLISHED, Entry, Event, Line};
use self::flow_elements::FlowElements;
use self::tables::{FlowKey, Moment, Tables, flow_key};
use super::cursor::Cursor;
use super::gaps::Gaps;
use super::input::Input;
use super::line_order::LineOrder;
use super::lines::{self, Piece};
use super::reader::{Context, RecordFormat, Setting};
use super::timestamp::{Calendar, Stamp};
use crate::model::plural;
use crate::{Connection, RecordTime, ShortfallKind};

/// conntrack's text, and the kernel's.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "conntrack",
    about: "events, lists or snapshots of the connection tracking table",
    connection: "a TCP flow to this machine",
    is_text: true,
    is_json: false,
    is_snapshot: true,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// Maximum number of open flows that are remembered of a record of events.
const MAX_FLOWS: usize = 1 << 21;

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, _| {
        found = found
            || matches!(entry::text(line), Line::Tcp(_) | Line::OtherFlow)
            || line.contains(&b'<')
                && (memmem::find(line, b"<conntrack>").is_some()
                    || memmem::find(line, b"<flow").is_some()
                        && memmem::find(line, b"<layer3 ").is_some());
    });
    found
}

/// Whether `head` contains `text`, or `xml` in the XML format.
fn has(head: &[u8], text: &str, xml: &str) -> bool {
    memmem::find(head, text.as_bytes()).is_some() || memmem::find(head, xml.as_bytes()).is_some()
}

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    let zone = cx.zone();
    inputs.sort_by_cached_key(|input| Moment::of_file(input, &zone).time);
    let name = super::common_name(inputs.iter());
    let mut tables = Tables::new(cx.options.established);
    let mut flows = Flows::default();
    for mut input in inputs {
        let moment = Moment::of_file(&input, &zone);
        let end = text(&mut input, moment, &mut tables, &mut flows, cx);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    let is_shown = flows.tcp > 0 || flows.others == 0;
    let text = "no flow in it is of TCP, so nothing shows that such flows were asked for";
    cx.require_evidence(is_shown, &name, text);
    tables.note_file_time(&name, cx.status);
    match tables.count() {
        0 => {}
        1 => cx.status.warn(format!(
            "{name}: a list shows one moment; connections that the kernel had removed by then (120 s after a \
             close, 10 s after a reset) are not in it"
        )),
        n => cx.status.warn(format!(
            "{name}: connections that came and went between two of the {n} snapshots are in none \
             of them"
        )),
    }
}

/// Numbers of flows.
#[derive(Default)]
struct Flows {
    tcp: u64,
    others: u64,
}

fn snapshot(entry: &Entry, tables: &mut Tables, cx: &mut Context<'_>) {
    if entry.ends.inbound(&cx.options.local) {
        tables.take(entry, &mut |connection| cx.sink.take(connection));
    }
}

/// A file of events, or of one or more snapshots.
fn text(
    input: &mut Input,
    moment: Moment,
    tables: &mut Tables,
    flows: &mut Flows,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let events = Events::of(input.head(), cx.options.established);
    let name = input.name().to_owned();
    let stamp = |line: &[u8]| match entry::text(line) {
        Line::Tcp(entry) => entry.stamp,
        _ => Stamp::None,
    };
    let calendar = Calendar::new(input, cx, &stamp);
    let order = LineOrder::default();
    let elements = FlowElements::default();
    let mut file = File {
        tables,
        events,
        calendar,
        moment,
        listing: false,
        damaged: 0,
        flows,
        order,
        elements,
    };
    let (mut gaps, mut of_block) = (Gaps::default(), Gaps::default());
    let end = lines::pieces(input, |piece| match piece {
        Piece::Lines(lines, _) => {
            let lines = lines::without_terminal_sequences(lines);
            gaps.add_block(&lines, &mut of_block);
            file.lines(&lines, cx);
        }
        // A document of XML on one line may be longer than any line of text.
        Piece::Rest(text) => file.xml(&text[lines::OVERLAP..], cx),
    });
    // The record is cut in it.
    file.damaged += u64::from(file.elements.is_open());
    let File { events, damaged, order, .. } = file;
    warn_damaged(&name, damaged, cx);
    gaps.report(&name, cx.status);
    order.report(&name, cx.status);
    events.report(&name, cx);
    end
}

/// Reports how many flows could not be read.
fn warn_damaged(name: &str, damaged: u64, cx: &mut Context<'_>) {
    let text = format!(
        "{name}: the addresses or ports of {} cannot be read; connections are missing",
        plural(damaged, "TCP flow", "TCP flows")
    );
    cx.status.record_shortfall(ShortfallKind::UnreadableLines, damaged, text);
}

struct File<'a> {
    tables: &'a mut Tables,
    events: Events,
    calendar: Calendar,
    /// Of the file.
    moment: Moment,
    /// A snapshot has begun.
    listing: bool,
    /// TCP flows that could not be read.
    damaged: u64,
    flows: &'a mut Flows,
    /// Of the events.
    order: LineOrder,
    /// Of the XML format.
    elements: FlowElements,
}

impl File<'_> {
    /// Takes whole lines, of any length.
    fn lines(&mut self, mut lines: &[u8], cx: &mut Context<'_>) {
        while !lines.is_empty() {
            let end = lines::end(lines);
            self.text(&lines[..end], cx);
            lines = lines.get(end + 1..).unwrap_or_default();
        }
    }

    /// Takes a line of text or of XML.
    fn text(&mut self, line: &[u8], cx: &mut Context<'_>) {
        let is_xml = || line.contains(&b'<') && memmem::find(line, b"<flow").is_some();
        if self.elements.is_open() || is_xml() {
            self.xml(line, cx);
        } else {
            self.line(entry::text(line), line, cx);
        }
    }

    /// Takes a part of a line of XML.
    fn xml(&mut self, text: &[u8], cx: &mut Context<'_>) {
        let mut elements = std::mem::take(&mut self.elements);
        elements.take(text, &mut |element| {
            self.line(element.map_or(Line::Damaged, entry::xml), &[], cx);
        });
        self.elements = elements;
    }

    fn line(&mut self, line: Line, text: &[u8], cx: &mut Context<'_>) {
        match &line {
            Line::Tcp(_) | Line::Damaged => self.flows.tcp += 1,
            Line::OtherFlow => self.flows.others += 1,
            Line::Other => {}
        }
        match line {
            Line::Tcp(entry) if entry.event.is_some() => {
                // The beginning of a connection needs no other line.
                if entry.event != Some(Event::New) {
                    self.order.see(entry.stamp);
                }
                if entry.ends.inbound(&cx.options.local) {
                    let time = self.calendar.record_time(entry.stamp);
                    self.events.take(&entry, time, &mut |connection| cx.sink.take(connection));
                }
            }
            Line::Tcp(entry) => {
                let time = self.calendar.record_time(entry.stamp);
                self.begin(time.map_or(self.moment, Moment::from));
                snapshot(&entry, self.tables, cx);
            }
            Line::OtherFlow => {}
            Line::Damaged => self.damaged += 1,
            Line::Other => {
                let stamp = date_line(text);
                if let Some(record_time) = self.calendar.record_time(stamp) {
                    self.listing = false;
                    self.begin(record_time.into());
                }
            }
        }
    }

    fn begin(&mut self, moment: Moment) {
        if !self.listing {
            self.listing = true;
            self.tables.begin(moment);
        }
    }
}

/// What date(1) prints between the snapshots of one file.
pub(super) fn date_line(line: &[u8]) -> Stamp {
    let line = line.trim_ascii();
    if line.len() < 10 || line.len() > 64 {
        return Stamp::None;
    }
    let mut cursor = Cursor(line);
    if let Some(stamp) = cursor.iso().or_else(|| cursor.ctime()) {
        return stamp;
    }
    if line.iter().all(|b| b.is_ascii_digit() || *b == b'.')
        && let Some(ns) = cursor.seconds()
    {
        return Stamp::Epoch(ns);
    }
    Stamp::None
}

/// Joins the events of each flow.
struct Events {
    follows: bool,
    ends_only: bool,
    /// Whether the record has changes of flows without their beginnings, as `--state ESTABLISHED` selects them.
    first_sight: bool,
    established: bool,
    /// Flows that have begun; with the connection, if it waits to be established.
    open: HashMap<FlowKey, Option<Connection>, foldhash::quality::RandomState>,
    /// Number of flows dropped before they were established, because there were too many.
    forgotten: usize,
    /// Number of flows whose first packet was none of the handshake's: they had begun before, or elsewhere.
    midstream: u64,
    seen: bool,
}

impl Events {
    /// For a record that begins with `head`.
    fn of(head: &[u8], established: bool) -> Events {
        Events {
            // Only then can a flow that is remembered be forgotten.
            follows: has(head, "[UPDATE]", "\"update\"") || has(head, "[DESTROY]", "\"destroy\""),
            ends_only: has(head, "[DESTROY]", "\"destroy\"")
                && !has(head, "[NEW]", "\"new\"")
                && !has(head, "[UPDATE]", "\"update\""),
            first_sight: has(head, "[UPDATE]", "\"update\"")
                && !has(head, "[NEW]", "\"new\"")
                && !has(head, " SYN_RECV ", "<state>SYN_RECV<"),
            established,
            open: HashMap::default(),
            forgotten: 0,
            midstream: 0,
            seen: false,
        }
    }

    fn take(&mut self, entry: &Entry, time: Option<RecordTime>, give: &mut dyn FnMut(Connection)) {
        self.seen = true;
        let connection = || Connection { time, ..entry.ends.connection() };
        match entry.event {
            // The kernel assures a flow when its handshake is complete.
            Some(Event::Destroy) if self.ends_only && self.established && !entry.assured => {}
            Some(Event::Destroy) if self.ends_only => {
                let age = entry.age.unwrap_or(0).clamp(0, 1 << 32);
                let mut connection = connection();
                connection.time = time.map(|t| t.shifted(jiff::SignedDuration::from_secs(-age)));
                give(connection);
            }
            Some(Event::Destroy) => {
                self.open.remove(&flow_key(&entry.ends));
            }
            Some(Event::Update) if self.first_sight => {
                let is_new = !self.open.contains_key(&flow_key(&entry.ends));
                if is_new && (!self.established || entry.established()) {
                    self.remember(entry, None);
                    give(connection());
                }
            }
            Some(Event::New) if entry.rank >= ESTABLISHED => self.midstream += 1,
            Some(Event::New) if !self.follows => give(connection()),
            Some(Event::New) => self.begin(entry, connection(), give),
            // The record began, or lost events, between a flow's first packet and its second.
            Some(Event::Update)
                if self.follows
                    && entry.rank == 1
                    && !self.open.contains_key(&flow_key(&entry.ends)) =>
            {
                self.begin(entry, connection(), give);
            }
            Some(Event::Update) if self.established && entry.established() => {
                if let Some(held) = self.open.get_mut(&flow_key(&entry.ends)).and_then(Option::take)
                {
                    give(held);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, entry: &Entry, connection: Connection, give: &mut dyn FnMut(Connection)) {
        if self.established {
            self.remember(entry, Some(connection));
        } else {
            self.remember(entry, None);
            give(connection);
        }
    }

    /// Reports what the events do not show.
    fn report(&self, name: &str, cx: &mut Context<'_>) {
        cx.status.record_shortfall(
            ShortfallKind::LostConnections,
            self.forgotten as u64,
            format!(
                "{name}: more flows were open at a time than are remembered, so {} leaves out {} \
                 that had not been established by then",
                cx.options.name(Setting::Established),
                self.forgotten
            ),
        );
        if self.midstream > 0 {
            cx.status.warn(format!(
                "{name}: {} left out: the first packet that conntrack saw was not the first of the connection",
                plural(self.midstream, "flow is", "flows are")
            ));
        }
        if self.seen && self.first_sight {
            cx.status.warn(format!(
                "{name}: no event in it is of the beginning of a flow ([NEW], SYN_RECV); each flow counts at its first \
                 event, also one that had begun before the record"
            ));
        } else if self.seen && self.ends_only {
            cx.status.warn(format!(
                "{name}: this record has only the ends of connections; each counts, at the time of its \
                 end or by its age"
            ));
        } else if self.seen && self.established && !self.follows {
            cx.status.warn(format!(
                "{name}: [NEW] events do not show which connections were established, so \
                 {} counts every attempt",
                cx.options.name(Setting::Established)
            ));
        } else if self.seen && !self.established {
            cx.status.warn(format!(
                "{name}: a [NEW] event is an attempt, so those that were refused count too"
            ));
        }
    }

    /// Notes that the flow of `entry` has begun; with `held`, if it waits to be established.
    fn remember(&mut self, entry: &Entry, held: Option<Connection>) {
        if self.open.len() >= MAX_FLOWS {
            self.forgotten += self.open.drain().filter(|(_, held)| held.is_some()).count();
        }
        self.open.insert(flow_key(&entry.ends), held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_date_between_snapshots_are_times() {
        for line in [
            "Sun Nov 22 11:03:13 UTC 2026",
            "Sun Nov 22 11:03:13 AM UTC 2026",
            "2026-11-22T11:03:13+00:00",
            "1795345393",
        ] {
            assert_eq!(
                date_line(line.as_bytes()),
                Stamp::Epoch(1_795_345_393_000_000_000),
                "{line}"
            );
        }
        assert_eq!(date_line(b"conntrack v1.4.7 (conntrack-tools)"), Stamp::None);
    }
}
