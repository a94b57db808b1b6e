//! Very many connections for a long time, seen by an unprivileged `tcptally watch`: whether one is
//! lost, and whether its memory grows.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::case::{Case, Form, RECORD, Tools};
use crate::client::{self, Amount};
use crate::cpu;
use crate::processes::{self, status};
use crate::record;
use crate::run::attached_since;
use crate::server::Kind;

/// For so long by default.
pub const SECONDS: f64 = 60.0;

/// Memory is compared to that at this time, when all addresses have come.
const SETTLED: Duration = Duration::from_secs(10);

/// Who watches, where root may choose: nobody.
const OTHER_USER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Measures `watch` under `rate` connections a second, or as many as there can be.
pub fn measure(
    tools: &Tools,
    seconds: f64,
    rate: Option<f64>,
    addresses: u32,
    out: &mut impl Write,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    fs::set_permissions(dir, Permissions::from_mode(0o777))?;
    let kind = Kind::Own("loop");
    let command = kind.command(&tools.accept_server, dir)?;
    let server = kind.ready(processes::start(&command, dir)?, dir)?;
    let watch = Case::Watch("sockdiag").attach(tools, dir, &server.pids, server.address.port());
    let mut argv = watch.context("watch attaches")?;
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        argv.splice(..0, OTHER_USER.map(Into::into));
    }
    let mut watcher = processes::start(&argv, dir)?;
    attached_since(&mut watcher, Case::Watch("sockdiag"), &server.pids, dir)?;

    let pid = watcher.pid();
    let amount = Amount { seconds, connections: None, rate, concurrency: 64, addresses, cpu: None };
    let before = (cpu::time(&[pid]), processes::kernel_threads());
    let over = AtomicBool::new(false);
    let (outcome, memory) = std::thread::scope(|scope| {
        let samples = scope.spawn(|| samples(pid, &over));
        let outcome = client::run(tools, kind, &server, amount, dir);
        over.store(true, Ordering::Relaxed);
        (outcome, samples.join().unwrap_or_default())
    });
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
    let allowed = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    writeln!(out, "\nwatch as {who}, {seconds} s, net.core.rmem_max {}", allowed.trim())?;
    let buffer = watcher.said();
    let buffer = buffer.lines().find_map(|l| Some(l.split_once("kernel's messages has ")?.1));
    writeln!(out, "buffer       {}", buffer.unwrap_or("unknown"))?;
    writeln!(out, "connections  {made} from {} addresses, {:.0}/s", truth.len(), outcome.rate)?;
    writeln!(out, "lost, extra  {lost}, {extra}")?;
    writeln!(
        out,
        "CPU          watcher {watcher_us:.1} us each, the kernel's threads {kernel_us:.1}"
    )?;
    let at = |time: Duration| memory.iter().find(|(t, _)| *t >= time).map_or(f64::NAN, |m| m.1);
    let last = memory.last().map_or(f64::NAN, |m| m.1);
    writeln!(
        out,
        "memory       {:.1} MiB at {} s, {last:.1} MiB at the end",
        at(SETTLED),
        SETTLED.as_secs()
    )?;
    Ok(out.flush()?)
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
