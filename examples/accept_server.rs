//! Servers that do nothing but accept and close, to measure what watching them costs.
//!
//! The first line on stdout is `PID PORT`. They run until they are killed.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Accepts and closes, in one of several ways.
#[derive(Parser)]
struct Args {
    /// How connections are accepted
    #[arg(value_enum)]
    model: Model,
    /// Of `acceptors` and `sleepers`
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// 0: a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// One thread that accepts and closes
    Loop,
    /// One thread that accepts, and a new one for each connection
    PerConnection,
    /// So many threads that wait in accept on one listener
    Acceptors,
    /// One thread that waits until a connection is there, and accepts and closes it; each line on stdin
    /// prints how long such an accept took, in nanoseconds: the median of all since the line before
    Timed,
    /// The same with connections that wait in the queue: it lets them come for some milliseconds, accepts all of
    /// them, and closes them afterwards
    Queued,
    /// Nobody accepts: one thread spins and so many sleep a quarter of a second at a time; each
    /// line on stdin prints the longest that either was held up since the line before, in
    /// microseconds
    Sleepers,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(("127.0.0.1", args.port))?;
    let announce = || {
        println!("{} {}", std::process::id(), listener.local_addr()?.port());
        io::stdout().flush()
    };
    match args.model {
        Model::Loop => {
            announce()?;
            accept(&listener, drop)
        }
        Model::PerConnection => {
            announce()?;
            accept(&listener, |stream| {
                let made = thread::Builder::new().stack_size(64 << 10).spawn(move || drop(stream));
                if let Err(error) = made {
                    eprintln!("accept_server: no thread: {error}");
                }
            })
        }
        Model::Acceptors => thread::scope(|scope| {
            for _ in 1..args.threads {
                small().spawn_scoped(scope, || accept(&listener, drop))?;
            }
            announce()?;
            accept(&listener, drop)
        }),
        Model::Timed => {
            small().spawn(tell_median)?;
            announce()?;
            accept_timed(&listener)
        }
        Model::Queued => {
            small().spawn(tell_median)?;
            listener.set_nonblocking(true)?;
            announce()?;
            accept_queued(&listener)
        }
        Model::Sleepers => {
            for _ in 0..args.threads {
                small().spawn(sleep)?;
            }
            small().spawn(spin)?;
            announce()?;
            for _ in io::stdin().lines() {
                let [spun, slept] = [&SPIN, &SLEEP].map(|m| m.swap(0, Ordering::Relaxed));
                println!("{spun} {slept}");
                io::stdout().flush()?;
            }
            Ok(())
        }
    }
}

fn small() -> thread::Builder {
    thread::Builder::new().stack_size(64 << 10)
}

fn accept(listener: &TcpListener, mut take: impl FnMut(TcpStream)) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => take(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

static NANOSECONDS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Waits until a connection is there, accepts it and closes it, again and again.
fn accept_timed(listener: &TcpListener) -> io::Result<()> {
    loop {
        wait(listener);
        drop(timed(listener));
    }
}

/// Waits until connections are there, accepts all of them and closes them, again and again.
fn accept_queued(listener: &TcpListener) -> io::Result<()> {
    const UNTIL_MORE_ARE_THERE: Duration = Duration::from_millis(5);
    loop {
        wait(listener);
        thread::sleep(UNTIL_MORE_ARE_THERE);
        let accepted: Vec<_> = std::iter::from_fn(|| timed(listener)).collect();
        drop(accepted);
    }
}

fn wait(listener: &TcpListener) {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // After an error it is asked again.
    let _ = poll(&mut fds, PollTimeout::NONE);
}

/// Accepts a connection, and notes how long that took; `None`: there was none.
fn timed(listener: &TcpListener) -> Option<TcpStream> {
    let before = Instant::now();
    let accepted = listener.accept();
    let took = before.elapsed();
    let (stream, _) = accepted.ok()?;
    let mut all = NANOSECONDS.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(took.as_nanos() as u64);
    Some(stream)
}

fn tell_median() {
    for _ in io::stdin().lines() {
        let mut all = NANOSECONDS.lock().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable();
        println!("{}", all.get(all.len() / 2).copied().unwrap_or(0));
        let _ = io::stdout().flush();
        all.clear();
    }
}

static SPIN: AtomicU64 = AtomicU64::new(0);
static SLEEP: AtomicU64 = AtomicU64::new(0);

fn spin() {
    let mut before = Instant::now();
    loop {
        let now = Instant::now();
        SPIN.fetch_max((now - before).as_micros() as u64, Ordering::Relaxed);
        before = now;
    }
}

fn sleep() {
    const IDLE_WAIT: Duration = Duration::from_millis(250);
    loop {
        let before = Instant::now();
        thread::sleep(IDLE_WAIT);
        let late = before.elapsed().saturating_sub(IDLE_WAIT);
        SLEEP.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
    }
}
