//! A small server to try tcptally on: it listens on two free ports, IPv4 and IPv6 where the
//! machine has it, greets each client, and ends when its stdin does.
//!
//! The ports are the first line on stdout. Ports of your choice: `demo_server 4711 4712`.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::thread;

fn main() -> io::Result<()> {
    let mut ports: Vec<u16> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if ports.is_empty() {
        ports = vec![0, 0];
    }
    let mut listening = Vec::new();
    for port in ports {
        // Without IPv6 on the machine, IPv4 alone.
        let listener =
            TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
        listening.push(listener.local_addr()?.port().to_string());
        thread::spawn(move || greet(&listener));
    }
    println!("{}", listening.join(" "));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Greets every client of one port.
fn greet(listener: &TcpListener) {
    for client in listener.incoming() {
        let greeted = client.and_then(|mut stream| stream.write_all(b"hello\n"));
        if let Err(error) = greeted {
            eprintln!("demo_server: {error}");
        }
    }
}
