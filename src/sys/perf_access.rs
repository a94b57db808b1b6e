//! [`PerfAccessError`]: why this process may not use perf_event_open(2), and what helps on this kernel.
//!
//! Upstream, `kernel.perf_event_paranoid` has no level above 2, and CAP_PERFMON stands above every level.
//! The kernels of Debian (level 3) and Ubuntu (level 4) carry a patch that asks for CAP_SYS_ADMIN in the
//! initial user namespace at those levels, so CAP_PERFMON does not help there. They return EACCES. A seccomp
//! filter of a container engine returns EPERM, and so does lockdown(7).

use std::fmt;
use std::fs;
use std::io;

use super::capability;

/// Upstream kernels know no level above this one.
const MAX_UPSTREAM_LEVEL: i32 = 2;

/// Why this process may not open perf events. Displays the cause and a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfAccessError {
    /// The sysctl of a distribution's kernel forbids them.
    Level {
        /// Its value.
        level: i32,
        /// Who asks.
        by: Caller,
    },
    /// Events on all processes need a privilege at every level above -1.
    Unprivileged,
    /// The kernel is locked down: kernel_lockdown(7).
    Lockdown,
    /// A seccomp filter or security module.
    Filter {
        /// The sysctl, if it would forbid them as well.
        level: Option<i32>,
    },
}

/// Who asks for perf events. It decides which remedies exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user of the host.
    User,
    /// Root of the host's user namespace without CAP_SYS_ADMIN, as in most containers.
    RootWithoutAdmin,
    /// Any user of another user namespace (a rootless container).
    OtherNamespace,
}

/// Which events were to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of processes of this user.
    OwnProcesses,
    /// Those of all processes, by CPU.
    AllProcesses,
}

/// What decides about the cause and the remedy.
#[derive(Clone, Copy, Debug)]
struct Facts {
    errno: i32,
    scope: Scope,
    /// kernel.perf_event_paranoid
    level: Option<i32>,
    is_root: bool,
    has_sys_admin: bool,
    has_perfmon: bool,
    is_initial_user_namespace: bool,
    is_locked_down: bool,
}

impl PerfAccessError {
    /// Determines why opening events failed with this error. `None` if it is not about permission.
    pub fn of(error: &io::Error, scope: Scope) -> Option<PerfAccessError> {
        let errno = error.raw_os_error()?;
        if ![libc::EPERM, libc::EACCES].contains(&errno) {
            return None;
        }
        Some(decide(Facts {
            errno,
            scope,
            level: level(),
            is_root: rustix::process::geteuid().is_root(),
            has_sys_admin: capability::has_sys_admin(),
            has_perfmon: capability::has_perfmon(),
            is_initial_user_namespace: capability::is_initial_user_namespace(),
            is_locked_down: is_locked_down(),
        }))
    }
}

fn decide(facts: Facts) -> PerfAccessError {
    let forbids = |level: &i32| {
        *level > MAX_UPSTREAM_LEVEL && !(facts.has_sys_admin && facts.is_initial_user_namespace)
    };
    let level = facts.level.filter(forbids);
    let by = match (facts.is_initial_user_namespace, facts.is_root) {
        (false, _) => Caller::OtherNamespace,
        (true, true) => Caller::RootWithoutAdmin,
        (true, false) => Caller::User,
    };
    let has_privilege =
        facts.is_initial_user_namespace && (facts.has_perfmon || facts.has_sys_admin);
    match (facts.errno, level) {
        (libc::EACCES, Some(level)) => PerfAccessError::Level { level, by },
        (libc::EACCES, None) if facts.scope == Scope::AllProcesses && !has_privilege => {
            PerfAccessError::Unprivileged
        }
        _ if facts.is_locked_down => PerfAccessError::Lockdown,
        _ => PerfAccessError::Filter { level },
    }
}

/// Returns `kernel.perf_event_paranoid`.
fn level() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

/// The mode that forbids perf events is shown in brackets.
fn is_locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

impl std::error::Error for PerfAccessError {}

