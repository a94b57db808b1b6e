//! What became of a case.

use crate::cases::Case;
use crate::harness::*;
use crate::setting::Setting;

pub enum Outcome {
    /// As the clients say, and complete; with the engine of the report.
    Exact(String),
    /// Not complete by its own word: fewer, without all addresses, or right without proof.
    Incomplete(String),
    /// All are counted, and the report says of how many it does not know the peer.
    PeersUnknown(String),
    /// Nothing was counted; with the message.
    Refused(String),
    /// Anything else.
    Wrong(String),
}

/// The rows that differ: told and made.
fn differences(told: &Counts, made: &Counts) -> String {
    let keys: std::collections::BTreeSet<_> = told.keys().chain(made.keys()).collect();
    let count = |counts: &Counts, key| counts.get(key).copied().unwrap_or_default();
    let rows = keys.into_iter().filter(|key| count(told, key) != count(made, key));
    rows.map(|key| format!("{key:?}: {} of {}; ", count(told, key), count(made, key))).collect()
}

impl Outcome {
    /// Compares a report with what the clients did.
    pub fn of(report: &Report, made: &Counts) -> Outcome {
        let sum: u64 = made.values().sum();
        let known = report.counts_of_known();
        let (total, lost) = (report.number("total"), report.number("lost"));
        let is_complete = report.0["complete"] == true;
        let unknown = report.number("unknown_peer");
        let engine = report.engine().to_string();
        let summary = format!(
            "{total} counted, {lost} lost, {unknown} without a peer of {sum}, complete: {is_complete}, \
             engine {engine}, {}, {}",
            report.warnings(),
            differences(&known, made)
        );
        if known == *made && total == sum && lost == 0 {
            return if is_complete { Outcome::Exact(engine) } else { Outcome::Incomplete(summary) };
        }
        let is_within = known.iter().all(|(key, n)| made.get(key).is_some_and(|m| n <= m));
        match is_complete {
            false if is_within && total + lost <= sum => Outcome::Incomplete(summary),
            true if is_within && known.values().sum::<u64>() + unknown == sum && lost == 0 => {
                Outcome::PeersUnknown(summary)
            }
            _ => Outcome::Wrong(summary),
        }
    }

    /// A line for the table: setting, user, case, outcome, details.
    pub fn line(&self, setting: &Setting, user: User, case: &Case) -> String {
        let user = if user.is_root() { "root" } else { "user" };
        let (name, detail) = match self {
            Outcome::Exact(engine) => ("exact", engine),
            Outcome::Incomplete(detail) => ("incomplete", detail),
            Outcome::PeersUnknown(detail) => ("peers unknown", detail),
            Outcome::Refused(detail) => ("refused", detail),
            Outcome::Wrong(detail) => ("WRONG", detail),
        };
        let detail = detail.trim().replace(['\n', '\t'], " | ");
        format!("@\t{setting}\t{user}\t{}\t{}\t{name}\t{detail}", case.what(), case.server)
    }
}
