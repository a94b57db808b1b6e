//! What a count hides, in words.

use crate::Account;
use crate::count::Sums;

/// What the reader of a report must know beside the counts, a sentence each: what the source
/// could not see, and what could not be decided.
pub fn notes(account: &Account, sums: &Sums, intervals: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |n: u64, one: &str, many: &str| match n {
        0 => {}
        1 => notes.push(format!("1 {one}")),
        n => notes.push(format!("{n} {many}")),
    };
    note(
        account.lost,
        "connection was lost: it is in no row",
        "connections were lost: they are in no row",
    );
    note(
        account.unreadable_lines,
        "line could not be read; it may have told of a connection",
        "lines could not be read; they may have told of connections",
    );
    note(
        sums.no_peer,
        "connection is counted whose client's address is not known",
        "connections are counted whose client's address is not known",
    );
    note(
        sums.undecided_peer,
        "connection is left out: its client's address is not known, so that --from and \
         --not-from cannot be decided",
        "connections are left out: their client's address is not known, so that --from and \
         --not-from cannot be decided",
    );
    note(
        sums.unknown_port,
        "connection is left out: its local port is not known, so that --port cannot be decided",
        "connections are left out: their local port is not known, so that --port cannot be decided",
    );
    note(
        sums.undecided_time,
        "connection is left out: its time is not known, so that --since and --until cannot be \
         decided",
        "connections are left out: their time is not known, so that --since and --until cannot \
         be decided",
    );
    if intervals {
        note(
            sums.no_time,
            "connection is in no interval: its time is not known",
            "connections are in no interval: their time is not known",
        );
    }
    notes.extend(account.warnings.iter().cloned());
    if !account.complete && notes.is_empty() {
        notes.push("these may not be all connections".into());
    }
    notes
}
