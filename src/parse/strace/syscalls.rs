//! The names of system calls: [`Name`] for those that matter, [`is_syscall`] to distinguish a call from
//! other text with a parenthesis.
//!
//! From the kernel's tables for x86, arm64 and the architectures with 32 bits, up to Linux 6.12.
//! A line with a name that is not listed takes longer.

/// A system call, or several that do the same to descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "these are names of system calls")]
pub enum Name {
    /// accept, accept4.
    Accept,
    /// socketcall(SYS_ACCEPT, …) that strace did not decode.
    SocketCall,
    /// bind.
    Bind,
    /// listen.
    Listen,
    /// socket.
    Socket,
    /// dup, dup2, dup3, fcntl(F_DUPFD).
    Dup,
    /// close.
    Close,
    /// fork, vfork, clone, clone3.
    Clone,
    /// getsockname.
    GetSockName,
    /// getpeername.
    GetPeerName,
    /// io_uring_setup, io_uring_enter: what is done through it does not show.
    Uring,
}

/// The call with this name, if it matters.
#[inline]
pub(crate) fn named(name: &[u8]) -> Option<Name> {
    Some(match name {
        b"accept" | b"accept4" | b"accept_nocancel" => Name::Accept,
        b"close" => Name::Close,
        b"bind" => Name::Bind,
        b"listen" => Name::Listen,
        b"socket" => Name::Socket,
        b"socketcall" => Name::SocketCall,
        b"dup" | b"dup2" | b"dup3" | b"fcntl" | b"fcntl64" => Name::Dup,
        b"fork" | b"vfork" | b"clone" | b"clone2" | b"clone3" => Name::Clone,
        b"getsockname" => Name::GetSockName,
        b"getpeername" => Name::GetPeerName,
        b"io_uring_setup" | b"io_uring_enter" => Name::Uring,
        _ => return None,
    })
}

/// Whether strace names a system call so. Of long names, only the beginning and the length are
/// compared.
#[inline]
pub(super) fn is_syscall(name: &[u8]) -> bool {
    let key = key(name);
    let mut slot = slot(key);
    loop {
        match TABLE[slot] {
            0 => return false,
            known if known == key => return true,
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

const SLOTS: usize = 2048;

/// Open addressing; 0 is an empty slot.
static TABLE: [u64; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut n = 0;
    while n < NAMES.len() {
        let key = key(NAMES[n].as_bytes());
        let mut slot = slot(key);
        while table[slot] != 0 && table[slot] != key {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = key;
        n += 1;
    }
    table
};

/// The first eight bytes, and the length in the high bits, which no ASCII letter has.
#[inline]
const fn key(name: &[u8]) -> u64 {
    let mut key = 0;
    let mut n = 0;
    while n < 8 && n < name.len() {
        key |= (name[n] as u64) << (8 * n);
        n += 1;
    }
    let length = if name.len() > 31 { 31 } else { name.len() as u64 };
    let mut bit = 0;
    while bit < 5 {
        key ^= (length >> bit & 1) << (8 * bit + 7);
        bit += 1;
    }
    key
}

#[inline]
const fn slot(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as usize
}

#[rustfmt::skip]
const NAMES: &[&str] = &[
    "_llseek", "_newselect", "_sysctl", "accept", "accept4", "access", "acct", "add_key",
    "adjtimex", "afs_syscall", "alarm", "arch_prctl", "arch_specific_syscall", "arm_fadvise64_64",
    "bdflush", "bind", "bpf", "break", "brk", "capget", "capset", "chdir", "chmod", "chown",
    "chown32", "chroot", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
    "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64",
    "clock_settime", "clock_settime64", "clone", "clone2", "clone3", "close", "close_range",
    "connect", "copy_file_range", "creat", "create_module", "delete_module", "dup", "dup2", "dup3",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit",
    "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
    "fanotify_init", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchown", "fchown32",
    "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "finit_module", "flistxattr", "flock",
    "fork", "fremovexattr", "fsconfig", "fsetxattr", "fsmount", "fsopen", "fspick", "fstat",
    "fstat64", "fstatat", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftime", "ftruncate",
    "ftruncate64", "futex", "futex_time64", "futex_waitv", "futimesat", "get_kernel_syms",
    "get_mempolicy", "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents",
    "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getpmsg", "getppid",
    "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid",
    "getuid32", "getxattr", "gtty", "idle", "init_module", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_setup", "io_submit", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioctl", "ioperm", "iopl", "ioprio_get", "ioprio_set", "ipc", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "kill", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link",
    "linkat", "listen", "listxattr", "llistxattr", "llseek", "lock", "lookup_dcookie",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "mbind", "membarrier",
    "memfd_create", "memfd_secret", "migrate_pages", "mincore", "mkdir", "mkdirat", "mknod",
    "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "modify_ldt", "mount",
    "mount_setattr", "move_mount", "move_pages", "mprotect", "mpx", "mq_getsetattr", "mq_notify",
    "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64",
    "mq_unlink", "mremap", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "nfsservctl", "nice", "old_mmap",
    "old_select", "oldfstat", "oldlstat", "oldolduname", "oldstat", "olduname", "open",
    "open_by_handle_at", "open_tree", "openat", "openat2", "pause", "perf_event_open",
    "personality", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pivot_root",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl", "pread64",
    "preadv", "preadv2", "prlimit64", "process_madvise", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "prof", "profil", "pselect6", "pselect6_time64", "ptrace", "putpmsg",
    "pwrite64", "pwritev", "pwritev2", "query_module", "quotactl", "quotactl_fd", "read",
    "readahead", "readdir", "readlink", "readlinkat", "readv", "reboot", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "rename",
    "renameat", "renameat2", "request_key", "restart_syscall", "rmdir", "rseq", "rt_sigaction",
    "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "seccomp", "security", "select", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64",
    "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_mempolicy",
    "set_mempolicy_home_node", "set_robust_list", "set_thread_area", "set_tid_address",
    "setdomainname", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32",
    "setgroups", "setgroups32", "sethostname", "setitimer", "setns", "setpgid", "setpriority",
    "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
    "setreuid32", "setrlimit", "setsid", "setsockopt", "settimeofday", "setuid", "setuid32",
    "setxattr", "sgetmask", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaction",
    "sigaltstack", "signal", "signalfd", "signalfd4", "sigpending", "sigprocmask", "sigreturn",
    "sigsuspend", "socket", "socketcall", "socketpair", "splice", "ssetmask", "stat", "stat64",
    "statfs", "statfs64", "statx", "stime", "stty", "swapoff", "swapon", "symlink", "symlinkat",
    "sync", "sync_file_range", "sync_file_range2", "syncfs", "syscall", "sysfs", "sysinfo",
    "syslog", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
    "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
    "tkill", "truncate", "truncate64", "tuxcall", "ugetrlimit", "ulimit", "umask", "umount",
    "umount2", "uname", "unlink", "unlinkat", "unshare", "uselib", "userfaultfd", "ustat", "utime",
    "utimensat", "utimensat_time64", "utimes", "vfork", "vhangup", "vm86", "vm86old", "vmsplice",
    "vserver", "wait4", "waitid", "waitpid", "write", "writev",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_distinguished_from_other_words() {
        assert!(NAMES.iter().all(|name| is_syscall(name.as_bytes())));
        for other in ["printf", "accept5", "accxept4", "ccept4", "a", "", "reads", "_x"] {
            assert!(!is_syscall(other.as_bytes()), "{other}");
        }
    }
}
