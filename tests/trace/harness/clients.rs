//! Clients that count what they do: connections from many loopback addresses to given ports, each
//! completed with an answer, with the exact numbers per address and port.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// What a client sends, and how it knows that the server has accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub request: &'static [u8],
    /// Whether the server answers; else it only closes the connection.
    pub answers: bool,
}

pub const GREETED: Protocol = Protocol { request: b"", answers: true };
pub const CLOSED: Protocol = Protocol { request: b"", answers: false };
pub const HTTP: Protocol =
    Protocol { request: b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answers: true };
pub const REDIS: Protocol = Protocol { request: b"PING\r\n", answers: true };
pub const MEMCACHED: Protocol = Protocol { request: b"version\r\n", answers: true };

/// Connections per client address and server port, as the clients know them.
pub type Counts = BTreeMap<(IpAddr, u16), u64>;

/// A connection as the client sees it: its own end, and the server's.
pub type Ends = (SocketAddr, SocketAddr);

/// The connections that clients make: from which address to which port, in a shuffled but
/// repeatable order.
pub struct Clients {
    visits: Vec<(IpAddr, SocketAddr)>,
    protocol: Protocol,
    workers: usize,
}

impl Clients {
    /// `total` connections from `addresses` addresses, spread unevenly over the `ports`. A port
    /// that is reached by IPv6 is visited from ::1 as one of its addresses.
    pub fn new(seed: u64, total: usize, addresses: usize, ports: &[Port]) -> Clients {
        let mut random = Random(seed);
        let sources: Vec<Ipv4Addr> = (0..addresses).map(source).collect();
        // Squares make the numbers uneven; each address is used.
        let weights: Vec<u64> =
            sources.iter().map(|_| 1 + random.below(30).pow(2)).collect::<Vec<_>>();
        let sum: u64 = weights.iter().sum();
        let mut visits = Vec::with_capacity(total);
        for i in 0..total {
            let port = ports[random.below(ports.len() as u64) as usize];
            let from = if i < addresses {
                sources[i]
            } else {
                let mut left = random.below(sum);
                let chosen = weights.iter().position(|&w| {
                    let here = left < w;
                    left = left.wrapping_sub(w);
                    here
                });
                sources[chosen.expect("the weights add up")]
            };
            let v6 = port.v6 && (!port.v4 || random.below(8) == 0);
            visits.push(match v6 {
                true => (Ipv6Addr::LOCALHOST.into(), (Ipv6Addr::LOCALHOST, port.number).into()),
                false => (from.into(), (Ipv4Addr::LOCALHOST, port.number).into()),
            });
        }
        for i in (1..visits.len()).rev() {
            visits.swap(i, random.below(i as u64 + 1) as usize);
        }
        Clients { visits, protocol: GREETED, workers: 6 }
    }

    pub fn protocol(mut self, protocol: Protocol) -> Clients {
        self.protocol = protocol;
        self
    }

    /// Sets how many connect at the same time.
    pub fn at_once(mut self, workers: usize) -> Clients {
        self.workers = workers;
        self
    }

    /// Makes all the connections, and panics if one is not answered.
    #[track_caller]
    pub fn run(&self) -> Counts {
        count(&self.run_ends())
    }

    /// The same, with both ends of each connection.
    #[track_caller]
    pub fn run_ends(&self) -> Vec<Ends> {
        let share = self.visits.len().div_ceil(self.workers).max(1);
        let protocol = self.protocol;
        std::thread::scope(|scope| {
            let visit_all = |visits: &[(IpAddr, SocketAddr)]| {
                visits.iter().map(|&(from, to)| visit(from, to, protocol)).collect::<Result<_, _>>()
            };
            let workers: Vec<_> =
                self.visits.chunks(share).map(|c| scope.spawn(move || visit_all(c))).collect();
            let done = workers.into_iter().map(|w| w.join().expect("a client does not panic"));
            let done: Result<Vec<Vec<Ends>>, String> = done.collect();
            done.unwrap_or_else(|e| panic!("a client failed: {e}")).concat()
        })
    }

    /// Makes connections repeatedly, in the background, until stopped.
    pub fn keep_coming(self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let share = self.visits.len().div_ceil(self.workers).max(1);
        let workers = self.visits.chunks(share).map(|chunk| {
            let (chunk, protocol) = (chunk.to_vec(), self.protocol);
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut counts = Counts::new();
                for &(from, to) in chunk.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    visit(from, to, protocol)?;
                    *counts.entry((from, to.port())).or_default() += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(counts)
            })
        });
        Load { workers: workers.collect(), stop, answered }
    }
}

/// Clients that make connections until they are stopped.
pub struct Load {
    workers: Vec<std::thread::JoinHandle<Result<Counts, String>>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// How many have been answered so far.
    pub fn so_far(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether one of them has given up; [`Load::stop`] says why.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(std::thread::JoinHandle::is_finished)
    }

    /// Stops them, and panics if one of them was not answered.
    #[track_caller]
    pub fn stop(mut self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Counts::new();
        for worker in self.workers.drain(..) {
            match worker.join().expect("a client does not panic") {
                Ok(counts) => add(&mut sum, &counts),
                Err(error) => panic!("a client failed: {error}"),
            }
        }
        sum
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Counts, more: &Counts) {
    for (key, count) in more {
        *sum.entry(*key).or_default() += count;
    }
}

pub fn count(ends: &[Ends]) -> Counts {
    let mut counts = Counts::new();
    for (client, server) in ends {
        *counts.entry((client.ip(), server.port())).or_default() += 1;
    }
    counts
}

/// One connection from `from` to `to`, until the server's answer shows that it was accepted.
pub fn visit(from: IpAddr, to: SocketAddr, protocol: Protocol) -> Result<Ends, String> {
    let failed = |step: &'static str| {
        move |e: &dyn std::fmt::Display| format!("{from} to {to}: {step}: {e}")
    };
    let mut stream = open(from, to).map_err(|e| failed("connect")(&e))?;
    let ends = (stream.local_addr().map_err(|e| failed("getsockname")(&e))?, to);
    stream.write_all(protocol.request).map_err(|e| failed("request")(&e))?;
    let mut answer = [0; 512];
    match (stream.read(&mut answer), protocol.answers) {
        (Ok(0), true) => return Err(failed("answer")(&"closed without one")),
        (Ok(_), _) => {}
        (Err(e), false) if e.kind() == ErrorKind::ConnectionReset => {}
        (Err(e), _) => return Err(failed("answer")(&e)),
    }
    Ok(ends)
}

/// A connection whose end leaves no TIME_WAIT behind on either side, so that tens of thousands
/// fit into the range of local ports.
pub fn open(from: IpAddr, to: SocketAddr) -> Result<TcpStream, Errno> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    setsockopt(&fd, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    let stream = TcpStream::from(fd);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    Ok(stream)
}

/// The nth client address in 127.0.0.0/8; all are different.
fn source(n: usize) -> Ipv4Addr {
    let [high, low] = (n as u16).to_be_bytes();
    Ipv4Addr::new(127, 1 + (n * 37 % 250) as u8, low, 1 + high)
}

/// A port of a server, and the protocols by which it is reached.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub number: u16,
    pub v4: bool,
    pub v6: bool,
    /// Whether one socket serves both.
    pub is_dual: bool,
}

/// splitmix64: the same numbers from the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
