//! Reads facts about processes from /proc: proc(5).

mod container;
mod sockets;

pub(crate) use container::container;
pub(crate) use sockets::{
    SocketEntry, TcpSocket, listeners, socket, socket_descriptors, socket_inode,
};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::sys::arch::{Arch, Call, HAS_MIXED_CALLS, SOCKETCALL_ACCEPTS};
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::sys::tracee::SignalSet;

/// Returns the value of a line of `/proc/TID/status`.
pub fn status_field(tid: Tid, name: &str) -> Option<String> {
    field_of(&fs::read(format!("/proc/{tid}/status")).ok()?, name)
}

fn field_of(status: &[u8], name: &str) -> Option<String> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether /proc is mounted.
pub(crate) fn is_mounted() -> bool {
    std::path::Path::new("/proc/self").exists()
}

/// Whether a process or thread exists.
pub(crate) fn exists(tid: Tid) -> bool {
    std::path::Path::new(&format!("/proc/{tid}")).exists()
}

/// Whether a thread has ended, even if its parent has not waited for it.
pub(crate) fn has_ended(tid: Tid) -> bool {
    match fs::read(format!("/proc/{tid}/status")) {
        Ok(status) => field_of(&status, "State").is_none_or(|s| s.starts_with(['Z', 'X'])),
        // Without a free descriptor /proc cannot be read.
        Err(error) => is_absence(&error),
    }
}

/// Whether /proc has no such process, as opposed to a file that cannot be opened.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR))
}

/// Whether all threads of a process have ended. The first thread may end while others continue.
pub(crate) fn process_has_ended(pid: Tid) -> bool {
    match threads(pid) {
        threads if !threads.is_empty() => threads.into_iter().all(has_ended),
        _ => has_ended(pid),
    }
}

/// The process (thread group) of a thread.
pub(crate) fn process_of(tid: Tid) -> Option<Tid> {
    status_field(tid, "Tgid")?.parse().ok()
}

