//! Why there is no process to trace, with remedies: [`AttachError`] of a process, [`ListenerError`] of a port.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;

use crate::sys::ptrace::Tid;

use super::perf::PerfError;
use super::procfs;

/// Why a process cannot be attached. Displays the cause and a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachError {
    /// The kind of cause.
    pub kind: AttachErrorKind,
    text: String,
}

/// The kinds of causes of an [`AttachError`]. They decide which other command or engine can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachErrorKind {
    /// Yama forbids ptrace(2): kernel.yama.ptrace_scope.
    Yama,
    /// Another permission is missing: the process belongs to another user or is not dumpable, or a
    /// security policy forbids the system call.
    Permission,
    /// Anything else: there is no such process, it is traced already, an engine cannot watch it.
    Other,
}

impl AttachError {
    fn new(kind: AttachErrorKind, text: impl Into<String>) -> AttachError {
        AttachError { kind, text: text.into() }
    }

    /// An error for lack of a permission.
    pub(super) fn permission(text: impl Into<String>) -> AttachError {
        AttachError::new(AttachErrorKind::Permission, text)
    }

    /// An error for another cause.
    pub(super) fn other(text: impl Into<String>) -> AttachError {
        AttachError::new(AttachErrorKind::Other, text)
    }

    /// Why perf events cannot be opened on a process.
    pub(super) fn perf_event(pid: Tid, cause: &PerfError) -> AttachError {
        let text = format!("process {pid}: {cause}");
        match cause.is_permission() {
            true => AttachError::permission(text),
            false => AttachError::other(text),
        }
    }

    /// Puts `start` before the text.
    fn behind(self, start: &str) -> AttachError {
        AttachError { text: format!("{start}{}", self.text), ..self }
    }
}

impl std::error::Error for AttachError {}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const SPAWN_INSTEAD: &str = "'tcptally trace -- COMMAND' works nevertheless";
const YAMA_3: &str = "kernel.yama.ptrace_scope is 3, which forbids ptrace to everyone until the next \
                      boot; boot with another value";

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
pub(super) fn of_own_child() -> AttachError {
    let me = std::process::id() as Tid;
    if let Some(thread) = procfs::tracer_of(me) {
        let tracer = procfs::process_of(thread).unwrap_or(thread);
        return AttachError::other(format!(
            "tcptally is itself traced, by process {tracer} (strace -f or a debugger), which also \
             traces its children; run tcptally without that tracer"
        ));
    }
    describe_own_child(yama_scope(), procfs::has_ptrace_capability(), is_root_without_ptrace())
}

/// Yama forbids PTRACE_SEIZE of a child at scope 2 as well, unless the tracer has CAP_SYS_PTRACE.
fn describe_own_child(
    yama: Option<u32>,
    has_capability: bool,
    is_root_without: bool,
) -> AttachError {
    const WATCH: &str =
        "start the server without tcptally and count with 'tcptally watch --port PORT'";
    let text = match yama {
        Some(3..) => format!("{YAMA_3}; or {WATCH}"),
        Some(2) if is_root_without => format!("kernel.yama.ptrace_scope is 2, and {GIVE_PTRACE}"),
        Some(2) if !has_capability => format!(
            "kernel.yama.ptrace_scope is 2: only root (CAP_SYS_PTRACE) may trace; 'sudo sysctl \
             kernel.yama.ptrace_scope=1' allows it for programs that tcptally starts, or run \
             tcptally as root, or {WATCH}"
        ),
        _ => {
            return AttachError::permission(
                "a seccomp filter or security module forbids ptrace (usually in a container); run \
                 the container with '--cap-add=SYS_PTRACE' or a seccomp profile that allows ptrace",
            );
        }
    };
    AttachError::new(AttachErrorKind::Yama, text)
}

/// Without it nothing is known of any process.
pub(super) const NO_PROC: &str =
    "/proc is not mounted here, and tcptally reads it: 'mount -t proc proc /proc'";

