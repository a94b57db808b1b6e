//! A thousand threads, a hundred thousand addresses: memory, time to attach, and for how long
//! threads are held up by that.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::case::{Case, Tools};
use crate::client::{self, Amount};
use crate::cpu;
use crate::processes::{self, Started, is_interrupted, status};
use crate::run::attached_since;
use crate::server::Kind;

const THREADS: usize = 1000;
const ADDRESSES: u32 = 100_000;

const CASES: [(&str, Case); 5] = [
    ("spawn-seccomp", Case::Spawn("seccomp")),
    ("attach-sample", Case::Attach("sample")),
    ("attach-perf", Case::Attach("perf")),
    ("attach-syscall", Case::Attach("syscall")),
    ("strace-p", Case::StraceAttach),
];

/// Measures both.
pub fn measure(tools: &Tools, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\n{THREADS} threads, {ADDRESSES} addresses")?;
    for (name, case) in CASES {
        let line = memory(tools, case);
        tell(name, line, out)?;
    }
    writeln!(out, "\nattach to {THREADS} threads")?;
    for (name, case) in CASES.iter().filter(|c| c.1.attaches()) {
        let line = attach(tools, *case);
        tell(name, line, out)?;
    }
    Ok(())
}

fn tell(name: &str, line: Result<String>, out: &mut impl Write) -> Result<()> {
    match line {
        Ok(line) => writeln!(out, "{name:<15} {line}")?,
        Err(_) if is_interrupted() => bail!("interrupted"),
        Err(why) => writeln!(out, "{name:<15} skipped: {why:#}")?,
    }
    Ok(out.flush()?)
}

fn own(tools: &Tools, model: &str, threads: usize) -> Vec<OsString> {
    let mut argv = vec![tools.accept_server.clone().into_os_string()];
    argv.extend([model.into(), "--threads".into(), threads.to_string().into()]);
    argv
}

/// The tracer's memory when all have come, and how long attaching took while nobody came.
fn memory(tools: &Tools, case: Case) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let argv = case.starts(tools, dir, own(tools, "acceptors", THREADS));
    let kind = Kind::Own("acceptors");
    let server = kind.ready(processes::start(&argv, dir)?, dir)?;
    let mut took = String::new();
    let mut attached = None;
    if let Some(argv) = case.attach(tools, dir, &server.pids, server.address.port()) {
        let began = Instant::now();
        let mut tracer = processes::start(&argv, dir)?;
        let since = attached_since(&mut tracer, case, &server.pids, dir)?;
        took = format!(", attached in {} ms", (since - began).as_millis());
        attached = Some(tracer);
    }
    let tracer = attached.as_ref().map_or(server.process.pid(), Started::pid);
    let amount = Amount {
        seconds: 0.0,
        connections: Some(ADDRESSES.into()),
        rate: None,
        concurrency: 64,
        addresses: ADDRESSES,
        cpu: None,
    };
    let before = cpu::time(&[tracer]);
    let outcome = client::run(tools, kind, &server, amount, dir)?;
    let used =
        cpu::time(&[tracer]).saturating_sub(before).as_secs_f64() * 1e6 / f64::from(ADDRESSES);
    let peak = status(tracer, "VmHWM").context("the tracer is gone")?;
    let kib: u64 = peak.trim_end_matches("kB").trim().parse()?;
    if let Some(mut tracer) = attached {
        tracer.signal(Signal::SIGINT);
        tracer.wait()?;
    }
    server.end()?;
    let mib = kib as f64 / 1024.0;
    let rate = outcome.rate;
    Ok(format!("at most {mib:.1} MiB of memory; {rate:.0}/s, tracer {used:.1} µs each{took}"))
}

/// For how long a thread that spins, and threads that sleep, are held up by attaching, with what
/// the machine itself does to them in as much time before.
fn attach(tools: &Tools, case: Case) -> Result<String> {
    const WINDOW: Duration = Duration::from_secs(1);
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let mut server = processes::start(&own(tools, "sleepers", THREADS), dir)?;
    let mut answers = BufReader::new(server.child.stdout.take().context("no stdout")?);
    let mut questions = server.child.stdin.take().context("no stdin")?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let mut held = || held_up(&mut questions, &mut answers);
    std::thread::sleep(WINDOW);
    held()?;
    std::thread::sleep(WINDOW);
    let before = held()?;
    let argv = case.attach(tools, dir, &[server.pid()], 0).context("does not attach")?;
    let mut tracer = processes::start(&argv, dir)?;
    std::thread::sleep(WINDOW);
    let during = held()?;
    tracer.must_run()?;
    tracer.signal(Signal::SIGINT);
    tracer.wait()?;
    std::thread::sleep(WINDOW);
    let detaching = held()?;
    let show = |[spun, slept]: [f64; 2]| format!("{spun:.1} / {slept:.1} ms");
    Ok(format!(
        "longest hold of a spinning / a sleeping thread: {}, at detach {}; untraced {}",
        show(during),
        show(detaching),
        show(before),
    ))
}

/// The longest in ms, since it was asked last.
fn held_up(questions: &mut impl Write, answers: &mut BufReader<impl Read>) -> Result<[f64; 2]> {
    questions.write_all(b"\n")?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let (spun, slept) = line.trim().split_once(' ').context("no answer")?;
    Ok([spun.parse::<f64>()? / 1e3, slept.parse::<f64>()? / 1e3])
}
