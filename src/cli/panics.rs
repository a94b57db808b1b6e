//! What a panic does: the program says where, restores the terminal and ends.
//!
//! No panic unwinds the program. The kernel detaches tracees when their tracer ends and they run on (ptrace(2), "Death under
//! ptrace"), so nothing here depends on destructors, and the release is built without the code for them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{PanicHookInfo, set_hook};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::screen;
use crate::model::text::printable_lines;
use crate::parse::expendable;

/// Exit status, as of other Rust programs.
const PANICKED: i32 = 101;

/// How long stderr may be blocked. A stopped tracee waits for this thread, and a terminal can block for hours (Ctrl-S).
const MAX_BLOCKED: u8 = 200;

/// Sets what panics do from now on.
pub fn install() {
    set_hook(Box::new(|panic| {
        expendable::end_thread();
        screen::leave();
        say(panic);
        crate::sys::exit_at_once(PANICKED)
    }));
}

/// Writes without a lock: the thread that holds it may be this one or blocked.
fn say(panic: &PanicHookInfo<'_>) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::from(MAX_BLOCKED)) == Ok(1) {
        // The status line may be on the terminal.
        let start = if stderr.is_terminal() { "\r\n" } else { "" };
        let _ = write(&stderr, format!("{start}{}\n", text(panic)).as_bytes());
    }
}

fn text(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let cause = payload.downcast_ref::<&str>().copied();
    let cause = cause.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
    let mut text = printable_lines(&format!(
        "tcptally: internal error{}: {}\n\
         tcptally: it ends without a report. This is a defect of tcptally: please report these lines and the command line.",
        place.unwrap_or_default(),
        cause.unwrap_or("unknown"),
    ));
    // The packaged program has no unwinder (src/sys/static_program.rs).
    if !cfg!(target_feature = "crt-static") {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{backtrace}"));
        }
    }
    text
}
