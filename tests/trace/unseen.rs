//! What a server does while it is watched, and an engine may not see: it is counted, or the report
//! is not complete and tells the number where the kernel knows it.

use nix::sys::signal::Signal;

use crate::harness::*;

/// A report, what the clients made before and after the server acted, and what it printed.
struct Watched {
    report: Report,
    before: Counts,
    after: Counts,
    printed: String,
}

impl Watched {
    fn made(&self) -> Counts {
        let mut made = self.before.clone();
        add(&mut made, &self.after);
        made
    }

    fn made_total(&self) -> u64 {
        self.made().values().sum()
    }
}

/// Attaches to the C server, lets it do this at SIGUSR1 between two loads, and asserts that it is
/// left alone and serves.
#[track_caller]
fn watch(user: User, engine: &str, arguments: &[&str]) -> Option<Watched> {
    let stage = Stage::get();
    let program = stage.server()?;
    let server = Server::c(&program, arguments, &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, user, &["--engine", engine, "-p", &pid], &[plain.pid]);
    let before = server.clients(1, 100, 5).run();
    if arguments.iter().any(|a| a.starts_with("later=")) {
        signal(plain.pid, Signal::SIGUSR1);
        wait_for("the server acts", || plain.stdout().contains("done").then_some(()));
    }
    let after = server.clients(2, 100, 5).run();
    let report = run.end_attached();
    session_members(plain.pid).into_iter().for_each(assert_free);
    server.assert_serves();
    Some(Watched { report, before, after, printed: plain.stdout() })
}

/// The same with each engine, as each user.
fn each(arguments: &[&str], check: impl Fn(&str, User, &Watched)) {
    for user in User::all() {
        for engine in attach_engines(user) {
            // It refuses such a server: `sample::processes_that_only_syscall_sees_are_refused_with_a_remedy`.
            if engine == "sample" && arguments == ["call=int80"] {
                continue;
            }
            let watched = watch(user, engine, arguments);
            check(engine, user, &need!(watched, "the C server", "there is no C compiler"));
        }
    }
}

#[test]
fn processes_that_share_memory_are_counted() {
    for mode in ["vm=3", "vmquiet=3", "later=vm", "later=vmquiet"] {
        each(&[mode], |_, _, watched| watched.report.assert_counts(&watched.made()));
    }
}

#[test]
fn accepts_of_an_untraced_child_are_counted_or_lost() {
    each(&["later=untraced"], |engine, _, watched| match engine {
        "perf" => {
            let report = &watched.report;
            assert_eq!(report.number("total") + report.number("lost"), watched.made_total());
            let is_hidden = report.number("lost") == 0;
            assert_eq!(report.0["complete"], is_hidden, "{}", report.0);
            assert!(is_hidden || report.warnings().contains("CLONE_UNTRACED"), "{}", report.0);
        }
        _ => watched.report.assert_counts(&watched.made()),
    });
}

/// Accept by int 0x80 passes no tracepoint of accept.
#[test]
fn accepts_by_int80_are_counted_or_make_the_report_incomplete() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    // The engine perf refuses such a server, so another one is chosen.
    for (user, engine) in User::all().into_iter().flat_map(|u| [(u, "auto"), (u, "syscall")]) {
        let watched = watch(user, engine, &["call=int80"]);
        let watched = need!(watched, "the C server", "there is no C compiler");
        watched.report.assert_counts(&watched.made());
        assert_eq!(watched.report.engine(), "syscall");
    }
    each(&["later=int80"], |engine, _, watched| match engine {
        "perf" | "sample" => {
            assert!(watched.report.number("total") >= watched.before.values().sum());
            assert_eq!(watched.report.0["complete"], false, "{}", watched.report.0);
            assert!(watched.report.warnings().contains("int 0x80"), "{}", watched.report.0);
        }
        _ => watched.report.assert_counts(&watched.made()),
    });
}