/// The name of a thread.
pub(crate) fn comm(tid: Tid) -> Option<Arc<str>> {
    let bytes = fs::read(format!("/proc/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into())
}

/// The thread that traces a thread.
pub(crate) fn tracer_of(tid: Tid) -> Option<Tid> {
    status_field(tid, "TracerPid")?.parse().ok().filter(|t| *t != 0)
}

/// Whether a thread is a tracee of a thread of this process.
pub(crate) fn is_traced_by_us(tid: Tid) -> bool {
    tracer_of(tid).and_then(process_of) == Some(std::process::id() as Tid)
}

/// A set of signals in `/proc/TID/status`: `SigBlk`, `SigIgn`, `SigCgt`.
pub(crate) fn signals(tid: Tid, name: &str) -> Option<SignalSet> {
    u64::from_str_radix(&status_field(tid, name)?, 16).ok().map(SignalSet)
}

/// The ids of all processes.
pub(crate) fn processes() -> Vec<Tid> {
    ids("/proc")
}

/// The threads of a process; empty if it has ended.
pub(crate) fn threads(pid: Tid) -> Vec<Tid> {
    ids(&format!("/proc/{pid}/task"))
}

// A loop over a folder takes a kilobyte of code, so it is not copied into the callers.
#[inline(never)]
fn ids(directory: &str) -> Vec<Tid> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The fields of `/proc/PID/stat` that follow the name: the state is the first.
fn stat_fields(pid: Tid) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before them, in parentheses, may contain anything.
    let after_name = stat.iter().rposition(|b| *b == b')')?;
    let fields = String::from_utf8_lossy(&stat[after_name + 1..]).into_owned();
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The parent of a process.
pub(crate) fn parent(pid: Tid) -> Option<Tid> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// The parent of a process, if the process executes the same program as part of the same exec: the parent has
/// created it by fork(2) alone.
pub(crate) fn forking_parent(pid: Tid) -> Option<Tid> {
    /// The kernel chooses the place of the stack at random at each exec, and shows it as 0 to others.
    const START_OF_STACK: usize = 25;
    let exec = |pid| {
        let start: u64 = stat_fields(pid)?.get(START_OF_STACK)?.parse().ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (start > 1).then_some((start, program))
    };
    let parent = parent(pid)?;
    (exec(pid)? == exec(parent)?).then_some(parent)
}

/// The CPU that a thread runs on, or ran on last.
pub(crate) fn last_cpu(tid: Tid) -> Option<usize> {
    thread_stat(tid, |mut fields| fields.nth(36)?.parse().ok())
}

/// The state of a thread, and how long it has run its own code, in ticks of 10 ms or so.
pub(crate) fn state_and_user_time(tid: Tid) -> Option<(char, u64)> {
    thread_stat(tid, |mut fields| {
        let state = fields.next()?.chars().next()?;
        Some((state, fields.nth(10)?.parse().ok()?))
    })
}

/// When a thread was created: CLOCK_MONOTONIC in nanoseconds, rounded down to a tick of 10 ms. It is too early by
/// the time for which the machine has been suspended since then.
pub(crate) fn start_time(tid: Tid) -> Option<u64> {
    /// USER_HZ is 100 on x86-64 and AArch64.
    const TICK_NS: u64 = 10_000_000;
    let ticks: u64 = thread_stat(tid, |mut fields| fields.nth(19)?.parse().ok())?;
    // /proc has it by CLOCK_BOOTTIME, which goes on while the machine is suspended.
    let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?).as_nanos() as u64;
    let suspended = boot.saturating_sub(monotonic_now());
    Some((ticks * TICK_NS).saturating_sub(suspended))
}

/// Reads the fields of a thread's own `stat` that follow the name: the state is the first. In that
/// of a process, some numbers are sums over all threads.
fn thread_stat<T>(
    tid: Tid,
    read: impl FnOnce(std::str::SplitAsciiWhitespace<'_>) -> Option<T>,
) -> Option<T> {
    use std::io::Read;
    let mut file = fs::File::open(format!("/proc/{tid}/task/{tid}/stat")).ok()?;
    let mut stat = [0; 1024];
    let length = file.read(&mut stat).ok()?;
    let fields = stat[..length].rsplit(|b| *b == b')').next()?;
    read(std::str::from_utf8(fields).ok()?.split_ascii_whitespace())
}

/// The threads of a process, and whether all are known to be listed: while threads end, the kernel
/// may skip others in the list.
pub(crate) fn all_threads(pid: Tid) -> (Vec<Tid>, bool) {
    const TRIES: usize = 20;
    let count = || stat_fields(pid).and_then(|fields| fields.get(17)?.parse::<usize>().ok());
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..TRIES {
        let before = count();
        let listed = threads(pid);
        let is_whole = before.is_none_or(|n| n == listed.len()) && before == count();
        all.extend(listed);
        if is_whole {
            return (all.into_iter().collect(), true);
        }
    }
    (all.into_iter().collect(), false)
}

/// Whether a thread has ended or is about to: the kernel has begun do_exit() for it.
pub(crate) fn is_ending(tid: Tid) -> bool {
    const PF_EXITING: u64 = 0x4;
    has_flag(tid, PF_EXITING).unwrap_or(true)
}

/// Whether this is a kernel thread.
pub(crate) fn is_kernel_thread(pid: Tid) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    has_flag(pid, PF_KTHREAD).unwrap_or(false)
}

/// Whether a thread has a flag of the kernel's include/linux/sched.h.
fn has_flag(tid: Tid, flag: u64) -> Option<bool> {
    let flags: u64 = stat_fields(tid)?.get(6)?.parse().ok()?;
    Some(flags & flag != 0)
}

/// Whether a process is 32-bit, by the ELF header of its program; `None` if that cannot be read.
pub(crate) fn is_32_bit(pid: Tid) -> Option<bool> {
    use std::io::Read;
    let mut header = [0u8; 5];
    fs::File::open(format!("/proc/{pid}/exe")).ok()?.read_exact(&mut header).ok()?;
    const CLASS_32: u8 = 1;
    Some(header[4] == CLASS_32)
}

/// Whether a thread is blocked in an accept called by `int 0x80`, as 32-bit code does. Needs
/// permission to trace the thread. The number of the call is sufficient: the 64-bit call with the
/// number of socketcall(2) is getuid(2), which does not block.
pub(crate) fn accepts_by_int80(tid: Tid) -> bool {
    if !HAS_MIXED_CALLS {
        return false;
    }
    let call = fs::read_to_string(format!("/proc/{tid}/syscall")).unwrap_or_default();
    let mut fields = call.split_ascii_whitespace();
    let number = fields.next().and_then(|number| number.parse().ok());
    let mut calls = number.into_iter().flat_map(super::abi::candidates);
    match calls.find(|c| c.0 == Arch::Compat).map(|c| c.1) {
        Some(Call::Accept) => true,
        Some(Call::Socketcall) => {
            let operation = fields.next().and_then(|f| f.strip_prefix("0x"));
            let operation = operation.and_then(|f| u32::from_str_radix(f, 16).ok());
            operation.is_some_and(|o| SOCKETCALL_ACCEPTS.contains(&o))
        }
        _ => false,
    }
}

/// Whether the kernel treats a process as not dumpable (prctl(2), PR_SET_DUMPABLE), as far as that
/// is visible: its files in /proc belong to root, or it belongs to root and was set-user-ID or
/// set-group-ID.
pub(crate) fn is_undumpable(pid: Tid) -> bool {
    let ids = |name| {
        let line = status_field(pid, name)?;
        let mut ids = line.split_ascii_whitespace().map(|id| id.parse::<u32>().ok());
        Some((ids.next()??, ids.next()??))
    };
    let (Some(user), Some(group)) = (ids("Uid"), ids("Gid")) else { return false };
    let owner = fs::metadata(format!("/proc/{pid}/environ")).map(|m| m.uid());
    if owner.is_ok_and(|owner| owner != user.1) {
        return true;
    }
    // proc_sys_fs(5): 1 makes such programs dumpable.
    let policy = fs::read_to_string("/proc/sys/fs/suid_dumpable").unwrap_or_default();
    (user.0 != user.1 || group.0 != group.1) && policy.trim() != "1"
}

/// Whether a process has an io_uring among its first ten thousand descriptors. Accepts through it
/// make no system call.
pub(crate) fn has_io_uring(pid: Tid) -> bool {
    let is_ring = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_str() == Some("anon_inode:[io_uring]"))
    };
    descriptor_links(pid).iter().take(10_000).any(is_ring)
}

