//! Finds listeners in other network namespaces, because records of the tracepoint do not name a
//! namespace.
//!
//! Namespaces are found by the threads in them and by the files that they are mounted on (`ip
//! netns`). A namespace that is kept only by an open descriptor is not found.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::sys::ptrace::Tid;
use crate::sys::sock_diag::state;
use crate::watch::ports::PortSet;
use crate::watch::sockdiag::dumper::Dumper;

use super::error::{ForeignListener, NamespacesError};

/// `PROC_PID_INIT_INO` of the kernel's linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The result of the search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ForeignListeners {
    /// A listener on one of the ports, if there is one.
    pub listener: Option<ForeignListener>,
    /// The number of other network namespaces.
    pub others: usize,
}

/// Searches all other network namespaces for a listener on one of `ports`.
///
/// # Errors
/// The reason if not all of them are visible.
pub(super) fn look(ports: &PortSet) -> Result<ForeignListeners, NamespacesError> {
    let own = own().map_err(|e| unreadable("/proc/thread-self/ns/net", e))?;
    let mut all = all()?;
    all.remove(&own);
    let others = all.len();
    for path in all.into_values() {
        let file = match File::open(&path) {
            Ok(file) => file,
            // The thread has ended, or the mount is gone.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(unreadable(path, e)),
        };
        match listener_in(file, ports) {
            Ok(None) => {}
            Ok(Some(port)) => {
                let listener = Some(ForeignListener { port, namespace: path });
                return Ok(ForeignListeners { listener, others });
            }
            Err(cause) => return Err(NamespacesError::Listeners { path, cause }),
        }
    }
    Ok(ForeignListeners { listener: None, others })
}

/// Whether a thread is in the calling thread's network namespace; `None` if it has ended.
pub(super) fn is_in_ours(tid: Tid) -> Option<bool> {
    let namespace = link(&PathBuf::from(format!("/proc/{tid}/ns/net"))).ok()?;
    Some(own().ok()? == namespace)
}

fn own() -> io::Result<String> {
    link(Path::new("/proc/thread-self/ns/net"))
}

/// The kernel's name of a namespace, such as `net:[4026531840]`.
fn link(path: &Path) -> io::Result<String> {
    Ok(fs::read_link(path)?.to_string_lossy().into_owned())
}

fn unreadable(path: impl Into<PathBuf>, cause: io::Error) -> NamespacesError {
    NamespacesError::File { path: path.into(), cause }
}

/// Returns all network namespaces by name, with a file of each.
fn all() -> Result<HashMap<String, PathBuf>, NamespacesError> {
    let pid_namespace = link(Path::new("/proc/self/ns/pid"));
    if pid_namespace.ok().as_deref() != Some(INITIAL_PID_NAMESPACE) {
        return Err(NamespacesError::PidNamespace);
    }
    let mut found = HashMap::new();
    let mut mount_namespaces = HashSet::new();
    // Threads whose namespace link is not readable often share a namespace with other threads.
    let mut readable: HashSet<u64> = HashSet::new();
    let mut unreadable_links = Vec::new();
    let processes = fs::read_dir("/proc").map_err(|e| unreadable("/proc", e))?;
    for process in processes.flatten() {
        let process = process.path();
        let is_number = |name: &std::ffi::OsStr| name.as_encoded_bytes()[0].is_ascii_digit();
        if !process.file_name().is_some_and(is_number) {
            continue;
        }
        let Ok(threads) = fs::read_dir(process.join("task")) else { continue };
        for thread in threads.flatten() {
            let path = thread.path().join("ns/net");
            match link(&path) {
                Ok(name) => {
                    found.entry(name).or_insert_with(|| {
                        readable.extend(network_inode(&thread.path()));
                        path
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    let inode = network_inode(&thread.path());
                    unreadable_links.push((inode, unreadable(path, e)));
                }
                // It has ended.
                Err(_) => {}
            }
        }
        if link(&process.join("ns/mnt")).is_ok_and(|name| mount_namespaces.insert(name)) {
            add_mounted(&process, &mut found);
        }
    }
    let unknown = |inode: &Option<u64>| inode.is_none_or(|inode| !readable.contains(&inode));
    match unreadable_links.into_iter().find(|(inode, _)| unknown(inode)) {
        Some((_, why)) => Err(why),
        None => Ok(found),
    }
}

/// Returns a number that identifies the thread's network namespace and is readable for every user:
/// each namespace has its own files in proc(5).
fn network_inode(thread: &Path) -> Option<u64> {
    Some(fs::metadata(thread.join("net/snmp")).ok()?.ino())
}

/// Adds the network namespaces that are mounted in the mount namespace of a process: proc(5),
/// mountinfo.
fn add_mounted(process: &Path, found: &mut HashMap<String, PathBuf>) {
    let Ok(text) = fs::read_to_string(process.join("mountinfo")) else { return };
    for line in text.lines() {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(at)) = (fields.next(), fields.next()) else { continue };
        if root.starts_with("net:[") {
            let at = at.trim_start_matches('/').replace("\\040", " ");
            found.entry(root.to_owned()).or_insert_with(|| process.join("root").join(at));
        }
    }
}

/// Returns the port of a listener in a network namespace, which a separate thread enters.
fn listener_in(
    namespace: File,
    ports: &PortSet,
) -> Result<Option<u16>, Box<dyn std::error::Error + Send + Sync>> {
    thread::scope(|scope| {
        let look = thread::Builder::new().spawn_scoped(scope, || {
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|e| format!("setns: {e}"))?;
            let mut dumper = Dumper::open(ports.clone())?;
            let dump = dumper.dump(false)?;
            let listener = dump.sockets.iter().find(|s| s.state == state::LISTEN);
            Ok(listener.map(|s| s.local.1))
        });
        look?.join().unwrap_or_else(|_| Err("its thread has panicked".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_among_all() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root sees the namespaces of all processes");
            return;
        }
        match all() {
            Ok(found) => assert!(found.contains_key(&own().unwrap())),
            Err(why) => eprintln!("skipped: {why}"),
        }
        assert!(network_inode(Path::new("/proc/thread-self")).is_some());
        assert_eq!(is_in_ours(rustix::thread::gettid().as_raw_pid()), Some(true));
    }
}
