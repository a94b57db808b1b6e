//! Compares what the readers find.

use std::io::Write;

use tcptally::parse::{Options, parse};
use tcptally::{Connection, RequestedFields};

use super::log;
use super::parser::{self, Accepted};

/// A log that is built from choices: it is known, and both readers find that.
pub fn built_log(choices: &[u8]) {
    let (text, mut told) = log::build(choices);
    let mut read = parser::read(&text).unwrap_or_else(|| panic!("not in the grammar:\n{text}"));
    told.sort();
    read.sort();
    assert_eq!(read, told, "the reference is wrong about\n{text}");
    log_text(&text);
}

/// Any text: where the reference knows the connections, the program finds the same.
pub fn log_text(text: &str) {
    let Some(mut expected) = parser::read(text) else { return };
    expected.sort();
    let (mut found, unreadable) = read(text);
    found.sort();
    assert_eq!((found, unreadable), (expected, 0), "{text}");
}

/// What the program finds, and how many lines it cannot read.
fn read(text: &str) -> (Vec<Accepted>, u64) {
    let mut file = tempfile::NamedTempFile::new_in(in_memory()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let options = Options {
        format: Some("strace".to_owned()),
        date: Some(jiff::civil::date(2026, 11, 22)),
        tz: Some(jiff::tz::TimeZone::UTC),
        requested: RequestedFields::ALL,
        threads: Some(1),
        ..Options::default()
    };
    let mut found: Vec<Connection> = Vec::new();
    let outcome = parse(&[file.path().to_owned()], &options, &mut found);
    let accepted =
        |c: &Connection| Accepted { pid: c.pid, fd: c.fd.unwrap_or(-1), peer: c.ip.zip(c.port) };
    (found.iter().map(accepted).collect(), outcome.status.unreadable_lines())
}

/// A folder in memory, if the system has one.
fn in_memory() -> std::path::PathBuf {
    let shm = std::path::PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}
