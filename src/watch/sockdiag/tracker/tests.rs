use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::watch::sockdiag::age::MAX_EVENT_DELAY;
use crate::watch::sockdiag::dump::TICK;

const PORT: u16 = 80;

fn ip(n: u8) -> IpAddr {
    [127, 0, 0, n].into()
}

fn socket(cookie: u64, state: u8, peer: u16) -> Socket {
    Socket {
        cookie,
        state,
        local: (ip(1), PORT),
        peer: (ip(if peer == 0 { 0 } else { 2 }), peer),
        remnant: false,
        queue: 0,
        inode: 1,
        info: None,
    }
}

fn listener() -> Socket {
    Socket { peer: ("0.0.0.0".parse().unwrap(), 0), ..socket(1, state::LISTEN, 0) }
}

fn open(cookie: u64) -> Socket {
    socket(cookie, state::ESTABLISHED, cookie as u16)
}

fn over(cookie: u64) -> Socket {
    socket(cookie, state::CLOSE, cookie as u16)
}

const SECOND: Nanos = 1_000_000_000;

fn dump(at: Nanos, sockets: impl IntoIterator<Item = Socket>) -> Dump {
    let (start, end) = (at * SECOND, at * SECOND + 1000);
    Dump { start, end, sockets: sockets.into_iter().chain([listener()]).collect() }
}

/// Sent and received at once.
fn notified(at: Nanos) -> Span {
    Span { after: at, before: at }
}

fn begun(keep: bool) -> SocketTracker {
    let mut tracker = SocketTracker::new(keep);
    tracker.open_before(&dump(1, []));
    tracker
}

