//! How long it takes to start.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::case::Tools;
use crate::processes::is_interrupted;
use crate::stats::Values;

const TIMES: usize = 40;

/// Starts programs that end at once, in turns.
pub fn measure(tools: &Tools, out: &mut impl Write) -> Result<()> {
    let tcptally = tools.tcptally.to_string_lossy();
    let commands: [(&str, Vec<&str>); 5] = [
        ("true", vec!["true"]),
        ("tcptally --help", vec![&tcptally, "--help"]),
        ("tcptally trace -- true", vec![&tcptally, "trace", "--", "true"]),
        ("strace -f true", vec!["strace", "-f", "-e", "trace=accept,accept4", "true"]),
        ("strace --seccomp-bpf true", {
            vec!["strace", "-f", "--seccomp-bpf", "-e", "trace=accept,accept4", "true"]
        }),
    ];
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..TIMES {
        for ((_, argv), times) in commands.iter().zip(&mut times) {
            if is_interrupted() {
                bail!("interrupted");
            }
            let mut command = Command::new(argv[0]);
            command.args(&argv[1..]).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let began = Instant::now();
            if command.status().is_ok_and(|s| s.success()) {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    writeln!(out, "\nfrom start to end, {TIMES} times: median, range in ms")?;
    for ((name, _), times) in commands.iter().zip(times) {
        writeln!(out, "{name:<26} {}", times.into_iter().collect::<Values>())?;
    }
    Ok(())
}
