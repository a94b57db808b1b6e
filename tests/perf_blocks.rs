//! The pieces of the engine `perf`, each against a real tracee.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tcptally::sys::ptrace::{self, Tid};
use tcptally::sys::wait;
use tcptally::trace::perf::inject::{self, Disposition, Progress, Started};
use tcptally::trace::perf::site::Site;
use tcptally::trace::procfs::status_field;
use tcptally::trace::stop::{Stop, Until};

/// A C program of tests/tracees, compiled once; `None` without a compiler.
fn tracee(name: &str) -> Option<PathBuf> {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        directory
    });
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracees").join(name);
    let binary = tempfile::Builder::new().prefix("tracee").tempdir_in(directory.path()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(binary.path(), mode).unwrap();
    let binary = binary.keep().join("tracee");
    let built = Command::new("cc")
        .args(["-O2", "-pthread", "-march=native", "-o"])
        .arg(&binary)
        .arg(source)
        .status()
        .ok()?;
    assert!(built.success());
    Some(binary)
}

/// A server that is ended with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(program: &Path, mode: &str, calm: bool) -> Server {
        let mut child = Command::new(program)
            .args(["0", mode])
            // The kernel restarts its waits, unless its handlers run or the tracer is killed.
            .envs(calm.then_some(("STEADY_NO_EINTR", "1")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Server { child, port: line.trim().parse().unwrap() }
    }

    fn pid(&self) -> Tid {
        self.child.id() as Tid
    }

    fn answers(&self) -> bool {
        let Ok(mut client) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        matches!(client.read(&mut [0]), Ok(1))
    }

    fn ignores_sigtrap(&self) -> bool {
        let set = status_field(self.pid(), "SigIgn").unwrap();
        u64::from_str_radix(&set, 16).unwrap() >> (libc::SIGTRAP - 1) & 1 == 1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next_stop(tid: Tid) -> Stop {
    loop {
        match wait::one(tid) {
            Ok(change) => return Stop::from(change.expect("a tracee")),
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

/// Passes on what a loop of a tracer would.
fn resume(stop: Stop) {
    match stop {
        Stop::Signal(s) => s.deliver(Until::AnyStop),
        Stop::Group(s) => s.listen(),
        Stop::Event(s) => s.resume(Until::AnyStop),
        Stop::Exited(..) | Stop::Killed(..) => panic!("the tracee has ended: {stop:?}"),
        other => panic!("{other:?}"),
    }
    .unwrap();
}

/// Started, three stops taken and two of them answered.
const STEPS: u32 = 6;

/// Ends this process without another word, where the environment asks for it.
fn die_at(step: u32) {
    if std::env::var("DIE_AT").is_ok_and(|at| at == step.to_string()) {
        tcptally::sys::kill(std::process::id() as Tid, libc::SIGKILL);
    }
}

/// Changes the disposition of a seized process and leaves it stopped; gives the former one.
fn inject(pid: Tid, wanted: &Disposition) -> (Stop, Disposition) {
    loop {
        let site = Site::find(pid).unwrap();
        ptrace::interrupt(pid).unwrap();
        let stop = loop {
            match next_stop(pid) {
                Stop::Event(stop) => break stop,
                other => resume(other),
            }
        };
        let mut injection = match inject::start(stop, &site, wanted) {
            Started::Going(injection) => injection,
            Started::NotNow(stop) => {
                resume(Stop::Event(stop));
                continue;
            }
            Started::Unfit(_, unfit) => panic!("{unfit}"),
        };
        let mut step = 0;
        let other = loop {
            die_at(step);
            let stop = next_stop(pid);
            die_at(step + 1);
            step += 2;
            match injection.on_stop(stop) {
                Progress::Going(going) => injection = going,
                Progress::Done(stop, former) => return (stop, former.unwrap()),
                Progress::Undone(stop) => break stop,
            }
        };
        ptrace::interrupt(pid).unwrap();
        resume(other);
    }
}

const SEIZED: i32 = ptrace::PTRACE_O_TRACESYSGOOD;

fn ignore_and_put_back(pid: Tid) {
    let (stop, former) = inject(pid, &Disposition::IGNORED);
    resume(stop);
    let (stop, ours) = inject(pid, &former);
    assert_eq!(ours, Disposition::IGNORED);
    resume(stop);
}

fn injections_are_harmless(mode: &str) {
    let Some(program) = tracee("steady.c") else { return eprintln!("skipped: no cc") };
    let server = Server::start(&program, mode, mode != "signals");
    ptrace::seize(server.pid(), SEIZED).unwrap();
    for _ in 0..300 {
        let (stop, former) = inject(server.pid(), &Disposition::IGNORED);
        assert!(server.ignores_sigtrap());
        resume(stop);
        let (stop, _) = inject(server.pid(), &former);
        assert!(!server.ignores_sigtrap());
        resume(stop);
    }
    assert!(server.answers());
}

#[test]
fn three_hundred_injections_are_harmless() {
    injections_are_harmless("");
}

#[test]
fn injections_amid_signals_are_harmless() {
    injections_are_harmless("signals");
}

#[test]
fn injections_into_a_stack_in_use_are_harmless() {
    injections_are_harmless("deep");
}

/// The tracer of the next tests: changes the process with this number until it is killed.
#[test]
#[ignore = "the tracer that other tests start"]
fn inject_until_killed() {
    let pid = std::env::var("TRACEE").unwrap().parse().unwrap();
    ptrace::seize(pid, SEIZED).unwrap();
    println!("seized");
    let times = std::env::var("TIMES").map_or(u64::MAX, |n| n.parse().unwrap());
    for _ in 0..times {
        ignore_and_put_back(pid);
    }
}

fn start_tracer(server: &Server, die_at: Option<u32>) -> Child {
    let mut tracer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inject_until_killed", "--ignored", "--nocapture"])
        .env("TRACEE", server.pid().to_string())
        .envs(die_at.map(|n| ("DIE_AT", n.to_string())))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(tracer.stdout.as_mut().unwrap());
    assert!(said.lines().any(|line| line.unwrap().contains("seized")));
    tracer
}

#[test]
fn a_tracer_killed_at_any_time_leaves_the_server_as_it_was() {
    let Some(program) = tracee("steady.c") else { return eprintln!("skipped: no cc") };
    for mode in ["", "busy"] {
        let mut server = Server::start(&program, mode, false);
        for i in 0..40 {
            let mut tracer = start_tracer(&server, None);
            // Not to win a race but to lose it at another moment each time.
            std::thread::sleep(std::time::Duration::from_micros(2_000 + 37 * i));
            tracer.kill().unwrap();
            tracer.wait().unwrap();
            assert!(server.answers(), "after {i} tracers");
            assert!(server.child.try_wait().unwrap().is_none(), "after {i} tracers");
        }
    }
}

#[test]
fn a_tracer_killed_at_each_step_leaves_the_server_as_it_was() {
    let Some(program) = tracee("steady.c") else { return eprintln!("skipped: no cc") };
    for mode in ["", "busy", "deep"] {
        let mut server = Server::start(&program, mode, false);
        for step in (0..STEPS).cycle().take(6 * STEPS as usize) {
            let status = start_tracer(&server, Some(step)).wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
            assert!(server.answers(), "{mode}, step {step}");
            assert!(server.child.try_wait().unwrap().is_none(), "{mode}, step {step}");
            assert_eq!(status_field(server.pid(), "TracerPid").as_deref(), Some("0"));
        }
    }
}
