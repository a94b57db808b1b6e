//! [`Missing`]: derives how many connections were missed from the kernel's own counters.

/// Evidence of connections that were not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Destroy events that were dropped because the receive buffers were full.
    pub drops: u64,
    /// Known sockets that disappeared without a destroy event. They are counted already, or are no
    /// connections.
    pub vanished: u64,
    /// Connections that have ended and still wait to be accepted.
    pub hidden: u64,
    /// By how much the kernel's count of connections to all ports exceeds the counted ones, if
    /// /proc shows it.
    pub uncounted: Option<u64>,
    /// The same for the kernel's count before the last dump, without connections that began later.
    pub uncounted_before: Option<u64>,
    /// Whether no other port has a listener, so that the kernel's count is of the watched ports
    /// only.
    pub alone: bool,
}

impl Missing {
    /// Returns how many connections were missed. Each lost destroy event of an unknown socket counts as a
    /// missed connection, although it may be that of a listener or of an outbound connection,
    /// unless the kernel has counted fewer.
    pub(super) fn lost(&self) -> u64 {
        let most = |n: Option<u64>| n.unwrap_or(u64::MAX);
        let dropped = self.drops.saturating_sub(self.vanished).min(most(self.uncounted));
        let hidden = self.hidden.min(most(self.uncounted_before));
        let ours = self.uncounted_before.filter(|_| self.alone).unwrap_or_default();
        (dropped + hidden).max(ours)
    }

    /// The reason, for the reader of the report.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let lost = self.lost();
        if lost == 0 {
            return reasons;
        }
        if self.drops > self.vanished {
            reasons.push(format!(
                "the receive buffer was full and {} of the kernel's messages were lost; run as \
                 root for a larger buffer, or raise net.core.rmem_max (sysctl)",
                self.drops
            ));
        }
        if lost > self.drops.saturating_sub(self.vanished) {
            reasons.push(
                "some connections ended before they were seen, and the kernel reports them only \
                 after the server has accepted and closed them"
                    .into(),
            );
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destroy_events_without_a_known_socket_are_lost() {
        let drops = Missing { drops: 50, vanished: 20, ..Missing::default() };
        assert_eq!(drops.lost(), 30);
        assert_eq!(Missing { uncounted: Some(29), ..drops }.lost(), 29);
        assert_eq!(Missing { uncounted: Some(1000), ..drops }.lost(), 30);
        assert_eq!(Missing { hidden: 3, uncounted: Some(1000), ..drops }.lost(), 33);
        assert_eq!(Missing { hidden: 3, uncounted_before: Some(1), ..drops }.lost(), 31);
        assert_eq!(Missing { vanished: 70, ..drops }.lost(), 0);
        let few = Missing { vanished: 70, uncounted_before: Some(5), ..drops };
        assert_eq!((few.lost(), Missing { alone: true, ..few }.lost()), (0, 5));
    }

    #[test]
    fn a_reason_for_each() {
        assert!(Missing { drops: 9, vanished: 9, ..Missing::default() }.reasons().is_empty());
        let reasons = |m: Missing| m.reasons().join("; ");
        let drops = Missing { drops: 9, ..Missing::default() };
        assert!(reasons(drops).contains("rmem_max") && !reasons(drops).contains("accepted"));
        let hidden = Missing { hidden: 9, ..Missing::default() };
        assert!(!reasons(hidden).contains("rmem_max") && reasons(hidden).contains("accepted"));
    }
}
