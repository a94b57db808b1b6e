//! [`port_owners`]: finds the processes that listen on a port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::sys::ptrace::Tid;

use super::attach_error::{self, ListenerError};
use super::error::{Doing, Error};
use super::procfs::{self, TcpSocket};

/// A process that holds a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The process.
    pub pid: Tid,
    /// Its name.
    pub comm: String,
    /// The requested addresses that it listens on.
    pub listens: Vec<SocketAddr>,
    /// Its network namespace, if it is another one than that of this process.
    pub namespace: Option<String>,
}

/// Who listens on ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortOwners {
    /// The processes that hold a listening socket.
    pub visible: Vec<PortOwner>,
    /// Listening sockets that no visible process holds. Without root, those of other users are not visible.
    pub ownerless: Vec<SocketAddr>,
}

/// How often the owners of sockets are searched for. A process that has passed its socket on meanwhile is found by
/// the second search.
const SEARCHES: usize = 2;

/// Returns the processes that hold a listening TCP socket on one of `ports`: in this network
/// namespace, or in another one if this one has no such socket.
///
/// # Errors
/// [`Error::NoListener`] if no owner is visible: names the ports that do have listeners, or the sockets.
pub fn port_owners(ports: &[RangeInclusive<u16>]) -> Result<PortOwners, Error> {
    if !procfs::is_mounted() {
        return Err(Error::NoListener(ListenerError::NoProc));
    }
    let me = std::process::id() as Tid;
    let listeners = || procfs::listeners(me).doing("reading /proc/net/tcp");
    let mut all = listeners()?;
    let mut found = Owners::default();
    for _ in 0..SEARCHES {
        let sockets = requested(&all, ports);
        if sockets.is_empty() {
            break;
        }
        found = owners_of(&sockets, None);
        all = listeners()?;
        let now = requested(&all, ports);
        found.ownerless.retain(|inode, _| now.contains_key(inode));
        if found.ownerless.is_empty() {
            break;
        }
    }
    if !found.visible.is_empty() || !found.ownerless.is_empty() {
        return found.visible_or_error();
    }
    elsewhere(ports).unwrap_or_else(|| {
        let mut others: Vec<u16> = all.iter().map(|l| l.local.port()).collect();
        others.sort_unstable();
        others.dedup();
        Err(Error::NoListener(ListenerError::Nobody { others }))
    })
}

/// Listening sockets by inode.
type Sockets = BTreeMap<u64, SocketAddr>;

fn requested(listeners: &[TcpSocket], ports: &[RangeInclusive<u16>]) -> Sockets {
    let is_requested = |l: &&TcpSocket| ports.iter().any(|r| r.contains(&l.local.port()));
    listeners.iter().filter(is_requested).map(|l| (l.inode, l.local)).collect()
}

/// The owners of sockets, and the sockets without a visible one.
#[derive(Debug, Default)]
struct Owners {
    visible: Vec<PortOwner>,
    ownerless: Sockets,
}

impl Owners {
    fn visible_or_error(self) -> Result<PortOwners, Error> {
        let ownerless = self.ownerless.into_values().collect();
        if self.visible.is_empty() {
            let error = ListenerError::Invisible { addresses: ownerless, remedy: remedy() };
            return Err(Error::NoListener(error));
        }
        let visible = without_init(self.visible)?;
        Ok(PortOwners { visible, ownerless })
    }
}

/// Leaves out systemd, which keeps the sockets that it has passed to a server and does not accept from them.
fn without_init(mut owners: Vec<PortOwner>) -> Result<Vec<PortOwner>, Error> {
    let Some(at) = owners.iter().position(|owner| procfs::is_init_of_all(owner.pid)) else {
        return Ok(owners);
    };
    let init = owners.remove(at);
    match init.comm == "systemd" && !owners.is_empty() {
        true => Ok(owners),
        false => Err(Error::NoListener(ListenerError::Init { pid: init.pid })),
    }
}

fn owners_of(sockets: &Sockets, namespace: Option<&str>) -> Owners {
    let mut owners = Owners { visible: Vec::new(), ownerless: sockets.clone() };
    for pid in procfs::processes() {
        let mut listens = Vec::new();
        for (_, inode) in procfs::socket_descriptors(pid) {
            listens.extend(sockets.get(&inode));
            owners.ownerless.remove(&inode);
        }
        listens.sort_unstable();
        listens.dedup();
        if !listens.is_empty() {
            let comm = procfs::comm(pid).map(|c| c.to_string()).unwrap_or_default();
            let namespace = namespace.map(Into::into);
            owners.visible.push(PortOwner { pid, comm, listens, namespace });
        }
    }
    owners
}

