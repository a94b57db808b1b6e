//! Reads facts about processes from /proc: proc(5).

use std::fs;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

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
        // Without a free descriptor nothing is known.
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

/// Whether a process has memory: one that is about to end has given it back.
pub(crate) fn has_memory(pid: Tid) -> bool {
    let size = stat_fields(pid).and_then(|fields| fields.get(20)?.parse::<u64>().ok());
    size.is_some_and(|size| size > 0)
}

/// Whether this is a kernel thread.
pub(crate) fn is_kernel_thread(pid: Tid) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let flags = stat_fields(pid).and_then(|f| f.get(6)?.parse::<u64>().ok());
    flags.is_some_and(|f| f & PF_KTHREAD != 0)
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
    const SOCKETCALL: u32 = 102;
    const ACCEPT4: u32 = 364;
    let call = fs::read_to_string(format!("/proc/{tid}/syscall")).unwrap_or_default();
    let mut fields = call.split_ascii_whitespace();
    match fields.next().and_then(|number| number.parse().ok()) {
        Some(ACCEPT4) => true,
        Some(SOCKETCALL) => {
            let operation = fields.next().and_then(|f| f.strip_prefix("0x"));
            let operation = operation.and_then(|f| u32::from_str_radix(f, 16).ok());
            operation.is_some_and(|o| super::abi::SOCKETCALL_ACCEPTS.contains(&o))
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

/// A socket in `/proc/PID/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    /// The local address.
    pub local: SocketAddr,
    /// The remote address; unspecified for a listener.
    pub peer: SocketAddr,
    /// Whether it listens.
    pub is_listener: bool,
    /// Its inode, which links of descriptors contain.
    pub inode: u64,
}

/// Reads the TCP sockets of the network namespace of a process: for each family the listeners, then
/// the connections. Takes milliseconds if there are many.
fn tcp_sockets(pid: Tid, table: &str) -> io::Result<impl Iterator<Item = io::Result<TcpSocket>>> {
    let lines: Box<dyn BufRead> = match fs::File::open(format!("/proc/{pid}/net/{table}")) {
        Ok(file) => Box::new(io::BufReader::new(file)),
        // A kernel without IPv6 has no tcp6.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Box::new(io::empty()),
        Err(e) => return Err(e),
    };
    Ok(lines.lines().skip(1).filter_map(|line| line.map(|l| decode_tcp_socket(&l)).transpose()))
}

fn decode_tcp_socket(line: &str) -> Option<TcpSocket> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1).and_then(address)?;
    let peer = fields.next().and_then(address)?;
    let is_listener = fields.next()? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(TcpSocket { local, peer, is_listener, inode })
}

/// Returns the listening TCP sockets of the network namespace of a process.
pub(crate) fn listeners(pid: Tid) -> io::Result<Vec<TcpSocket>> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        for socket in tcp_sockets(pid, table)? {
            let socket = socket?;
            // The listeners come first, and reading the rest takes long if there are many
            // connections.
            if !socket.is_listener {
                break;
            }
            found.push(socket);
        }
    }
    Ok(found)
}

/// The file name of the program that a process executes.
pub(crate) fn program(pid: Tid) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// A call of accept(2) or accept4(2) in which a thread is blocked: addresses in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptCall {
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
    let (address, length) = (words.nth(1)??, words.next()??);
    Some(AcceptCall { address, length, stack_pointer: words.nth(3)?? })
}

/// The inode of the socket behind a thread's descriptor.
pub(crate) fn socket_inode(tid: Tid, fd: i32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
    inode_of_link(link.to_str()?)
}

