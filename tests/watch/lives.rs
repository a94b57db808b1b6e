//! Connections of every kind of life count once, if they begin while somebody watches.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};

use crate::harness::*;
use crate::watching::*;

#[test]
fn connections_that_the_server_never_accepts_count() {
    let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &[]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..200 {
        note(&mut made, client(n % 7), port);
        open.push(connect_from(client(n % 7), local(port)));
    }
    watch.end().assert_counts(&made);
}

#[test]
fn connections_reset_before_accept_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--resolution", "1h"]);
    let mut made = Counts::new();
    for n in 0..200 {
        note(&mut made, client(n % 3), port);
        reset(connect_from(client(n % 3), local(port)));
    }
    for _ in 0..200 {
        drop(listener.accept());
    }
    watch.end().assert_counts(&made);
}

/// Until the server has accepted those, the kernel tells no more of them than how many they are.
#[test]
fn unaccepted_resets_are_reported_lost() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let come = |n: usize| reset(connect_from(client(n), local(port)));
    let watch = Watch::ports(&[port], &["--resolution", "1h"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..70 {
        come(n);
        note(&mut made, client(n), port);
        open.push(connect_from(client(n), local(port)));
    }
    let report = watch.end();
    assert_eq!(report.counts(), made);
    assert_eq!(report.number("lost"), 70, "{}", report.0);
    assert_eq!(report.0["complete"], false);
    assert!(report.warnings().contains("after the server has accepted"), "{}", report.0);

    // Those that are there already do not count when they are accepted at last. Their ages are known to the
    // tick of the kernel (10 ms at most), so the next watcher starts more than that later.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let watch = Watch::ports(&[port], &["--resolution", "1h"]);
    for _ in 0..140 {
        drop(listener.accept());
    }
    drop(open);
    let mut made = Counts::new();
    for n in 0..30 {
        note(&mut made, client(n), port);
        come(n);
        drop(listener.accept());
    }
    watch.end().assert_counts(&made);
}

#[test]
fn connections_waiting_at_a_closed_listener_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &[]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..100 {
        note(&mut made, client(n % 3), port);
        open.push(connect_from(client(n % 3), local(port)));
    }
    close(listener);
    watch.end().assert_counts(&made);
}

/// The kernel replaces their sockets by smaller ones (TIME_WAIT, FIN_WAIT2), which must not count
/// again, however often it is asked.
#[test]
fn connections_that_the_server_closes_first_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..200 {
        note(&mut made, client(n % 3), port);
        let mut stream = connect_from(client(n % 3), local(port));
        drop(listener.accept().expect("a connection"));
        assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
        // The client of every second never closes its half.
        if n % 2 == 0 {
            open.push(stream);
        }
    }
    watch.end().assert_counts(&made);
}

#[test]
fn half_closed_connections_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..60 {
        note(&mut made, client(n % 3), port);
        let stream = connect_from(client(n % 3), local(port));
        let (accepted, _) = listener.accept().expect("a connection");
        match n % 2 {
            0 => stream.shutdown(Shutdown::Write).expect("it is connected"),
            _ => accepted.shutdown(Shutdown::Write).expect("it is connected"),
        }
        open.push((stream, accepted));
    }
    watch.end().assert_counts(&made);
}

#[test]
fn connections_open_at_the_start_do_not_count_and_those_open_at_the_end_do() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let open = |n: usize| {
        let stream = connect_from(client(n), local(port));
        (stream, listener.accept().expect("a connection").0)
    };
    let mut ends_first: Vec<_> = (0..20).map(open).collect();
    let _outlives: Vec<_> = (0..30).map(open).collect();

    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    assert!(
        watch.session.stderr().contains("50 connections are open already and are not counted"),
        "{}",
        watch.session.stderr()
    );
    ends_first.clear();
    let mut made = Counts::new();
    let mut during = Vec::new();
    for n in 0..40 {
        note(&mut made, client(n), port);
        during.push(open(n));
        if n % 2 == 0 {
            during.remove(0);
        }
    }
    watch.end().assert_counts(&made);
}

/// The kernel has not finished them: their clients believe in them, the server will never see
/// them, and neither does the watcher.
#[test]
fn connections_refused_by_a_full_backlog_do_not_count() {
    let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 4);
    let watch = Watch::ports(&[port], &[]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    // A backlog of 4 takes 5.
    for n in 0..5 {
        note(&mut made, client(n), port);
        open.push(connect_from(client(n), local(port)));
    }
    let late = connect_in_background(client(9), local(port));
    watch.end().assert_counts(&made);
    drop(late);
}

#[test]
fn repeated_connections_from_one_client_port_all_count() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let from = (Ipv4Addr::new(127, 9, 9, 9), free_port()).into();
    let watch = Watch::ports(&[port], &["--resolution", "10ms"]);
    let mut made = Counts::new();
    for n in 0..300 {
        note(&mut made, from, port);
        let mut stream = connect_from(from, local(port));
        let (mut accepted, _) = listener.accept().expect("a connection");
        accepted.write_all(b"x").expect("it is connected");
        stream.read_exact(&mut [0]).expect("an answer");
        if n % 10 == 0 {
            // It lives longer than the resolution, so that a dump has it.
            std::thread::sleep(std::time::Duration::from_millis(12));
        }
        reset(stream);
    }
    watch.end().assert_counts(&made);
}
