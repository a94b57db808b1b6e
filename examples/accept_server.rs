//! Servers that do nothing but accept and close, to measure what watching them costs.
//!
//! The first line on stdout is `PID PORT`. They run until they are killed.

use std::io::{self, Write};
use std::net::TcpListener;
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

fn accept(listener: &TcpListener, mut take: impl FnMut(std::net::TcpStream)) -> io::Result<()> {
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

fn accept_timed(listener: &TcpListener) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        let before = Instant::now();
        let accepted = listener.accept();
        let took = before.elapsed();
        if accepted.is_ok() {
            let mut all = NANOSECONDS.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(took.as_nanos() as u64);
        }
    }
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
