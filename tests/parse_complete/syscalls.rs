//! Logs of system calls.

use crate::records::*;
use crate::row::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    vec![
        row(
            "strace.cut",
            cut(ACCEPT, 60),
            0,
            &["strace.cut: 1 line could not be read and may describe connections"],
        ),
        row(
            "strace.name",
            format!("{ACCEPT}24512 16:15:42.177824 accep"),
            1,
            &["1 line could not"],
        ),
        row("strace.prefix", format!("{ACCEPT}24512 16:15:4"), 1, &["1 line could not"]),
        row("strace.resumed", format!("{ACCEPT}24512 <... accept4 resu"), 1, &["1 line could not"]),
        // Two writers tore a first half, and the second half follows.
        row(
            "strace.torn",
            format!(
                "{ACCEPT}24513 16:15:42.2 accept4(3,  t4(3, {{sa_family=AF_INET, sin6_addr), sin6_scope_id=0}}, [28], 0) = \
                 7<unfinished ...>\n24513 16:15:42.3 <... accept4 resumed>{{sa_family=AF_INET, sin_port=htons(40755), \
                 sin_addr=inet_addr(\"198.51.100.7\")}}, [16], 0) = 7\n"
            ),
            2,
            &["strace.torn: 1 line could not be read"],
        ),
        row("strace.read", "read(3, \"x\", 1) = 1\n", 0, &["no call of accept", "trace=network"]),
        row("strace.uring", format!("{ACCEPT}io_uring_setup(8, {{}}) = 5\n"), 1, &["io_uring"]),
        Row {
            options: &["--port", "4711"],
            ..row("strace.port", ACCEPT, 0, &["1 connection was left out because --port needs"])
        },
        Row {
            options: &["--since", "2026-11-22 10:00"],
            ..row("strace.time", ACCEPT, 0, &["left out because --since and --until need the time"])
        },
        row(
            "audit.cut",
            format!(
                "{AUDIT}type=SYSCALL msg=audit(1795345123.2:4712): arch=c000003e syscall=288 succ"
            ),
            1,
            &["audit.cut: 1 line could not be read"],
        ),
        row(
            "audit.lost",
            format!(
                "{AUDIT}Nov 22 10:58:43 web1 kernel: audit: audit_lost=120 audit_rate_limit=0\n"
            ),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row("audit.read", AUDIT.replace("=288", "=0"), 0, &["no call of accept", "auditctl"]),
        // Nothing shows that connections were recorded.
        row(
            "sysdig.none",
            SYSDIG.replace("accept", "read"),
            0,
            &["sysdig.none: no call of accept that returned is in it"],
        ),
        row("sysdig.cut", format!("{SYSDIG}{}", cut(SYSDIG, 40)), 1, &["sysdig.cut: 1 line could"]),
        row(
            "gvisor.cut",
            format!("{GVISOR}{}", cut(GVISOR, 12)),
            1,
            &["gvisor.cut: 1 line could not"],
        ),
        row(
            "gvisor.untraced",
            GVISOR.replace("accept4", "read"),
            0,
            &["gvisor.untraced: no call of accept is in it", "--strace-syscalls"],
        ),
        row(
            "perf.cut",
            format!("{PERF}{}", cut(PERF, 5)),
            1,
            &["perf.cut: 1 line could not be read"],
        ),
        row(
            "perf.lost",
            format!("{PERF}LOST 12 events!\n"),
            1,
            &["perf.lost: the record itself says that it lost events"],
        ),
        row(
            "perf.untraced",
            PERF.replace("accept4", "epoll_wait"),
            0,
            &["no call of accept is in it", "perf trace -e"],
        ),
        row("truss.cut", format!("{TRUSS}{}", &TRUSS[..40]), 1, &["truss.cut: 1 line could not"]),
        row(
            "truss.quoted",
            format!("{TRUSS}app: {TRUSS}"),
            1,
            &["truss.quoted: 1 such line is behind the prefix of another program"],
        ),
        row(
            "falco.cut",
            format!("{FALCO}{}", cut(FALCO, 30)),
            1,
            &["falco.cut: 1 line could not be read"],
        ),
        row(
            "falco.dropped",
            format!(
                "{FALCO}{}",
                FALCO.replace(r#""Inbound""#, r#""Falco internal: syscall event drop""#)
            ),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row("falco.connects", FALCO.replace("accept", "connect"), 0, &["no alert of accept"]),
        row(
            "kdump.cut",
            format!("{KDUMP}   912 nginx    STRU  struct sockaddr {{ AF_INET, 198.51"),
            1,
            &["kdump.cut: 1 line could not be read"],
        ),
        row(
            "kdump.lost",
            format!("{KDUMP}   912 nginx    Events dropped.\n"),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row(
            "kdump.read",
            KDUMP.replace("accept", "read"),
            0,
            &["no call of accept is in it", "ktrace"],
        ),
    ]
}
