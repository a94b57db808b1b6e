//! Several ports, and none but these.

use std::net::Ipv4Addr;

use crate::harness::*;
use crate::watching::*;

#[test]
fn only_the_given_ports_are_watched() {
    let ours: Vec<_> = (0..4).map(|_| listen(Ipv4Addr::LOCALHOST, 300)).collect();
    let others: Vec<_> = (0..3).map(|_| listen(Ipv4Addr::LOCALHOST, 300)).collect();
    let ports: Vec<u16> = ours.iter().map(|(_, port)| *port).collect();
    let watch = Watch::ports(&ports, &["--resolution", "10ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..350 {
        let (listener, port) = ours.iter().chain(&others).nth(n % 7).expect("one of seven");
        let stream = connect_from(client(n), local(*port));
        let accepted = listener.accept().expect("a connection").0;
        if n % 7 < 4 {
            note(&mut made, client(n), *port);
        }
        if n % 3 == 0 {
            open.push((stream, accepted));
        }
    }
    watch.end().assert_counts(&made);
}

/// The kernel's own filter has a limit; beyond it, more is looked at but not more is counted.
#[test]
fn hundreds_of_port_ranges_are_watched() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let (elsewhere, other) = listen(Ipv4Addr::LOCALHOST, 300);
    let far = |p: u16| p != port && p != other;
    let ranges: Vec<u16> = (100..60_000).step_by(150).filter(|p| far(*p)).chain([port]).collect();
    let watch = Watch::ports(&ranges, &["--resolution", "10ms"]);
    let mut made = Counts::new();
    for n in 0..50 {
        note(&mut made, client(n), port);
        drop(connect_from(client(n), local(port)));
        drop(listener.accept());
        drop(connect_from(client(n), local(other)));
        drop(elsewhere.accept());
    }
    watch.end().assert_counts(&made);
}

#[test]
fn networks_and_keys_apply_to_watch() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--from", "127.9.0.0/29", "--not-from", "127.9.0.3"]);
    let mut made = Counts::new();
    for n in 0..40 {
        let from = client(n);
        if n < 7 && n != 2 {
            note(&mut made, from, port);
        }
        drop(connect_from(from, local(port)));
        drop(listener.accept());
    }
    watch.end().assert_counts(&made);
}
