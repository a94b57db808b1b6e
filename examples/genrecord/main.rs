//! Writes a record of connections of any size, the same for the same seed:
//! `genrecord pcap|headers|netfilter|filterlog|zeek|vpc-flow MEGABYTES [SEED]`. For measuring.
//!
//! `pcap`: a capture of a web server's Ethernet, whole packets. `headers`: the same with
//! `-s 128`. `netfilter`: a kernel log with lines of the LOG target, in three frames. The others: a line
//! for each packet or connection.

mod flows;
mod netfilter;
mod pcap;
#[path = "../common/random.rs"]
mod random;

use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;

use random::Random;

/// The clients.
struct Clients {
    /// Connections that each has made.
    made: Vec<u32>,
}

/// What a client sends first.
struct Attempt {
    ip: Ipv4Addr,
    port: u16,
    /// The port it asks for.
    to: u16,
    id: u16,
    isn: u32,
}

impl Clients {
    fn new() -> Clients {
        Clients { made: vec![0; 1 << 16] }
    }

    /// Few come often, many seldom. Each takes one port after the other, so that none comes
    /// again soon.
    fn next(&mut self, random: &mut Random) -> Attempt {
        let range = [16, 256, 4096, 1 << 16][random.below(4) as usize];
        let client = random.below(range) as u32;
        let made = &mut self.made[client as usize];
        *made += 1;
        Attempt {
            ip: Ipv4Addr::from(0x0a00_0000 | client),
            port: 32768 + ((*made + client * 77) % 28232) as u16,
            to: [80, 443, 443, 22][random.below(4) as usize],
            // When a port comes again, this is far from what it was.
            id: (*made * 37 + client * 11) as u16 | 1,
            isn: random.below(1 << 32) as u32,
        }
    }
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).map(|a| a.parse::<u64>().ok());
    let kind = args.first().map(String::as_str);
    let (Some(kind), Some(Some(megabytes)), seed) =
        (kind, number(1), number(2).unwrap_or(Some(1)).unwrap_or(1))
    else {
        eprintln!(
            "usage: genrecord pcap|headers|netfilter|filterlog|zeek|vpc-flow MEGABYTES [SEED]"
        );
        std::process::exit(2);
    };
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let (size, random) = (megabytes * 1_000_000, Random::new(seed));
    match kind {
        "pcap" => pcap::write(&mut out, size, 262_144, random)?,
        "headers" => pcap::write(&mut out, size, 128, random)?,
        "netfilter" => netfilter::write(&mut out, size, random)?,
        "filterlog" | "zeek" | "vpc-flow" => flows::write(&mut out, kind, size, random)?,
        other => {
            eprintln!("genrecord: there is no kind {other}");
            std::process::exit(2);
        }
    }
    out.flush()
}
