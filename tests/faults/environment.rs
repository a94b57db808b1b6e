//! Surroundings that lack what most have: /sys, /proc of others, HOME.

use std::ffi::OsString;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::support::*;

/// A name, commands that change the surroundings, and whether only root may.
const SURROUNDINGS: [(&str, &str, bool); 5] = [
    ("hidepid", "mount -t proc -o hidepid=2 proc /proc &&", true),
    ("no /sys", "mount -t tmpfs tmpfs /sys &&", true),
    ("no HOME", "unset HOME XDG_CACHE_HOME &&", false),
    ("HOME that is not there", "export HOME=/nonexistent &&", false),
    ("no PATH", "unset PATH &&", false),
];

/// tcptally, or what `user` words begin with, in these surroundings.
fn words(stage: &Stage, user: User, commands: &str, is_mounted: bool) -> Vec<OsString> {
    let unshare = if is_mounted { "unshare --mount " } else { "" };
    let script = format!("{commands} exec \"$@\"");
    let mut argv: Vec<OsString> = unshare.split_whitespace().map(OsString::from).collect();
    argv.extend(["sh", "-c", &script, "sh"].map(OsString::from));
    if is_mounted {
        argv.extend(user.prefix().iter().map(OsString::from));
    }
    argv.push(stage.tcptally());
    argv
}

#[test]
fn attached_in_surroundings_that_lack_something() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for (name, commands, is_mounted) in SURROUNDINGS {
        if is_mounted && !is_root() {
            skip(name, "only root may mount");
            continue;
        }
        // Who mounts is root, and becomes the user afterwards.
        let starter = if is_mounted { User::Oneself } else { user };
        let words = words(&stage, user, commands, is_mounted);
        for engine in attach_to(user) {
            let what = format!("{name}, {engine}");
            let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
            let mut plain = server.start(&stage, user);
            let port = server.ports[0].number.to_string();
            let options = ["--engine", engine, "--port", &port].map(OsString::from);
            let mut run = Run::program(&stage, starter, &words, &options);
            wait_for(&what, || {
                assert!(run.session.ended().is_none(), "{what}: {}", run.session.stderr());
                run.session.stderr().contains("attached").then_some(())
            });
            let made = server.clients(1, 60, 5).run();
            run.end_attached().assert_counts(&made);
            assert!(plain.ended().is_none());
            assert_free(plain.pid);
        }
    }
}

#[test]
fn started_in_surroundings_that_lack_something() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for (name, commands, is_mounted) in SURROUNDINGS {
        if is_mounted && !is_root() {
            continue;
        }
        let starter = if is_mounted { User::Oneself } else { user };
        let words = words(&stage, user, commands, is_mounted);
        for engine in START_WITH {
            let what = format!("{name}, {engine}");
            let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
            let mut options: Vec<OsString> = ["--engine", engine, "--"].map(OsString::from).into();
            options.extend(server.argv.iter().cloned());
            let mut run = Run::program(&stage, starter, &words, &options);
            wait_for(&what, || {
                assert!(run.session.ended().is_none(), "{what}: {}", run.session.stderr());
                listening_ports().contains(&server.ports[0].number).then_some(())
            });
            let made = server.clients(1, 60, 5).run();
            run.end().assert_counts(&made);
        }
    }
}

/// Nothing can be traced without /proc, and the message says so.
#[test]
fn no_proc_is_an_error_that_names_it() {
    if !is_root() {
        return skip("no /proc", "only root may mount");
    }
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["loop"], &[Listens::V4]);
    let plain = server.start(&stage, User::Oneself);
    let words = words(&stage, User::Oneself, "mount -t tmpfs tmpfs /proc &&", true);
    for options in [["-p", &plain.pid.to_string()], ["--port", &server.ports[0].number.to_string()]]
    {
        let mut run = Run::program(&stage, User::Oneself, &words, &options.map(OsString::from));
        assert_eq!(run.session.wait().code(), Some(1), "{options:?}: {}", run.session.stderr());
        assert!(run.session.stderr().contains("/proc"), "{options:?}: {}", run.session.stderr());
        assert_free(plain.pid);
        server.assert_serves();
    }
    signal(plain.pid, Signal::SIGTERM);
}
