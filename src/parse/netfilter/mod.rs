//! Lines of netfilter's LOG target and nftables' `log`, in every log that they may get to.
//!
//! [`Block`] makes facts of lines, each by itself, so that several threads can read a log; the
//! few forms of the journal whose entries go over many lines are read in order by [`Entries`].

pub(super) mod block;
pub(super) mod body;
pub(super) mod entries;
pub(super) mod frame;

use self::block::Block;
use self::body::Packet;
use self::entries::Entries;
use super::dated;
use super::deduplicate::{Deduplicator, PacketObservation};
use super::input::Input;
use super::reader::{Context, RecordFormat};
use super::timestamp::Calendar;
use super::{lines, text};
use crate::{Connection, ShortfallKind};

/// Kernel logs with LOG lines.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "netfilter",
    about: "kernel log with lines of iptables LOG or nftables log",
    connection: "a LOG line of a SYN that came in",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise,
    run: |_| Some(String::new()),
    read,
};

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, _| found = found || body::is_log_line(line));
    found
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut fold = Deduplicator::new(cx);
    // Rotated logs come in any order; what is sent again may be in the next of them.
    let logs = dated::in_order(inputs, cx, |_| (), |(), line| frame::split(line).0);
    let name = super::common_name(logs.iter().map(|log| &log.input));
    for dated::Dated { mut input, calendar, .. } in logs {
        let mut log = Log { calendar, entries: Entries::default(), broken: 0, missed: false };
        let end = text::read(&mut input, cx, |text, block: &mut Block| block.read(text), {
            let (log, fold) = (&mut log, &mut fold);
            move |text, block, found| log.take(text, block, fold, found)
        });
        let mut last = Vec::new();
        log.end(&mut fold, &mut last);
        last.into_iter().for_each(|connection| cx.sink.take(connection));
        cx.status.record_unreadable_lines(input.name(), log.broken);
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            log.missed.into(),
            format!(
                "{}: the log says that messages were lost or suppressed on the way into it; \
                 connections may be missing",
                input.name()
            ),
        );
        if let Err(e) = end {
            cx.record_read_error(&input, &e);
        }
    }
    fold.finish(&name, cx.status, &mut |connection| cx.sink.take(connection));
}

/// What is known of a log from one block to the next.
struct Log {
    calendar: Calendar,
    entries: Entries,
    broken: u64,
    missed: bool,
}

impl Log {
    /// Takes what was made of the lines of `text`.
    fn take(
        &mut self,
        text: &[u8],
        block: &mut Block,
        fold: &mut Deduplicator,
        found: &mut Vec<Connection>,
    ) {
        if block.joined || self.entries.is_open() {
            self.entries.read(text, block, &mut self.calendar);
        }
        self.fold(block, fold, found);
    }

    fn end(&mut self, fold: &mut Deduplicator, found: &mut Vec<Connection>) {
        let mut block = Block::default();
        self.entries.end(&mut block);
        self.fold(&mut block, fold, found);
    }

    fn fold(&mut self, block: &mut Block, fold: &mut Deduplicator, found: &mut Vec<Connection>) {
        self.broken += block.broken;
        self.missed |= block.missed;
        for fact in block.facts.drain(..) {
            let time = self.calendar.record_time(fact.stamp);
            let Packet { ends, part, isn, server_isn, id } = fact.packet;
            let point = Some(fact.point);
            let outgoing = false;
            let packet =
                PacketObservation { ends, time, part, isn, server_isn, outgoing, id, point };
            fold.see(packet, &mut |connection| found.push(connection));
        }
    }
}
