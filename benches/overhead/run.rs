//! One server, watched in one way, under load once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::calls::Calls;
use crate::case::{Case, RECORD, Tools};
use crate::client::{self, Amount};
use crate::cpu;
use crate::processes::{self, Started, wait_for};
use crate::record;
use crate::server::Kind;

/// The kernel gives packets to tcpdump after a second at the latest; what it has not given when
/// tcpdump ends is lost.
const TCPDUMP_LAG: Duration = Duration::from_millis(1200);

/// Where a server and its tracer run, and what load they get.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub kind: Kind,
    pub server_cpu: Option<usize>,
    pub amount: Amount,
    /// Count the tracer's system calls, which makes all else meaningless.
    pub count_calls: bool,
}

/// What was measured. A unit is a connection, or a request on one that stays.
#[derive(Clone, Debug)]
pub struct Measured {
    pub units: u64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time per unit.
    pub server_us: f64,
    pub tracer_us: f64,
    /// Connections that the tracer did not count, and such that nobody made.
    pub lost: u64,
    pub extra: u64,
    /// The tracer's system calls per unit.
    pub calls: Option<f64>,
    /// How long an accept took as the server saw it, where it measures that.
    pub accept_us: Option<f64>,
}

/// Starts all, measures, ends all.
#[expect(clippy::too_many_lines, reason = "to be split by steps")]
pub fn run(tools: &Tools, case: Case, load: &Load) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let command = load.kind.command(&tools.accept_server, dir)?;
    let command = case.starts(tools, dir, command);
    let process = cpu::on(load.server_cpu, || processes::start(&command, dir))?;
    let mut server = load.kind.ready(process, dir)?;
    let tracer_cpu = if case.follows() { load.server_cpu } else { load.amount.cpu };
    let mut attached = match case.attach(tools, dir, &server.pids, server.address.port()) {
        Some(argv) => {
            let mut tracer = cpu::on(tracer_cpu, || processes::start(&argv, dir))?;
            attached_since(&mut tracer, case, &server.pids, dir)?;
            Some(tracer)
        }
        None => None,
    };
    let tracer = match &attached {
        Some(tracer) => Some(tracer.pid()),
        None => (case != Case::Untraced).then(|| server.process.pid()),
    };
    let tracers: Vec<i32> = tracer.into_iter().collect();
    let calls = match tracer.filter(|_| load.count_calls) {
        Some(pid) => Some(Calls::count(pid, dir)?),
        None => None,
    };

    let before = (cpu::time(&server.pids), cpu::time(&tracers));
    let outcome = client::run(tools, load.kind, &server, load.amount, dir)?;
    let after = (cpu::time(&server.pids), cpu::time(&tracers));

    let calls = calls.map(Calls::end).transpose()?;
    let accepts = (load.kind == Kind::KeepAlive).then(|| server.accepts()).transpose()?;
    let accept_us = load.kind.tells_accept_time().then(|| server.accept_us()).transpose()?;
    if let Some(tracer) = &mut attached {
        tracer.must_run()?;
        if case == Case::Tcpdump {
            std::thread::sleep(TCPDUMP_LAG);
        }
        tracer.signal(Signal::SIGINT);
        tracer.wait()?;
    }
    server.end()?;
    let (lost, extra) = match case.leaves() {
        None => (0, 0),
        Some(form) => {
            let counted = record::read(&dir.join(RECORD), form)?;
            match (&outcome.truth, accepts) {
                (Some(truth), _) => record::compare(truth, &counted),
                (None, accepts) => {
                    let truth = accepts.context("nobody knows how many connections there were")?;
                    let counted = counted.values().sum::<u64>();
                    (truth.saturating_sub(counted), counted.saturating_sub(truth))
                }
            }
        }
    };
    let per_unit = |d: Duration| d.as_secs_f64() * 1e6 / outcome.units as f64;
    Ok(Measured {
        units: outcome.units,
        rate: outcome.rate,
        p50_us: outcome.p50_us,
        p99_us: outcome.p99_us,
        server_us: per_unit(after.0.saturating_sub(before.0)),
        tracer_us: per_unit(after.1.saturating_sub(before.1)),
        lost,
        extra,
        calls: calls.map(|n| n as f64 / outcome.units as f64),
        accept_us,
    })
}

/// Waits until a tracer has attached to every thread of a server that nobody asks for anything
/// yet, and gives when it had: when it said so, or, if it is one that does not, when it last used
/// CPU time.
pub fn attached_since(
    tracer: &mut Started,
    case: Case,
    pids: &[i32],
    dir: &Path,
) -> Result<Instant> {
    const QUIET: Duration = Duration::from_millis(60);
    let pid = tracer.pid();
    if let Some(word) = case.tells_of_attach() {
        return wait_for("the tracer to say that it has attached", || {
            tracer.must_run()?;
            let said = match case {
                Case::Bpftrace => fs::read_to_string(dir.join(RECORD)).unwrap_or_default(),
                _ => tracer.said(),
            };
            Ok(said.contains(word).then(Instant::now))
        });
    }
    wait_for("the tracer to attach", || {
        tracer.must_run()?;
        Ok(processes::are_traced(pids, pid).then_some(()))
    })?;
    let mut busy = (cpu::time(&[pid]), Instant::now());
    wait_for("the tracer to finish attaching", || {
        tracer.must_run()?;
        let used = cpu::time(&[pid]);
        if used != busy.0 {
            busy = (used, Instant::now());
        }
        Ok((busy.1.elapsed() >= QUIET).then_some(busy.1))
    })
}
