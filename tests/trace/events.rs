//! `--events`: a record for each connection, with both its ends.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;

fn events(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written while somebody looks.
    let whole = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    whole.map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn ends(event: &Value) -> Ends {
    let end = |ip: &str, port: &str| -> Option<SocketAddr> {
        let ip: IpAddr = event[ip].as_str()?.parse().ok()?;
        Some((ip, u16::try_from(event[port].as_u64()?).ok()?).into())
    };
    let both = end("peer_ip", "peer_port").zip(end("local_ip", "local_port"));
    both.unwrap_or_else(|| panic!("an event without its ends: {event}"))
}

#[test]
fn events_have_both_addresses_and_the_accepting_process() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let mut listens = vec![Listens::V4, Listens::V4];
    if has_ipv6() {
        listens.extend([Listens::V6, Listens::Dual]);
    }
    for engine in ["seccomp", "syscall"] {
        for address in ["address=full", "address=null"] {
            let server = Server::c(&program, &["prefork=4", address], &listens);
            let mut argv: Vec<OsString> = vec![stage.tcptally()];
            let options = ["trace", "--engine", engine, "-e", "-F", "jsonl", "-o", "events", "--"];
            argv.extend(options.map(OsString::from));
            argv.extend(server.argv.iter().cloned());
            let folder = server.folder.path();
            let mut session = Session::start(&stage, User::plain(), folder, &argv);
            server.wait_until_it_listens(&mut session);
            let made: BTreeSet<Ends> = server.clients(1, 300, 9).run_ends().into_iter().collect();
            // Not before: it listens before its children are there.
            let pids: BTreeSet<u64> =
                session_members(session.pid).into_iter().map(u64::from).collect();
            session.signal(Signal::SIGTERM);
            session.wait();
            session.assert_all_gone();
            let told = events(&folder.join("events"));
            assert_eq!(told.len(), made.len());
            assert_eq!(told.iter().map(ends).collect::<BTreeSet<_>>(), made, "{engine} {address}");
            for event in &told {
                assert!(pids.contains(&event["pid"].as_u64().expect("a pid")), "{event}");
                assert_eq!(event["pid"], event["tid"], "{event}");
                assert_eq!(event["comm"], "server", "{event}");
                assert!(event["fd"].as_u64().expect("a descriptor") > 2, "{event}");
                let time = event["time"].as_str().expect("a time");
                assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
            }
        }
    }
}

/// They are there as they happen, not at the end.
#[test]
fn events_are_written_as_they_happen() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &[], &[Listens::V4]);
    let mut argv: Vec<OsString> = vec![stage.tcptally()];
    argv.extend(["trace", "--events", "-F", "jsonl", "--"].map(OsString::from));
    argv.extend(server.argv.iter().cloned());
    let mut session = Session::start(&stage, User::plain(), server.folder.path(), &argv);
    server.wait_until_it_listens(&mut session);
    for n in 1..=3 {
        server.clients(n, 1, 1).run();
        wait_for("the event", || {
            let shown = session.stderr().matches("\"127.1.0.1\"").count();
            (shown == n as usize).then_some(())
        });
    }
    session.signal(Signal::SIGTERM);
    session.wait();
    session.assert_all_gone();
}