/// `socket:[4711]`
pub(crate) fn inode_of_link(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A socket as the tables of its network namespace describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketEntry {
    /// A TCP socket.
    Tcp {
        /// The local address.
        local: SocketAddr,
        /// The remote address.
        peer: SocketAddr,
    },
    /// Not a TCP socket.
    NotTcp,
}

/// Looks up a thread's descriptor in the socket tables of its network namespace. Takes milliseconds
/// if there are many sockets. Returns `None` if no table contains it, as for a TCP socket that was
/// closed.
pub(crate) fn socket(tid: Tid, fd: i32) -> Option<SocketEntry> {
    let inode = socket_inode(tid, fd)?;
    for table in ["tcp", "tcp6"] {
        let Ok(mut sockets) = tcp_sockets(tid, table) else { continue };
        let is_it = |s: &io::Result<TcpSocket>| s.as_ref().is_ok_and(|s| s.inode == inode);
        if let Some(Ok(TcpSocket { local, peer, .. })) = sockets.find(is_it) {
            return Some(SocketEntry::Tcp { local, peer });
        }
    }
    let unix = fs::read_to_string(format!("/proc/{tid}/net/unix")).ok()?;
    let inode = inode.to_string();
    let is_unix =
        unix.lines().skip(1).any(|l| l.split_ascii_whitespace().nth(6) == Some(inode.as_str()));
    is_unix.then_some(SocketEntry::NotTcp)
}

/// `0100007F:1F90`, or an IPv6 address of four such words, each in the machine's byte order.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let hex = ip.get(i * 8..i * 8 + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for i in 0..4 {
                bytes[i * 4..i * 4 + 4].copy_from_slice(&word(i)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
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

/// Returns the container that a process is in; `none` if it is in none.
pub(crate) fn container(tid: Tid) -> Option<Arc<str>> {
    let cgroups = std::fs::read_to_string(format!("/proc/{tid}/cgroup")).ok()?;
    Some(container_of(&cgroups).unwrap_or("none").into())
}

/// Length of the beginning of an id that container engines show.
const CONTAINER_ID_DIGITS: usize = 12;

/// Finds the container in the paths of control groups: cgroups(7). Engines name its group by an id of 64
/// hexadecimal digits, LXC and systemd-nspawn by its name.
fn container_of(cgroups: &str) -> Option<&str> {
    let names = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    names.flat_map(|path| path.split('/')).find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let is_id = |id: &&str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = name.rsplit(['-', ':']).next().filter(is_id) {
            return id.get(..CONTAINER_ID_DIGITS);
        }
        let prefixes = ["lxc.payload.", "machine-"];
        prefixes.into_iter().find_map(|prefix| name.strip_prefix(prefix))
    })
}

#[cfg(test)]
mod container_tests {
    use super::container_of;

    #[test]
    fn containers_are_named_by_their_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        for (path, name) in [
            (format!("0::/system.slice/docker-{id}.scope"), Some("0123456789ab")),
            (format!("12:pids:/docker/{id}\n11:cpu:/docker/{id}"), Some("0123456789ab")),
            (format!("0::/kubepods.slice/pod1/cri-containerd-{id}.scope"), Some("0123456789ab")),
            (format!("0::/kubepods/pod1/cri-containerd:{id}"), Some("0123456789ab")),
            (format!("0::/user.slice/libpod-{id}.scope/container"), Some("0123456789ab")),
            ("0::/lxc.payload.web1/init.scope".into(), Some("web1")),
            ("0::/machine.slice/machine-web2.scope/payload".into(), Some("web2")),
            ("0::/system.slice/nginx.service".into(), None),
            ("0::/".into(), None),
        ] {
            assert_eq!(container_of(&path), name, "{path}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_own_connection_by_its_descriptor() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let me = std::process::id() as Tid;
        let entry = SocketEntry::Tcp { local: listener.local_addr().unwrap(), peer };
        assert_eq!(socket(me, accepted.as_raw_fd()), Some(entry));
        assert_eq!(client.local_addr().unwrap(), peer);
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(socket(me, unix.as_raw_fd()), Some(SocketEntry::NotTcp));
        assert_eq!(process_of(me), Some(me));
    }

    #[test]
    fn knows_the_cpu_of_a_thread() {
        let here = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let mine = nix::unistd::gettid().as_raw();
        assert!(here.is_set(last_cpu(mine).unwrap()).unwrap());
        let fields = stat_fields(mine).unwrap();
        assert!(fields.len() > 36, "{fields:?}");
    }
}
