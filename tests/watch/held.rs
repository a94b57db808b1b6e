//! Very many connections, all open at once.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::*;
use crate::watching::*;

/// Connections; TCPTALLY_TEST_HELD changes it.
fn requested() -> usize {
    std::env::var("TCPTALLY_TEST_HELD").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// So many at most are held by one process, both ends of them: the hard limit of descriptors
/// bounds them, and the number of ports that clients of one address have.
fn share() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    (usize::try_from(hard).unwrap_or(usize::MAX) / 2).saturating_sub(100).clamp(1, 20_000)
}

/// Holders of all connections, which listen.
fn holders(port: u16) -> Vec<Holder> {
    let (held, share) = (requested(), share());
    let shares = (0..held.div_ceil(share)).map(|n| (n, share.min(held - n * share)));
    let mut holders: Vec<_> = shares.map(|(n, count)| Holder::start(n, port, count)).collect();
    holders.iter_mut().for_each(|holder| holder.next("listens"));
    holders
}

/// What a holder is told by its environment: the port, its number, and how many to hold.
const TOLD: &str = "TCPTALLY_TEST_HOLDER";

/// A process that holds connections until it is dropped.
struct Holder {
    process: Child,
    from: SocketAddr,
    count: usize,
}

fn ends(number: usize, port: u16) -> (SocketAddr, SocketAddr) {
    let number = u8::try_from(number + 1).expect("not so many holders");
    let (from, to) = (Ipv4Addr::new(127, 9, number, 1), Ipv4Addr::new(127, 0, 0, number));
    ((from, 0).into(), (to, port).into())
}

impl Holder {
    fn start(number: usize, port: u16, count: usize) -> Holder {
        let this = std::env::current_exe().expect("the program of the tests");
        let process = Command::new(this)
            .args(["--exact", "held::holder", "--ignored", "--nocapture"])
            .env(TOLD, format!("{port} {number} {count}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        Holder { process, from: ends(number, port).0, count }
    }

    /// Lets it go on, and waits until it has said this word.
    fn next(&mut self, word: &str) {
        self.process.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it reads");
        let lines = BufReader::new(self.process.stdout.as_mut().expect("a pipe")).lines();
        let found = lines.map_while(Result::ok).any(|line| line.ends_with(word));
        assert!(found, "a holder of {} ended early", self.count);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The other side: listens, makes its connections when it is told to, and goes when nobody speaks
/// to it any more.
#[test]
#[ignore = "started by another test"]
fn holder() {
    let told = std::env::var(TOLD).expect("started by another test");
    let told: Vec<usize> = told.split(' ').map(|n| n.parse().expect("a number")).collect();
    let &[port, number, count] = &told[..] else { panic!("{told:?}") };
    let (from, to) = ends(number, port as u16);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    let listener = listen_at(to, 4096);
    let mut lines = std::io::stdin().lines();
    lines.next();
    println!("\nlistens");
    lines.next();
    let mut open = Vec::with_capacity(count);
    // The last ones stay in the backlog.
    for n in 0..count {
        let stream = connect_from(from, to);
        open.push((stream, (n + 1000 < count).then(|| listener.accept().expect("a connection").0)));
    }
    println!("\nholds");
    lines.next();
    close(listener);
}

#[test]
fn connections_held_by_a_process_count_once() {
    let (held, port) = (requested(), free_port());
    let mut holders = holders(port);
    let watch = Watch::ports(&[port], &["--resolution", "100ms"]);
    let mut made = Counts::new();
    for holder in &mut holders {
        holder.next("holds");
        made.insert((holder.from.ip(), port), holder.count as u64);
    }
    let began = std::time::Instant::now();
    let memory = status_field(&watch.session.pid.to_string(), "VmRSS");
    watch.end().assert_counts(&made);
    eprintln!("{held} held: {memory:?}, {:?} to the report", began.elapsed());

    let next = Watch::ports(&[port], &[]);
    let stderr = next.session.stderr();
    assert!(stderr.contains(&format!("{held} connections are open already")), "{stderr}");
    drop(holders);
    next.end().assert_counts(&Counts::new());
}

/// Also where each is told on its own, at the end and all at once.
#[test]
fn connections_held_by_a_process_are_events() {
    let (held, port) = (requested(), free_port());
    let mut holders = holders(port);
    let options = ["-e", "-F", "plain", "-o", "events"];
    let mut watch = Watch::start(User::plain(), &[port], &options);
    holders.iter_mut().for_each(|holder| holder.next("holds"));
    watch.session.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(watch.session.wait().success());
    let told = std::fs::read_to_string(watch.folder.path().join("events")).expect("events");
    assert_eq!(told.lines().count(), held, "{}", watch.session.stderr());
}