/// Describes that a process does not exist.
pub(super) fn gone(pid: Tid) -> AttachError {
    if !procfs::is_mounted() {
        return AttachError::other(format!("process {pid}: {NO_PROC}"));
    }
    AttachError::other(format!(
        "process {pid}: no such process here (it has ended, or the PID is that of another PID \
         namespace, such as a container; 'pidof NAME' and 'pgrep NAME' show the PIDs of this one)"
    ))
}

/// Describes why a process that all others descend from is not attached to with its children.
fn of_init(pid: Tid) -> String {
    let name = procfs::comm(pid).map(|c| format!(" ({c})")).unwrap_or_default();
    format!(
        "all processes here descend from process {pid}{name}, also tcptally and your shell, and all of them would be \
         attached to"
    )
}

/// Describes why these processes and their descendants are not attached to; `None` if there is no reason.
pub(super) fn whole_system(pids: &BTreeSet<Tid>) -> Option<AttachError> {
    let init = pids.iter().copied().find(|pid| procfs::is_init_of_all(*pid))?;
    Some(AttachError::other(format!(
        "{}; give the server: '--port PORT', or '-p PID' with its PID; '--no-children' attaches to \
         process {init} alone",
        of_init(init)
    )))
}

/// Describes why no engine can watch a process; `None` if one can.
pub(super) fn unsupported(pid: Tid) -> Option<AttachError> {
    if !procfs::exists(pid) {
        return Some(gone(pid));
    }
    let me = std::process::id() as Tid;
    if pid == me {
        return Some(AttachError::other(format!(
            "process {pid} is tcptally itself, which cannot watch itself"
        )));
    }
    if procfs::is_kernel_thread(pid) {
        return Some(AttachError::other(format!(
            "process {pid} is a kernel thread, which does not call accept"
        )));
    }
    if procfs::process_has_ended(pid) {
        return Some(AttachError::other(format!(
            "process {pid} has ended; its parent has not collected it yet (a zombie)"
        )));
    }
    None
}

/// Describes why attaching to a process will fail; `None` if no reason is known.
pub(super) fn before_attach(pid: Tid) -> Option<AttachError> {
    if let Some(why) = unsupported(pid) {
        return Some(why);
    }
    if let Some(thread) = procfs::tracer_of(pid).filter(|_| !procfs::is_traced_by_us(pid)) {
        let tracer = procfs::process_of(thread).unwrap_or(thread);
        let name = procfs::comm(tracer).map(|c| format!(" ({c})")).unwrap_or_default();
        return Some(AttachError::other(format!(
            "process {pid} is already traced, by process {tracer}{name}, and a process can have \
             only one tracer; end that tracer first"
        )));
    }
    let tracer_of_mine = procfs::tracer_of(std::process::id() as Tid);
    if tracer_of_mine.and_then(procfs::process_of) == Some(pid) {
        return Some(AttachError::other(format!(
            "process {pid} traces tcptally itself; run tcptally outside of it"
        )));
    }
    None
}

/// What decides about the reason why an existing process cannot be attached.
#[derive(Clone, Debug)]
struct Facts {
    yama: Option<u32>,
    is_root: bool,
    /// Root without CAP_SYS_PTRACE.
    is_root_without_ptrace: bool,
    is_same_user: bool,
    /// The user of the process.
    user: String,
    is_undumpable: bool,
}

/// Describes why ptrace failed on an existing process.
pub(super) fn of_process(pid: Tid, error: &io::Error) -> AttachError {
    let name = procfs::comm(pid).map(|c| format!(" ({c})")).unwrap_or_default();
    let start = format!("process {pid}{name} cannot be attached: ");
    if error.raw_os_error() != Some(libc::EPERM) {
        return AttachError::other(format!("{start}{error}"));
    }
    let uids = |pid| procfs::status_field(pid, "Uid").unwrap_or_default();
    let (mine, theirs) = (uids(std::process::id() as Tid), uids(pid));
    let first = |uids: &str| uids.split_whitespace().next().unwrap_or_default().to_owned();
    let facts = Facts {
        yama: yama_scope(),
        is_root: nix::unistd::geteuid().is_root(),
        is_root_without_ptrace: is_root_without_ptrace(),
        is_same_user: first(&mine) == first(&theirs),
        user: first(&theirs),
        is_undumpable: mine.trim() != theirs.trim() || procfs::is_undumpable(pid),
    };
    describe_attach(&facts).behind(&start)
}

