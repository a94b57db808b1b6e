//! Makes short connections from many addresses of 127.0.0.0/8, and says how many from each, how
//! fast, and how long they took, as JSON.
//!
//! A connection counts when the server has closed it: then it has been accepted.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

/// Makes short connections and tells what came of them.
#[derive(Parser)]
struct Args {
    /// Where the server listens
    server: SocketAddrV4,
    /// What is said
    #[arg(long, value_enum, default_value = "close")]
    mode: Mode,
    /// So many connections; otherwise for --seconds
    #[arg(long)]
    connections: Option<u64>,
    /// New connections are made for so long
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Connections of the first seconds count, but not their speed
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    /// Not more than so many in a second
    #[arg(long)]
    rate: Option<f64>,
    /// So many at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// So many client addresses, from 127.1.0.1 on, in turns
    #[arg(long, default_value_t = 200)]
    addresses: u32,
    /// Run on this CPU only
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nothing: wait until the server closes
    Close,
    /// An HTTP/1.0 request; read the answer until the server closes
    Get,
}

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const FIRST: u32 = u32::from_be_bytes([127, 1, 0, 1]);
const LAST: u32 = u32::from_be_bytes([127, 255, 255, 254]);
/// A server that does not answer for so long is dead.
const START_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.concurrency > 0, "--concurrency: at least 1");
    ensure!((1..=LAST - FIRST).contains(&args.addresses), "--addresses: 1 to {}", LAST - FIRST);
    if let Some(cpu) = args.cpu {
        let mut set = CpuSet::new();
        set.set(cpu).context("--cpu")?;
        sched_setaffinity(Pid::from_raw(0), &set).context("--cpu")?;
    }
    println!("{}", Load::new(args)?.run()?);
    Ok(())
}

/// A connection under way.
struct Client {
    stream: TcpStream,
    began: Instant,
    address: usize,
    asked: bool,
}

struct Load {
    args: Args,
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    /// Places that wait until another connection may begin.
    idle: Vec<usize>,
    started: Instant,
    /// Begun so far.
    begun: u64,
    /// Ended, by address.
    ended: Vec<u64>,
    errors: u64,
    next_port: u16,
    /// In microseconds, of those that began after the warm-up.
    latencies: Vec<u32>,
}

impl Load {
    fn new(args: Args) -> Result<Load> {
        let clients = (0..args.concurrency).map(|_| None).collect();
        let ended = vec![0; args.addresses as usize];
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Another run may have left its ports in TIME_WAIT.
        let next_port = 1024 + (std::process::id() as u16).wrapping_mul(977) % 50_000;
        let started = Instant::now();
        let latencies = Vec::new();
        let (begun, errors) = (0, 0);
        let idle = Vec::new();
        Ok(Load { args, epoll, clients, idle, started, begun, ended, errors, next_port, latencies })
    }

    fn run(mut self) -> Result<String> {
        for slot in 0..self.clients.len() {
            self.begin(slot)?;
        }
        let mut events = vec![EpollEvent::empty(); self.clients.len()];
        let patience = EpollTimeout::try_from(START_TIMEOUT)?;
        while !self.idle.is_empty() || self.clients.iter().any(Option::is_some) {
            let soon = !self.idle.is_empty();
            let timeout = if soon { EpollTimeout::from(1_u8) } else { patience };
            let n = match self.epoll.wait(&mut events, timeout) {
                Ok(0) if soon => 0,
                Ok(0) => bail!("the server has not answered for {} s", START_TIMEOUT.as_secs()),
                Ok(n) => n,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            for event in &events[..n] {
                self.go_on(event.data() as usize)?;
            }
            for slot in std::mem::take(&mut self.idle) {
                self.begin(slot)?;
            }
        }
        Ok(self.report())
    }

    fn is_over(&self) -> bool {
        match self.args.connections {
            Some(n) => self.begun >= n,
            None => self.started.elapsed().as_secs_f64() >= self.args.warm_up + self.args.seconds,
        }
    }

    fn begin(&mut self, slot: usize) -> Result<()> {
        self.clients[slot] = None;
        if self.is_over() {
            return Ok(());
        }
        let due = |rate| self.started.elapsed().as_secs_f64() * rate;
        if self.args.rate.is_some_and(|rate| self.begun as f64 > due(rate)) {
            self.idle.push(slot);
            return Ok(());
        }
        let address = (self.begun % u64::from(self.args.addresses)) as usize;
        self.begun += 1;
        let began = Instant::now();
        let stream = self.connect(address)?;
        let mut client = Client { stream, began, address, asked: self.args.mode == Mode::Close };
        client.ask()?;
        let wanted = if client.asked { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
        self.epoll.add(&client.stream, EpollEvent::new(wanted, slot as u64))?;
        self.clients[slot] = Some(client);
        Ok(())
    }

    fn connect(&mut self, address: usize) -> Result<TcpStream> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)
            .context("no socket (ulimit -n?)")?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        let ip = Ipv4Addr::from(FIRST + address as u32);
        // A port of our own choice: to let the kernel look for one would cost more than the rest.
        loop {
            self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
            let from = SockaddrIn::from(SocketAddrV4::new(ip, self.next_port));
            match bind(socket.as_raw_fd(), &from) {
                Ok(()) => {}
                Err(Errno::EADDRINUSE) => continue,
                Err(e) => return Err(e).with_context(|| format!("binding to {ip}")),
            }
            return match connect(socket.as_raw_fd(), &SockaddrIn::from(self.args.server)) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
                Err(e) => Err(e).with_context(|| format!("connecting to {}", self.args.server)),
            };
        }
    }

    /// A client's socket has something to tell.
    fn go_on(&mut self, slot: usize) -> Result<()> {
        let Some(client) = &mut self.clients[slot] else { return Ok(()) };
        if !client.asked {
            client.ask()?;
            if client.asked {
                let mut wanted = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
                self.epoll.modify(&client.stream, &mut wanted)?;
            }
            return Ok(());
        }
        match client.is_closed() {
            Ok(false) => return Ok(()),
            Ok(true) => {
                self.ended[client.address] += 1;
                if client.began.duration_since(self.started).as_secs_f64() >= self.args.warm_up {
                    self.latencies.push(client.began.elapsed().as_micros() as u32);
                }
            }
            Err(_) => self.errors += 1,
        }
        self.begin(slot)
    }

    fn report(mut self) -> String {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1);
            self.latencies.get((last as f64 * share).round() as usize).copied()
        };
        let seconds = self.started.elapsed().as_secs_f64() - self.args.warm_up;
        let named = self.ended.iter().enumerate().filter(|(_, n)| **n > 0);
        let addresses: BTreeMap<String, u64> =
            named.map(|(i, n)| (Ipv4Addr::from(FIRST + i as u32).to_string(), *n)).collect();
        serde_json::json!({
            "connections": self.ended.iter().sum::<u64>(),
            "errors": self.errors,
            "seconds": seconds,
            "rate": self.latencies.len() as f64 / seconds,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "max_us": at(1.0),
            "addresses": addresses,
        })
        .to_string()
    }
}

impl Client {
    /// Sends the request, unless that has been done or cannot be done yet.
    fn ask(&mut self) -> io::Result<()> {
        if !self.asked {
            match self.stream.write(REQUEST) {
                Ok(n) => self.asked = n == REQUEST.len(),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn is_closed(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
