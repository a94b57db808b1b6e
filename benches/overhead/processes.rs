//! Starts processes and ends them, whatever happens.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Lets SIGINT, SIGTERM and SIGHUP end waits with an error, so that all is cleaned up.
pub fn heed_signals() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

/// Whether somebody wants this to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Asks until there is an answer; `what` is named when there is none in time.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    const START_TIMEOUT: Duration = Duration::from_secs(20);
    let began = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if is_interrupted() {
            bail!("interrupted");
        }
        if began.elapsed() > START_TIMEOUT {
            bail!("waited {} s for {what}", START_TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A child process. Dropped, it is killed.
pub struct Started {
    name: String,
    pub child: Child,
    errors: std::path::PathBuf,
}

/// Starts `argv`; its messages go to a file in `dir`, its stdin and stdout are pipes.
pub fn start(argv: &[OsString], dir: &Path) -> Result<Started> {
    let (program, arguments) = argv.split_first().context("no command")?;
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    let errors = dir.join(format!("{name}.stderr"));
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors)?)
        .spawn()
        .with_context(|| format!("starting {}", program.to_string_lossy()))?;
    Ok(Started { name, child, errors })
}

impl Started {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// An error that quotes its message, if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{}: {}", self.name, self.complaint(status)),
        }
    }

    /// Its messages so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    fn complaint(&self, status: ExitStatus) -> String {
        match self.said().lines().find(|l| !l.trim().is_empty()) {
            Some(line) => line.trim().to_owned(),
            None => format!("ended with {status}"),
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait_for(&format!("{name} to end"), || Ok(self.child.try_wait()?))
    }

    pub fn signal(&self, signal: Signal) {
        // Not reaped yet, so the id is its own.
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The fields of /proc/PID/stat behind the name: the state is the first.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(')')?.1;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn ids(dir: &str) -> Vec<i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// A process and its children.
pub fn family(pid: i32) -> Vec<i32> {
    let child = |p: &i32| stat(*p).and_then(|f| f.get(1)?.parse().ok()) == Some(pid);
    std::iter::once(pid).chain(ids("/proc").into_iter().filter(child)).collect()
}

/// The CPU time that the kernel's own threads have used, in hundredths of a second each.
pub fn kernel_threads() -> Duration {
    const KTHREADD: &str = "2";
    let ticks = |pid: i32| -> Option<u64> {
        let fields = stat(pid)?;
        // utime and stime, proc_pid_stat(5).
        let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
        (fields.get(1)? == KTHREADD).then_some(number(11)? + number(12)?)
    };
    Duration::from_millis(10 * ids("/proc").into_iter().filter_map(ticks).sum::<u64>())
}

/// The threads of a process.
pub fn threads(pid: i32) -> Vec<i32> {
    ids(&format!("/proc/{pid}/task"))
}

/// A line of /proc/PID/status.
pub fn status(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether each thread of these processes is traced by one of `tracer`.
pub fn are_traced(pids: &[i32], tracer: i32) -> bool {
    let tracers: Vec<String> = threads(tracer).iter().map(i32::to_string).collect();
    pids.iter().flat_map(|pid| threads(*pid)).all(|tid| {
        // A thread that has ended meanwhile needs no tracer.
        status(tid, "TracerPid").is_none_or(|t| tracers.contains(&t))
    })
}
