//! Only connections to a listener count, and listeners come and go.

use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::watching::*;

#[test]
fn a_listener_that_starts_later_is_counted() {
    let port = free_port();
    let watch = Watch::ports(&[port], &[]);
    let stderr = watch.session.stderr();
    assert!(stderr.contains(&format!("no process listens on port {port} yet")), "{stderr}");
    let mut made = Counts::new();
    let listener = listen_at(local(port), 300);
    for n in 0..50 {
        note(&mut made, client(n), port);
        drop(connect_from(client(n), local(port)));
        drop(listener.accept());
    }
    watch.end().assert_counts(&made);
}

/// As `nc -l` does: between two looks of the watcher there was a listener, which had one client.
#[test]
fn listeners_that_close_between_dumps_are_counted() {
    let port = free_port();
    let watch = Watch::ports(&[port], &["--resolution", "1h"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..20 {
        let listener = listen_at(local(port), 1);
        note(&mut made, client(n), port);
        let stream = connect_from(client(n), local(port));
        let accepted = listener.accept().expect("a connection").0;
        close(listener);
        reset(match n % 2 {
            0 => stream,
            _ => {
                open.push(stream);
                accepted
            }
        });
    }
    watch.end().assert_counts(&made);
}

#[test]
fn outbound_connections_from_the_same_port_number_do_not_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let (elsewhere, other) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..60 {
        let from: SocketAddr = (Ipv4Addr::new(127, 9, 7, 1 + n as u8), port).into();
        let stream = connect_from(from, local(other));
        let accepted = elsewhere.accept().expect("a connection").0;
        match n % 3 {
            0 => open.push((stream, accepted)),
            1 => reset(stream),
            _ => drop(accepted),
        }
        note(&mut made, client(n), port);
        drop(connect_from(client(n), local(port)));
        drop(listener.accept());
    }
    watch.end().assert_counts(&made);
}

/// On the listener's very address, what the sockets themselves say is the only difference.
#[test]
fn outbound_connections_from_a_former_listening_address_do_not_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let (elsewhere, other) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--resolution", "1h"]);
    close(listener);
    for _ in 0..20 {
        let stream = connect_from(local(port), local(other));
        let accepted = elsewhere.accept().expect("a connection").0;
        // In order, and with no TIME_WAIT on the side whose port is wanted again.
        drop(accepted);
        drop(stream);
    }
    watch.end().assert_counts(&Counts::new());
}

#[test]
fn sigusr1_reports_the_tally_so_far() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let mut watch = Watch::start(User::plain(), &[port], &["-F", "plain", "--resolution", "10ms"]);
    let stream = connect_from(client(0), local(port));
    let accepted = listener.accept();
    wait_for("the tally so far", || {
        watch.session.signal(Signal::SIGUSR1);
        watch.session.stdout().contains("127.9.0.1: 1").then_some(())
    });
    assert!(watch.session.ended().is_none());
    drop((stream, accepted));
}
