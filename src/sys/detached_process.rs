//! Runs work in a separate process that is not a child of this one.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// Runs `work` in a grandchild of this process. Returns a file that contains the whole result or
/// nothing. The grandchild has no other descriptor, and wait(2) does not report it.
///
/// # Errors
/// Those of pipe(2) and fork(2).
pub(crate) fn run<const N: usize>(work: fn() -> [u8; N]) -> io::Result<File> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child of the fork has one thread; it runs `work`, for which glibc and musl keep
    // malloc usable after fork, and never returns from here.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                if libc::fork() == 0 {
                    close_all_but(write.as_raw_fd());
                    if let Ok(result) = std::panic::catch_unwind(work) {
                        libc::write(write.as_raw_fd(), result.as_ptr().cast(), result.len());
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
        Ok(File::from(read))
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