impl fmt::Display for PerfAccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PerfAccessError::Level { level, by } => {
                write!(f, "kernel.perf_event_paranoid is {level}, and this kernel allows perf events ")?;
                f.write_str(match by {
                    Caller::User => {
                        "only with CAP_SYS_ADMIN then; 'sudo sysctl kernel.perf_event_paranoid=2' \
                         allows them until the next boot. 'sudo setcap cap_sys_admin+ep' on the \
                         tcptally binary also works, but gives nearly the rights of root to everyone \
                         who may execute it"
                    }
                    Caller::RootWithoutAdmin => {
                        "only with CAP_SYS_ADMIN then, which this root lacks; run 'sysctl \
                         kernel.perf_event_paranoid=2' on the host, or the container with \
                         '--cap-add=SYS_ADMIN'"
                    }
                    Caller::OtherNamespace => {
                        "only to root of the host then; run 'sysctl kernel.perf_event_paranoid=2' on \
                         the host, or tcptally as root outside of this user namespace"
                    }
                })
            }
            PerfAccessError::Unprivileged => {
                f.write_str("events on all processes need root of the host, or CAP_PERFMON")
            }
            PerfAccessError::Lockdown => f.write_str(
                "the kernel is locked down in the mode confidentiality, which forbids perf events to \
                 everyone; boot with 'lockdown=integrity'",
            ),
            PerfAccessError::Filter { level } => {
                f.write_str(
                    "a seccomp filter or security module forbids perf_event_open (usually in a \
                     container); run tcptally outside of it, or the container with \
                     '--cap-add=PERFMON' or a seccomp profile that allows perf_event_open",
                )?;
                match level {
                    Some(level) => write!(
                        f,
                        "; kernel.perf_event_paranoid is {level}, which may forbid it as well: set it \
                         to 2 on the host"
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Facts = Facts {
        errno: libc::EACCES,
        scope: Scope::OwnProcesses,
        level: Some(3),
        is_root: false,
        has_sys_admin: false,
        has_perfmon: false,
        is_initial_user_namespace: true,
        is_locked_down: false,
    };

    const ROOT: Facts = Facts { is_root: true, has_sys_admin: true, has_perfmon: true, ..USER };
    const CONTAINED: Facts = Facts { has_sys_admin: false, has_perfmon: false, ..ROOT };
    const ROOTLESS: Facts = Facts { is_initial_user_namespace: false, ..ROOT };
    const UPSTREAM: Facts = Facts { level: Some(2), ..USER };
    const ALL: Facts = Facts { scope: Scope::AllProcesses, ..UPSTREAM };

    const fn filtered(facts: Facts) -> Facts {
        Facts { errno: libc::EPERM, ..facts }
    }

    type Words = &'static [&'static str];

    /// Facts, words that the message contains, and words that it does not contain.
    const CASES: &[(&str, Facts, Words, Words)] = &[
        (
            "a user of Debian",
            USER,
            &["is 3,", "sudo sysctl", "=2'", "cap_sys_admin+ep", "root"],
            CAP,
        ),
        ("a user of Ubuntu", Facts { level: Some(4), ..USER }, &["is 4,", "sysctl"], CAP),
        (
            "cap_perfmon+ep on Debian",
            Facts { has_perfmon: true, ..USER },
            &["is 3,", "sysctl"],
            CAP,
        ),
        ("root in a container", CONTAINED, &["sysctl", "on the host", "--cap-add=SYS_ADMIN"], SUDO),
        ("root of a rootless container", ROOTLESS, &["sysctl", "on the host"], SUDO),
        ("root under a filter", filtered(ROOT), &["seccomp filter"], LEVEL),
        ("root, refused by SELinux", ROOT, &["security module"], LEVEL),
        ("cap_sys_admin+ep", Facts { has_sys_admin: true, ..USER }, &["security module"], LEVEL),
        ("a user of another kernel", UPSTREAM, &["security module"], LEVEL),
        ("a kernel without the sysctl", Facts { level: None, ..USER }, &["security module"], LEVEL),
        (
            "a container engine's filter",
            filtered(CONTAINED),
            &["seccomp filter", "set it to 2"],
            SUDO,
        ),
        ("a user, all processes", ALL, &["CAP_PERFMON"], &["paranoid", "seccomp"]),
        ("root, all processes", Facts { scope: Scope::AllProcesses, ..ROOT }, &["security"], LEVEL),
        (
            "a kernel that is locked down",
            Facts { is_locked_down: true, ..filtered(ROOT) },
            &["lockdown=integrity"],
            &["paranoid", "seccomp"],
        ),
    ];
    const CAP: Words = &["cap_perfmon", "container"];
    const SUDO: Words = &["setcap", "sudo"];
    const LEVEL: Words = &["paranoid", "setcap", "as root"];

    #[test]
    fn remedies_can_help_and_have_not_been_tried() {
        for (name, facts, has, lacks) in CASES {
            let text = decide(*facts).to_string();
            for word in *has {
                assert!(text.contains(word), "{name}: no {word:?} in: {text}");
            }
            for word in *lacks {
                assert!(!text.contains(word), "{name}: {word:?} in: {text}");
            }
        }
    }

    #[test]
    fn other_errors_are_not_about_permission() {
        for errno in [libc::EINVAL, libc::EMFILE, libc::ENOSYS] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(PerfAccessError::of(&error, Scope::OwnProcesses), None);
        }
        let error = io::Error::from_raw_os_error(libc::EPERM);
        assert!(PerfAccessError::of(&error, Scope::OwnProcesses).is_some());
    }
}
