//! A record with known contents, and the program run on it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program, in a zone and a locale that do not depend on the machine.
pub fn tcptally(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptally"));
    command
        .args(args)
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .env("LC_ALL", "C.UTF-8")
        .env("TCPTALLY_CONFIG", "")
        .stdin(Stdio::null());
    command
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Gave {
    pub out: String,
    pub err: String,
    pub status: Option<i32>,
}

impl Gave {
    /// What was printed, with lines that were broken to fit put together.
    pub fn unwrapped(&self) -> String {
        self.out.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Gave {
    let output = command.output().unwrap();
    Gave {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code(),
    }
}

/// Waits until `condition` gives something, for a minute.
#[track_caller]
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    let found = wait_at_most(Duration::from_secs(60), condition);
    found.unwrap_or_else(|| panic!("waited a minute in vain: {what}"))
}

/// Waits until `condition` gives something, at the longest for `bound`.
pub fn wait_at_most<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        let is_last = Instant::now() >= end;
        if let Some(found) = condition() {
            return Some(found);
        }
        if is_last {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One connection as a line of `strace -ttt -yy`.
pub fn line(seconds: f64, ip: &str, local_port: u16) -> String {
    if ip.contains(':') {
        return format!(
            "{seconds:.6} accept4(3<TCPv6:[[::]:{local_port}]>, {{sa_family=AF_INET6, \
             sin6_port=htons(40000), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"{ip}\", \
             &sin6_addr), sin6_scope_id=0}}, [128 => 28], SOCK_CLOEXEC) = \
             4<TCPv6:[[2001:db8::1]:{local_port}->[{ip}]:40000]>\n"
        );
    }
    format!(
        "{seconds:.6} accept4(3<TCP:[0.0.0.0:{local_port}]>, {{sa_family=AF_INET, \
         sin_port=htons(40000), sin_addr=inet_addr(\"{ip}\")}}, [128 => 16], SOCK_CLOEXEC) = \
         4<TCP:[127.0.0.1:{local_port}->{ip}:40000]>\n"
    )
}

/// A connection whose peer and local port the record does not tell.
pub fn unknown(seconds: f64) -> String {
    format!("{seconds:.6} accept4(3, NULL, NULL, SOCK_CLOEXEC) = 4\n")
}

/// 2026-11-22T11:30:00Z.
pub const NOON: f64 = 1_795_347_000.0;

/// A folder with a record in it.
pub struct Record {
    pub folder: TempDir,
    pub path: String,
}

impl Record {
    pub fn new(text: &str) -> Record {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Record { path: path.to_str().unwrap().into(), folder }
    }

    /// 6 connections in 75 seconds, to two ports.
    pub fn small() -> Record {
        let lines = [
            line(NOON + 5.25, "192.0.2.7", 443),
            line(NOON + 6.0, "192.0.2.7", 443),
            line(NOON + 7.0, "2001:db8:1111:2222:3333:4444:5555:6666", 443),
            line(NOON + 8.0, "192.0.2.7", 80),
            line(NOON + 70.0, "::ffff:192.0.2.9", 80),
            line(NOON + 80.5, "192.0.2.10", 443),
        ];
        Record::new(&lines.concat())
    }

    /// Another name in the folder.
    pub fn beside(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    /// Runs `parse` on the record.
    pub fn parse(&self, args: &[&str]) -> Gave {
        run(tcptally(&["parse"]).args(args).arg(&self.path))
    }

    /// What `parse` prints in format `plain`.
    pub fn plain(&self, args: &[&str]) -> String {
        let gave = self.parse(&[&["-F", "plain"], args].concat());
        assert_eq!((gave.status, gave.err.as_str()), (Some(0), ""), "{args:?}");
        gave.out
    }
}
