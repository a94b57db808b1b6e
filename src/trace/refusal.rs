//! Why ptrace(2) was refused: causes and remedies in words.

use std::fs;

use super::procfs;

/// Why a child of ours cannot be traced.
pub fn of_own_child() -> String {
    let me = std::process::id() as i32;
    if let Some(tracer) = procfs::status_field(me, "TracerPid").filter(|t| t != "0") {
        return format!(
            "tcptally is itself traced, by process {tracer} (strace -f? a debugger?), which gets \
             its children as well; run tcptally without it"
        );
    }
    if fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|s| s.trim() == "3") {
        return "kernel.yama.ptrace_scope is 3, which forbids ptrace to everyone until the next \
                boot; boot with another value, or use 'tcptally parse' on a record made otherwise"
            .into();
    }
    "a seccomp filter or security module forbids ptrace here (in a container, as a rule); run it \
     with '--cap-add=SYS_PTRACE' or a seccomp profile that allows ptrace"
        .into()
}
