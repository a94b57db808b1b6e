//! [`LeftOut`]: the lines of logs that do not count, and what the report says about them.

use super::event_filter::Seen;
use super::input::Input;
use super::reader::Context;
use crate::model::plural;
use crate::{ShortfallKind, SourceStatus};

/// Numbers of lines that do not count, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    pub broken: u64,
    pub lost: u64,
    pub elsewhere: u64,
    pub midstream: u64,
    pub blocked: u64,
    pub outbound: u64,
    pub evidence: u64,
}

impl LeftOut {
    /// Adds the numbers of another part.
    pub(super) fn add(&mut self, other: LeftOut) {
        self.broken += other.broken;
        self.lost += other.lost;
        self.elsewhere += other.elsewhere;
        self.midstream += other.midstream;
        self.blocked += other.blocked;
        self.outbound += other.outbound;
        self.evidence += other.evidence;
    }

    /// Reports how many lines of a run do not count, by kind.
    pub(super) fn report(self, name: &str, seen: &Seen, status: &mut SourceStatus) {
        let LeftOut { blocked, midstream, outbound, .. } = self;
        let mut warn = |n: u64, one: &str, many: &str| {
            if n > 0 {
                status.warn(format!("{name}: {} left out", plural(n, one, many)));
            }
        };
        warn(
            blocked,
            "TCP packet or session that the firewall blocked is",
            "TCP packets or sessions that the firewall blocked are",
        );
        warn(
            midstream,
            "connection that had begun before the record is",
            "connections that had begun before the record are",
        );
        warn(
            outbound,
            "connection that the firewall calls outbound is",
            "connections that the firewall calls outbound are",
        );
        let only_blocked = blocked > 0 && seen.connections == 0 && seen.attempts == 0;
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            only_blocked.into(),
            format!(
                "{name}: only what was blocked is in it, which does not show that accepted connections are logged; \
                 log those, too"
            ),
        );
    }

    /// Reports that nothing in a run shows that connections are recorded, if so. `text`: what would show it.
    pub(super) fn report_without_evidence(
        self,
        name: &str,
        seen: &Seen,
        text: &str,
        status: &mut SourceStatus,
    ) {
        let LeftOut { broken, blocked, midstream, evidence, .. } = self;
        let any = broken + blocked + midstream + evidence + seen.connections + seen.attempts;
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            u64::from(any == 0),
            format!("{name}: {text}"),
        );
    }

    /// Reports what of an input may hide connections.
    pub(super) fn report_of_input(self, input: &Input, cx: &mut Context<'_>) {
        let LeftOut { broken, lost, elsewhere, .. } = self;
        let name = input.name();
        cx.status.record_unreadable_lines(name, broken);
        cx.status.record_shortfall(
            ShortfallKind::LostEvents,
            lost,
            format!(
                "{name}: the record itself says that it lost events, {}; connections may be among them",
                plural(lost, "time", "times")
            ),
        );
        cx.status.record_shortfall(
            ShortfallKind::UnreadableLines,
            elsewhere,
            format!(
                "{name}: {} behind the prefix of another program, which the other lines do not have, left out; give \
                 them in a file of their own",
                plural(elsewhere, "such line is", "such lines are")
            ),
        );
    }
}