#[test]
fn a_server_that_becomes_undumpable_is_counted() {
    each(&["later=undumpable"], |engine, user, watched| {
        if user.is_root() || engine == "sample" {
            return watched.report.assert_counts(&watched.made());
        }
        // Neither its memory nor its sockets may be read any more.
        let report = &watched.report;
        assert_eq!(report.number("total"), watched.made_total());
        assert_eq!(report.number("unknown_peer"), watched.after.values().sum::<u64>());
        assert_eq!(report.number("lost"), 0);
        assert!(report.warnings().contains("not dumpable"), "{}", report.warnings());
    });
}

#[test]
fn a_started_server_that_is_not_dumpable_is_counted_and_the_cause_of_unknown_peers_is_reported() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if User::plain().is_root() {
        return skip("an undumpable server", "root may read it");
    }
    for engine in ["seccomp", "syscall"] {
        let server = Server::c(&program, &["undumpable", "fork"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made: u64 = server.clients(1, 50, 5).run().values().sum();
        let report = run.end();
        assert_eq!(report.number("total"), made);
        assert_eq!(report.number("unknown_peer"), made);
        assert!(report.warnings().contains("not dumpable"), "{}", report.warnings());
    }
}

/// By the server itself, which closes it, and by a child that ends at once.
#[test]
fn io_uring_set_up_while_watched_makes_the_report_incomplete() {
    for mode in ["later=uring", "later=urings"] {
        each(&[mode], |engine, _, watched| {
            if !watched.printed.contains("io_uring: yes") {
                return skip("io_uring", "this kernel does not let us have it");
            }
            let report = &watched.report;
            assert_eq!(report.number("total"), watched.made_total());
            assert_eq!(report.0["complete"], false, "{mode} under {engine}: {}", report.0);
            assert!(report.warnings().contains("io_uring"), "{}", report.0);
        });
    }
}

/// Accepts are in progress whenever the counts are compared: in one process of many threads, in many
/// processes, and in threads that come and go.
#[test]
fn accepts_in_progress_in_a_busy_server_are_not_reported_lost() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    for mode in ["pool=256", "prefork=100", "relay=100"] {
        let server = Server::c(&program, &[mode], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let mut run = Run::attach(&stage, user, &["--engine", "perf", "-p", &pid], &[plain.pid]);
        let load = server.clients(1, 100, 20).at_once(12).keep_coming();
        wait_for("3000 are answered", || (load.so_far() >= 3000).then_some(()));
        // Detaches under load: what is accepted after that is not lost either.
        let report = run.end_attached();
        let made: u64 = load.stop().values().sum();
        assert_eq!(report.number("lost"), 0, "{mode}: {}", report.warnings());
        assert_eq!(report.engine(), "perf", "{mode}");
        assert_eq!(report.0["complete"], true, "{mode}: {}", report.warnings());
        assert!((3000..=made).contains(&report.number("total")), "{mode}: {made} {}", report.0);
        session_members(plain.pid).into_iter().for_each(assert_free);
        server.assert_serves();
    }
}

/// The proof of completeness must not invent what was not lost.
#[test]
fn nothing_is_lost_where_threads_processes_and_programs_come_and_go() {
    for mode in
        ["thread", "churn=4", "fork", "vfork", "prefork=3", "oneshot=3", "oneexec=3", "exec=9"]
    {
        each(&[mode], |_, _, watched| watched.report.assert_counts(&watched.made()));
    }
}

#[test]
fn a_spawned_server_with_an_untraced_child_reports_what_is_lost() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all().into_iter().filter(|u| attach_engines(*u).contains(&"perf")) {
        let server = Server::c(&program, &["untraced"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, user, &["--engine", "perf"], &server);
        let made: u64 = server.clients(1, 60, 5).run().values().sum();
        let report = run.end();
        assert_eq!((report.number("total"), report.number("lost")), (0, made), "{}", report.0);
        assert_eq!(report.0["complete"], false);
    }
}
