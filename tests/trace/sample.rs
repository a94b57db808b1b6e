//! `--engine sample`: without a trace of it in the server, where no other engine works, and up to its
//! limits. What it counts is tested with that of the other engines: `attach_counts`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;

fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--engine", "sample"], more].concat()
}

#[test]
fn unix_sockets_are_not_connections() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for address in ["address=full", "address=null"] {
        let server = Server::c(&program, &["unix=socket", address], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let mut run = Run::attach(&stage, user, &options(&["-p", &pid]), &[plain.pid]);
        let path = server.folder.path().join("socket");
        for _ in 0..20 {
            std::os::unix::net::UnixStream::connect(&path).expect("the server listens there");
        }
        let made: u64 = server.clients(4, 40, 3).run().values().sum();
        assert_eq!(run.end_attached().number("total"), made, "{address}");
    }
}

/// Under load, at any moment: what the samples do not tell, the other engine does.
#[test]
fn auto_hands_over_without_a_gap_and_without_a_double_count() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    // They wait in poll(2) and not in accept(2), so that their buffers show with the first accept.
    for (mode, listens) in [
        (&["address=null"][..], [Listens::V4; 2]),
        (&["address=heap"], [Listens::V4; 2]),
        (&["prefork=3", "address=null"], [Listens::V4; 2]),
        (&["storm=3", "address=null"], [Listens::V4; 2]),
    ] {
        for round in 0..rounds(2) {
            let (report, made) = run_with_cpu_time(|| {
                let server = Server::c(&program, mode, &listens);
                let plain = server.start(&stage, user);
                let pid = plain.pid.to_string();
                let mut run = Run::attach(&stage, user, &["-p", &pid], &[]);
                let made = server.clients(round as u64, 8000, 9).run();
                let report = run.end_attached();
                assert_free(plain.pid);
                (report, made)
            });
            report.assert_counts_or_unknown(&made);
        }
    }
}

/// It waits in poll(2), so that its buffer shows with the first accept.
#[test]
fn auto_knows_a_program_that_it_has_handed_over_before() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["address=null", "mute"], &[Listens::V4; 2]);
    let cache = open_folder();
    let home = [OsString::from("env"), format!("XDG_CACHE_HOME={}", cache.path().display()).into()];
    let tcptally: Vec<OsString> = home.into_iter().chain([stage.tcptally()]).collect();
    for is_known in [false, true] {
        let plain = server.start(&stage, user);
        let arguments = ["-v".into(), "-p".into(), plain.pid.to_string().into()];
        let mut run = Run::program(&stage, user, &tcptally, &arguments);
        wait_for("it attaches", || run.session.stderr().contains("attached to").then_some(()));
        let is_stopped = || {
            run.session
                .stderr()
                .contains("it does not request the address from accept")
                .then_some(())
        };
        if is_known {
            wait_for("another engine before any connection", is_stopped);
            let made = server.clients(2, 1000, 9).run();
            let report = run.end_attached();
            report.assert_counts(&made);
            assert_eq!(report.number("unknown_peer"), 0);
        } else {
            let made = server.clients(1, 100, 9).run();
            wait_for("another engine", is_stopped);
            run.end_attached().assert_counts_or_unknown(&made);
        }
        assert_free(plain.pid);
    }
}

#[test]
fn auto_knows_programs_by_name() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    for name in ["cupsd", "knotd", "named", "sniproxy", "webfsd"] {
        let folder = open_folder();
        let program_of_name = folder.path().join(name);
        std::fs::copy(&program, &program_of_name).expect("a folder to write in");
        let server = Server::c(&program_of_name, &["address=null"], &[Listens::V4; 2]);
        let plain = server.start(&stage, user);
        let mut run = Run::attach(&stage, user, &["-v", "-p", &plain.pid.to_string()], &[]);
        wait_for("another engine before any connection", || {
            run.session.stderr().contains("are not on the stack").then_some(())
        });
        let made = server.clients(1, 100, 9).run();
        run.end_attached().assert_counts(&made);
        assert_free(plain.pid);
    }
}

/// They end before tcptally reads their samples, and another listener of their parent had the descriptor.
#[test]
fn executed_programs_get_no_port_of_a_descriptor_of_their_parent() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    for engine in ["sample", "auto"] {
        let (report, made) = run_with_cpu_time(|| {
            let server = Server::c(&program, &["oneexec=4", "swap"], &[Listens::V4; 2]);
            let plain = server.start(&stage, user);
            let pid = plain.pid.to_string();
            let options = ["--engine", engine, "-p", &pid];
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            let made = server.clients(6, 1000, 9).run();
            let report = run.end_attached();
            assert_free(plain.pid);
            (report, made)
        });
        report.assert_counts_or_unknown(&made);
    }
}

