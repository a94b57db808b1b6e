//! Hours of attaching and detaching under load: `make soak`.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::support::*;

/// How long each pair of engines is tried on each server.
fn soak_time() -> Duration {
    let asked = std::env::var("SOAK_SECONDS").ok().and_then(|n| n.parse().ok());
    Duration::from_secs(asked.unwrap_or(20))
}

/// Whether a pair is tried: those of which `SOAK_ENGINES` has the engine that stays, or all.
fn is_asked(stays: &str) -> bool {
    std::env::var("SOAK_ENGINES").map_or(true, |engines| engines.split(' ').any(|e| e == stays))
}

/// A tracer that stays beside others that come and go, by engine.
const PAIRS: [(&str, &[&str]); 3] =
    [("sample", &["perf", "syscall"]), ("perf", &["sample"]), ("syscall", &["sample"])];

/// Memory in KiB and descriptors of a process.
fn size(pid: u32) -> (u64, usize) {
    let memory = status_field(&pid.to_string(), "VmRSS").unwrap_or_default();
    let memory = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (memory, fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count))
}

#[test]
#[ignore = "`make soak` runs it for SOAK_SECONDS per pair of engines"]
fn nginx_is_attached_to_and_detached_from_for_hours_under_load() {
    need!(Server::nginx(), "nginx", "it is not installed");
    soak_each_pair("nginx", |_| Server::nginx());
}

#[test]
#[ignore = "`make soak` runs it for SOAK_SECONDS per pair of engines"]
fn a_thread_per_connection_is_attached_to_and_detached_from_for_hours_under_load() {
    soak_each_pair("a thread per connection", |stage| {
        Some(Server::c(&stage.server()?, &["thread"], &[Listens::V4]))
    });
}

fn soak_each_pair(name: &str, server: impl Fn(&Stage) -> Option<Server>) {
    let stage = Stage::get();
    let user = User::plain();
    for (stays, come) in
        PAIRS.into_iter().filter(|(s, _)| attach_to(user).contains(s) && is_asked(s))
    {
        let server = need!(server(&stage), name, "it cannot be started");
        soak(&stage, user, server, stays, come, &format!("{name}, {stays} stays"));
    }
}

fn soak(stage: &Stage, user: User, server: Server, stays: &str, come: &[&str], what: &str) {
    let mut attached = Attached::to(stage, user, stays, server);
    let pid = attached.plain.pid.to_string();
    let load = attached.server.clients(1, 200, 20).at_once(4).keep_coming();
    let begin = Instant::now();
    let (mut visits, mut full) = (0u64, 0u64);
    let mut early = None;
    while begin.elapsed() < soak_time() {
        let engine = come[visits as usize % come.len()];
        match visit_for_a_while(stage, user, engine, &pid, &load) {
            Ok(was_full) => full += u64::from(was_full),
            Err(error) => panic!("{what}, visit {visits} of {engine}: {error}"),
        }
        visits += 1;
        assert!(!load.has_failed(), "{what}, visit {visits}: a client was not served");
        // Its tables have grown to their size by then.
        if visits == 3 {
            early = Some(size(attached.run.session.pid));
        }
    }
    let late = size(attached.run.session.pid);
    let made = load.stop();
    let total: u64 = made.values().sum();
    let report = attached.run.end_attached();
    report.assert_counts_or_unknown(&made);
    attached.assert_unharmed(what);
    let early = early.unwrap_or(late);
    eprintln!(
        "{what}: {total} connections, {} without a peer, {visits} times attached and detached \
         ({full} with a full ring buffer), memory {} to {} KiB, {} to {} descriptors",
        report.number("unknown_peer"),
        early.0,
        late.0,
        early.1,
        late.1
    );
    assert!(late.0 < early.0 + early.0 / 4 + 4096, "{what}: memory grew: {early:?} {late:?}");
    // Threads that have just begun have descriptors too.
    assert!(late.1 < early.1 + 64, "{what}: descriptors grew: {early:?} {late:?}");
}

/// Attaches, counts for two seconds, detaches; the count lies between what was answered while it
/// was certainly attached and what was while it may have been. Returns whether the report says that the ring buffer
/// was full: all tracers of a user share the memory for it. What it calls lost counts then.
fn visit_for_a_while(
    stage: &Stage,
    user: User,
    engine: &str,
    pid: &str,
    load: &Load,
) -> Result<bool, String> {
    const UNDER_WAY: u64 = 4;
    let before = load.so_far();
    let mut run = Run::attach(stage, user, &["--engine", engine, "-p", pid], &[]);
    let first = load.so_far();
    std::thread::sleep(Duration::from_secs(2));
    let last = load.so_far();
    let report = run.end_attached();
    let after = load.so_far();
    let (least, most) = ((last - first).saturating_sub(UNDER_WAY), after - before + UNDER_WAY);
    let was_full = report.0["warnings"].to_string().contains("ring buffer was full");
    let told = report.number("total") + report.number("lost");
    if report.0["complete"] == was_full || !(least..=most).contains(&told) {
        return Err(format!("{told} told, {least} to {most} made: {}", report.0));
    }
    Ok(was_full)
}
