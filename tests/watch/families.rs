//! Addresses as clients have them, whatever the family of the server's socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::harness::*;
use crate::watching::*;

#[test]
fn ipv6_and_mapped_ipv4_clients_are_counted() {
    if !has_ipv6() {
        return skip("IPv6", "this machine has no ::1");
    }
    let (listener, port) = listen(Ipv6Addr::UNSPECIFIED, 300);
    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..100 {
        let (from, to): (SocketAddr, SocketAddr) = match n % 2 {
            0 => (client(n), local(port)),
            _ => ((Ipv6Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, port).into()),
        };
        note(&mut made, from, port);
        let stream = connect_from(from, to);
        let accepted = listener.accept().expect("a connection");
        match n % 4 {
            0 | 1 => open.push((stream, accepted)),
            _ => drop(stream),
        }
    }
    watch.end().assert_counts(&made);
}

#[test]
fn two_listeners_on_one_port_are_counted_together() {
    let port = free_port();
    let one = listen_at((Ipv4Addr::LOCALHOST, port).into(), 300);
    let other = listen_at((Ipv4Addr::new(127, 0, 0, 2), port).into(), 300);
    let watch =
        Watch::start(User::plain(), &[port], &["-F", "json", "-o", "report.json", "--by", "local"]);
    for n in 0..50 {
        drop(connect_from(
            client(n),
            (Ipv4Addr::new(127, 0, 0, 1 + u8::from(n % 5 == 0)), port).into(),
        ));
        drop(if n % 5 == 0 { other.accept() } else { one.accept() });
    }
    let report = watch.end();
    let counts: Vec<_> = report.0["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["local"].as_str().unwrap_or_default(), row["count"].as_u64()))
        .collect();
    let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|ip| format!("{ip}:{port}"));
    assert_eq!(counts, [(&*one, Some(40)), (&*other, Some(10))], "{}", report.0);
}