/// Former and larger samples tell of the same accepts while events are opened anew.
#[test]
fn connections_count_once_while_samples_grow() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    for mode in ["loop", "storm=3", "prefork=4"] {
        for round in 0..rounds(3) {
            // It waits in poll(2), so that its buffer shows with the first accept.
            let server = Server::c(&program, &[mode, "address=deep"], &[Listens::V4; 2]);
            let plain = server.start(&stage, user);
            let pid = plain.pid.to_string();
            let mut run = Run::attach(&stage, user, &options(&["-p", &pid]), &[plain.pid]);
            let made = server.clients(round as u64, 3000, 9).run();
            run.end_attached().assert_counts_unknown_or_lost(&made);
            assert_free(plain.pid);
        }
    }
}

/// What /proc shows of each thread, and the open descriptors.
fn traces(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut tasks = threads(pid);
    tasks.sort();
    for task in tasks {
        for field in
            ["TracerPid", "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "Seccomp", "NoNewPrivs"]
        {
            found.push(format!("{task} {field} {:?}", status_field(&task, field)));
        }
    }
    let mut links: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the server runs")
        .filter_map(|d| Some(std::fs::read_link(d.ok()?.path()).ok()?.display().to_string()))
        .collect();
    links.sort();
    found.extend(links);
    found
}

#[test]
fn a_killed_tracer_leaves_nothing_behind() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let mut random = Random(15);
    for mode in [&["pool=4"][..], &["loop"], &["prefork=3"], &["pool=4", "block"]] {
        let server = Server::c(&program, mode, &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        server.clients(1, 10, 1).run();
        let pid = plain.pid.to_string();
        let idle = |pid| threads(pid).iter().all(|t| state(t) == Some('S'));
        wait_for("the server is idle", || idle(plain.pid).then_some(()));
        let before = traces(plain.pid);
        for round in 0..rounds(5) {
            let load = server.clients(1, 200, 9).at_once(4).keep_coming();
            let mut run = match round % 2 == 0 {
                true => Run::attach(&stage, user, &options(&["-p", &pid]), &[plain.pid]),
                false => Run::start(&stage, user, &options(&["-p", &pid])),
            };
            std::thread::sleep(std::time::Duration::from_micros(random.below(40_000)));
            run.session.signal(Signal::SIGKILL);
            run.session.wait();
            assert!(plain.ended().is_none(), "{mode:?}: the server is dead");
            assert!(!load.stop().is_empty(), "nobody was refused");
            wait_for("the server is as it was", || (traces(plain.pid) == before).then_some(()));
        }
        server.assert_serves();
    }
}

#[test]
fn nothing_shows_in_the_server_while_it_is_watched() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["pool=4"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    wait_for("the server is idle", || {
        threads(plain.pid).iter().all(|t| state(t) == Some('S')).then_some(())
    });
    let before = traces(plain.pid);
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, user, &options(&["-p", &pid]), &[plain.pid]);
    assert_eq!(traces(plain.pid), before);
    let made = server.clients(1, 100, 5).run();
    wait_for("the server is as it was", || (traces(plain.pid) == before).then_some(()));
    run.end_attached().assert_counts(&made);
    assert_eq!(traces(plain.pid), before);
}

fn descriptors(pid: u32) -> BTreeSet<OsString> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    folder.filter_map(|entry| Some(entry.ok()?.file_name())).collect()
}

