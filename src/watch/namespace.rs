//! [`Namespace`]: the network namespace that is watched, see network_namespaces(7).

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::sys::{capability, pidfd};

use super::error::Error;

/// Names a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The namespace of a process.
    Of(i32),
    /// A namespace file, such as `/run/netns/NAME`.
    At(PathBuf),
}

/// A number is a process, anything else a path.
impl FromStr for Namespace {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Namespace, Self::Err> {
        Ok(match s.parse() {
            Ok(pid) if pid > 0 => Namespace::Of(pid),
            _ => Namespace::At(s.into()),
        })
    }
}

impl Namespace {
    /// Moves the calling thread into the namespace, and the threads that it starts later.
    ///
    /// If necessary, also enters the user namespace that owns it (rootless containers). The kernel
    /// allows that to processes with one thread only.
    pub fn enter(&self) -> Result<(), Error> {
        let path = match self {
            Namespace::Of(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Namespace::At(path) => path.clone(),
        };
        let not_permitted =
            |path, errno: Errno| Err(Error::NamespaceNotPermitted { path, source: errno.into() });
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Error::NamespaceNotPermitted { path, source });
            }
            Err(source) => return Err(Error::NoNamespace { path, source }),
        };
        let entered = {
            let _raised = capability::raised();
            setns(file, CloneFlags::CLONE_NEWNET)
        };
        match (entered, self) {
            (Ok(()), _) => Ok(()),
            (Err(Errno::EPERM), Namespace::Of(pid)) => {
                let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
                match pidfd::open_process(*pid).map(|process| setns(process, both)) {
                    Ok(Ok(())) => Ok(()),
                    _ => not_permitted(path, Errno::EPERM),
                }
            }
            (Err(Errno::EINVAL), _) => {
                let source = std::io::Error::other("this is no network namespace");
                Err(Error::NoNamespace { path, source })
            }
            (Err(errno), _) => not_permitted(path, errno),
        }
    }
}
