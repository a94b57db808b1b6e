//! Processes as /proc shows them, sessions of processes, and waiting.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guard::{guard, release};
use super::{Stage, User};

/// How long to wait before a test fails; far more than needed.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How often to try what may go wrong once in a hundred times: a `few` times, or as often as
/// TCPTALLY_ROUNDS says.
pub fn rounds(few: usize) -> usize {
    let asked = std::env::var("TCPTALLY_ROUNDS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(few)
}

/// Waits until `condition` gives something, and panics with `what` when that takes too long.
#[track_caller]
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    match wait_at_most(TIMEOUT, condition) {
        Some(value) => value,
        None => panic!("waited {TIMEOUT:?} in vain: {what}"),
    }
}

/// Waits until `condition` gives something, at the longest for `bound`. A step counts for a second
/// at most: a machine may be stopped for minutes, as virtual ones are.
pub fn wait_at_most<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let mut left = bound;
    loop {
        let begin = Instant::now();
        if let Some(value) = condition() {
            return Some(value);
        }
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
        left = left.saturating_sub(begin.elapsed().min(Duration::from_secs(1)));
    }
}

/// A field of `/proc/PID/status` (or of a thread's: `PID/task/TID`).
pub fn status_field(task: &str, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_string())
}

/// The state letter of a process or thread: `R`, `S`, `D`, `T` (stopped), `t` (stopped by a
/// tracer), `Z`.
pub fn state(task: &str) -> Option<char> {
    status_field(task, "State")?.chars().next()
}

/// The threads of a process, as `PID/task/TID`.
pub fn threads(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let tids = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    tids.map(|tid| format!("{pid}/task/{tid}")).collect()
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    all_processes().filter(|&p| stat_field(p, 4) == Some(u64::from(pid))).collect()
}

/// The processes of a session, without those that have ended and wait to be reaped.
pub fn session_members(sid: u32) -> Vec<u32> {
    // A first thread that has ended is a zombie, while others still hold the sockets of the process.
    let is_alive = |thread: &String| !matches!(state(thread), None | Some('Z' | 'X'));
    let alive = |pid: &u32| threads(*pid).iter().any(is_alive);
    session_processes(sid).into_iter().filter(alive).collect()
}

/// The processes of a session, also those that have ended and wait to be reaped.
pub fn session_processes(sid: u32) -> Vec<u32> {
    all_processes().filter(|&p| stat_field(p, 6) == Some(u64::from(sid))).collect()
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
}

/// A field of `/proc/PID/stat`, numbered as in proc_pid_stat(5), from the third on.
pub fn stat_field(pid: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

/// Sends a signal. Ignores a process that has ended.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// Whether every thread of the process runs untraced and unstopped.
pub fn is_free(pid: u32) -> bool {
    let free = |t: &String| {
        !matches!(state(t), Some('T' | 't'))
            && status_field(t, "TracerPid").is_none_or(|p| p == "0")
    };
    threads(pid).iter().all(free)
}

/// Panics unless every thread of the process soon runs untraced and unstopped.
#[track_caller]
pub fn assert_free(pid: u32) {
    let freed = wait_at_most(Duration::from_secs(10), || is_free(pid).then_some(()));
    if freed.is_none() {
        let states: Vec<_> = threads(pid).iter().map(|t| (t.clone(), state(t))).collect();
        panic!("process {pid} was left traced or stopped: {states:?}");
    }
}

/// A program in a session of its own, its output in files.
pub struct Session {
    child: Child,
    /// The process that was started. Also the session's number.
    pub pid: u32,
    folder: PathBuf,
    /// Keeps the folder of programs while one of them runs.
    _stage: Stage,
    status: Option<ExitStatus>,
}

impl Session {
    /// Starts `argv` as `user`. Its stdout and stderr go to files in `folder`.
    pub fn start(stage: &Stage, user: User, folder: &Path, argv: &[OsString]) -> Session {
        Session::start_with(stage, user, folder, argv, Stdio::null(), &[])
    }

    /// The same with a stdin and environment variables.
    pub fn start_with(
        stage: &Stage,
        user: User,
        folder: &Path,
        argv: &[OsString],
        stdin: Stdio,
        environment: &[(&str, &OsStr)],
    ) -> Session {
        let mut command = Command::new("setsid");
        command.args(user.prefix()).args(argv).stdin(stdin);
        command.stdout(File::create(folder.join("stdout")).expect("a folder to write in"));
        command.stderr(File::create(folder.join("stderr")).expect("a folder to write in"));
        command.current_dir(folder).env("HOME", folder).env_remove("XDG_CACHE_HOME");
        command.envs(environment.iter().copied());
        let child = command.spawn().expect("setsid (util-linux) starts");
        let pid = child.id();
        guard(pid);
        Session { child, pid, folder: folder.into(), _stage: stage.clone(), status: None }
    }

    /// The stdin, where it was piped.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// What has been written to stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.join("stdout")).unwrap_or_default()
    }

    /// What has been written to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Sends a signal to the process that was started.
    pub fn signal(&self, number: Signal) {
        if self.status.is_none() {
            signal(self.pid, number);
        }
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child to wait for");
        }
        self.status
    }

    /// Waits for the process to end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        match wait_at_most(TIMEOUT, || self.ended()) {
            Some(status) => status,
            None => panic!("{} does not end; stderr:\n{}", self.pid, self.stderr()),
        }
    }

    /// Panics if a process of the session still exists after some time.
    #[track_caller]
    pub fn assert_all_gone(&self) {
        let gone = || session_members(self.pid).is_empty().then_some(());
        if wait_at_most(TIMEOUT, gone).is_none() {
            let left: Vec<String> = session_members(self.pid)
                .iter()
                .map(|p| {
                    let name = fs::read_to_string(format!("/proc/{p}/comm")).unwrap_or_default();
                    format!("{p} {} {:?}", name.trim(), state(&p.to_string()))
                })
                .collect();
            panic!("left behind: {left:?}; stderr:\n{}", self.stderr());
        }
    }

    /// Ends everything in the session.
    pub fn kill_all(&mut self) {
        // A fork may be under way while we look, so look again.
        for _ in 0..1000 {
            let members = session_members(self.pid);
            if members.is_empty() {
                break;
            }
            members.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.status.is_none() {
            // One whose first thread alone has ended looks like one that waits to be reaped.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.status.is_none() || !session_members(self.pid).is_empty() {
            self.kill_all();
        }
        release(self.pid);
    }
}

/// Does something when a test ends, well or not.
pub struct OnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
