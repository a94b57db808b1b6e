//! What all rounds gave, and how they are shown.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::run::Measured;
use crate::setup::Setup;
use crate::stats::Values;

/// One case of one setup in one round.
#[derive(Clone, Debug)]
pub struct Result {
    pub round: u32,
    pub setup: &'static str,
    pub case: &'static str,
    pub measured: Measured,
    /// The rate, to that of the untraced server in the same round.
    pub ratio: f64,
}

/// All results.
#[derive(Debug, Default)]
pub struct Results {
    pub all: Vec<Result>,
    /// The tracers' system calls per unit, by setup and case.
    pub calls: Vec<(&'static str, &'static str, f64)>,
    /// What could not be measured, and why.
    pub skipped: Vec<(&'static str, &'static str, String)>,
}

impl Results {
    /// One case of one setup, in all rounds.
    pub fn of(&self, setup: &str, case: &str) -> impl Iterator<Item = &Result> {
        self.all.iter().filter(move |r| r.setup == setup && r.case == case)
    }

    pub fn calls_of(&self, setup: &str, case: &str) -> Option<f64> {
        self.calls.iter().find(|c| c.0 == setup && c.1 == case).map(|c| c.2)
    }

    pub fn skip(&mut self, setup: &'static str, case: &'static str, why: String) {
        self.skipped.push((setup, case, why));
    }

    pub fn is_skipped(&self, setup: &str, case: &str) -> bool {
        self.skipped.iter().any(|s| s.0 == setup && s.1 == case)
    }

    /// A table for each setup.
    pub fn table(&self, setups: &[Setup], cases: &[&str], out: &mut impl Write) -> io::Result<()> {
        for setup in setups.iter().map(|s| s.name) {
            writeln!(
                out,
                "\n{setup:<15} {:>8}  {:<15} {:>7} {:>8} {:>7} {:>7} {:>6} {:>4} {:>5}",
                "rate/s",
                "to untraced",
                "p50 µs",
                "p99 µs",
                "server",
                "tracer",
                "calls",
                "lost",
                "extra",
            )?;
            let is_measured = |case: &&&str| {
                !self.is_skipped(setup, case) && self.of(setup, case).next().is_some()
            };
            for case in cases.iter().filter(is_measured) {
                let median = |of: fn(&Measured) -> f64| -> f64 {
                    self.of(setup, case).map(|r| of(&r.measured)).collect::<Values>().median()
                };
                let sum = |of: fn(&Measured) -> u64| -> u64 {
                    self.of(setup, case).map(|r| of(&r.measured)).sum()
                };
                let ratio: Values = self.of(setup, case).map(|r| r.ratio).collect();
                let calls = self.calls_of(setup, case).map(|c| format!("{c:.1}"));
                writeln!(
                    out,
                    "{case:<15} {:>8.0}  {:<15} {:>7.0} {:>8.0} {:>7.1} {:>7.1} {:>6} {:>4} {:>5}",
                    median(|m| m.rate),
                    ratio.to_string(),
                    median(|m| m.p50_us),
                    median(|m| m.p99_us),
                    median(|m| m.server_us),
                    median(|m| m.tracer_us),
                    calls.unwrap_or_default(),
                    sum(|m| m.lost),
                    sum(|m| m.extra),
                )?;
            }
        }
        // Most often it is the same everywhere.
        let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (setup, case, why) in &self.skipped {
            reasons.entry((case, why)).or_default().push(setup);
        }
        for ((case, why), setups) in reasons {
            writeln!(out, "\nskipped: {case} ({}): {why}", setups.join(", "))?;
        }
        Ok(())
    }
}

/// A line for each case of each round.
pub struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub fn new(out: W) -> csv::Result<Csv<W>> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record([
            "round",
            "setup",
            "case",
            "units",
            "rate",
            "ratio",
            "p50_us",
            "p99_us",
            "server_us",
            "tracer_us",
            "lost",
            "extra",
            "accept_us",
        ])?;
        Ok(Csv(writer))
    }

    pub fn write(&mut self, result: &Result) -> csv::Result<()> {
        let m = &result.measured;
        self.0.write_record([
            result.round.to_string(),
            result.setup.to_owned(),
            result.case.to_owned(),
            m.units.to_string(),
            format!("{:.1}", m.rate),
            format!("{:.4}", result.ratio),
            format!("{:.0}", m.p50_us),
            format!("{:.0}", m.p99_us),
            format!("{:.2}", m.server_us),
            format!("{:.2}", m.tracer_us),
            m.lost.to_string(),
            m.extra.to_string(),
            m.accept_us.map(|us| format!("{us:.2}")).unwrap_or_default(),
        ])?;
        Ok(self.0.flush()?)
    }
}
