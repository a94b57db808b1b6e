//! What a tracer has counted, compared to what the clients say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::case::Form;

/// Connections by address.
pub type Counts = BTreeMap<String, u64>;

#[derive(Deserialize)]
struct Report {
    complete: bool,
    total: u64,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    ip: Option<String>,
    count: u64,
}

/// What the tracer has counted.
pub fn read(path: &Path, form: Form) -> Result<Counts> {
    match form {
        Form::Report => report(path),
        Form::Log => log(path),
        Form::Packets => packets(path),
        Form::Map => map(path),
    }
}

/// What tcptally reports as JSON.
fn report(path: &Path) -> Result<Counts> {
    let file = File::open(path).context("tcptally left no report")?;
    let report: Report = serde_json::from_reader(BufReader::new(file))?;
    if !report.complete {
        bail!("tcptally calls its report incomplete");
    }
    let mut counts = Counts::new();
    for row in report.rows {
        *counts.entry(row.ip.unwrap_or_default()).or_default() += row.count;
    }
    if counts.values().sum::<u64>() != report.total {
        bail!("the rows of tcptally's report do not add up to its total");
    }
    Ok(counts)
}

/// What a strace log says: deliberately not the way tcptally reads one.
fn log(path: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in BufReader::new(File::open(path).context("strace left no log")?).lines() {
        let line = line?;
        let Some((_, rest)) = line.split_once("inet_addr(\"") else { continue };
        let Some((ip, rest)) = rest.split_once('"') else { continue };
        if rest.rsplit_once("= ").is_some_and(|(_, fd)| fd.trim().parse::<u32>().is_ok()) {
            *counts.entry(ip.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// SYNs that tcpdump has captured on the loopback device: pcap-savefile(5), Ethernet, IPv4.
fn packets(path: &Path) -> Result<Counts> {
    const FILE_HEADER: usize = 24;
    const LENGTH: usize = 8;
    const PACKET_HEADER: usize = 16;
    const SOURCE: usize = 14 + 12;
    let bytes = std::fs::read(path).context("tcpdump left no packets")?;
    let mut rest = bytes.get(FILE_HEADER..).unwrap_or_default();
    let mut counts = Counts::new();
    while let Some(length) = rest.get(LENGTH..).and_then(|b| b.first_chunk()) {
        let end = PACKET_HEADER + u32::from_ne_bytes(*length) as usize;
        let ip: Option<&[u8; 4]> = rest.get(PACKET_HEADER + SOURCE..).and_then(|b| b.first_chunk());
        let Some((ip, next)) = ip.zip(rest.get(end..)) else { break };
        *counts.entry(Ipv4Addr::from(*ip).to_string()).or_default() += 1;
        rest = next;
    }
    Ok(counts)
}

/// The map that bpftrace prints at its end: `@[127.1.0.1]: 5`.
fn map(path: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(path).context("bpftrace left no map")?;
    let entry = |line: &str| {
        let (ip, count) = line.strip_prefix("@[")?.split_once("]: ")?;
        Some((ip.to_owned(), count.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// Connections that are missing, and such that nobody made.
pub fn compare(truth: &Counts, counted: &Counts) -> (u64, u64) {
    let more = |a: &Counts, b: &Counts| {
        a.iter().map(|(ip, n)| n.saturating_sub(b.get(ip).copied().unwrap_or(0))).sum()
    };
    (more(truth, counted), more(counted, truth))
}