/// Returns the owners in another network namespace; `None` if no visible one has a listener.
fn elsewhere(ports: &[RangeInclusive<u16>]) -> Option<Result<PortOwners, Error>> {
    let here = procfs::network_namespace(std::process::id() as Tid)?;
    let mut namespaces: BTreeMap<String, Tid> = BTreeMap::new();
    for pid in procfs::processes() {
        if let Some(namespace) = procfs::network_namespace(pid).filter(|n| *n != here) {
            namespaces.entry(namespace).or_insert(pid);
        }
    }
    let mut found: Vec<Owners> = Vec::new();
    let mut unseen = Sockets::new();
    for (namespace, pid) in namespaces {
        // The process may have ended.
        let sockets = requested(&procfs::listeners(pid).unwrap_or_default(), ports);
        let owners = owners_of(&sockets, Some(&namespace));
        if owners.visible.is_empty() {
            unseen.extend(owners.ownerless);
        } else {
            found.push(owners);
        }
    }
    match found.len() {
        0 if unseen.is_empty() => None,
        0 => Some(Owners { visible: Vec::new(), ownerless: unseen }.visible_or_error()),
        1 => found.pop().map(Owners::visible_or_error),
        _ => {
            let one = |owner: &PortOwner| {
                let namespace = owner.namespace.as_deref().unwrap_or_default();
                format!("-p {} ({}, {namespace})", owner.pid, owner.comm)
            };
            let owners = found.iter().flat_map(|owners| &owners.visible).map(one).collect();
            Some(Err(Error::NoListener(ListenerError::Several { owners })))
        }
    }
}

/// Returns the processes that have created these by fork(2), and listen on none of their ports. They may create
/// more: each worker may have a listening socket of its own (SO_REUSEPORT).
pub(crate) fn creators(owners: &[PortOwner]) -> BTreeSet<Tid> {
    let me = std::process::id() as Tid;
    // Not all children of a script that starts tcptally belong to its server.
    let has_created_me = |pid| procfs::with_descendants(&BTreeSet::from([pid])).contains(&me);
    let mut found = BTreeSet::new();
    for owner in owners {
        let mut pid = owner.pid;
        while let Some(parent) = procfs::forking_parent(pid) {
            if found.contains(&parent) || has_created_me(parent) {
                break;
            }
            found.insert(parent);
            pid = parent;
        }
    }
    found.retain(|pid| owners.iter().all(|owner| owner.pid != *pid));
    found
}

/// What makes the owners of sockets visible.
fn remedy() -> &'static str {
    if attach_error::is_root_without_ptrace() {
        attach_error::GIVE_PTRACE
    } else {
        "run tcptally as that user or as root"
    }
}

/// How many sockets a line names.
const MAX_NAMED: usize = 10;

/// A line about sockets whose owners are not visible.
pub(super) fn describe_ownerless(sockets: &[SocketAddr]) -> String {
    let mut names: Vec<String> = sockets.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if sockets.len() > MAX_NAMED {
        names.push(format!("{} more", sockets.len() - MAX_NAMED));
    }
    format!(
        "a process that is not visible listens on {}, too, and is not attached to; {}",
        names.join(", "),
        remedy()
    )
}

/// Who listens where, a line for all processes that have the name and the sockets in common.
pub(crate) fn describe(owners: &[PortOwner]) -> Vec<String> {
    let mut groups: Vec<(&PortOwner, usize)> = Vec::new();
    for owner in owners {
        let is_alike = |other: &PortOwner| {
            (&other.comm, &other.listens, &other.namespace)
                == (&owner.comm, &owner.listens, &owner.namespace)
        };
        match groups.iter_mut().find(|(other, _)| is_alike(other)) {
            Some((_, n)) => *n += 1,
            None => groups.push((owner, 1)),
        }
    }
    let line = |(owner, n): (&PortOwner, usize)| {
        let listens: Vec<String> = owner.listens.iter().map(ToString::to_string).collect();
        let place = if owner.namespace.is_some() { ", in another network namespace" } else { "" };
        let listens = listens.join(", ");
        match n {
            1 => format!("process {} ({}) listens on {listens}{place}", owner.pid, owner.comm),
            _ => format!("{}: {n} processes listen on {listens}{place}", owner.comm),
        }
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_owner_of_a_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        let found = port_owners(&[port..=port]).unwrap().visible;
        let me = std::process::id() as Tid;
        assert!(found.iter().any(|o| o.pid == me && o.listens == [address]), "{found:?}");
        drop(listener);
    }

    #[test]
    fn processes_that_listen_alike_are_one_line() {
        let owner = |pid, comm: &str, port: u16| PortOwner {
            pid,
            comm: comm.into(),
            listens: vec![([0, 0, 0, 0], port).into()],
            namespace: None,
        };
        let owners = [
            owner(1, "nginx", 80),
            owner(2, "nginx", 80),
            owner(3, "nginx", 80),
            owner(4, "x", 80),
        ];
        assert_eq!(
            describe(&owners),
            ["nginx: 3 processes listen on 0.0.0.0:80", "process 4 (x) listens on 0.0.0.0:80"]
        );
    }
}
