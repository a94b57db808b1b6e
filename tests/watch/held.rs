//! Very many connections, all open at once.

use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::*;
use crate::watching::*;

/// Connections, both ends of which this process holds; TCPTALLY_TEST_HELD changes it.
fn wanted() -> usize {
    std::env::var("TCPTALLY_TEST_HELD").ok().and_then(|n| n.parse().ok()).unwrap_or(5000)
}

#[test]
fn all_count_and_do_not_count_for_the_next() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let enough = 2 * wanted() as u64 + 1000;
    // Only root may have more than the hard limit.
    let most = [enough, hard.min(enough)]
        .into_iter()
        .find(|n| setrlimit(Resource::RLIMIT_NOFILE, *n, hard.max(*n)).is_ok())
        .expect("up to the hard limit");
    // Some stay in the backlog, where they need no descriptor of the server.
    let held = wanted().min((most as usize).saturating_sub(1000) / 2 + 1000);
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 4096);
    let watch = Watch::ports(&[port], &["--resolution", "100ms"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    let visit = |n: usize| {
        let from = SocketAddr::new(Ipv4Addr::new(127, 9, (n / 20_000) as u8, 1).into(), 0);
        (from, connect_from(from, local(port)))
    };
    for n in 0..held {
        let (from, stream) = visit(n);
        note(&mut made, from, port);
        let accepted =
            (n % 2 == 0 || n + 4000 < held).then(|| listener.accept().expect("a connection").0);
        open.push((stream, accepted));
    }
    watch.end().assert_counts(&made);

    let next = Watch::ports(&[port], &[]);
    let stderr = next.session.stderr();
    assert!(stderr.contains(&format!("{held} connections that are open already")), "{stderr}");
    drop(open);
    next.end().assert_counts(&Counts::new());
}
