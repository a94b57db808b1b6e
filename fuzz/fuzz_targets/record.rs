//! What the targets of the record types share.

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use tcptally::RequestedFields;
use tcptally::count::Count;
use tcptally::parse::{Options, parse};

/// In memory, if the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shm = PathBuf::from("/dev/shm");
    let directory = if shm.is_dir() { shm } else { std::env::temp_dir() };
    directory.join(format!("tcptally-fuzz-record-{}", std::process::id()))
});

/// Reads any bytes as a record of type `kind`: it must not panic, and `--established` must never
/// find more than all.
pub fn read(kind: &str, data: &[u8]) {
    std::fs::File::create(&*FILE).unwrap().write_all(data).unwrap();
    let count = |established| {
        let options = Options {
            format: Some(kind.to_owned()),
            date: Some("2026-11-22".parse().unwrap()),
            tz: Some(jiff::tz::TimeZone::UTC),
            requested: RequestedFields { local: true, local_ip: true, comm: true, pid: true },
            threads: Some(1),
            established,
            ..Options::default()
        };
        // A line may say that there were any number.
        let mut found = Count::default();
        parse(&[FILE.clone()], &options, &mut found);
        found.sums.total
    };
    let all = count(false);
    assert!(count(true) <= all);
}
