//! The whole of `tcptally parse` on any bytes: it must not panic, and must find the same however
//! the work is divided.
#![no_main]

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tcptally::Connection;
use tcptally::connection::Wanted;
use tcptally::parse::{Options, parse};

/// In memory, if the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shm = PathBuf::from("/dev/shm");
    let directory = if shm.is_dir() { shm } else { std::env::temp_dir() };
    directory.join(format!("tcptally-fuzz-{}", std::process::id()))
});

fn read(kind: Option<&str>, threads: usize, chunk: Option<usize>) -> (Vec<Connection>, u64) {
    let options = Options {
        kind: kind.map(str::to_owned),
        date: Some("2026-11-22".parse().unwrap()),
        tz: Some(jiff::tz::TimeZone::UTC),
        wanted: Wanted { local: true, comm: true, pid: true },
        threads: Some(threads),
        chunk,
        ..Options::default()
    };
    let mut found = Vec::new();
    let outcome = parse(&[FILE.clone()], &options, &mut found);
    (found, outcome.account.unreadable_lines)
}

fuzz_target!(|data: &[u8]| {
    // The first byte says how the file is cut; the rest is the file.
    let Some((cut, text)) = data.split_first() else { return };
    std::fs::File::create(&*FILE).unwrap().write_all(text).unwrap();
    read(None, 1, None);
    let whole = read(Some("strace"), 1, None);
    let parts = read(Some("strace"), 1 + usize::from(cut & 1), Some(40 + usize::from(cut >> 1)));
    assert_eq!(whole, parts);
});