fn ports(tracker: &mut SocketTracker) -> Vec<u16> {
    let mut ports: Vec<u16> = tracker.take().map(|s| s.peer.1).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn connections_open_at_the_start_do_not_count() {
    let mut tracker = SocketTracker::new(false);
    tracker.open_before(&dump(1, [open(5)]));
    tracker.dumped(&dump(2, [open(5), open(6)]));
    tracker.ended(&over(5), notified(3 * SECOND));
    tracker.finish();
    assert_eq!(ports(&mut tracker), [6]);
    assert_eq!((tracker.opened_before(), tracker.passive()), (1, 1));
}

#[test]
fn connections_that_ended_before_the_start_do_not_count_when_the_server_closes_them() {
    let info = Info { last_data_sent: 5000, last_data_received: 5000, ..Info::default() };
    let at = 3 * SECOND;
    let mut tracker = begun(false);
    tracker.ended(&Socket { info: Some(info), ..over(5) }, notified(at));
    // Reset by its owner: of its age it has kept half.
    let wiped = Socket { peer: (ip(2), 0), info: Some(info), ..over(6) };
    tracker.ended(&wiped, notified(at));
    tracker.ended(&over(7), notified(at));
    tracker.finish();
    assert_eq!(ports(&mut tracker), [7]);
}

#[test]
fn the_age_of_a_connection_bounds_its_beginning() {
    let (segments_sent, segments_received) = (1, 1);
    let info = Info { segments_sent, segments_received, ..Info::default() };
    let info = Info { last_data_sent: 300, last_data_received: 200, ..info };
    let mut tracker = begun(false);
    tracker.dumped(&dump(10, []));
    tracker.dumped(&dump(20, []));
    tracker.ended(&Socket { info: Some(info), ..over(5) }, notified(21 * SECOND));
    // Its destroy event may have been under way while the dump was taken.
    tracker.ended(&over(6), notified(20 * SECOND + 2000));
    let began: Vec<Span> = tracker.take().map(|s| s.began).collect();
    let before = 21 * SECOND - 300_000_000 + TICK;
    assert_eq!(
        began,
        [
            Span { after: 20 * SECOND, before },
            Span { after: 10 * SECOND, before: 20 * SECOND + 2000 },
        ]
    );
}

#[test]
fn a_connection_needs_a_listener() {
    let no_listener = |at| Dump { sockets: Vec::new(), ..dump(at, []) };
    let mut tracker = SocketTracker::new(false);
    tracker.open_before(&no_listener(1));
    tracker.ended(&over(5), notified(SECOND + MAX_EVENT_DELAY));
    tracker.dumped(&no_listener(2));
    // A listener that came and went: of now, and not of then.
    tracker.dumped(&no_listener(3));
    tracker.ended(&over(6), notified(3 * SECOND + MAX_EVENT_DELAY));
    tracker.ended(
        &Socket { state: state::CLOSE, ..listener() },
        notified(3 * SECOND + MAX_EVENT_DELAY),
    );
    tracker.dumped(&no_listener(4));
    tracker.dumped(&no_listener(5));
    tracker.finish();
    assert_eq!(ports(&mut tracker), [6]);
}

#[test]
fn remnants_and_thrown_away_sockets_are_no_connections() {
    let mut tracker = begun(false);
    let remnant = Socket { remnant: true, state: 5, ..open(5) };
    tracker.dumped(&dump(2, [remnant]));
    tracker.ended(&Socket { state: 3, ..open(6) }, notified(3 * SECOND));
    tracker.finish();
    assert!(ports(&mut tracker).is_empty());
}

/// Two CPUs made a socket of one handshake. The kernel discards one of them, in the state CLOSE (Linux 5.10) or
/// SYN_RECV, before it has counted more than the SYN.
#[test]
fn the_second_socket_of_a_handshake_does_not_count() {
    let discarded = Info { all_segments_received: 1, ..Info::default() };
    // The SYN and the ACK; the SYN of TCP Fast Open with data.
    let [short, fast] = [
        Info { all_segments_received: 2, ..Info::default() },
        Info { all_segments_received: 1, received: 7, segments_received: 1, ..Info::default() },
    ];
    let mut tracker = begun(false);
    // The client closed with a reset before the next dump.
    tracker.ended(&Socket { info: Some(discarded), ..over(5) }, notified(3 * SECOND));
    tracker.ended(&Socket { info: Some(short), ..over(6) }, notified(3 * SECOND));
    tracker.ended(&Socket { info: Some(fast), ..over(7) }, notified(3 * SECOND));
    // Reset by its owner: the counters are 0, or left over.
    let wiped = Socket { peer: (ip(2), 0), info: Some(discarded), ..over(8) };
    tracker.ended(&wiped, notified(3 * SECOND));
    tracker.finish();
    assert_eq!(ports(&mut tracker), [0, 6, 7]);
    // The kernel has counted the discarded one, too (PassiveOpens).
    assert_eq!((tracker.passive(), tracker.counted_by_kernel()), (3, 4));
}

/// The client has reset the connection, so no dump shows it, but the server has not closed it yet.
#[test]
fn a_socket_that_ends_after_it_was_forgotten_does_not_count_again() {
    for keep in [false, true] {
        let mut tracker = begun(keep);
        tracker.dumped(&dump(2, [open(5)]));
        for at in [3, 70, 140] {
            tracker.dumped(&dump(at, []));
        }
        assert_eq!((ports(&mut tracker), tracker.vanished()), (vec![5], 1));
        tracker.ended(&over(5), notified(150 * SECOND));
        tracker.finish();
        assert_eq!((ports(&mut tracker), tracker.vanished()), (vec![], 0));
        assert_eq!(tracker.passive(), 1);
    }
}

#[test]
fn kept_ones_are_given_once_with_what_is_known_of_their_end() {
    let mut tracker = begun(true);
    tracker.dumped(&dump(2, [open(5), open(6), open(7)]));
    assert!(ports(&mut tracker).is_empty());
    let info = Info { acked: 9, segments_sent: 1, segments_received: 1, ..Info::default() };
    let info = Some(info);
    tracker.ended(&Socket { info, ..over(5) }, notified(3 * SECOND));
    tracker.dumped(&dump(4, [Socket { info, ..open(6) }]));
    tracker.dumped(&dump(5, [Socket { info, ..open(6) }]));
    tracker.finish();
    tracker.finish();
    let most = |s: &ObservedSocket| s.duration.map(|d| d.most);
    let reported: BTreeSet<_> =
        tracker.take().map(|s| (s.peer.1, most(&s), s.info.is_some())).collect();
    // They began after the dump at 1 s.
    let until = |at: Nanos| Some((at - 1) * SECOND);
    let seen = |at: Nanos| Some((at - 1) * SECOND + 1000);
    let expected = [(5, until(3), true), (6, seen(5), true), (7, seen(2), false)];
    assert_eq!(reported, expected.into());
    assert_eq!((tracker.passive(), tracker.vanished()), (3, 1));
}

#[test]
fn connections_gone_long_ago_without_a_destroy_event_are_given_and_forgotten() {
    let mut tracker = begun(true);
    tracker.dumped(&dump(2, [open(5), open(6)]));
    for at in [3, 30, 70, 100] {
        tracker.dumped(&dump(at, [open(6)]));
        assert_eq!((tracker.vanished(), tracker.kept()), (u64::from(at > 3), 2));
    }
    tracker.dumped(&dump(140, [open(6)]));
    assert_eq!(ports(&mut tracker), [5]);
    assert_eq!((tracker.vanished(), tracker.kept(), tracker.open.len()), (1, 1, 2));
    tracker.finish();
    assert_eq!(ports(&mut tracker), [6]);
}

proptest! {
    /// Whatever happens, in whatever order destroy events come and however late, as long as the
    /// order between destroy events and dumps is kept.
    #[test]
    fn every_connection_counts_once(
        steps in proptest::collection::vec((0u8..6, any::<u8>()), 0..200),
        keep: bool,
    ) {
        let mut tracker = SocketTracker::new(keep);
        tracker.open_before(&dump(1, (100..110).map(open)));
        let mut now: BTreeSet<u64> = (100..110).collect();
        let mut events: Vec<u64> = Vec::new();
        let mut next = 200;
        let mut at = 2;
        for (what, which) in steps {
            let pick = |n: usize| usize::from(which) % n.max(1);
            match what {
                0 | 1 => {
                    now.insert(next);
                    next += 1;
                }
                2 => {
                    if let Some(cookie) = now.iter().copied().nth(pick(now.len())) {
                        now.remove(&cookie);
                        events.push(cookie);
                    }
                }
                3 if !events.is_empty() => {
                    let cookie = events.remove(pick(events.len()));
                    tracker.ended(&over(cookie), notified(at * SECOND));
                }
                4 => {
                    at += 1;
                    tracker.dumped(&dump(at, now.iter().copied().map(open)));
                }
                // Ends while a dump is taken, which has it still.
                5 => {
                    at += 1;
                    let before: Vec<u64> = now.iter().copied().collect();
                    if let Some(cookie) = before.get(pick(before.len())) {
                        now.remove(cookie);
                        events.push(*cookie);
                    }
                    tracker.dumped(&dump(at, before.into_iter().map(open)));
                }
                _ => {}
            }
        }
        tracker.dumped(&dump(at + 1, now.iter().copied().map(open)));
        for cookie in events {
            tracker.ended(&over(cookie), notified((at + 1) * SECOND));
        }
        tracker.finish();
        let expected: Vec<u16> = (200..next as u16).collect();
        prop_assert_eq!(ports(&mut tracker), expected);
        prop_assert_eq!(tracker.passive(), next - 200);
        prop_assert_eq!(tracker.vanished(), 0);
    }
}
