//! The tables of costs in README.md.

use std::io::{self, Write};

use crate::case::CASES as ALL_CASES;
use crate::results::{Result, Results};
use crate::stats::Values;

/// The columns: cases, and what they are called.
pub const CASES: [(&str, &str); 8] = [
    ("untraced", "untraced"),
    ("attach-sample", "`sample`"),
    ("attach-perf", "`perf`"),
    ("spawn-seccomp", "`seccomp`"),
    ("watch-tracepoint", "`watch` (root)"),
    ("strace-seccomp", "`strace --seccomp-bpf`"),
    ("strace-p", "`strace -p`"),
    ("bpftrace", "`bpftrace`"),
];

/// The rows: setups, and what they are called. The first ones tell how long an accept takes.
pub const SETUPS: [(&str, &str); 6] = [
    ("one-accept/free", "accept(2), connection just come"),
    ("queued/free", "accept(2), connections waiting"),
    ("accept/free", "one thread, accept and close"),
    ("acceptors/free", "four threads in accept"),
    ("nginx-1/free", "nginx, one connection per request"),
    ("per-connection/free", "a thread per connection"),
];

/// How many rows tell how long an accept takes.
const ACCEPT_ROWS: usize = 2;

/// Shows them, and why a column is empty.
pub fn show(results: &Results, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nCost of a connection in µs: {}\n", how_often(results))?;
    let cost = |r: &Result| match r.measured.accept_us {
        Some(accept_us) => accept_us,
        None => r.measured.server_us + r.measured.tracer_us,
    };
    table(results, &SETUPS, out, |setup, case| {
        let values: Values = results.of(setup, case).map(cost).collect();
        let median = values.median();
        if median < 10.0 { format!("{median:.1}") } else { format!("{median:.0}") }
    })?;
    writeln!(
        out,
        "\nThe first two rows are the time that the server waits for a call that has a connection; the others are \
         the CPU time of server and tracer.\n\nRate to that of the untraced server:\n"
    )?;
    table(results, &SETUPS[ACCEPT_ROWS..], out, |setup, case| {
        let values: Values = results.of(setup, case).map(|r| r.ratio).collect();
        format!("{:.2}", values.median())
    })?;
    for (case, name) in CASES {
        let known = ALL_CASES.iter().find(|(known, _)| *known == case);
        if let Some(why) = known.and_then(|(_, case)| case.is_missing()) {
            writeln!(out, "\n{name}: {why}")?;
        }
    }
    let sum: u64 = results.all.iter().map(|r| r.measured.lost + r.measured.extra).sum();
    writeln!(out, "\nConnections lost or counted twice by any of them: {sum}")
}

/// A row for each setup that was measured.
fn table(
    results: &Results,
    setups: &[(&str, &str)],
    out: &mut impl Write,
    cell: impl Fn(&str, &str) -> String,
) -> io::Result<()> {
    let line = |cells: &mut dyn Iterator<Item = String>| -> String {
        cells.map(|cell| format!(" {cell} |")).collect()
    };
    writeln!(out, "| server |{}", line(&mut CASES.iter().map(|(_, name)| (*name).to_owned())))?;
    writeln!(out, "|---|{}", "---|".repeat(CASES.len()))?;
    for (setup, name) in
        setups.iter().filter(|(setup, _)| results.all.iter().any(|r| r.setup == *setup))
    {
        let mut cells = CASES.iter().map(|(case, _)| match results.of(setup, case).next() {
            Some(_) => cell(setup, case),
            None => "-".to_owned(),
        });
        writeln!(out, "| {name} |{}", line(&mut cells))?;
    }
    Ok(())
}

fn how_often(results: &Results) -> String {
    let rounds = results.all.iter().map(|r| r.round).max().unwrap_or(0);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("medians of {rounds} rounds, {cpus} CPUs, Linux {}.", kernel.trim())
}
