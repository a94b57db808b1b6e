//! A million addresses are counted and reported in less than 200 MiB. Alone in its process, so
//! that nothing else is measured.

use std::net::Ipv6Addr;

use jiff::tz::TimeZone;
use tcptally::count::{Columns, Count, Keys, Order, Tally};
use tcptally::filter::Filter;
use tcptally::internals::{OutputFormat, RenderOptions, Report, ReportSection};
use tcptally::{Connection, RecordTime, Sink, SourceStatus};

const ADDRESSES: u64 = 1_000_000;

/// The most that this process has had in memory, in KiB (proc_pid_status(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_million_addresses() {
    let mut count = Count::new(Filter::default(), Tally::new(Keys::default(), None, None));
    for n in 0..ADDRESSES {
        let ip = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n * 7919));
        let time = Some(RecordTime::Clock(n as i64));
        count.take(Connection { time, ip: Some(ip.into()), ..Connection::default() });
    }
    assert_eq!(count.tally.whole.len() as u64, ADDRESSES);
    let status = SourceStatus::new("test");
    let look = RenderOptions {
        color: false,
        width: 80,
        terminal: None,
        fit_hint: None,
        ascii: false,
        zone: TimeZone::UTC,
        intervals: false,
        headings: true,
        columns: Columns::default(),
        histogram: false,
    };
    let whole = ReportSection {
        start: None,
        end: None,
        is_partial: false,
        keys: &count.tally.keys,
        table: Some(&count.tally.whole),
        order: Order::default(),
    };
    let report = Report {
        status: &status,
        sums: count.sums,
        whole,
        intervals: None,
        metrics: None,
        notes: Vec::new(),
    };
    OutputFormat::Json.format(look).report(&report, &mut std::io::sink()).unwrap();
    let peak = peak() / 1024;
    assert!(peak < 200, "{peak} MiB");
}
