//! [`Age`]: derives the age of a connection from tcp_info.
//!
//! The kernel does not store the time of creation. It stores the times of the last events, in
//! ticks, and initialises those of data at the start. So the age is exact while no data has been
//! transferred in one of the directions. Otherwise it is a lower bound.

use super::dump::{Nanos, Span, TICK};
use crate::sys::sock_diag::{Info, Socket};

/// The maximum delay of a destroy event after the end of its socket: a worker thread of the kernel sends
/// it, and may have to wait for a CPU.
pub(in crate::watch) const MAX_EVENT_DELAY: Nanos = 100_000_000;

const MILLISECOND: Nanos = 1_000_000;

/// The age of a connection when its tcp_info was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Age {
    /// The lower bound.
    pub least: Nanos,
    /// The upper bound, if known.
    pub most: Option<Nanos>,
    /// The upper bound of the time since it was last known to be alive.
    pub quiet: Nanos,
}

/// Bounds of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Bounds {
    /// The lower bound.
    pub least: Nanos,
    /// The upper bound.
    pub most: Nanos,
}

impl Age {
    /// Returns the age of a socket if the kernel returned its tcp_info.
    pub(in crate::watch) fn of(s: &Socket) -> Option<Age> {
        s.info.map(|info| Age::of_info(&info, s.is_wiped()))
    }

    /// A `wiped` socket (see [`Socket::is_wiped`]) has lost its counters and the time of the last
    /// received data.
    pub(in crate::watch) fn of_info(info: &Info, wiped: bool) -> Age {
        let ms = |n: u32| i64::from(n) * MILLISECOND;
        let (sent, received) = (ms(info.last_data_sent), ms(info.last_data_received));
        let acked = ms(info.last_ack_received);
        if wiped {
            return Age { least: (sent - TICK).max(0), most: None, quiet: sent.min(acked) + TICK };
        }
        let busy = i64::try_from(info.busy).unwrap_or(i64::MAX).saturating_mul(1000);
        let since_beginning = match (info.segments_sent, info.segments_received) {
            (0, 0) => Some(sent.max(received)),
            (0, _) => Some(sent),
            (_, 0) => Some(received),
            _ => None,
        };
        Age {
            least: (sent.max(received).max(busy) - TICK).max(0),
            most: since_beginning.map(|age| age + TICK),
            quiet: sent.min(received).min(acked) + TICK,
        }
    }

    /// The maximum delay with which a destroy event with this age can have been sent: the connection was
    /// alive when it last sent or received something.
    pub(in crate::watch) fn event_delay(age: Option<Age>) -> Nanos {
        age.map_or(MAX_EVENT_DELAY, |age| age.quiet.min(MAX_EVENT_DELAY))
    }
}

/// Narrows the time at which a connection began, by its age at some time in `read`. Also bounds its
/// duration until its end, which was between `end` and `read.before`. If the two contradict each
/// other (the clock was set), the age is ignored.
pub(in crate::watch) fn bound(
    began: Span,
    age: Option<Age>,
    read: Span,
    end: Nanos,
    delay: Nanos,
) -> (Span, Bounds) {
    let narrowed = age.map(|age| Span {
        after: age
            .most
            .map_or(began.after, |most| began.after.max(read.after.saturating_sub(most))),
        before: began.before.min(read.before.saturating_sub(age.least)),
    });
    let (began, age) = match narrowed {
        Some(narrowed) if narrowed.after <= narrowed.before => (narrowed, age),
        _ => (began, None),
    };
    let by_age = age.map_or(0, |age| age.least - delay);
    let most = age.and_then(|age| age.most).unwrap_or(Nanos::MAX);
    let most = most.min(read.before - began.after).max(0);
    let least = (end - began.before).max(by_age).clamp(0, most);
    (began, Bounds { least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn info(sent: u32, received: u32, segments: (u32, u32)) -> Info {
        Info {
            last_data_sent: sent,
            last_data_received: received,
            last_ack_received: 3,
            segments_sent: segments.0,
            segments_received: segments.1,
            ..Info::default()
        }
    }

    #[test]
    fn the_age_is_exact_while_one_direction_carried_no_data() {
        let age = |info| Age::of_info(&info, false);
        let exact = Age { least: 290_000_000, most: Some(310_000_000), quiet: 13_000_000 };
        assert_eq!(age(info(300, 300, (0, 0))), exact);
        assert_eq!(age(info(300, 0, (0, 7))), Age { quiet: TICK, ..exact });
        assert_eq!(age(info(20, 300, (7, 0))), exact);
        assert_eq!(age(info(20, 300, (7, 7))), Age { most: None, ..exact });
    }

    #[test]
    fn busy_time_is_a_lower_bound_of_the_age() {
        let info = Info { busy: 5_000_000, ..info(20, 300, (7, 7)) };
        assert_eq!(Age::of_info(&info, false).least, 5 * SECOND - TICK);
    }

    #[test]
    fn counters_of_wiped_sockets_do_not_count() {
        let age = Age::of_info(&info(300, 500_000, (0, 0)), true);
        assert_eq!((age.least, age.most), (290_000_000, None));
    }

    #[test]
    fn durations_are_bounded_by_dumps_and_by_the_age() {
        let dumps = Span { after: SECOND, before: 2 * SECOND };
        let read = Span { after: 19 * SECOND / 10, before: 2 * SECOND };
        let short = Age::of_info(&info(0, 0, (1, 1)), false);
        let (began, open) = bound(dumps, Some(short), read, read.after - TICK, TICK);
        assert_eq!((began, open), (dumps, Bounds { least: 0, most: SECOND }));
        let silent = Age::of_info(&info(300, 300, (0, 0)), false);
        let (began, open) = bound(dumps, Some(silent), read, read.after - TICK, TICK);
        assert_eq!(began, Span { after: 1_590_000_000, before: 1_710_000_000 });
        assert_eq!(open, Bounds { least: 280_000_000, most: 310_000_000 });
    }

    /// The kernel's `busy` is a number of 64 bits.
    #[test]
    fn no_age_is_too_large_to_calculate_with() {
        let info = Info { busy: u64::MAX, ..info(u32::MAX, u32::MAX, (7, 7)) };
        let age = Age::of_info(&info, false);
        // A clock that was set to a time before 1970.
        let read = Span { after: -60 * SECOND, before: -59 * SECOND };
        let (began, bounds) = bound(read, Some(age), read, read.after, SECOND);
        assert_eq!((began, bounds.most), (read, SECOND));
    }

    #[test]
    fn an_age_that_contradicts_the_clock_does_not_count() {
        let dumps = Span { after: SECOND, before: 2 * SECOND };
        let read = Span { after: 2 * SECOND, before: 2 * SECOND };
        let old = Age::of_info(&info(9000, 9000, (0, 0)), false);
        let (began, open) = bound(dumps, Some(old), read, read.after, 0);
        assert_eq!((began, open.most), (dumps, SECOND));
    }
}
