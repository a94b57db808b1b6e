//! Runs the demo server under `tcptally trace`, is its clients, and leaves the table on the
//! screen: uneven traffic from a few addresses of 127.0.0.0/8 and from ::1 on two ports.
//!
//! `make demo` builds everything and runs it.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// The clients: their address, and how often they come to the first and to the second port.
const CLIENTS: [(IpAddr, u32, u32); 8] = [
    (v4(127, 0, 0, 1), 120, 57),
    (v4(127, 0, 0, 7), 64, 0),
    (v4(127, 10, 20, 30), 0, 311),
    (v4(127, 44, 0, 2), 1, 0),
    (v4(127, 66, 6, 6), 402, 89),
    (v4(127, 130, 8, 15), 23, 42),
    (v4(127, 200, 1, 99), 5, 3),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 150, 28),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn main() -> Result<()> {
    let here = std::env::current_exe()?;
    let examples = here.parent().context("the program has no folder")?.to_path_buf();
    let target = examples.parent().context("the folder has no parent")?.to_path_buf();
    let server = examples.join("demo_server");
    let tcptally = target.join("tcptally");
    for program in [&server, &tcptally] {
        ensure!(program.exists(), "{} is not built: run `make demo`", program.display());
    }
    println!("$ tcptally trace -- demo_server\n");
    run(&tcptally, &server, &std::env::args().skip(1).collect::<Vec<_>>())
}

/// Starts the server under tcptally, makes the traffic, ends the server.
fn run(tcptally: &PathBuf, server: &PathBuf, options: &[String]) -> Result<()> {
    let mut traced = Command::new(tcptally)
        .arg("trace")
        .args(options)
        .arg("--")
        .arg(server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", tcptally.display()))?;
    let stdout = traced.stdout.take().context("no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ports: Vec<u16> = line.split_whitespace().filter_map(|p| p.parse().ok()).collect();
    let made = match ports[..] {
        [first, second] => {
            println!("The server listens on ports {first} and {second}. Its clients come ...");
            traffic(first, second)
        }
        _ => Ok(0),
    };
    // The server ends with its stdin, also when the traffic failed.
    drop(traced.stdin.take());
    let status = traced.wait()?;
    let made = made?;
    ensure!(status.success(), "tcptally ended with {status}");
    println!("\nThe clients themselves say that they made {made} connections.");
    Ok(())
}

/// Makes the connections in turns, so that the clients mix, and returns their number.
fn traffic(first: u16, second: u16) -> Result<u32> {
    let mut left = CLIENTS;
    let mut made = 0;
    if TcpStream::connect((Ipv6Addr::LOCALHOST, first)).is_err() {
        println!("(This machine has no IPv6: ::1 stays at home.)");
        left[7] = (left[7].0, 0, 0);
    } else {
        // That was one of them.
        left[7].1 -= 1;
        made += 1;
    }
    while left.iter().any(|&(_, a, b)| a + b > 0) {
        for (ip, a, b) in &mut left {
            for (port, count) in [(first, a), (second, b)] {
                if *count > 0 {
                    visit(*ip, port).with_context(|| format!("{ip} cannot reach port {port}"))?;
                    *count -= 1;
                    made += 1;
                }
            }
        }
    }
    Ok(made)
}

/// One connection from the address `from` to `port`, until the server has closed it.
fn visit(from: IpAddr, port: u16) -> Result<()> {
    let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The kernel looks for a free client port only when it knows the whole connection.
    setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    let to = if from.is_ipv4() { v4(127, 0, 0, 1) } else { from };
    connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, port)))?;
    let mut greeting = String::new();
    TcpStream::from(fd).read_to_string(&mut greeting)?;
    ensure!(greeting == "hello\n", "the server said {greeting:?}");
    Ok(())
}
