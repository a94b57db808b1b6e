//! The ways to watch a server that are compared.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How a server is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Untraced,
    /// tcptally starts it, with this engine.
    Spawn(&'static str),
    /// tcptally attaches to it, with this engine.
    Attach(&'static str),
    /// strace starts it, with these options.
    Strace(&'static [&'static str]),
    /// strace attaches to it.
    StraceAttach,
    /// tcptally asks the kernel about its port, with this engine.
    Watch(&'static str),
    /// tcpdump writes the SYNs to a file.
    Tcpdump,
    /// bpftrace counts at the tracepoint of a socket's change of state.
    Bpftrace,
}

/// All, by name. The untraced server comes first: the others are compared to it.
pub const CASES: &[(&str, Case)] = &[
    ("untraced", Case::Untraced),
    ("spawn-seccomp", Case::Spawn("seccomp")),
    ("spawn-sample", Case::Spawn("sample")),
    ("spawn-perf", Case::Spawn("perf")),
    ("spawn-syscall", Case::Spawn("syscall")),
    ("attach-sample", Case::Attach("sample")),
    ("attach-perf", Case::Attach("perf")),
    ("attach-syscall", Case::Attach("syscall")),
    ("strace-seccomp", Case::Strace(&["--seccomp-bpf"])),
    ("strace-f", Case::Strace(&[])),
    ("strace-p", Case::StraceAttach),
    ("watch", Case::Watch("sockdiag")),
    ("watch-tracepoint", Case::Watch("tracepoint")),
    ("tcpdump", Case::Tcpdump),
    ("bpftrace", Case::Bpftrace),
];

/// Where a tracepoint is that bpftrace needs.
const TRACEPOINT: [&str; 2] = [
    "/sys/kernel/tracing/events/sock/inet_sock_set_state",
    "/sys/kernel/debug/tracing/events/sock/inet_sock_set_state",
];

/// What a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// tcptally's JSON.
    Report,
    /// strace's lines.
    Log,
    /// SYNs.
    Packets,
    /// bpftrace's map.
    Map,
}

/// What a case needs to know.
pub struct Tools {
    pub tcptally: PathBuf,
    pub accept_server: PathBuf,
    pub load: PathBuf,
}

/// Where a tracer leaves its record.
pub const RECORD: &str = "record";

/// What bpftrace is made to say there first.
const READY: &str = "ready";

impl Case {
    fn is_strace(self) -> bool {
        matches!(self, Case::Strace(_) | Case::StraceAttach)
    }

    /// What the record has, if there is one.
    pub fn leaves(self) -> Option<Form> {
        match self {
            Case::Untraced => None,
            Case::Spawn(_) | Case::Attach(_) | Case::Watch(_) => Some(Form::Report),
            Case::Strace(_) | Case::StraceAttach => Some(Form::Log),
            Case::Tcpdump => Some(Form::Packets),
            Case::Bpftrace => Some(Form::Map),
        }
    }

    /// Whether it is one of tcptally's.
    pub fn is_tcptally(self) -> bool {
        self.leaves() == Some(Form::Report)
    }

    /// Whether it is other programs than tcptally that ask the kernel.
    pub fn is_others(self) -> bool {
        matches!(self, Case::Tcpdump | Case::Bpftrace)
    }

