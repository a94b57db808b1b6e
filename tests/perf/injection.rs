//! SIGTRAP ignored by injection: harmless to the process, whatever becomes of the tracer.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tcptally::sys::ptrace::{self, Tid};
use tcptally::trace::perf::inject::{Change, Disposition};
use tcptally::trace::procfs::status_field;

use super::support::{STEPS, inject, resume, tracee};

const SEIZED: i32 = ptrace::PTRACE_O_TRACESYSGOOD;

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

fn ignore_and_put_back(pid: Tid) {
    let (stop, former) = inject(pid, Change::Ignore);
    resume(stop);
    let (stop, ours) = inject(pid, Change::PutBack(former));
    assert_eq!(ours, Disposition::IGNORED);
    resume(stop);
}

fn injections_are_harmless(mode: &str) {
    let Some(program) = tracee("steady.c") else { return eprintln!("skipped: no cc") };
    let server = Server::start(&program, mode, mode != "signals");
    ptrace::seize(server.pid(), SEIZED).unwrap();
    for _ in 0..300 {
        let (stop, former) = inject(server.pid(), Change::Ignore);
        assert!(server.ignores_sigtrap());
        resume(stop);
        let (stop, _) = inject(server.pid(), Change::PutBack(former));
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
        .args(["--exact", "injection::inject_until_killed", "--ignored", "--nocapture"])
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
