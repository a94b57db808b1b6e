//! [`ServerLog`]: the file that a command writes to while a screen has the terminal.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// The file, and the own streams.
#[derive(Debug)]
pub(super) struct ServerLog {
    file: File,
    nothing: File,
    own: [OwnedFd; 3],
}

impl ServerLog {
    /// Opens the file, to append to it.
    pub(super) fn open(path: &Path) -> io::Result<ServerLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let own = [
            io::stdin().as_fd().try_clone_to_owned()?,
            io::stdout().as_fd().try_clone_to_owned()?,
            io::stderr().as_fd().try_clone_to_owned()?,
        ];
        Ok(ServerLog { file, nothing: File::open("/dev/null")?, own })
    }

    /// Runs `start` with stdout and stderr going to the file, and with an empty stdin, so that the command
    /// that it starts inherits them. Keys are for the screen.
    pub(super) fn during<T>(&self, start: impl FnOnce() -> T) -> T {
        let [stdin, stdout, stderr] = &self.own;
        set(self.nothing.as_fd(), self.file.as_fd(), self.file.as_fd());
        let started = start();
        set(stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
        started
    }
}

/// Sets the streams. dup2(2) fails for no descriptor that is open.
fn set(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) {
    let _ = dup2_stdin(stdin);
    let _ = dup2_stdout(stdout);
    let _ = dup2_stderr(stderr);
}
