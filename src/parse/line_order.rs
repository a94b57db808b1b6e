//! [`LineOrder`]: whether the lines of a record are in the order of their times. Search engines for logs export the
//! newest line first.

use super::timestamp::{DAY, SECOND, Stamp};
use crate::ShortfallKind;
use crate::model::SourceStatus;

/// What the times of lines whose order matters show.
#[derive(Debug, Default)]
pub(super) struct LineOrder {
    last: Option<i64>,
    /// Lines that are later than the one before.
    later: u64,
    /// Lines that are earlier.
    earlier: u64,
}

impl LineOrder {
    /// Takes the time of the next line, unless it has none of its own.
    pub(super) fn see(&mut self, stamp: Stamp) {
        let Some(now) = position(stamp) else { return };
        match self.last.replace(now).map(|last| now.cmp(&last)) {
            Some(std::cmp::Ordering::Greater) => self.later += 1,
            Some(std::cmp::Ordering::Less) => self.earlier += 1,
            _ => {}
        }
    }

    /// Whether most lines are earlier than the one before. One alone may be the first after midnight.
    fn is_reversed(&self) -> bool {
        self.earlier > self.later && self.earlier > 1
    }

    /// Reports that the newest line is first.
    pub(super) fn report(&self, name: &str, status: &mut SourceStatus) {
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            self.is_reversed().into(),
            format!(
                "{name}: its newest line is the first, but what belongs together is found only in the order of time; \
                 reverse it (tac FILE | tcptally parse -)"
            ),
        );
    }
}

/// Where a time stands among others of the same kind.
fn position(stamp: Stamp) -> Option<i64> {
    match stamp {
        Stamp::None | Stamp::Since(_) => None,
        Stamp::Epoch(ns) | Stamp::Uptime(ns) | Stamp::Elapsed(ns) | Stamp::Clock(ns) => Some(ns),
        Stamp::Civil(date, ns) => {
            let midnight = date.duration_since(jiff::civil::date(1970, 1, 1)).as_secs();
            Some(midnight.saturating_mul(SECOND).saturating_add(ns))
        }
        Stamp::Yearless(month, day, ns) => {
            Some((i64::from(month) * 31 + i64::from(day)) * DAY + ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_reversed(clocks: &[i64]) -> bool {
        let mut order = LineOrder::default();
        clocks.iter().for_each(|clock| order.see(Stamp::Clock(*clock)));
        order.is_reversed()
    }

    #[test]
    fn only_records_with_the_newest_line_first_are_reversed() {
        assert!(is_reversed(&[9, 8, 8, 7]));
        assert!(!is_reversed(&[7, 8, 8, 9]));
        assert!(!is_reversed(&[9, 1]), "midnight");
        assert!(!is_reversed(&[5, 5, 5]));
    }
}
