//! A program on a terminal of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::*;

/// The terminal, seen from the side of the person who sits at it.
pub struct Terminal {
    /// `None` once it is closed.
    master: Option<File>,
    screen: String,
    /// How much of the screen has been looked at.
    seen: usize,
    child: Child,
    /// The session's leader: what was started.
    pub pid: u32,
    status: Option<ExitStatus>,
    _stage: Stage,
}

impl Terminal {
    /// Starts a program as the leader of a session with this terminal.
    pub fn start(stage: &Stage, user: User, folder: &Path, argv: &[OsString]) -> Terminal {
        let (master, slave) = open_pair();
        if user == User::Nobody {
            // A login hands the terminal to its user.
            let owner = Some(nix::unistd::Uid::from_raw(65534));
            nix::unistd::fchown(&slave, owner, None).expect("root may");
        }
        let stream = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(user.prefix()).args(argv);
        command.stdin(stream()).stdout(stream()).stderr(stream());
        command.current_dir(folder).env("HOME", folder).env("TERM", "dumb").env("PS1", "$ ");
        let child = command.spawn().expect("setsid (util-linux) starts");
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("our descriptor");
        Terminal {
            master: Some(master),
            screen: String::new(),
            seen: 0,
            pid: child.id(),
            child,
            status: None,
            _stage: stage.clone(),
        }
    }

    /// Types this.
    pub fn type_in(&mut self, keys: &str) {
        let master = self.master.as_mut().expect("the terminal is open");
        master.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Waits until this appears on the screen, after what was waited for last.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let found = wait_at_most(TIMEOUT, || {
            self.read();
            let at = self.screen[self.seen..].find(text)?;
            Some(self.seen + at + text.len())
        });
        match found {
            Some(end) => self.seen = end,
            None => panic!("{text:?} does not appear; the screen:\n{}", self.screen),
        }
    }

    /// All that has appeared on the screen.
    pub fn screen(&self) -> &str {
        &self.screen
    }

    fn read(&mut self) {
        let Some(master) = &mut self.master else { return };
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = master.read(&mut bytes) {
            self.screen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    /// Closes the terminal's window.
    pub fn close(&mut self) {
        self.master = None;
    }

    /// Waits for the end of what was started.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let ended = wait_at_most(TIMEOUT, || {
            self.read();
            self.ended()
        });
        ended.unwrap_or_else(|| panic!("it does not end; the screen:\n{}", self.screen))
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child to wait for");
        }
        self.status
    }

    /// Panics if anything of the session is still there.
    #[track_caller]
    pub fn assert_all_gone(&self) {
        let gone = || session_members(self.pid).is_empty().then_some(());
        let gone = wait_at_most(std::time::Duration::from_secs(10), gone);
        assert!(gone.is_some(), "left behind: {:?}", session_members(self.pid));
    }
}

/// Both ends, neither of which may leak into another test's programs: a terminal of which somebody
/// holds the master is never closed.
fn open_pair() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).expect("our own");
    unlockpt(&master).expect("our own");
    let name = ptsname_r(&master).expect("it has a name");
    let slave = open(Path::new(&name), flags, Mode::empty()).expect("our own");
    // The type of the first has no other way out.
    let master =
        File::from(std::os::fd::AsFd::as_fd(&master).try_clone_to_owned().expect("a descriptor"));
    (master, slave.into())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for _ in 0..1000 {
            let members = session_members(self.pid);
            if members.is_empty() {
                break;
            }
            members.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if self.status.is_none() {
            let _ = self.child.wait();
        }
    }
}
