//! [`ExpectedHosts`]: the hosts of `--expect-hosts`, for each of which there must be a record.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::request::Usage;
use crate::ShortfallKind;
use crate::model::plural;
use crate::parse::Outcome;

/// Maximum number of names in a note.
const MAX_NAMES: usize = 100;

/// The hosts of `--expect-hosts`.
pub(super) struct ExpectedHosts {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl ExpectedHosts {
    /// Reads the file: a name in each line. Empty lines and those that begin with `#` are left out.
    pub(super) fn read(path: &Path) -> anyhow::Result<ExpectedHosts> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--expect-hosts: cannot read '{shown}'"))?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let names: BTreeSet<String> = lines.map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Usage(format!(
                "--expect-hosts: '{shown}' names no host; it needs one name in each line"
            ))
            .into());
        }
        Ok(ExpectedHosts { path: path.into(), names })
    }
}

/// Adds notes about expected hosts without a readable record, and about hosts that were not expected.
pub(super) fn expect(expected: Option<&ExpectedHosts>, outcome: &mut Outcome) {
    let Some(ExpectedHosts { path, names }) = expected else { return };
    let status = &outcome.status;
    // An empty log counts as a record; an unreadable one does not.
    let read = status.inputs.iter().filter(|input| input.format.is_some() || input.complete);
    let found: BTreeSet<&str> =
        read.flat_map(|input| input.hosts.iter().chain(&input.host)).map(String::as_str).collect();
    let missing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !found.contains(name)).collect();
    let others: Vec<&str> = found.into_iter().filter(|name| !names.contains(*name)).collect();
    let path = path.display();
    let text = format!(
        "{} of the {} hosts in {path} {} no record: {}",
        missing.len(),
        names.len(),
        if missing.len() == 1 { "has" } else { "have" },
        listed(&missing)
    );
    let warning = format!(
        "records of {} that {path} does not name: {}",
        plural(others.len() as u64, "host", "hosts"),
        listed(&others)
    );
    let extra = others.len();
    let lacking = missing.len() as u64;
    let status = &mut outcome.status;
    status.record_shortfall(ShortfallKind::UnreadInput, lacking, text);
    if extra > 0 {
        status.warn(warning);
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
