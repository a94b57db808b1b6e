//! However connections are split, ordered and grouped, nothing is lost and nothing is counted
//! twice.

use std::net::{IpAddr, Ipv4Addr};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tcptally::count::{Count, Key, Keys, Mask, Order, Sort, Table, Tally};
use tcptally::filter::Filter;
use tcptally::time::{Bound, Interval, IntervalLength, Period};
use tcptally::{Connection, RecordTime, Sink};

/// Around the hour that is there twice in Berlin.
const FALL_BACK: i64 = 1_792_890_000;

fn connections() -> impl Strategy<Value = Vec<Connection>> {
    let time = prop_oneof![
        1 => Just(None),
        9 => (-9000..9000i64).prop_map(|s| Some(RecordTime::Clock((FALL_BACK + s) * 1_000_000_000))),
    ];
    let ip = prop_oneof![
        1 => Just(None),
        9 => (0..12u32).prop_map(|n| Some(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n * 100)))),
    ];
    let port = prop_oneof![1 => Just(None), 5 => (80..83u16).prop_map(Some)];
    let comm = prop_oneof![Just(None), Just(Some("a".into())), Just(Some("ab".into()))];
    let one = (time, ip, port, comm).prop_map(|(time, ip, local_port, comm)| Connection {
        time,
        ip,
        local_port,
        comm,
        ..Connection::default()
    });
    prop::collection::vec(one, 0..200)
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let all = vec![Key::Ip, Key::Net, Key::Port, Key::Local, Key::Pid, Key::Comm, Key::Host];
    prop::sample::subsequence(all, 1..=7).prop_shuffle()
}

fn lengths() -> impl Strategy<Value = IntervalLength> {
    prop_oneof![
        (1..20_000i64).prop_map(|s| IntervalLength::Time(s * 1_000_000_000)),
        (1..3i32).prop_map(IntervalLength::Days),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let bound = || {
        prop::option::of(
            (-9000..9000i64)
                .prop_map(|s| Bound::At(RecordTime::Clock((FALL_BACK + s) * 1_000_000_000))),
        )
    };
    let ports = prop::option::of(Just("80-81"));
    let from = prop::option::of(Just("10.0.0.0/23"));
    (ports, from, bound(), bound()).prop_map(|(ports, from, since, until)| Filter {
        ports: ports.map(|p| p.parse().unwrap()).unwrap_or_default(),
        from: from.map(|n| n.parse().unwrap()).into_iter().collect(),
        not_from: vec!["10.0.1.0/29".parse().unwrap()],
        period: Period { since, until, ..Period::default() },
    })
}

/// Key, count, first and last.
type Row = (Vec<u8>, u64, Option<RecordTime>, Option<RecordTime>);

/// The rows of a table, in the order of their keys.
fn rows(table: &Table) -> Vec<Row> {
    let picked = Order { sort: Sort::Key, ..Order::default() }.select(table);
    picked
        .rows
        .iter()
        .map(|row| {
            let (code, e) = table.row(*row);
            (code.to_vec(), e.count, e.first, e.last)
        })
        .collect()
}

fn sum(table: &Table) -> u64 {
    rows(table).iter().map(|row| row.1).sum()
}

proptest! {
    #[test]
    fn all_sums_are_the_total(
        connections in connections(),
        filter in filters(),
        keys in keys(),
        length in lengths(),
        cuts in prop::collection::vec(0..200usize, 0..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 5),
        top in prop::option::of(0..8usize),
        min in 0..4u64,
    ) {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let interval = Some(Interval { length, zone });
        let tally = Tally::new(Keys::new(&keys, Mask::default()), interval, None);
        let empty = Count::new(filter, tally);

        let mut whole = empty.clone();
        connections.iter().for_each(|c| whole.take(c.clone()));

        // Each connection is accounted for once.
        let s = whole.sums;
        prop_assert_eq!(
            s.total + s.filtered + s.unknown_port + s.undecided_peer + s.undecided_time,
            connections.len() as u64
        );
        prop_assert_eq!(sum(&whole.tally.whole), s.total);
        prop_assert_eq!(whole.tally.whole.total(), s.total);

        // Intervals: those without a time are in none.
        let intervals: u64 = whole.tally.intervals.values().map(sum).sum();
        prop_assert_eq!(intervals + s.no_interval, s.total);

        // Rows that are shown and the rest.
        let picked = Order { top, min, sort: Sort::Last, ..Order::default() }.select(&whole.tally.whole);
        let shown: u64 = picked.rows.iter().map(|r| whole.tally.whole.row(*r).1.count).sum();
        prop_assert_eq!(shown + picked.others.count, s.total);

        // Parts, merged in any order.
        let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(connections.len())).collect();
        cuts.extend([0, connections.len()]);
        cuts.sort_unstable();
        let mut parts: Vec<Count> = cuts
            .windows(2)
            .map(|w| {
                let mut part = empty.empty();
                connections[w[0]..w[1]].iter().for_each(|c| part.take(c.clone()));
                part
            })
            .collect();
        let mut merged = empty.clone();
        for index in order.iter().cycle() {
            if parts.is_empty() {
                break;
            }
            merged.merge(Box::new(parts.swap_remove(index.index(parts.len()))));
        }
        prop_assert_eq!(merged.sums, whole.sums);
        prop_assert_eq!(rows(&merged.tally.whole), rows(&whole.tally.whole));
        let by_interval = |count: &Count| -> Vec<_> {
            count.tally.intervals.iter().map(|(start, table)| (*start, rows(table))).collect()
        };
        prop_assert_eq!(by_interval(&merged), by_interval(&whole));

        // A day has 24 hours, but not that one; still no moment is in two intervals or in none.
        let interval = whole.tally.interval.as_ref().unwrap();
        for time in connections.iter().filter_map(|c| c.time) {
            let (start, end) = interval.around(time);
            prop_assert!(start <= time && time < end);
            prop_assert_eq!(interval.around(start), (start, end));
            prop_assert_eq!(interval.around(end).0, end);
        }
    }
}
