//! The commands of README.md and docs/ do what these say, on a server that is called nginx here.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::*;

/// The port that the README speaks of.
const PORT: u16 = 4711;

/// What it calls strace.log.
const LOG: &[u8] = include_bytes!("../../testdata/strace/nginx_f_net/log");

/// The lines behind `$ ` in the blocks marked `console` of README.md and docs/*.md.
fn commands() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).into_iter().flatten();
    let mut files: Vec<_> = docs.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    files.insert(0, root.join("README.md"));
    let texts = files.into_iter().map(|file| fs::read_to_string(file).expect("a text"));
    let mut commands = Vec::new();
    for text in texts {
        for block in text.split("```console\n").skip(1) {
            let (block, _) = block.split_once("```").expect("the block ends");
            commands.extend(block.lines().filter_map(|l| l.strip_prefix("$ ")).map(String::from));
        }
    }
    commands
}

/// A folder with what the commands call: tcptally, nginx and pidof.
fn programs(stage: &Stage, server: &Path, folder: &Path) {
    let nginx = format!("#!/bin/sh\nexec {} {PORT} prefork=2\n", server.display());
    let pidof = format!("#!/bin/sh\ncat {}\n", folder.join("pid").display());
    for (name, text) in [("nginx", nginx), ("pidof", pidof)] {
        fs::write(folder.join(name), text).expect("a folder to write in");
        set_mode(&folder.join(name), 0o755);
    }
    std::os::unix::fs::symlink(stage.tcptally(), folder.join("tcptally")).expect("a link");
}

/// One after the other: they share the port.
#[test]
fn documented_commands_do_what_they_say() {
    let stage = Stage::get();
    let program: PathBuf = need!(stage.server(), "the README", "there is no C compiler");
    if listening_ports().contains(&PORT) {
        return skip("the commands of the README", "somebody else listens on port 4711");
    }
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    for command in &commands {
        let programs_folder = open_folder();
        programs(&stage, &program, programs_folder.path());
        let work = open_folder();
        fs::create_dir(work.path().join("logs")).expect("our folder");
        for name in ["strace.log", "logs/web1.log"] {
            fs::write(work.path().join(name), LOG).expect("our folder");
        }
        fs::write(work.path().join("hosts.txt"), "web1\n").expect("our folder");
        let example = Example { stage: &stage, command, programs: programs_folder.path() };
        if command.contains("--live") {
            // They need a terminal: tests/cli/screen.rs.
        } else if command.contains("tcptally parse") {
            let mut run = example.start(work.path());
            assert!(run.wait().success(), "{command}: {}", run.stderr());
            let file = fs::read_to_string(work.path().join("report.html")).unwrap_or_default();
            let told = run.stdout() + &file;
            assert!(told.contains("127.0.0.9"), "{command}: {told}");
        } else {
            example.count(&program, work.path());
        }
    }
}

/// A command of the documentation, and where it finds its programs.
struct Example<'a> {
    stage: &'a Stage,
    command: &'a str,
    programs: &'a Path,
}

impl Example<'_> {
    fn start(&self, work: &Path) -> Session {
        // `exec`, so that a signal reaches the program and not the shell.
        let argv = ["sh", "-c", &format!("exec {}", self.command)].map(OsString::from);
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap());
        let path = [("PATH", path.as_ref())];
        Session::start_with(self.stage, User::plain(), work, &argv, Stdio::null(), &path)
    }

    /// A server for a command that attaches or watches.
    fn serve(&self, program: &Path) -> (Server, Session) {
        let argv = vec![program.into(), PORT.to_string().into(), "prefork=2".into()];
        let ports = vec![Port { number: PORT, v4: true, v6: false, is_dual: false }];
        let server = Server { argv, ports, protocol: GREETED, folder: open_folder() };
        let session = server.start(self.stage, User::plain());
        fs::write(self.programs.join("pid"), session.pid.to_string()).expect("our folder");
        (server, session)
    }

    /// Runs `trace` or `watch` while two clients come, and checks what it shows.
    fn count(&self, program: &Path, work: &Path) {
        let command = self.command;
        let spawns = command.contains(" -- ");
        let server = (!spawns).then(|| self.serve(program));
        let mut run = self.start(work);
        wait_for(command, || {
            assert!(run.ended().is_none(), "{command}: {}", run.stderr());
            let ready = if spawns {
                listening_ports().contains(&PORT)
            } else {
                ["attached", "watching"].iter().any(|w| run.stderr().contains(w))
            };
            ready.then_some(())
        });
        for from in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 4, 7, 11)] {
            visit(from.into(), (Ipv4Addr::LOCALHOST, PORT).into(), GREETED).expect("an answer");
        }
        run.signal(if spawns { Signal::SIGTERM } else { Signal::SIGINT });
        let status = run.wait();
        run.assert_all_gone();
        assert!(spawns || status.success(), "{command}: {status}: {}", run.stderr());
        let told = if spawns { run.stderr() } else { run.stdout() };
        let file = fs::read_to_string(work.join("clients.json")).unwrap_or_default();
        let told = told + &file;
        let expected = match command {
            c if c.contains("--not-from") => "0 connections",
            c if c.contains("--by port,net") => "127.4.0.0/16",
            _ => "127.4.7.11",
        };
        assert!(told.contains(expected), "{command} does not show {expected}:\n{told}");
        if let Some((server, _session)) = &server {
            server.assert_serves();
        }
    }
}