fn describe_attach(facts: &Facts) -> AttachError {
    let user = &facts.user;
    let mut kind = AttachErrorKind::Permission;
    let mut yama = |text: String| {
        kind = AttachErrorKind::Yama;
        text
    };
    let text = match facts.yama {
        Some(3..) => yama(YAMA_3.into()),
        _ if facts.is_root_without_ptrace && user == "0" => GIVE_PTRACE.into(),
        _ if facts.is_root_without_ptrace => format!(
            "it belongs to another user (uid {user}), and {GIVE_PTRACE}; or run tcptally as that \
             user"
        ),
        _ if facts.is_root && !facts.is_same_user => format!(
            "it belongs to another user (uid {user}), and tcptally is root only of its own user \
             namespace (a rootless container); run it as root outside of that"
        ),
        Some(2) if !facts.is_same_user => yama(format!(
            "it belongs to another user (uid {user}), and kernel.yama.ptrace_scope is 2; run \
             tcptally as root (CAP_SYS_PTRACE)"
        )),
        _ if !facts.is_same_user => format!(
            "it belongs to another user (uid {user}); run tcptally as that user or as root \
             (CAP_SYS_PTRACE)"
        ),
        _ if facts.is_undumpable => {
            "it is not dumpable, since it has changed its user or privileges (or asked for it with \
             prctl); only root (CAP_SYS_PTRACE) may attach"
                .into()
        }
        Some(1) => yama(format!(
            "kernel.yama.ptrace_scope is 1: a process may trace only its own descendants; 'sudo \
             sysctl kernel.yama.ptrace_scope=0' allows it, or run tcptally as root; {SPAWN_INSTEAD}"
        )),
        Some(2) => yama(
            "kernel.yama.ptrace_scope is 2: only root (CAP_SYS_PTRACE) may trace; 'sudo sysctl \
             kernel.yama.ptrace_scope=0' allows it, or run tcptally as root"
                .into(),
        ),
        _ => format!(
            "the kernel returned 'operation not permitted'. In a container, run it with \
             '--cap-add=SYS_PTRACE' or a seccomp profile that allows ptrace, or attach from the \
             host; {SPAWN_INSTEAD}, if ptrace is allowed at all"
        ),
    };
    AttachError::new(kind, text)
}

/// Why no process was found that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// /proc is not mounted.
    #[error("{NO_PROC}")]
    NoProc,
    /// There is no listening socket.
    #[error("{}", nobody_listens(.others))]
    Nobody {
        /// The ports that have one.
        others: Vec<u16>,
    },
    /// There is a listening socket, and its process is hidden from this user.
    #[error(
        "there is a listener on {}, but its process is not visible: it belongs to another user \
         ({remedy}) or is outside of this container (run tcptally on the host)",
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Invisible {
        /// The addresses of the sockets.
        addresses: Vec<SocketAddr>,
        /// What makes the process visible.
        remedy: &'static str,
    },
    /// The process that all others descend from has it: a service manager that starts the server at the first
    /// connection, or for each one.
    #[error(
        "{}; '-p PID' attaches to the server if it runs, '-p {pid} --no-children' to process {pid} alone, and \
         'tcptally watch' counts without attaching",
        of_init(*.pid)
    )]
    Init {
        /// Its id.
        pid: Tid,
    },
    /// Other network namespaces have such sockets.
    #[error(
        "no process listens on it in this network namespace, but in several others; give one of {}",
        owners.join(", ")
    )]
    Several {
        /// The process, name and namespace of each.
        owners: Vec<String>,
    },
}

/// How many ports a message names. A screen has room for no more than these.
const MAX_NAMED_PORTS: usize = 20;

