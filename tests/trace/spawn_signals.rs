//! Signals to the tracer of a spawned server do the server no harm.

use std::ffi::OsString;

use nix::sys::signal::Signal;

use crate::harness::*;

/// Sends a signal by number: real-time ones have no name in nix.
fn send(target: &str, number: i32) {
    let kill = format!("kill -{number} -- {target}");
    let status = std::process::Command::new("bash").args(["-c", &kill]).status();
    assert!(status.expect("bash starts").success());
}

/// A shell that counts how often it gets each of these signals, and says so at the end.
fn counting_shell(signals: &[i32]) -> Vec<OsString> {
    let traps: String =
        signals.iter().map(|n| format!("trap 'echo got {n}' {n}; ")).collect::<Vec<_>>().concat();
    let script = format!("{traps} echo ready; while :; do sleep 0.02; done");
    ["bash", "-c", &script].map(OsString::from).into()
}

#[test]
fn signals_meant_for_a_server_are_passed_on_once() {
    let stage = Stage::get();
    need!(find_program("bash"), "passing on signals", "there is no bash");
    let real_time = 34;
    let signals = [
        Signal::SIGUSR2 as i32,
        Signal::SIGWINCH as i32,
        Signal::SIGCONT as i32,
        Signal::SIGINT as i32,
        Signal::SIGQUIT as i32,
        Signal::SIGPWR as i32,
        Signal::SIGIO as i32,
        real_time,
        real_time + 5,
    ];
    for engine in ["seccomp", "syscall"] {
        let command = counting_shell(&signals);
        let mut run = Run::command(&stage, User::plain(), &["--engine", engine], &command);
        wait_for("the script runs", || run.session.stdout().contains("ready").then_some(()));
        let got = |run: &Run, n: i32| {
            run.session.stdout().lines().filter(|l| *l == format!("got {n}")).count()
        };
        let alone = run.session.pid.to_string();
        // To tcptally alone, and to both as a shell or timeout(1) does.
        for number in signals {
            send(&alone, number);
            wait_for("it is passed on", || (got(&run, number) == 1).then_some(()));
        }
        for number in signals {
            send(&format!("-{alone}"), number);
            wait_for("it arrives", || (got(&run, number) >= 2).then_some(()));
        }
        // Whatever is passed on twice is so before this one.
        send(&alone, Signal::SIGUSR2 as i32);
        wait_for("it is passed on", || (got(&run, Signal::SIGUSR2 as i32) == 3).then_some(()));
        for number in signals.into_iter().skip(1) {
            assert_eq!(got(&run, number), 2, "signal {number} under {engine}");
        }
        run.end();
    }
}

#[test]
fn other_signals_are_ignored_and_reported() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let signals = [
        Signal::SIGALRM,
        Signal::SIGPROF,
        Signal::SIGVTALRM,
        Signal::SIGIO,
        Signal::SIGPWR,
        Signal::SIGSTKFLT,
        Signal::SIGXCPU,
        Signal::SIGXFSZ,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ];
    for user in User::all() {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut run = Run::spawn(&stage, user, &["--engine", "seccomp"], &server);
        let mut made = server.clients(1, 20, 3).run();
        for number in signals {
            run.session.signal(number);
            let said = format!("{} ignored", number.as_str());
            wait_for(&said, || run.session.stderr().contains(&said).then_some(()));
        }
        add(&mut made, &server.clients(2, 20, 3).run());
        run.end().assert_counts(&made);
    }
}

#[test]
fn signals_to_the_tracer_of_attached_processes_leave_them_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let options = ["--engine", engine, "-p", &plain.pid.to_string()];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        let mut made = server.clients(1, 20, 3).run();
        for number in [Signal::SIGUSR2, Signal::SIGPROF, Signal::SIGXFSZ] {
            run.session.signal(number);
            let said = format!("{} ignored", number.as_str());
            wait_for(&said, || run.session.stderr().contains(&said).then_some(()));
        }
        add(&mut made, &server.clients(2, 20, 3).run());
        run.end_attached().assert_counts(&made);
        assert_free(plain.pid);
    }
}

