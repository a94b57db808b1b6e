//! What tcptally has to reach, and what it does.

use std::io::{self, Write};

use crate::case::CASES;
use crate::results::{Result, Results};
use crate::run::Measured;
use crate::stats::Values;

/// What is compared.
#[derive(Clone, Copy)]
enum Measure {
    /// Rate, to that of the untraced server.
    Rate,
    /// Rate, to that in another case.
    RateTo(&'static str),
    /// CPU time of server and tracer beyond the untraced server's, to the same in another case.
    CostTo(&'static str),
    /// CPU time of server and tracer beyond the untraced server's, in µs per connection.
    Added,
    /// CPU time of the tracer, to that in another case.
    TracerTo(&'static str),
    /// CPU time of the tracer in µs per connection.
    Tracer,
    /// The tracer's system calls per connection.
    Calls,
    /// How much longer an accept takes than in the untraced server, in µs.
    Accept,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};
use Measure::{Accept, Added, Calls, CostTo, Rate, RateTo, Tracer, TracerTo};

const GOALS: &[(&str, &str, Measure, Bound)] = &[
    ("attach-sample", "nginx-1/pinned", Rate, AtLeast(0.97)),
    ("attach-sample", "nginx-1/pinned", CostTo("strace-p"), AtMost(0.06)),
    ("attach-sample", "queued/free", Accept, AtMost(0.8)),
    ("attach-sample", "keep-alive/pinned", Rate, AtLeast(0.97)),
    ("attach-sample", "accept/free", Rate, AtLeast(0.97)),
    ("attach-sample", "per-connection/free", Rate, AtLeast(0.70)),
    ("attach-perf", "nginx-1/pinned", Rate, AtLeast(0.93)),
    ("attach-perf", "nginx-1/pinned", RateTo("strace-p"), AtLeast(3.0)),
    ("attach-perf", "keep-alive/pinned", Rate, AtLeast(0.98)),
    ("attach-perf", "keep-alive/pinned", RateTo("strace-p"), AtLeast(4.5)),
    ("attach-perf", "accept/pinned", CostTo("strace-p"), AtMost(0.25)),
    ("attach-perf", "accept/free", Rate, AtLeast(0.85)),
    ("attach-perf", "nginx-1/free", Rate, AtLeast(0.85)),
    ("attach-perf", "accept/pinned", Calls, AtMost(4.0)),
    ("attach-syscall", "accept/free", RateTo("strace-p"), AtLeast(1.5)),
    ("attach-syscall", "nginx-1/free", RateTo("strace-p"), AtLeast(1.5)),
    ("spawn-seccomp", "nginx-1/pinned", Rate, AtLeast(0.90)),
    ("spawn-seccomp", "accept/pinned", Rate, AtLeast(0.90)),
    ("spawn-seccomp", "nginx-1/pinned", TracerTo("strace-seccomp"), AtMost(0.5)),
    ("spawn-seccomp", "accept/pinned", TracerTo("strace-seccomp"), AtMost(0.5)),
    ("spawn-seccomp", "accept/free", RateTo("strace-seccomp"), AtLeast(1.25)),
    ("spawn-seccomp", "nginx-1/free", RateTo("strace-seccomp"), AtLeast(1.25)),
    ("spawn-seccomp", "accept/pinned", Calls, AtMost(6.0)),
    ("watch", "nginx-1/pinned", Rate, AtLeast(0.95)),
    ("watch", "nginx-1/pinned", Tracer, AtMost(5.0)),
    ("watch-tracepoint", "nginx-1/pinned", Rate, AtLeast(0.98)),
    ("watch-tracepoint", "nginx-1/pinned", Added, AtMost(1.0)),
];

/// Shows those that were measured.
pub fn show(results: &Results, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\ngoals (median, range)")?;
    for &(case, setup, measure, bound) in GOALS {
        let values = values(results, case, setup, measure);
        let median = values.median();
        if median.is_nan() {
            continue;
        }
        let (reached, goal) = match bound {
            AtLeast(least) => (median >= least, format!("at least {least}")),
            AtMost(most) => (median <= most, format!("at most {most}")),
        };
        let what = match measure {
            Rate => "rate to untraced".to_owned(),
            RateTo(other) => format!("rate to {other}"),
            CostTo(other) => format!("added CPU to {other}'s"),
            TracerTo(other) => format!("tracer's CPU to {other}'s"),
            Added => "added CPU in us".to_owned(),
            Tracer => "tracer's CPU in us".to_owned(),
            Calls => "tracer's system calls".to_owned(),
            Accept => "added to an accept in us".to_owned(),
        };
        let verdict = if reached { "yes" } else { "NO" };
        let values = values.to_string();
        writeln!(out, "{case:<15} {setup:<18} {what:<33} {goal:<14} {values:<16} {verdict}")?;
    }
    let ours = |r: &&Result| CASES.iter().any(|(name, case)| *name == r.case && case.is_tcptally());
    let ours = results.all.iter().filter(ours);
    let sum: u64 = ours.map(|r| r.measured.lost + r.measured.extra).sum();
    let verdict = if sum == 0 { "yes" } else { "NO" };
    writeln!(out, "all cases of tcptally: no connection lost, none too many: {sum} {verdict}")
}

fn values(results: &Results, case: &str, setup: &str, measure: Measure) -> Values {
    let to = |other, of: &dyn Fn(&Result, f64) -> f64| -> Values {
        let rounds = results.of(setup, case).filter_map(|this| {
            let round = |case| results.of(setup, case).find(|r| r.round == this.round);
            let alone = round("untraced").map_or(f64::NAN, |r| r.measured.server_us);
            Some(of(this, alone) / of(round(other)?, alone))
        });
        rounds.collect()
    };
    let added = |of: &dyn Fn(&Measured) -> f64| -> Values {
        let rounds = results.of(setup, case).map(|this| {
            let alone = results.of(setup, "untraced").find(|r| r.round == this.round);
            of(&this.measured) - alone.map_or(f64::NAN, |r| of(&r.measured))
        });
        rounds.collect()
    };
    match measure {
        Rate => results.of(setup, case).map(|r| r.ratio).collect(),
        RateTo(other) => to(other, &|r, _| r.measured.rate),
        CostTo(other) => to(other, &|r, alone| r.measured.server_us + r.measured.tracer_us - alone),
        TracerTo(other) => to(other, &|r, _| r.measured.tracer_us),
        Added => added(&|m| m.server_us + m.tracer_us),
        Accept => added(&|m| m.accept_us.unwrap_or(f64::NAN)),
        Tracer => results.of(setup, case).map(|r| r.measured.tracer_us).collect(),
        // The start is in it, and a look at the tracee's CPU every few hundred stops.
        Calls => {
            results.calls_of(setup, case).map(|n| (n * 10.0).round() / 10.0).into_iter().collect()
        }
    }
}
