//! What a tracer has counted, compared to what the clients say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

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

/// What tcptally reports as JSON.
pub fn report(path: &Path) -> Result<Counts> {
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
pub fn log(path: &Path) -> Result<Counts> {
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

/// Connections that are missing, and such that nobody made.
pub fn compare(truth: &Counts, counted: &Counts) -> (u64, u64) {
    let more = |a: &Counts, b: &Counts| {
        a.iter().map(|(ip, n)| n.saturating_sub(b.get(ip).copied().unwrap_or(0))).sum()
    };
    (more(truth, counted), more(counted, truth))
}
