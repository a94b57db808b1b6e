//! Limits of control groups, as container engines and systemd set them: memory of the server, processes of tcptally.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::support::*;

/// A control group of this test; removed with its last process.
struct Group(PathBuf);

impl Group {
    /// A group with a limit of this controller, by version 1 or 2. `None` where that is not possible.
    fn new(controller: &str, limits: [(&str, &str); 2]) -> Option<Group> {
        let name = format!("tcptally-test-{}-{controller}", std::process::id());
        let [(old, old_value), (new, new_value)] = limits;
        let root = Path::new("/sys/fs/cgroup");
        let places = [(root.join(controller), old, old_value), (root.to_owned(), new, new_value)];
        places.into_iter().find_map(|(parent, file, value)| {
            let group = Group(parent.join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(file), value).ok()?;
            Some(group)
        })
    }

    fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    fn add(&self, pid: u32) {
        fs::write(self.processes(), pid.to_string()).expect("root may move processes");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_at_most(TIMEOUT, || fs::remove_dir(&self.0).is_ok().then_some(()));
    }
}

fn memory() -> Option<Group> {
    let limit = (24u64 << 20).to_string();
    Group::new("memory", [("memory.limit_in_bytes", &limit), ("memory.max", &limit)])
}

/// Connects, lets the server take all memory, and waits for its end.
fn exhaust(
    server: &Server,
    group: &Group,
    pid: u32,
    ended: impl FnMut() -> Option<()>,
) -> Attempts {
    let mut attempts = Attempts::make(server, 40);
    group.add(pid);
    signal(pid, Signal::SIGUSR1);
    wait_for("the kernel kills the server", ended);
    attempts.add(&Attempts::make(server, 1));
    attempts
}

#[test]
fn a_server_that_the_memory_limit_of_its_group_kills() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let group = need!(memory(), "a memory limit of a group", "no group can be made");
    let user = User::plain();
    let killed = Some(Signal::SIGKILL as i32);
    let server = || Server::c(&program, &["loop", "later=memory"], &[Listens::V4]);
    for engine in attach_to(user) {
        let mut attached = Attached::to(&stage, user, engine, server());
        let Attached { server, plain, .. } = &mut attached;
        let pid = plain.pid;
        let attempts = exhaust(server, &group, pid, || plain.ended().map(drop));
        let (status, report) = attached.run.finish();
        assert_eq!(status.code(), Some(0), "{engine}");
        attempts.assert_told_by(&report, engine);
        assert_eq!(attached.plain.ended().and_then(|s| s.signal()), killed, "{engine}");
    }
    for engine in START_WITH {
        let server = server();
        let mut run = Run::spawn(&stage, user, &["--engine", engine], &server);
        let pid = run.server_pid();
        let attempts = exhaust(&server, &group, pid, || run.session.ended().map(drop));
        let (status, report) = run.finish();
        assert_eq!(status.signal(), killed, "{engine}");
        attempts.assert_told_by(&report, engine);
    }
}

/// It counts all, or says why it cannot start.
#[test]
fn a_group_with_no_room_for_another_thread_of_tcptally() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for limit in ["1", "2", "3"] {
        let group = Group::new("pids", [("pids.max", limit), ("pids.max", limit)]);
        let group = need!(group, "a limit of processes of a group", "no group can be made");
        for engine in attach_to(User::Oneself) {
            let what = format!("{limit} processes, {engine}");
            let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
            let mut plain = server.start(&stage, User::Oneself);
            let script = format!("echo $$ >{}; exec \"$@\"", group.processes().display());
            let words = ["sh", "-c", &script, "sh"].map(OsString::from);
            let words = [&words[..], &[stage.tcptally()]].concat();
            let options = ["--engine", engine, "-p", &plain.pid.to_string()].map(OsString::from);
            let mut run = Run::program(&stage, User::Oneself, &words, &options);
            let ready = wait_for(&what, || match run.session.ended() {
                Some(_) => Some(false),
                None => run.session.stderr().contains("attached").then_some(true),
            });
            let made = server.clients(1, 40, 5).run();
            if ready {
                run.end_attached().assert_counts(&made);
            } else {
                let said = run.session.stderr();
                assert!(!run.session.wait().success() && said.contains("pids"), "{what}: {said}");
            }
            assert!(plain.ended().is_none(), "{what}: the server is dead");
            assert_free(plain.pid);
            server.assert_serves();
        }
    }
}
