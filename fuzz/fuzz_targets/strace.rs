//! The whole of `tcptally parse` on any bytes: it must not panic, and must find the same however
//! the work is divided, and whether connections are counted one by one or together.
#![no_main]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tcptally::{Connection, RequestedFields, Sink};
use tcptally::count::{Count, Entry};
use tcptally::parse::{Options, parse};

/// In memory, if the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shm = PathBuf::from("/dev/shm");
    let directory = if shm.is_dir() { shm } else { std::env::temp_dir() };
    directory.join(format!("tcptally-fuzz-{}", std::process::id()))
});

fn options(kind: Option<&str>, threads: usize, chunk: Option<usize>) -> Options {
    Options {
        format: kind.map(str::to_owned),
        date: Some("2026-11-22".parse().unwrap()),
        tz: Some(jiff::tz::TimeZone::UTC),
        requested: RequestedFields { local: true, local_ip: true, comm: true, pid: true },
        threads: Some(threads),
        chunk,
        ..Options::default()
    }
}

fn read(options: &Options) -> (Vec<Connection>, u64) {
    let mut found = Vec::new();
    let outcome = parse(&[FILE.clone()], options, &mut found);
    (found, outcome.status.unreadable_lines())
}

fn rows(count: &Count) -> BTreeMap<Vec<u8>, Entry> {
    let table = &count.tally.whole;
    (0..table.len()).map(|n| table.row(n)).map(|(code, entry)| (code.to_vec(), entry)).collect()
}

fuzz_target!(|data: &[u8]| {
    // The first byte says how the file is cut; the rest is the file.
    let Some((cut, text)) = data.split_first() else { return };
    std::fs::File::create(&*FILE).unwrap().write_all(text).unwrap();
    read(&options(None, 1, None));
    let whole = read(&options(Some("strace"), 1, None));
    let (threads, chunk) = (1 + usize::from(cut & 1), 40 + usize::from(cut >> 1));
    let divided = options(Some("strace"), threads, Some(chunk));
    assert_eq!(whole, read(&divided));

    let [mut together, mut single] = [Count::default(), Count::default()];
    let brief = Options { requested: RequestedFields::default(), ..divided };
    parse(&[FILE.clone()], &brief, &mut together);
    read(&brief).0.into_iter().for_each(|c| single.take(c));
    assert_eq!(rows(&together), rows(&single));
});
