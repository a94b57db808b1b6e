//! Runs work in a separate process that is not a child of this one.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// A process that was started by [`run`], which sends its result.
#[derive(Debug)]
pub(crate) struct Detached<const N: usize>(File);

/// Runs `work` in a grandchild of this process, which sends the first part of the result and then
/// drops the second before it ends. The grandchild has no other descriptor, and wait(2) does not
/// report it.
///
/// # Errors
/// Those of pipe(2) and fork(2).
pub(crate) fn run<const N: usize, Kept>(work: fn() -> ([u8; N], Kept)) -> io::Result<Detached<N>> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child of the fork has one thread; it runs `work`, for which glibc and musl keep
    // malloc usable after fork, and never returns from here.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                if libc::fork() == 0 {
                    close_all_but(write.as_raw_fd());
                    if let Ok((result, kept)) = std::panic::catch_unwind(work) {
                        libc::write(write.as_raw_fd(), result.as_ptr().cast(), result.len());
                        drop(kept);
                    }
                    libc::close(write.as_raw_fd());
                }
                libc::_exit(0)
            }
            child => {
                let mut status = 0;
                while libc::waitpid(child, &raw mut status, libc::__WALL) == -1
                    && *libc::__errno_location() == libc::EINTR
                {}
            }
        }
    }
    Ok(Detached(File::from(read)))
}

impl<const N: usize> Detached<N> {
    /// Waits for the result.
    ///
    /// # Errors
    /// `TimedOut`: there is none yet. `UnexpectedEof`: there will be none.
    pub(crate) fn result(&mut self, timeout_ms: u16) -> io::Result<[u8; N]> {
        if !self.is_readable(timeout_ms)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut result = [0; N];
        self.0.read_exact(&mut result)?;
        Ok(result)
    }

    /// Waits until the process has dropped what it had kept.
    ///
    /// # Errors
    /// `TimedOut`: it has not done so yet.
    pub(crate) fn wait_for_end(mut self, timeout_ms: u16) -> io::Result<()> {
        loop {
            if !self.is_readable(timeout_ms)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.0.read(&mut [0; N])? == 0 {
                return Ok(());
            }
        }
    }

    fn is_readable(&self, timeout_ms: u16) -> io::Result<bool> {
        loop {
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(timeout_ms)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(ready) => return Ok(ready > 0),
            }
        }
    }
}

/// # Safety
/// No descriptor except `kept` may be used afterwards.
unsafe fn close_all_but(kept: i32) {
    // SAFETY: takes numbers only. Before Linux 5.9 close_range does not exist, and the descriptors
    // stay open.
    unsafe {
        if kept > 0 {
            libc::syscall(libc::SYS_close_range, 0, kept - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0);
    }
}
