//! Describes why ptrace(2) failed, with a remedy.

use std::fs;
use std::io;

use crate::sys::ptrace::Tid;

use super::procfs;

const SPAWN_INSTEAD: &str = "'tcptally trace -- COMMAND' works nevertheless";

/// The remedy if root lacks CAP_SYS_PTRACE.
pub(super) const GIVE_PTRACE: &str = "tcptally runs as root, but without CAP_SYS_PTRACE: start its \
                               container with '--cap-add=SYS_PTRACE', or add CAP_SYS_PTRACE to \
                               CapabilityBoundingSet in its systemd unit";

/// Whether this process is root without CAP_SYS_PTRACE, and so cannot trace other users' processes.
pub(super) fn is_root_without_ptrace() -> bool {
    nix::unistd::geteuid().is_root() && !procfs::has_ptrace_capability()
}

fn yama_scope() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().parse().ok()
}

/// Describes why a child of tcptally cannot be traced.
pub(super) fn of_own_child() -> String {
    let me = std::process::id() as Tid;
    if let Some(thread) = procfs::tracer_of(me) {
        let tracer = procfs::process_of(thread).unwrap_or(thread);
        return format!(
            "tcptally is itself traced, by process {tracer} (strace -f or a debugger), which also \
             traces its children; run tcptally without that tracer"
        );
    }
    if yama_scope() == Some(3) {
        return "kernel.yama.ptrace_scope is 3, which forbids ptrace to everyone until the next \
                boot; boot with another value, or use 'tcptally parse' on a record of another tool"
            .into();
    }
    "a seccomp filter or security module forbids ptrace (usually in a container); run the \
     container with '--cap-add=SYS_PTRACE' or a seccomp profile that allows ptrace"
        .into()
}

/// Describes that a process does not exist.
pub(super) fn gone(pid: Tid) -> String {
    format!(
        "process {pid}: no such process here (it has ended, or the PID is that of another PID \
         namespace, such as a container; 'pidof NAME' and 'pgrep NAME' show the PIDs of this one)"
    )
}

/// Describes why no engine can watch a process; `None` if one can.
pub(super) fn unwatchable(pid: Tid) -> Option<String> {
    if !procfs::exists(pid) {
        return Some(gone(pid));
    }
    let me = std::process::id() as Tid;
    if pid == me {
        return Some(format!("process {pid} is tcptally itself, which cannot watch itself"));
    }
    if procfs::is_kernel_thread(pid) {
        return Some(format!("process {pid} is a kernel thread, which does not call accept"));
    }
    if procfs::process_has_ended(pid) {
        return Some(format!(
            "process {pid} has ended; its parent has not collected it yet (a zombie)"
        ));
    }
    None
}

/// Describes why attaching to a process will fail; `None` if no reason is known.
pub(super) fn before_attach(pid: Tid) -> Option<String> {
    if let Some(why) = unwatchable(pid) {
        return Some(why);
    }
    if let Some(thread) = procfs::tracer_of(pid).filter(|_| !procfs::is_traced_by_us(pid)) {
        let tracer = procfs::process_of(thread).unwrap_or(thread);
        let name = procfs::comm(tracer).map(|c| format!(" ({c})")).unwrap_or_default();
        return Some(format!(
            "process {pid} is already traced, by process {tracer}{name}, and a process can have \
             only one tracer; end that tracer first"
        ));
    }
    let tracer_of_mine = procfs::tracer_of(std::process::id() as Tid);
    if tracer_of_mine.and_then(procfs::process_of) == Some(pid) {
        return Some(format!("process {pid} traces tcptally itself; run tcptally outside of it"));
    }
    None
}

/// Describes why ptrace failed on an existing process.
pub(super) fn of_process(pid: Tid, error: &io::Error) -> String {
    let name = procfs::comm(pid).map(|c| format!(" ({c})")).unwrap_or_default();
    let start = format!("process {pid}{name} cannot be attached: ");
    if error.raw_os_error() != Some(libc::EPERM) {
        return format!("{start}{error}");
    }
    let me = std::process::id() as Tid;
    let uids = |pid| procfs::status_field(pid, "Uid");
    let first = |uids: &Option<String>| {
        uids.as_deref().and_then(|u| u.split_whitespace().next()).map(str::to_owned)
    };
    let (mine, theirs) = (uids(me), uids(pid));
    let user = first(&theirs).unwrap_or_default();
    let remedy = if is_root_without_ptrace() && yama_scope() != Some(3) {
        if user == "0" {
            GIVE_PTRACE.into()
        } else {
            format!(
                "it belongs to another user (uid {user}), and {GIVE_PTRACE}; or run tcptally \
                     as that user"
            )
        }
    } else if nix::unistd::geteuid().is_root() && first(&mine) != first(&theirs) {
        format!(
            "it belongs to another user (uid {user}), and tcptally is root only of its own user \
             namespace (a rootless container); run it as root outside of that"
        )
    } else if first(&mine) != first(&theirs) {
        format!(
            "it belongs to another user (uid {user}); run tcptally as that user or as root \
             (CAP_SYS_PTRACE)"
        )
    } else if let Some(scope @ 1..) = yama_scope() {
        let meaning = match scope {
            1 => "a process may trace only its own descendants",
            2 => "only root (CAP_SYS_PTRACE) may attach",
            _ => "nobody may attach until the next boot",
        };
        let change = if scope < 3 {
            "; 'sudo sysctl kernel.yama.ptrace_scope=0' allows it, or run tcptally as root"
        } else {
            ""
        };
        format!(
            "kernel.yama.ptrace_scope is {scope}: {meaning}{change}; {}",
            if scope < 3 { SPAWN_INSTEAD } else { "boot with another value" }
        )
    } else if mine.as_deref() != theirs.as_deref().map(str::trim) || procfs::is_undumpable(pid) {
        "it is not dumpable, since it has changed its user or privileges (or asked for it with \
         prctl); only root (CAP_SYS_PTRACE) may attach"
            .into()
    } else {
        format!(
            "the kernel returned 'operation not permitted'. In a container, run it with \
             '--cap-add=SYS_PTRACE' or a seccomp profile that allows ptrace, or attach from the \
             host; {SPAWN_INSTEAD}, if ptrace is allowed at all"
        )
    };
    format!("{start}{remedy}")
}
