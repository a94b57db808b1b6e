//! What finds no room in the receive buffer is missed, and said to be: number for number.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::watching::*;

/// Ends `seen` connections of which a watcher knows, and makes `unseen` others, while it has
/// little room and is stopped.
fn overrun(seen: usize, unseen: usize) {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let mut watch = Watch::start(
        User::plain(),
        &[port],
        &["-F", "json", "--buffer", "4000", "--resolution", "10ms"],
    );
    let come = |n: usize| {
        let stream = connect_from(client(n), local(port));
        (stream, listener.accept().expect("a connection").0)
    };
    // They are known before their ends are lost: the tally so far says so.
    let known: Vec<_> = (0..seen).map(come).collect();
    wait_for("a dump", || {
        watch.session.signal(Signal::SIGUSR1);
        (last(&watch)?.number("total") == seen as u64).then_some(())
    });
    watch.session.signal(Signal::SIGSTOP);
    let stopped = |t: &String| state(t) == Some('T');
    let pid = watch.session.pid;
    wait_for("it stops", || threads(pid).iter().all(stopped).then_some(()));
    let before = dropped_messages(pid);
    drop(known);
    for n in 0..unseen {
        reset(come(n).0);
    }
    // The kernel sends the messages from a work queue, on a busy machine much later.
    wait_for("no room for messages", || (dropped_messages(pid) > before).then_some(()));
    watch.session.signal(Signal::SIGCONT);
    watch.session.signal(Signal::SIGTERM);
    assert!(watch.session.wait().success(), "{}", watch.session.stderr());
    let report = last(&watch).expect("a report");
    let (told, lost) = (report.number("total"), report.number("lost"));
    assert_eq!(told + lost, (seen + unseen) as u64, "{}", report.0);
    assert!(told >= seen as u64, "{}", report.0);
    assert!(lost > 0 && lost <= unseen as u64, "{}", report.0);
    assert_eq!(report.0["complete"], false);
    assert!(report.warnings().contains(&format!("{lost} connections were lost")), "{}", report.0);
}

/// The last report on stdout.
fn last(watch: &Watch) -> Option<Report> {
    let text = watch.session.stdout();
    let line = text.split_inclusive('\n').rfind(|l| l.ends_with('\n'))?;
    Some(Report(serde_json::from_str(line).expect("JSON")))
}

#[test]
fn lost_short_connections_are_reported() {
    overrun(0, 400);
}

/// Their ends are lost, they are not.
#[test]
fn lost_short_connections_are_reported_beside_seen_ones() {
    overrun(100, 300);
}

/// All are seen in dumps, so that nothing is missed, whatever is lost.
#[test]
fn lost_notices_of_known_connections_lose_no_connection() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["--buffer", "4000", "--resolution", "1h"]);
    let mut made = Counts::new();
    let mut open = Vec::new();
    for n in 0..200 {
        note(&mut made, client(n), port);
        open.push((connect_from(client(n), local(port)), listener.accept()));
    }
    watch.end().assert_counts(&made);

    let watch = Watch::ports(&[port], &["--buffer", "4000"]);
    watch.session.signal(Signal::SIGSTOP);
    drop(open);
    watch.session.signal(Signal::SIGCONT);
    watch.end().assert_counts(&Counts::new());
}

/// Every connection is known by its destroy event only.
#[test]
fn destroy_events_are_received_after_poll_has_failed() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    // prlimit(2) changes processes of the same user only.
    let options = ["--engine", "sockdiag", "--resolution", "1h"];
    let watch = Watch::as_user(User::Oneself, &[port], &options);
    let pid = watch.session.pid;
    // poll(2) fails with EINVAL if a process polls more files than it may open.
    let former = need!(limit_open_files(pid, "1:"), "a limit", "prlimit is missing");
    let before = receiver_switches(pid).expect("the thread receives");
    wait_for("poll fails", || {
        receiver_switches(pid).is_none_or(|now| now > before + 2).then_some(())
    });
    limit_open_files(pid, &format!("{former}:"));
    let mut made = Counts::new();
    for n in 0..50 {
        note(&mut made, client(n), port);
        drop((connect_from(client(n), local(port)), listener.accept()));
    }
    watch.end().assert_counts(&made);
}

/// Changes RLIMIT_NOFILE of a process, and returns the former soft limit.
fn limit_open_files(pid: u32, limit: &str) -> Option<String> {
    let prlimit = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &pid.to_string(), &format!("--nofile{limit}")]);
        let output = command.args(["--output", "SOFT", "--noheadings"]).output().ok()?;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let former = prlimit("")?;
    prlimit(&format!("={limit}"))?;
    Some(former)
}

/// How often the thread that receives destroy events has waited. `None` if it has ended.
fn receiver_switches(pid: u32) -> Option<u64> {
    let is_receiver = |task: &String| {
        let name = fs::read_to_string(format!("/proc/{task}/comm"));
        name.is_ok_and(|name| name.trim_end() == "receiver")
    };
    let task = threads(pid).into_iter().find(is_receiver)?;
    status_field(&task, "voluntary_ctxt_switches")?.parse().ok()
}