/// Its rings fill up, and what found no room is told. Once it has learnt where the server's buffer is,
/// its samples are small, so that the rings hold many.
#[test]
fn connections_while_tcptally_is_stopped_are_counted_or_reported_lost() {
    /// A sample with 128 bytes of the stack has 224. The C server needs more, and less than 512.
    const MAX_SAMPLE_BYTES: u64 = 350;
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["loop"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let pid = plain.pid.to_string();
    let more = options(&["-v", "-p", &pid]);
    let mut run = Run::attach(&stage, user, &more, &[plain.pid]);
    let before = descriptors(run.session.pid);
    let first: u64 = server.clients(1, 100, 5).run().values().sum();
    wait_for("it opens its events anew", || {
        // The events of calls of accept end before: of accept and accept4, for each CPU.
        let cpus = std::fs::read_to_string("/proc/stat").expect("/proc").matches("\ncpu").count();
        let gone = before.difference(&descriptors(run.session.pid)).count();
        (gone > 2 * cpus).then_some(())
    });
    run.session.signal(Signal::SIGSTOP);
    wait_for("tcptally stops", || run.all_stopped_itself().then_some(()));
    let kib = |text: &str| text.split_once("a ring of ")?.1.split_once(" KiB")?.0.parse().ok();
    let ring_kib: u64 = kib(&run.session.stderr()).expect("it says how large its rings are");
    // More than the rings hold.
    let stopped: u64 = server.clients(2, 45_000, 20).run().values().sum();
    run.session.signal(Signal::SIGCONT);
    let last: u64 = server.clients(3, 100, 5).run().values().sum();
    let report = run.end_attached();
    let (total, lost) = (report.number("total"), report.number("lost"));
    assert_eq!(total + lost, first + stopped + last, "{}", report.0["warnings"]);
    assert_eq!(report.0["complete"], lost == 0);
    assert!(lost > 0 || ring_kib > 4096, "45,000 samples do not fit into the rings of a user");
    // The server may have had one CPU only.
    let held = total - first - last;
    assert!(held >= stopped.min(ring_kib * 1024 / MAX_SAMPLE_BYTES), "{held}, {ring_kib} KiB");
}

#[test]
fn the_given_processes_alone() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    for (mode, parent_accepts) in [("prefork=3", false), ("fork", true)] {
        let server = Server::c(&program, &[mode], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let more = options(&["--no-children", "-p", &pid]);
        let mut run = Run::attach(&stage, user, &more, &[plain.pid]);
        let made = server.clients(1, 60, 5).run();
        let report = run.end_attached();
        match parent_accepts {
            true => report.assert_counts(&made),
            false => assert_eq!(report.number("total"), 0),
        }
    }
}

#[test]
fn works_where_ptrace_is_refused() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let mut word = OsString::from("without=ptrace:EPERM=");
    word.push(stage.tcptally());
    let tcptally = [program.clone().into(), word];
    for user in User::all().into_iter().filter(|u| may_open_events(*u)) {
        let server = Server::c(&program, &["pool=3"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let arguments: Vec<OsString> =
            options(&["-p", &pid]).into_iter().map(OsString::from).collect();
        let mut run = Run::program(&stage, user, &tcptally, &arguments);
        wait_for("it attaches", || run.session.stderr().contains("attached").then_some(()));
        let made = server.clients(1, 100, 5).run();
        run.end_attached().assert_counts(&made);
    }
}

#[test]
fn counts_a_server_that_strace_traces_already() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let strace = need!(find_program("strace"), "strace", "it is not installed");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let mut server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let log: &Path = "/dev/null".as_ref();
    let words = [strace.as_os_str(), "-f".as_ref(), "-o".as_ref(), log.as_os_str()];
    server.argv = words.into_iter().map(OsString::from).chain(server.argv).collect();
    let traced = server.start(&stage, user);
    let pid = wait_for("strace has started it", || children(traced.pid).first().copied());
    let of = pid.to_string();
    let mut run = Run::start(&stage, user, &options(&["-p", &of]));
    wait_for("it attaches", || run.session.stderr().contains("attached").then_some(()));
    let made = server.clients(1, 100, 5).run();
    run.end_attached().assert_counts(&made);
    assert_ne!(status_field(&of, "TracerPid").as_deref(), Some("0"), "strace still traces it");
}

#[test]
fn processes_that_only_syscall_sees_are_refused_with_a_remedy() {
    let stage = Stage::get();
    let why = "there is no C compiler for 32 bits (gcc-multilib)";
    let program_32 = need!(stage.server_32(), "32-bit server", why);
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for (program, arguments) in [(program_32, &[][..]), (program, &["call=int80"])] {
        let server = Server::c(&program, arguments, &[Listens::V4]);
        let plain = server.start(&stage, User::plain());
        let pid = plain.pid.to_string();
        // It is in accept by the time that it is looked at.
        wait_for("the server waits", || (state(&pid) == Some('S')).then_some(()));
        let mut run = Run::start(&stage, User::plain(), &options(&["-p", &pid]));
        assert_eq!(run.session.wait().code(), Some(1));
        assert!(run.session.stderr().contains("--engine syscall"), "{}", run.session.stderr());
    }
}

#[test]
fn more_threads_than_files_may_be_open() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let server = Server::c(&program, &["pool=4", "idle=60"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let limited = ["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""].map(OsString::from);
    let limited: Vec<OsString> = limited.into_iter().chain([stage.tcptally()]).collect();
    let pid = plain.pid.to_string();
    let arguments: Vec<OsString> = options(&["-p", &pid]).into_iter().map(OsString::from).collect();
    let mut run = Run::program(&stage, user, &limited, &arguments);
    assert_ne!(run.session.wait().code(), Some(0));
    assert!(run.session.stderr().contains("ulimit -n"), "{}", run.session.stderr());
    server.assert_serves();
}