/// The signals of each signalfd(2) among the first ten thousand descriptors of a process.
pub(crate) fn signalfd_masks(pid: Tid) -> Vec<SignalSet> {
    let mut masks = Vec::new();
    for (fd, to) in descriptors(pid).into_iter().take(10_000) {
        if to == "anon_inode:[signalfd]"
            && let Ok(info) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))
        {
            let mask = info.lines().find_map(|l| l.strip_prefix("sigmask:"));
            let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
            masks.push(SignalSet(mask.unwrap_or(u64::MAX)));
        }
    }
    masks
}

/// Whether an exec closes a descriptor: proc_pid_fdinfo(5). `None`: it is not open, or may not be looked at.
pub(crate) fn closes_on_exec(tid: Tid, fd: i32) -> Option<bool> {
    let info = fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).ok()?;
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & libc::O_CLOEXEC != 0)
}

/// The open descriptors of a process: each number with its link in `/proc/PID/fd`.
pub(crate) fn descriptors(pid: Tid) -> Vec<(i32, String)> {
    let link = |path: PathBuf| {
        let to = fs::read_link(&path).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, to.to_str()?.to_owned()))
    };
    descriptor_links(pid).into_iter().filter_map(link).collect()
}

/// The links in `/proc/PID/fd`. That folder is empty if the first thread of the process has ended;
/// the other threads still have the descriptors.
#[inline(never)]
fn descriptor_links(pid: Tid) -> Vec<PathBuf> {
    let links = |directory: String| -> Vec<PathBuf> {
        fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect()
    };
    let of_first = links(format!("/proc/{pid}/fd"));
    if !of_first.is_empty() || !has_ended(pid) {
        return of_first;
    }
    let of_others = threads(pid).into_iter().map(|tid| links(format!("/proc/{pid}/task/{tid}/fd")));
    of_others.into_iter().find(|links| !links.is_empty()).unwrap_or_default()
}

