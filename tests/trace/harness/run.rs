//! Runs of `tcptally trace`, and its report against what the clients know.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A run of `tcptally trace` that writes a JSON report by address and port.
pub struct Run {
    pub session: Session,
    folder: TempDir,
}

/// The options that every run has, so that its report can be read.
const REPORT: [&str; 6] = ["-F", "json", "-o", "report.json", "--by", "ip,port"];

impl Run {
    /// `tcptally trace OPTIONS -- SERVER`, when the server listens.
    #[track_caller]
    pub fn spawn(stage: &Stage, user: User, options: &[&str], server: &Server) -> Run {
        let mut run = Run::command(stage, user, options, &server.argv);
        server.wait_until_it_listens(&mut run.session);
        run
    }

    /// `tcptally trace OPTIONS -- COMMAND`, just started.
    pub fn command(stage: &Stage, user: User, options: &[&str], command: &[OsString]) -> Run {
        let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
        arguments.push("--".into());
        arguments.extend(command.iter().cloned());
        Run::tcptally(stage, user, &arguments)
    }

    /// `tcptally trace OPTIONS`, when it is attached to all of these.
    #[track_caller]
    pub fn attach(stage: &Stage, user: User, options: &[&str], pids: &[u32]) -> Run {
        let mut run = Run::start(stage, user, options);
        run.wait_until_attached(pids);
        run
    }

    /// `tcptally trace OPTIONS`, just started.
    pub fn start(stage: &Stage, user: User, options: &[&str]) -> Run {
        let arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
        Run::tcptally(stage, user, &arguments)
    }

    fn tcptally(stage: &Stage, user: User, arguments: &[OsString]) -> Run {
        Run::program(stage, user, &[stage.tcptally()], arguments)
    }

    /// The same with words of one's own for the program: another copy of it, or in the hands of
    /// something that executes it.
    pub fn program(stage: &Stage, user: User, program: &[OsString], arguments: &[OsString]) -> Run {
        let folder = open_folder();
        let mut argv = program.to_vec();
        argv.push("trace".into());
        argv.extend(REPORT.map(OsString::from));
        argv.extend(arguments.iter().cloned());
        // A core dump of a server that shall crash helps nobody.
        let argv = [OsString::from("prlimit"), "--core=0".into()].into_iter().chain(argv);
        let argv: Vec<OsString> = argv.collect();
        let environment = [("RUST_BACKTRACE", OsStr::new("1"))];
        let session =
            Session::start_with(stage, user, folder.path(), &argv, Stdio::null(), &environment);
        Run { session, folder }
    }

    /// Waits until every thread of these processes is traced.
    #[track_caller]
    pub fn wait_until_attached(&mut self, pids: &[u32]) {
        wait_for("tcptally attaches", || {
            if let Some(status) = self.session.ended() {
                panic!("ended before it attached: {status}; stderr:\n{}", self.session.stderr());
            }
            // It says so when it has done everything; being traced is only the first step.
            self.session.stderr().contains("attached").then_some(())
        });
        let is_sampled = self.session.stderr().contains("without stopping");
        for pid in pids {
            let traced = |t: &String| status_field(t, "TracerPid").is_none_or(|p| p != "0");
            match is_sampled {
                true => assert!(!threads(*pid).iter().any(traced), "process {pid} is traced"),
                false => assert!(threads(*pid).iter().all(traced), "process {pid} is not traced"),
            }
        }
    }

    /// The server's process: tcptally's child.
    pub fn server_pid(&self) -> u32 {
        wait_for("tcptally has started the server", || children(self.session.pid).first().copied())
    }

    /// Where tcptally runs, and the server that it starts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether every thread of a traced process is stopped, by a signal and not for a moment by
    /// the tracer: nothing runs in it although the tracer has nothing to do.
    pub fn all_stopped(&self, pid: u32) -> bool {
        let stopped = || threads(pid).iter().all(|t| matches!(state(t), Some('T' | 't')));
        let tracer_waits = || state(&self.session.pid.to_string()) == Some('S');
        stopped() && tracer_waits() && stopped()
    }

    /// Whether a signal has stopped tcptally itself.
    pub fn all_stopped_itself(&self) -> bool {
        threads(self.session.pid).iter().all(|t| state(t) == Some('T'))
    }

    /// Ends it with TERM, which a spawned server gets too, and reads the report.
    #[track_caller]
    pub fn end(&mut self) -> Report {
        self.session.signal(Signal::SIGTERM);
        self.finish().1
    }

    /// Ends it with INT, on which it detaches, and reads the report.
    #[track_caller]
    pub fn end_attached(&mut self) -> Report {
        self.session.signal(Signal::SIGINT);
        let (status, report) = self.finish();
        assert_eq!(status.code(), Some(0), "stderr:\n{}", self.session.stderr());
        report
    }

    /// Waits for its end, looks that nothing is left of it, and reads the report.
    #[track_caller]
    pub fn finish(&mut self) -> (ExitStatus, Report) {
        let status = self.session.wait();
        self.session.assert_all_gone();
        (status, self.report())
    }

    /// The report, if there is one yet.
    pub fn report_so_far(&self) -> Option<Report> {
        self.folder.path().join("report.json").exists().then(|| self.report())
    }

    #[track_caller]
    pub fn report(&self) -> Report {
        let path = self.folder.path().join("report.json");
        let text = fs::read_to_string(path).unwrap_or_else(|e| {
            panic!("no report: {e}; stderr:\n{}", self.session.stderr());
        });
        let value = serde_json::from_str(&text);
        Report(value.unwrap_or_else(|e| panic!("not JSON: {e}:\n{text}")))
    }
}