fn nobody_listens(others: &[u16]) -> String {
    if others.is_empty() {
        return "no process listens on any TCP port in this network namespace; start the server \
                first, or let tcptally start it: tcptally trace -- COMMAND"
            .into();
    }
    let mut list: Vec<String> = others.iter().take(MAX_NAMED_PORTS).map(u16::to_string).collect();
    let more = others.len().saturating_sub(MAX_NAMED_PORTS);
    if more > 0 {
        list.push(format!("and {more} more ('ss -ltn' lists them)"));
    }
    format!(
        "no process listens on it; listeners in this network namespace: {}. A server in another \
         one, such as a container, may belong to another user: run tcptally as root, or give its \
         PID with -p",
        list.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Facts = Facts {
        yama: Some(0),
        is_root: false,
        is_root_without_ptrace: false,
        is_same_user: true,
        user: String::new(),
        is_undumpable: false,
    };

    type Words<'a> = &'a [&'a str];

    fn check(name: &str, text: &str, has: Words<'_>, lacks: Words<'_>) {
        for word in has {
            assert!(text.contains(word), "{name}: no {word:?} in: {text}");
        }
        for word in lacks {
            assert!(!text.contains(word), "{name}: {word:?} in: {text}");
        }
    }

    #[test]
    fn remedies_for_an_attach_can_help() {
        let yama = |scope| Facts { yama: Some(scope), ..OWN };
        let other = |scope| Facts { is_same_user: false, user: "33".into(), ..yama(scope) };
        let root = Facts { is_root: true, user: "0".into(), ..OWN };
        let contained =
            |scope| Facts { is_root_without_ptrace: true, yama: Some(scope), ..root.clone() };
        let spawn = "-- COMMAND' works";
        let cases: [(_, _, Words<'_>, Words<'_>); 12] = [
            ("scope 1", yama(1), &["scope=0", "as root", spawn], &["container"]),
            ("scope 2", yama(2), &["scope=0", "as root"], &[spawn, "container", "setcap"]),
            ("scope 3", yama(3), &["boot with another value"], &[spawn, "sysctl", "as root"]),
            ("root, scope 3", contained(3), &["boot with another value"], &["cap-add"]),
            ("no Yama", Facts { yama: None, ..OWN }, &["--cap-add=SYS_PTRACE", spawn], &["yama"]),
            (
                "undumpable",
                Facts { is_undumpable: true, ..yama(1) },
                &["dumpable"],
                &["sysctl", spawn],
            ),
            ("another's", other(0), &["uid 33", "as that user"], &["yama"]),
            ("another's, scope 1", other(1), &["uid 33", "as that user"], &["sysctl"]),
            ("another's, scope 2", other(2), &["uid 33", "as root"], &["as that user"]),
            ("container's root", contained(0), &["--cap-add=SYS_PTRACE"], &["as root ("]),
            (
                "container's root, another's",
                Facts { user: "33".into(), ..contained(2) },
                &["uid 33", "--cap-add=SYS_PTRACE"],
                &["sysctl"],
            ),
            (
                "rootless container",
                Facts { is_same_user: false, ..root.clone() },
                &["user namespace"],
                &["cap-add"],
            ),
        ];
        for (name, facts, has, lacks) in cases {
            let error = describe_attach(&facts);
            check(name, &error.to_string(), has, lacks);
            let names_yama = error.to_string().contains("ptrace_scope");
            assert_eq!(error.kind == AttachErrorKind::Yama, names_yama, "{name}");
        }
    }

    #[test]
    fn remedies_for_a_command_can_help() {
        let watch = "tcptally watch";
        let cases: [(_, _, _, _, Words<'_>, Words<'_>); 6] = [
            ("scope 2", Some(2), false, false, &["scope=1", "as root", watch], &["container"]),
            ("scope 3", Some(3), false, false, &["boot with another value", watch], &["as root"]),
            ("root, scope 3", Some(3), true, false, &["boot with"], &["container", "as root"]),
            ("container's root, scope 2", Some(2), false, true, &["cap-add"], &["as root, or"]),
            ("root, scope 2", Some(2), true, false, &["seccomp filter"], &["yama"]),
            ("scope 1", Some(1), false, false, &["seccomp filter"], &["yama"]),
        ];
        for (name, yama, has_capability, is_root_without, has, lacks) in cases {
            let error = describe_own_child(yama, has_capability, is_root_without);
            check(name, &error.to_string(), has, lacks);
        }
    }
}
