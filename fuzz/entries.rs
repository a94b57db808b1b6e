//! What the fuzz targets do with bytes. `tests/fuzz` gives the corpora to the same functions.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use tcptally::count::{Count, Entry};
use tcptally::internals::decoders;
use tcptally::parse::{Options, parse};
use tcptally::{Connection, RequestedFields, Sink};

#[path = "../tests/reference/readers.rs"]
mod reference;

/// A target, by its name.
type Target = (&'static str, fn(&[u8]));

/// All targets. Each has a program in `fuzz_targets` and a corpus in `testdata/fuzz`.
#[allow(dead_code, reason = "a target uses one of them")]
pub const TARGETS: [Target; 10] = [
    ("netlink", netlink),
    ("pcap", pcap),
    ("perf_records", perf_records),
    ("perf_ring", perf_ring),
    ("records", records),
    ("report", report),
    ("sockaddr", sockaddr),
    ("strace", strace),
    ("strace_reference", strace_reference),
    ("tracepoint", tracepoint),
];

/// The record formats by the first byte of an input of [`records`]. New ones go to the end, so that the corpus keeps
/// its meaning.
pub const FORMATS: [&str; 42] = [
    "asa",
    "conntrack",
    "events",
    "filterlog",
    "fortigate",
    "haproxy",
    "mikrotik",
    "netfilter",
    "netflow",
    "pcap",
    "report",
    "sockets",
    "strace",
    "suricata",
    "sysdig",
    "systemtap",
    "tcpaccept",
    "tcpdump",
    "tcplife",
    "tcptracer",
    "vpc-flow",
    "windows-firewall",
    "zeek",
    "tshark",
    "parquet",
    "gvisor",
    "perf-trace",
    "truss",
    "tshark-fields",
    "tshark-json",
    "gcp-flow",
    "azure-flow",
    "server-log",
    "mongodb",
    "audit",
    "tcpstates",
    "sock-state",
    "kdump",
    "juniper",
    "paloalto",
    "falco",
    "nlb",
];

/// A record of the format that the first byte names, or of any (`A` is the first of [`FORMATS`]).
pub fn records(data: &[u8]) {
    let Some((selector, record)) = data.split_first() else { return };
    let format = selector.checked_sub(b'A').and_then(|at| FORMATS.get(usize::from(at)));
    read_record(format.copied(), record);
}

/// A capture file.
pub fn pcap(data: &[u8]) {
    read_record(Some("pcap"), data);
}

/// A report or events of tcptally.
pub fn report(data: &[u8]) {
    read_record(Some("report"), data);
    read_record(Some("events"), data);
}

/// Reads any bytes as a record: a total of 0 has a reason, and fewer connections are established than begun.
fn read_record(format: Option<&str>, data: &[u8]) {
    let file = file(data);
    let count = |established| {
        let options = Options { established, ..options(format) };
        // A line may say that there were any number.
        let mut found = Count::default();
        let outcome = parse(&[file.path().to_owned()], &options, &mut found);
        let has_reason = !outcome.read_as.is_empty()
            || !outcome.failures.is_empty()
            || !outcome.status.is_complete()
            // A byte order mark alone is an empty file, too.
            || outcome.status.warnings.iter().any(|text| text.ends_with(" is empty"));
        assert!(found.sums.total > 0 || has_reason);
        found.sums.total
    };
    let all = count(false);
    assert!(count(true) <= all);
}

/// A strace log: the same however the work is divided, and whether connections are counted one by one or together.
/// The first byte says how the file is cut.
pub fn strace(data: &[u8]) {
    let Some((cut, text)) = data.split_first() else { return };
    let file = file(text);
    let read = |options: &Options| {
        let mut found: Vec<Connection> = Vec::new();
        let outcome = parse(&[file.path().to_owned()], options, &mut found);
        (found, outcome.status.unreadable_lines())
    };
    read(&options(None));
    let whole = read(&options(Some("strace")));
    let divided = Options {
        threads: Some(1 + usize::from(cut & 1)),
        chunk: Some(40 + usize::from(cut >> 1)),
        ..options(Some("strace"))
    };
    assert_eq!(whole, read(&divided));

    let [mut together, mut single] = [Count::default(), Count::default()];
    let brief = Options { requested: RequestedFields::default(), ..divided };
    parse(&[file.path().to_owned()], &brief, &mut together);
    read(&brief).0.into_iter().for_each(|c| single.take(c));
    assert_eq!(rows(&together), rows(&single));
}

fn rows(count: &Count) -> BTreeMap<Vec<u8>, Entry> {
    let table = &count.tally.whole;
    (0..table.len()).map(|n| table.row(n)).map(|(code, entry)| (code.to_vec(), entry)).collect()
}

/// The reader of strace logs against the slow one of `tests/reference`: a log that is written from choices, or, behind
/// a byte of text, any text.
pub fn strace_reference(data: &[u8]) {
    match data.split_first() {
        Some((b'!'.., text)) => {
            if let Ok(text) = std::str::from_utf8(text) {
                reference::compare::log_text(text);
            }
        }
        Some((_, choices)) => reference::compare::built_log(choices),
        None => {}
    }
}

/// The address that accept wrote: what is found has the family, the port and the address of the bytes.
pub fn sockaddr(data: &[u8]) {
    let check = |peer: SocketAddr, bytes: &[u8]| {
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        let (family, address) = match peer {
            SocketAddr::V4(v4) => (2, v4.ip().octets().to_vec()),
            SocketAddr::V6(v6) => (10, v6.ip().octets().to_vec()),
        };
        assert_eq!((peer.port(), u16::from_ne_bytes([bytes[0], bytes[1]])), (port, family));
        let at = if family == 2 { 4 } else { 8 };
        assert_eq!(address, bytes[at..at + address.len()]);
    };
    if let Some(peer) = decoders::sockaddr(data) {
        check(peer, data);
    }
    let Some(([len, have], rest)) = data.split_first_chunk() else { return };
    let mut bytes = [0; 28];
    let size = rest.len().min(bytes.len());
    bytes[..size].copy_from_slice(&rest[..size]);
    let have = usize::from(*have);
    if let Some((peer, is_certain)) = decoders::decode_peer((*len).into(), &bytes, have) {
        check(peer, &bytes);
        assert!(have >= if peer.is_ipv4() { 16 } else { 28 });
        assert!(!is_certain || peer.is_ipv4() && bytes[8..16] == [0; 8]);
    }
}

/// Records of perf events: no more of them than headers find room.
pub fn perf_records(data: &[u8]) {
    assert!(decoders::decode_samples(data) <= data.len() / 8);
}

/// A ring buffer of one page: the bytes that are read are those that were written, in any portions and from any
/// position on, also where the position overflows.
pub fn perf_ring(data: &[u8]) {
    const SIZE: usize = 4096;
    let Some((start, steps)) = data.split_first_chunk() else { return };
    let mut ring = decoders::SimulatedRing::new(SIZE, u64::from_ne_bytes(*start)).unwrap();
    let [mut written, mut read] = [Vec::new(), Vec::new()];
    for step in steps.chunks(3) {
        let length =
            usize::from(step[0]) * usize::from(step.get(1).copied().unwrap_or(1)) % (SIZE + 9);
        let bytes: Vec<u8> = (0..length).map(|n| n as u8 ^ step[0]).collect();
        let has_room = bytes.len() <= SIZE - (written.len() - read.len());
        assert_eq!(ring.write(&bytes), has_room);
        if has_room {
            written.extend(bytes);
        }
        if step.get(2).is_none_or(|byte| byte & 1 == 0) {
            ring.take(&mut read);
            assert!(read == written);
        }
    }
}

/// Messages of sock_diag(7), as dumps and as notices: no socket counts twice within a part, and no arithmetic fails.
pub fn netlink(data: &[u8]) {
    let Some((&keep, mut rest)) = data.split_first() else { return };
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut steps = Vec::new();
    while let Some(([step, high, low], bytes)) = rest.split_first_chunk() {
        let (part, behind) =
            bytes.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len()));
        parts.push(part);
        steps.push(i32::from(*step) - 20);
        rest = behind;
    }
    let messages: usize = parts.iter().map(|part| part.len() / 88).sum();
    assert!(decoders::track_messages(keep & 1 == 1, &steps, &parts) <= messages);
}

/// A tracepoint's description, and behind a zero a record: what is found was in the record.
pub fn tracepoint(data: &[u8]) {
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (format, raw) = data.split_at(at);
    if let Ok(format) = std::str::from_utf8(format) {
        decoders::decode_state_change(format, raw.get(1..).unwrap_or_default());
    }
}

fn options(format: Option<&str>) -> Options {
    Options {
        format: format.map(str::to_owned),
        date: Some(jiff::civil::date(2026, 11, 22)),
        tz: Some(jiff::tz::TimeZone::UTC),
        requested: RequestedFields::ALL,
        threads: Some(1),
        ..Options::default()
    }
}

/// A file with these bytes, in memory if the system has such a place.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let shm = PathBuf::from("/dev/shm");
    let folder = if shm.is_dir() { shm } else { std::env::temp_dir() };
    let mut file = tempfile::NamedTempFile::new_in(folder).unwrap();
    file.write_all(bytes).unwrap();
    file
}