/// Whether this process has CAP_SYS_PTRACE (capabilities(7)).
pub(crate) fn has_ptrace_capability() -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    let effective = status_field(std::process::id() as Tid, "CapEff");
    effective
        .and_then(|set| u64::from_str_radix(&set, 16).ok())
        .is_some_and(|set| set & (1 << CAP_SYS_PTRACE) != 0)
}

/// The network namespace of a process: the link `/proc/PID/ns/net`.
pub(crate) fn network_namespace(pid: Tid) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// The file name of the program that a process executes.
pub(crate) fn program(pid: Tid) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// A call of accept(2) or accept4(2) in which a thread is blocked, with addresses in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptCall {
    /// The listening descriptor.
    pub listener: i32,
    /// Where the peer's address is to be written.
    pub address: u64,
    /// Where the length of the buffer is.
    pub length: u64,
    /// The stack pointer.
    pub stack_pointer: u64,
}

/// The call of accept that a thread is blocked in: proc_pid_syscall(5).
pub(crate) fn accept_under_way(tid: Tid) -> Option<AcceptCall> {
    let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    if ![libc::SYS_accept, libc::SYS_accept4].contains(&number) {
        return None;
    }
    let mut words = words.map(|w| u64::from_str_radix(w.strip_prefix("0x")?, 16).ok());
    let (listener, address, length) = (words.next()?? as i32, words.next()??, words.next()??);
    Some(AcceptCall { listener, address, length, stack_pointer: words.nth(3)?? })
}

/// Returns the path of the program that `tid` has just executed, if its file is setuid or setgid
/// and the process does not have the user or group of the file.
pub(crate) fn program_without_its_setuid(tid: Tid) -> Option<String> {
    let exe = format!("/proc/{tid}/exe");
    let file = fs::metadata(&exe).ok()?;
    let effective = |name| status_field(tid, name)?.split_whitespace().nth(1)?.parse().ok();
    let lost_uid = file.mode() & libc::S_ISUID != 0 && effective("Uid") != Some(file.uid());
    let lost_gid = file.mode() & libc::S_ISGID != 0
        && file.mode() & libc::S_IXGRP != 0
        && effective("Gid") != Some(file.gid());
    (lost_uid || lost_gid).then(|| match fs::read_link(&exe) {
        Ok(path) => path.display().to_string(),
        Err(_) => format!("process {tid}"),
    })
}

/// Returns `pids` and their running descendants.
pub(crate) fn with_descendants(pids: &BTreeSet<Tid>) -> BTreeSet<Tid> {
    let mut children: BTreeMap<Tid, Vec<Tid>> = BTreeMap::new();
    for pid in processes() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = pids.clone();
    let mut left: Vec<Tid> = pids.iter().copied().collect();
    while let Some(pid) = left.pop() {
        for &child in children.get(&pid).into_iter().flatten() {
            if found.insert(child) {
                left.push(child);
            }
        }
    }
    found
}

/// Whether this process descends from `pid`, and so do all others: init of a machine. In a container it usually is the
/// server, and what is executed there later does not descend from it.
pub(crate) fn is_init_of_all(pid: Tid) -> bool {
    const INIT: Tid = 1;
    pid == INIT && with_descendants(&BTreeSet::from([pid])).contains(&(std::process::id() as Tid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_process_of_a_thread() {
        let me = std::process::id() as Tid;
        assert_eq!(process_of(me), Some(me));
    }

    #[test]
    fn knows_the_cpu_of_a_thread() {
        let here = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let mine = rustix::thread::gettid().as_raw_pid();
        assert!(here.is_set(last_cpu(mine).unwrap()).unwrap());
        let fields = stat_fields(mine).unwrap();
        assert!(fields.len() > 36, "{fields:?}");
    }

    #[test]
    fn a_process_descends_from_its_parent() {
        let me = std::process::id() as Tid;
        let parent = parent(me).unwrap();
        assert!(with_descendants(&BTreeSet::from([parent])).contains(&me));
    }
}