/// `ulimit -f`, a full disk, a pipe that nobody reads: the server answers all the same.
#[test]
fn an_output_that_cannot_be_written_does_not_harm_the_server() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let tcptally = stage.tcptally().into_string().expect("an ASCII path");
    let outputs = [
        "ulimit -f 8; exec \"$@\" -o events.csv -- SERVER",
        "exec \"$@\" -o /dev/full -- SERVER",
        "\"$@\" -o /dev/fd/3 -- SERVER 3>&1 >&2 | head -c 10 >/dev/null",
    ];
    for output in outputs {
        for user in User::all() {
            let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
            let folder = open_folder();
            let words: Vec<String> =
                server.argv.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            let script = output.replace("SERVER", &words.join(" "));
            let mut argv: Vec<OsString> =
                ["bash", "-c", &script, "bash", &tcptally].map(OsString::from).into();
            argv.extend(["trace", "--engine", "seccomp", "-e", "-F", "csv"].map(OsString::from));
            let mut session = Session::start(&stage, user, folder.path(), &argv);
            server.wait_until_it_listens(&mut session);
            server.clients(1, 1500, 9).run();
            server.assert_serves();
            drop(session);
        }
    }
}

/// A shell without job control ignores SIGINT in what it starts in the background.
#[test]
fn an_ignored_sigint_ends_watching_if_a_process_sends_it_and_not_from_a_terminal() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for number in [Signal::SIGINT, Signal::SIGQUIT] {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let plain = server.start(&stage, User::plain());
        let folder = open_folder();
        let mut argv: Vec<OsString> =
            ["env", "--ignore-signal=INT", "--ignore-signal=QUIT"].map(OsString::from).into();
        argv.push(stage.tcptally());
        argv.extend(
            ["trace", "--engine", "syscall", "-p", &plain.pid.to_string()].map(OsString::from),
        );
        let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
        terminal.wait_for("attached");
        terminal.type_in("\x03\x1c");
        // Both keys have been dealt with when this signal has.
        signal(terminal.pid, Signal::SIGUSR1);
        terminal.wait_for("0 connections");
        server.clients(1, 20, 3).run();
        assert!(!is_free(plain.pid), "a terminal's {number} has ended it");
        signal(terminal.pid, number);
        terminal.wait_for("20 connections");
        assert_eq!(terminal.wait().code(), Some(0));
        assert_free(plain.pid);
    }
}

/// All but SIGKILL, SIGSTOP and the signals that detach from attached processes. A server that is
/// started passes none of them on here, since it handles none.
#[test]
fn no_signal_that_a_process_sends_ends_the_tracer_by_surprise() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let kill_and_stop = [libc_number(Signal::SIGKILL), libc_number(Signal::SIGSTOP)];
    let reserved_by_libc = [32, 33];
    let all = (1..=64).filter(|n| !kill_and_stop.contains(n) && !reserved_by_libc.contains(n));
    let ends = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGXCPU];
    let ends = ends.map(libc_number);
    let stops =
        [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT].map(libc_number);
    let passed_on = [Signal::SIGUSR2, Signal::SIGABRT].map(libc_number);
    let to_spawned: Vec<i32> = all
        .clone()
        .filter(|n| *n < 34 && !stops.contains(n) && !passed_on.contains(n))
        .filter(|n| !ends.contains(n) || *n == libc_number(Signal::SIGXCPU))
        .collect();
    let to_attached: Vec<i32> = all.filter(|n| !ends.contains(n)).collect();
    let cases = attach_engines(user).into_iter().chain(["sample"]).map(|e| (e, false));
    for (engine, spawns) in cases.chain([("seccomp", true), ("syscall", true)]) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let plain = (!spawns).then(|| server.start(&stage, user));
        let mut run = match &plain {
            Some(plain) => {
                let options = ["--engine", engine, "-p", &plain.pid.to_string()];
                Run::attach(&stage, user, &options, &[plain.pid])
            }
            None => Run::spawn(&stage, user, &["--engine", engine], &server),
        };
        let mut made = server.clients(1, 20, 3).run();
        let pid = run.session.pid.to_string();
        for number in if spawns { &to_spawned } else { &to_attached } {
            // The second one finds what the first one has left of the handlers.
            send(&pid, *number);
            send(&pid, *number);
            add(&mut made, &server.clients(2, 4, 3).run());
            let ended = run.session.ended();
            assert_eq!(ended, None, "{number}, {engine}: {}", run.session.stderr());
        }
        match plain {
            Some(plain) => {
                run.end_attached().assert_counts(&made);
                assert_free(plain.pid);
            }
            None => run.end().assert_counts(&made),
        }
    }
}

fn libc_number(signal: Signal) -> i32 {
    signal as i32
}