/// Runs a server for a `--duration` under load, from a short one on until something is counted
/// within, and gives the run and what it tells when the time is over: not more than was made.
#[track_caller]
pub fn run_for_a_duration(
    stage: &Stage,
    user: User,
    engine: &str,
    server: impl Fn() -> Server,
) -> (Run, Server, Report) {
    for seconds in [1, 4, 16] {
        let server = server();
        let duration = format!("{seconds}s");
        let options = ["--engine", engine, "--duration", &duration];
        let mut run = Run::spawn(stage, user, &options, &server);
        let load = server.clients(1, 100, 5).at_once(2).keep_coming();
        let report = wait_for("the report", || run.report_so_far());
        let made = load.stop();
        let told = report.counts();
        assert!(told.iter().all(|(k, n)| made.get(k).is_some_and(|m| n <= m)), "{told:?}");
        report.assert_complete();
        if !told.is_empty() {
            return (run, server, report);
        }
        run.end();
    }
    panic!("no client was counted within 16 seconds");
}

/// Runs a round at full speed, and repeats it if tcptally got no CPU time for so long that the kernel's ring
/// buffer was full. Returns the report of a round without that, and what its clients made.
#[track_caller]
pub fn run_with_cpu_time(mut round: impl FnMut() -> (Report, Counts)) -> (Report, Counts) {
    const ROUNDS: usize = 3;
    for _ in 0..ROUNDS {
        let (report, made) = round();
        if !report.warnings().contains("while the kernel's ring buffer was full") {
            return (report, made);
        }
        report.assert_counts_unknown_or_lost(&made);
        // Past the test runner's capture.
        let _ = writeln!(std::io::stderr(), "repeated: a round in which tcptally got no CPU time");
    }
    panic!("in each of {ROUNDS} rounds the ring buffer was full");
}

/// A JSON report.
pub struct Report(pub Value);

impl Report {
    /// The rows by address and port.
    #[track_caller]
    pub fn counts(&self) -> Counts {
        let counts = self.counts_of_known();
        let rows = self.0["rows"].as_array().expect("rows");
        assert_eq!(counts.len(), rows.len(), "a row without address, port, count: {rows:?}");
        counts
    }

    /// The same, without the rows of those of whom not everything is known.
    #[track_caller]
    pub fn counts_of_known(&self) -> Counts {
        let rows = self.0["rows"].as_array().expect("rows");
        let row = |row: &Value| -> Option<((IpAddr, u16), u64)> {
            let ip = row["ip"].as_str()?.parse().ok()?;
            let port = u16::try_from(row["port"].as_u64()?).ok()?;
            Some(((ip, port), row["count"].as_u64()?))
        };
        let read: Vec<_> = rows.iter().filter_map(row).collect();
        let counts: Counts = read.iter().copied().collect();
        assert_eq!(counts.len(), read.len(), "the same row twice: {rows:?}");
        counts
    }

    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {}", self.0))
    }

    pub fn engine(&self) -> &str {
        self.0["engine"].as_str().unwrap_or_default()
    }

    pub fn warnings(&self) -> String {
        self.0["warnings"].to_string()
    }

    /// Panics unless it says what the clients say, address by address and port by port, and
    /// claims to be complete.
    #[track_caller]
    pub fn assert_counts(&self, truth: &Counts) {
        let told = self.counts();
        if told != *truth {
            let keys: std::collections::BTreeSet<_> = told.keys().chain(truth.keys()).collect();
            let wrong: Vec<String> = keys
                .into_iter()
                .filter(|k| told.get(k) != truth.get(k))
                .map(|k| format!("{k:?}: told {:?}, made {:?}", told.get(k), truth.get(k)))
                .collect();
            let sums = (told.values().sum::<u64>(), truth.values().sum::<u64>());
            panic!("wrong: {sums:?} in all;\n{}\n{}", wrong.join("\n"), self.without_rows());
        }
        self.assert_complete();
        assert_eq!(self.number("total"), truth.values().sum::<u64>());
        let addresses: std::collections::BTreeSet<_> = truth.keys().map(|k| k.0).collect();
        assert_eq!(self.number("addresses"), addresses.len() as u64);
    }

    /// Panics unless it counts all connections, each with the peer that the clients report or as
    /// unknown.
    #[track_caller]
    pub fn assert_counts_or_unknown(&self, truth: &Counts) {
        assert_eq!(self.number("lost"), 0, "{}", self.without_rows());
        self.assert_counts_unknown_or_lost(truth);
    }

    /// The same where the reader may get too little CPU time for large samples: what it lost is reported.
    /// `lost` is the maximum of what may be missing, so a connection may be in both. At least half is counted.
    #[track_caller]
    pub fn assert_counts_unknown_or_lost(&self, truth: &Counts) {
        let sum: u64 = truth.values().sum();
        let (total, lost) = (self.number("total"), self.number("lost"));
        assert!(total <= sum && total + lost >= sum, "{sum}: {}", self.without_rows());
        assert!(total >= sum / 2 && lost <= sum, "{sum}: {}", self.without_rows());
        assert!(lost == 0 || self.0["complete"] == false, "{}", self.without_rows());
        let known = self.counts_of_known();
        let right = |(key, n): (&(IpAddr, u16), &u64)| truth.get(key).is_some_and(|m| n <= m);
        assert!(known.iter().all(right), "told {known:?}, made {truth:?}");
    }

    /// Panics unless it claims that nothing was missed.
    #[track_caller]
    pub fn assert_complete(&self) {
        for field in ["unknown_peer", "unknown_port", "lost", "unreadable_lines"] {
            assert_eq!(self.number(field), 0, "{field} in {}", self.without_rows());
        }
        assert_eq!(self.0["complete"], true, "{}", self.without_rows());
    }

    fn without_rows(&self) -> Value {
        let mut value = self.0.clone();
        value["rows"] = Value::Null;
        value
    }
}
