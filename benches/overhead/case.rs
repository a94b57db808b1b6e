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
    /// tcptally asks the kernel about its port.
    Watch,
}

/// All, by name. The untraced server comes first: the others are compared to it.
pub const CASES: &[(&str, Case)] = &[
    ("untraced", Case::Untraced),
    ("spawn-seccomp", Case::Spawn("seccomp")),
    ("spawn-perf", Case::Spawn("perf")),
    ("spawn-syscall", Case::Spawn("syscall")),
    ("attach-perf", Case::Attach("perf")),
    ("attach-syscall", Case::Attach("syscall")),
    ("strace-seccomp", Case::Strace(&["--seccomp-bpf"])),
    ("strace-f", Case::Strace(&[])),
    ("strace-p", Case::StraceAttach),
    ("watch", Case::Watch),
];

/// What a case needs to know.
pub struct Tools {
    pub tcptally: PathBuf,
    pub accept_server: PathBuf,
    pub load: PathBuf,
}

/// Where a tracer leaves its record.
pub const RECORD: &str = "record";

impl Case {
    fn is_strace(self) -> bool {
        matches!(self, Case::Strace(_) | Case::StraceAttach)
    }

    /// Whether the record is a strace log; `None`: there is none.
    pub fn leaves_log(self) -> Option<bool> {
        (self != Case::Untraced).then(|| self.is_strace())
    }

    pub fn attaches(self) -> bool {
        matches!(self, Case::Attach(_) | Case::StraceAttach | Case::Watch)
    }

    /// What the tracer says when it has attached, if it does.
    pub fn tells_of_attach(self) -> Option<&'static str> {
        match self {
            Case::Attach(_) => Some("attached to"),
            Case::Watch => Some("watching port"),
            _ => None,
        }
    }

    /// Whether it stops the server, and so should be where that is.
    pub fn follows(self) -> bool {
        self != Case::Watch
    }

    /// The tracer's command line; a server to start or process ids to attach to go behind it.
    fn tracer(self, tools: &Tools, dir: &Path) -> Vec<OsString> {
        let record = dir.join(RECORD).into_os_string();
        match self {
            Case::Untraced => Vec::new(),
            Case::Spawn(engine) | Case::Attach(engine) => {
                let mut argv = vec![tools.tcptally.clone().into_os_string()];
                argv.extend(["trace", "--engine", engine, "-F", "json", "-o"].map(Into::into));
                argv.push(record);
                argv
            }
            Case::Watch => {
                let mut argv = vec![tools.tcptally.clone().into_os_string()];
                argv.extend(["watch", "-F", "json", "-o"].map(Into::into));
                argv.push(record);
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
        let mut argv = self.tracer(tools, dir);
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
        let mut argv = self.tracer(tools, dir);
        if self == Case::Watch {
            argv.extend(["--port".into(), port.to_string().into()]);
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