    /// Why it cannot be measured here, if that is known beforehand.
    pub fn is_missing(self) -> Option<&'static str> {
        let (program, not_installed, not_root) = match self {
            Case::Tcpdump => ("tcpdump", "tcpdump is not installed", "tcpdump needs root"),
            Case::Bpftrace => ("bpftrace", "bpftrace is not installed", "bpftrace needs root"),
            Case::Watch("tracepoint") if !nix::unistd::geteuid().is_root() => {
                return Some("the tracepoint needs root");
            }
            _ => return None,
        };
        if !crate::runs(Path::new(program), "--version") {
            Some(not_installed)
        } else if !nix::unistd::geteuid().is_root() {
            Some(not_root)
        } else if self == Case::Bpftrace && !TRACEPOINT.iter().any(|path| Path::new(path).exists())
        {
            Some(
                "the tracepoint sock:inet_sock_set_state is not to be seen; if the kernel has it: \
                 mount -t tracefs tracefs /sys/kernel/tracing",
            )
        } else {
            None
        }
    }

    pub fn attaches(self) -> bool {
        matches!(self, Case::Attach(_) | Case::StraceAttach) || !self.follows()
    }

    /// What the tracer says when it has attached, if it does.
    pub fn tells_of_attach(self) -> Option<&'static str> {
        match self {
            Case::Attach(_) => Some("attached to"),
            Case::Watch(_) => Some("watching port"),
            Case::Tcpdump => Some("listening on"),
            Case::Bpftrace => Some(READY),
            _ => None,
        }
    }

    /// Whether it stops the server, and so should be where that is; the others ask the kernel.
    pub fn follows(self) -> bool {
        !matches!(self, Case::Watch(_) | Case::Tcpdump | Case::Bpftrace)
    }

    /// The tracer's command line; a server to start or process ids to attach to go behind it. It
    /// may write `record`.
    fn tracer(self, tools: &Tools, dir: &Path, port: u16) -> Vec<OsString> {
        let record = dir.join(RECORD).into_os_string();
        match self {
            Case::Untraced => Vec::new(),
            Case::Spawn(engine) | Case::Attach(engine) => {
                let mut argv = vec![tools.tcptally.clone().into_os_string()];
                argv.extend(["trace", "-v", "--engine", engine].map(Into::into));
                argv.extend(["-F", "json", "-o"].map(Into::into));
                argv.push(record);
                argv
            }
            Case::Watch(engine) => {
                let mut argv = vec![tools.tcptally.clone().into_os_string()];
                argv.extend(["watch", "-v", "--engine", engine].map(Into::into));
                argv.extend(["-F", "json", "-o"].map(Into::into));
                argv.push(record);
                argv.extend(["--port".into(), port.to_string().into()]);
                argv
            }
            Case::Tcpdump => {
                let syns = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst port";
                let mut argv: Vec<OsString> =
                    ["tcpdump", "-i", "lo", "-n", "-Z", "root", "-w"].map(Into::into).into();
                argv.extend([record, format!("{syns} {port}").into()]);
                argv
            }
            Case::Bpftrace => {
                // SYN_RECV to ESTABLISHED. Probes are attached in order, so that it is ready when
                // the last one fires.
                let program = format!(
                    "tracepoint:sock:inet_sock_set_state \
                     /args->oldstate == 3 && args->newstate == 1 && args->sport == {port}/ \
                     {{ @[ntop(args->daddr)] = count(); }} \
                     interval:ms:50 /!@said/ {{ @said = 1; printf(\"{READY}\\n\"); }}"
                );
                // What goes to a file of its own (-o) is not seen before the end.
                let script = "exec bpftrace -B line -e \"$1\" >\"$2\"";
                let mut argv: Vec<OsString> =
                    ["sh", "-c", script, "bpftrace"].map(Into::into).into();
                argv.extend([program.into(), record]);
                argv
            }
            Case::Strace(_) | Case::StraceAttach => {
                let more: &[&str] = if let Case::Strace(options) = self { options } else { &[] };
                let mut argv: Vec<OsString> = vec!["strace".into(), "-f".into()];
                argv.extend(more.iter().map(Into::into));
                argv.extend(["-e", "trace=accept,accept4", "-o"].map(Into::into));
                argv.push(record);
                argv
            }
        }
    }

    /// The command that starts `server`, watched if the case does that from the start.
    pub fn starts(self, tools: &Tools, dir: &Path, server: Vec<OsString>) -> Vec<OsString> {
        if self == Case::Untraced || self.attaches() {
            return server;
        }
        let mut argv = self.tracer(tools, dir, 0);
        argv.push("--".into());
        argv.extend(server);
        argv
    }

    /// The command that attaches to a server; `None`: the case does not.
    pub fn attach(
        self,
        tools: &Tools,
        dir: &Path,
        pids: &[i32],
        port: u16,
    ) -> Option<Vec<OsString>> {
        if !self.attaches() {
            return None;
        }
        let mut argv = self.tracer(tools, dir, port);
        if !self.follows() {
            return Some(argv);
        }
        // strace does not look for the children that there are.
        let given = if self.is_strace() { pids } else { &pids[..1] };
        for pid in given {
            argv.extend(["-p".into(), pid.to_string().into()]);
        }
        Some(argv)
    }
}
