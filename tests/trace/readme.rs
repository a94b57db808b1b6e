//! The commands of the README do what it says, on a server that is called nginx here.

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

/// The lines behind `$ ` in the blocks marked `console`.
fn commands() -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```console\n").skip(1);
    let blocks = blocks.map(|b| b.split_once("```").expect("the block ends").0);
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).collect()
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
fn its_commands() {
    let stage = Stage::get();
    let program: PathBuf = need!(stage.server(), "the README", "there is no C compiler");
    if listening_ports().contains(&PORT) {
        return skip("the commands of the README", "somebody else listens on port 4711");
    }
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let folder = open_folder();
        programs(&stage, &program, folder.path());
        let port = Port { number: PORT, v4: true, v6: false };
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let start = |command: &str, work: &Path| {
            // `exec`, so that a signal reaches the program and not the shell.
            let argv = ["sh", "-c", &format!("exec {command}")].map(OsString::from);
            let path = [("PATH", path.as_ref())];
            Session::start_with(&stage, User::plain(), work, &argv, Stdio::null(), &path)
        };
        let work = open_folder();
        fs::write(work.path().join("strace.log"), LOG).expect("our folder");
        if command.contains("tcptally parse") {
            let mut run = start(command, work.path());
            assert!(run.wait().success(), "{command}: {}", run.stderr());
            assert!(run.stdout().contains("127.0.0.9"), "{command}: {}", run.stdout());
            continue;
        }
        let spawns = command.contains(" -- ");
        let server = (!spawns).then(|| {
            let mut argv = vec![program.clone().into(), PORT.to_string().into()];
            argv.push("prefork=2".into());
            let place = open_folder();
            let server = Server { argv, ports: vec![port], protocol: GREETED, folder: place };
            let session = server.start(&stage, User::plain());
            fs::write(folder.path().join("pid"), session.pid.to_string()).expect("our folder");
            (server, session)
        });
        let mut run = start(command, work.path());
        wait_for(command, || {
            assert!(run.ended().is_none(), "{command}: {}", run.stderr());
            let ready = match spawns {
                true => listening_ports().contains(&PORT),
                false => ["attached", "watching"].iter().any(|w| run.stderr().contains(w)),
            };
            ready.then_some(())
        });
        for from in [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 4, 7, 11)] {
            visit(from.into(), (Ipv4Addr::LOCALHOST, PORT).into(), GREETED).expect("an answer");
        }
        run.signal(if spawns { Signal::SIGTERM } else { Signal::SIGINT });
        let status = run.wait();
        run.assert_all_gone();
        assert!(spawns || status.success(), "{command}: {status}: {}", run.stderr());
        let told = if spawns { run.stderr() } else { run.stdout() };
        let file = fs::read_to_string(work.path().join("clients.json")).unwrap_or_default();
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
