//! Runs of `tcptally watch`, and clients that do what servers' clients should not.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt,
    shutdown, socket, sockopt,
};
use tempfile::TempDir;

use crate::harness::*;

/// A run of `tcptally watch` with a JSON report by address and port.
pub struct Watch {
    pub session: Session,
    pub folder: TempDir,
}

impl Watch {
    /// Watches these ports as an unprivileged user; returns when it does.
    #[track_caller]
    pub fn ports(ports: &[u16], options: &[&str]) -> Watch {
        Watch::as_user(User::plain(), ports, options)
    }

    /// The same as that user.
    #[track_caller]
    pub fn as_user(user: User, ports: &[u16], options: &[&str]) -> Watch {
        let report = ["-F", "json", "-o", "report.json", "--by", "ip,port"];
        Watch::start(user, ports, &[&report, options].concat())
    }

    /// Watches with these options alone.
    #[track_caller]
    pub fn start(user: User, ports: &[u16], options: &[&str]) -> Watch {
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut run = Watch::command(user, &[&["--port", &list.join(",")], options].concat());
        wait_for("tcptally watches", || {
            if let Some(status) = run.session.ended() {
                panic!("ended before it watched: {status}; stderr:\n{}", run.session.stderr());
            }
            run.session.stderr().contains("watching port").then_some(())
        });
        run
    }

    /// `tcptally watch OPTIONS`, just started.
    pub fn command(user: User, options: &[&str]) -> Watch {
        let stage = Stage::get();
        let folder = open_folder();
        let mut argv: Vec<OsString> = vec![stage.tcptally(), "watch".into()];
        argv.extend(options.iter().map(OsString::from));
        let session = Session::start(&stage, user, folder.path(), &argv);
        Watch { session, folder }
    }

    /// Ends it, and reads the report.
    #[track_caller]
    pub fn end(mut self) -> Report {
        self.session.signal(Signal::SIGTERM);
        let status = self.session.wait();
        assert_eq!(status.code(), Some(0), "stderr:\n{}", self.session.stderr());
        let path = self.folder.path().join("report.json");
        let text = std::fs::read_to_string(path).expect("a report");
        Report(serde_json::from_str(&text).expect("JSON"))
    }

    /// Ends it, and reads what it has written to stdout, an object a line.
    #[track_caller]
    pub fn events(mut self) -> Vec<serde_json::Value> {
        self.session.signal(Signal::SIGTERM);
        assert_eq!(self.session.wait().code(), Some(0), "stderr:\n{}", self.session.stderr());
        let text = self.session.stdout();
        text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }
}

/// A listener of our own on a port of 127.0.0.1 (or of this address) that nobody else has.
pub fn listen(ip: impl Into<IpAddr>, backlog: i32) -> (TcpListener, u16) {
    let address = SocketAddr::new(ip.into(), free_port());
    (listen_at(address, backlog), address.port())
}

pub fn listen_at(address: SocketAddr, backlog: i32) -> TcpListener {
    let listener = TcpListener::bind(address).expect("a free port");
    // SAFETY: takes numbers only. A second listen changes the backlog.
    #[allow(unsafe_code)]
    let result = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
    assert_eq!(result, 0);
    listener
}

/// A connection that is closed regularly by either side.
pub fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&fd, sockopt::ReuseAddr, &true).expect("an option");
    setsockopt(&fd, sockopt::IpBindAddressNoPort, &true).expect("an option");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).expect("an address of ours");
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).expect("a listener");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
    stream
}

/// Ends it by a reset. To close it would not do: a process that another test is just starting may
/// have it too, for a moment.
pub fn reset(stream: TcpStream) {
    // SAFETY: zeroes are a valid address, of no family, which is to disconnect.
    #[allow(unsafe_code)]
    let result = unsafe {
        let nothing: libc::sockaddr_storage = std::mem::zeroed();
        let len = size_of::<libc::sockaddr>() as libc::socklen_t;
        libc::connect(stream.as_raw_fd(), (&raw const nothing).cast(), len)
    };
    assert_eq!(result, 0);
}

/// Ends a listener, in the same way.
pub fn close(listener: TcpListener) {
    shutdown(listener.as_raw_fd(), Shutdown::Both).expect("it listens");
}

/// The nth client's address, with any port.
pub fn client(n: usize) -> SocketAddr {
    (Ipv4Addr::new(127, 9, 0, 1 + (n % 250) as u8), 0).into()
}

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Counts a connection.
pub fn note(counts: &mut Counts, from: SocketAddr, port: u16) {
    *counts.entry((from.ip(), port)).or_default() += 1;
}

/// Begins to connect, and does not wait for it.
pub fn connect_in_background(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).expect("an address of ours");
    let result = connect(fd.as_raw_fd(), &SockaddrStorage::from(to));
    assert_eq!(result, Err(nix::errno::Errno::EINPROGRESS));
    TcpStream::from(fd)
}

/// How many netlink messages found no room in the receive buffers of this process.
pub fn dropped_messages(pid: u32) -> u64 {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let links = fds.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let sockets: Vec<String> = links
        .filter_map(|l| Some(l.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    let table = fs::read_to_string("/proc/net/netlink").expect("the netlink sockets");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row.get(9).is_some_and(|inode| sockets.iter().any(|s| s == inode)));
    own.map(|row| row[8].parse::<u64>().expect("a number")).sum()
}
