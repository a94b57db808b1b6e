//! Lines of netfilter's LOG target and nftables' `log`, in every kind of log that contains them.
//!
//! [`Block`] reads each line independently, so that several threads can read a log. Journal formats whose
//! entries have many lines are read in order by [`Entries`].

pub(super) mod block;
pub(super) mod body;
pub(super) mod entries;
pub(super) mod frame;

use std::collections::BTreeMap;

use self::block::Block;
use self::body::Packet;
use self::entries::Entries;
use self::frame::Forwarder;
use super::deduplicate::{Deduplicator, PacketObservation};
use super::found::FoundConnections;
use super::gaps::Gaps;
use super::input::Input;
use super::reader::{Context, RecordFormat};
use super::timestamp::{self, Calendar, Dated};
use super::{lines, text};
use crate::ShortfallKind;
use crate::model::plural;

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

/// What a log without connections lacks.
const WITHOUT_SYN: &str = "no LOG line in it is of a SYN that came in, so nothing shows that a rule logs them; \
                           iptables -I INPUT -p tcp --syn -j LOG does";

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, _| found = found || body::is_log_line(line));
    found
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut deduplicator = Deduplicator::new(cx);
    // Rotated logs come in any order; what is sent again may be in the next of them.
    let logs =
        timestamp::in_order(inputs, cx, Forwarder::of, |forwarder, line| forwarder.split(line).0);
    let name = super::common_name(logs.iter().map(|log| &log.input));
    let mut packets = 0;
    for Dated { mut input, calendar, look: forwarder, .. } in logs {
        let mut log = Log {
            calendar,
            entries: Entries::default(),
            broken: 0,
            programs: BTreeMap::new(),
            refused: 0,
            gaps: Gaps::default(),
            packets: 0,
        };
        let of_lines = |text: &[u8], block: &mut Block| block.read(text, &forwarder);
        let end = text::read(&mut input, cx, of_lines, {
            let (log, deduplicator) = (&mut log, &mut deduplicator);
            let forwarder = &forwarder;
            move |text, block, found| log.take(text, block, deduplicator, found, forwarder)
        });
        let mut last = FoundConnections::default();
        log.end(&mut deduplicator, &mut last);
        last.give(None, cx.sink);
        packets += log.packets;
        cx.status.record_unreadable_lines(input.name(), log.broken);
        for (program, count) in log.programs {
            cx.status.record_shortfall(
                ShortfallKind::UnreadableLines,
                count,
                left_out(input.name(), &program.escape_ascii().to_string(), count),
            );
        }
        if log.refused > 0 {
            cx.status.warn(format!(
                "{}: {} a prefix by which firewalls mark what they refuse, such as BLOCK, DROP or REJECT, and \
                 counted as attempts; leave such lines out (grep -v) to count what was let through",
                input.name(),
                plural(log.refused, "SYN was logged with", "SYNs were logged with")
            ));
        }
        log.gaps.report(input.name(), cx.status);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    cx.require_evidence(packets > 0, &name, WITHOUT_SYN);
    deduplicator.finish(&name, cx.status, &mut |ends, time| cx.sink.take(ends.connection_at(time)));
}

/// Reports that lines of a program were left out.
fn left_out(name: &str, program: &str, count: u64) -> String {
    let (lines, are) = if count == 1 { ("line", "is") } else { ("lines", "are") };
    format!(
        "{name}: {count} {lines} of the program {program} that look like the kernel's {are} left \
         out, because any user can write such lines (logger); if that program passes on the log of \
         the kernel, give a file with its lines alone, without what it puts before them"
    )
}

/// What is known of a log from one block to the next.
struct Log {
    calendar: Calendar,
    entries: Entries,
    broken: u64,
    programs: BTreeMap<Box<[u8]>, u64>,
    refused: u64,
    gaps: Gaps,
    /// Packets that open connections.
    packets: u64,
}

impl Log {
    /// Takes what was made of the lines of `text`.
    fn take(
        &mut self,
        text: &[u8],
        block: &mut Block,
        deduplicator: &mut Deduplicator,
        found: &mut FoundConnections,
        forwarder: &Forwarder,
    ) {
        if block.joined || self.entries.is_open() {
            self.entries.read(text, block, &mut self.calendar, forwarder);
        }
        self.deduplicate(block, deduplicator, found);
    }

    fn end(&mut self, deduplicator: &mut Deduplicator, found: &mut FoundConnections) {
        let mut block = Block::default();
        self.entries.end(&mut block);
        self.deduplicate(&mut block, deduplicator, found);
    }

    fn deduplicate(
        &mut self,
        block: &mut Block,
        deduplicator: &mut Deduplicator,
        found: &mut FoundConnections,
    ) {
        self.broken += block.broken;
        self.refused += block.refused;
        self.gaps.join(&block.gaps, &block::is_record);
        for (program, count) in std::mem::take(&mut block.programs) {
            *self.programs.entry(program).or_default() += count;
        }
        self.packets += block.facts.len() as u64;
        for fact in block.facts.drain(..) {
            let time = self.calendar.record_time(fact.stamp);
            let Packet { ends, kind, isn, server_isn, id } = fact.packet;
            let point = Some(fact.point);
            let outgoing = false;
            let packet =
                PacketObservation { ends, time, kind, isn, server_isn, outgoing, id, point };
            deduplicator.see(packet, &mut |ends, time| found.push_ends(ends, time));
        }
    }
}
