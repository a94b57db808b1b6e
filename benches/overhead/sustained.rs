//! Very many connections for a long time, seen by an unprivileged tcptally that does not hold up the
//! server: whether one is lost, and whether its memory grows.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::case::{Case, Form, RECORD, Tools};
use crate::client::{self, Amount};
use crate::cpu;
use crate::processes::{self, Started, status};
use crate::record;
use crate::run::attached_since;
use crate::server::Kind;

/// For so long by default.
pub const SECONDS: f64 = 60.0;

/// Memory is compared to that at this time, when all addresses have come.
const SETTLED: Duration = Duration::from_secs(10);

/// What says how much room the kernel has for what is not read yet.
const BUFFERS: [&str; 2] = ["kernel's messages has", "a ring of"];

/// Who watches, where root may choose: nobody.
const OTHER_USER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// The ways that are measured: they do not hold up a server, so they can lose connections.
pub const CASES: [Case; 2] = [Case::Watch("sockdiag"), Case::Attach("sample")];

/// How much load, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Sustained {
    pub seconds: f64,
    /// Connections a second; `None`: as many as there can be.
    pub rate: Option<f64>,
    pub addresses: u32,
    /// So many programs that use all the CPU time that they get.
    pub spinners: usize,
}

/// Measures a case under load.
pub fn measure(tools: &Tools, case: Case, load: Sustained, out: &mut impl Write) -> Result<()> {
    let Sustained { seconds, rate, addresses, spinners } = load;
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    fs::set_permissions(dir, Permissions::from_mode(0o777))?;
    let is_root = nix::unistd::geteuid().is_root();
    let user = if is_root { &OTHER_USER[..] } else { &[] };
    let as_other =
        |argv: Vec<OsString>| user.iter().map(OsString::from).chain(argv).collect::<Vec<_>>();
    let kind = Kind::Own("loop");
    let command = as_other(kind.command(&tools.accept_server, dir)?);
    let server = kind.ready(processes::start(&command, dir)?, dir)?;
    let argv = case.attach(tools, dir, &server.pids, server.address.port());
    let mut watcher = processes::start(&as_other(argv.context("it attaches")?), dir)?;
    attached_since(&mut watcher, case, &server.pids, dir)?;

    let pid = watcher.pid();
    let amount = Amount { seconds, connections: None, rate, concurrency: 64, addresses, cpu: None };
    let busy = spin(spinners, dir)?;
    let before = (cpu::time(&[pid]), processes::kernel_threads());
    let over = AtomicBool::new(false);
    let (outcome, memory) = std::thread::scope(|scope| {
        let samples = scope.spawn(|| samples(pid, &over));
        let outcome = client::run(tools, kind, &server, amount, dir);
        over.store(true, Ordering::Relaxed);
        (outcome, samples.join().unwrap_or_default())
    });
    drop(busy);
    let outcome = outcome?;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / outcome.units as f64;
    let watcher_us = each(cpu::time(&[pid]).saturating_sub(before.0));
    let kernel_us = each(processes::kernel_threads().saturating_sub(before.1));
    watcher.must_run()?;
    watcher.signal(Signal::SIGINT);
    watcher.wait()?;
    server.end()?;
    let counted = record::read(&dir.join(RECORD), Form::Report)?;
    let truth = outcome.truth.context("the clients keep no books")?;
    let made: u64 = truth.values().sum();
    let (lost, extra) = record::compare(&truth, &counted);

    let who = if is_root { "user nobody" } else { "this user" };
    writeln!(out, "\n{case:?} as {who}, {seconds} s, {spinners} busy programs")?;
    let said = watcher.said();
    let buffer = said.lines().find(|l| BUFFERS.iter().any(|words| l.contains(words)));
    writeln!(out, "buffer       {}", buffer.unwrap_or("unknown"))?;
    writeln!(out, "connections  {made} from {} addresses, {:.0}/s", truth.len(), outcome.rate)?;
    writeln!(out, "lost, extra  {lost}, {extra}")?;
    writeln!(
        out,
        "CPU          tcptally {watcher_us:.1} us each, the kernel's threads {kernel_us:.1}"
    )?;
    show_memory(&memory, out)?;
    Ok(out.flush()?)
}

fn show_memory(memory: &[(Duration, f64)], out: &mut impl Write) -> std::io::Result<()> {
    let settled = memory.iter().find(|(time, _)| *time >= SETTLED).map_or(f64::NAN, |m| m.1);
    let last = memory.last().map_or(f64::NAN, |m| m.1);
    let seconds = SETTLED.as_secs();
    writeln!(out, "memory       {settled:.1} MiB at {seconds} s, {last:.1} MiB at the end")
}

/// Programs that use all the CPU time that they get, until they are dropped.
fn spin(programs: usize, dir: &Path) -> Result<Vec<Started>> {
    let argv = ["sh", "-c", "while :; do :; done"].map(OsString::from);
    (0..programs).map(|_| processes::start(&argv, dir)).collect()
}

/// The process's memory in MiB, about every second.
fn samples(pid: i32, over: &AtomicBool) -> Vec<(Duration, f64)> {
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut next = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        if began.elapsed() < next {
            continue;
        }
        next += Duration::from_secs(1);
        let rss = status(pid, "VmRSS");
        let kib = rss.and_then(|kib| kib.trim_end_matches("kB").trim().parse::<f64>().ok());
        samples.extend(kib.map(|kib| (began.elapsed(), kib / 1024.0)));
    }
    samples
}
