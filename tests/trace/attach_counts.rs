//! `-p`: a server that runs already is counted exactly from the moment that tcptally says it is
//! attached, and is left as it was.

use crate::harness::*;

/// What the engine `sample` tells of a server, by itself or under `auto`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Samples {
    /// All: `auto` takes no other engine.
    All,
    /// Not every peer or local port: `auto` takes another engine by its first accepts.
    Some,
}

/// Attaches to a server as each user, with each engine, counts, detaches, and looks that it goes on
/// serving. What root does is the same save for the permissions, so once is enough.
fn check_users(samples: Samples, server: impl Fn(User) -> Server) {
    let plain = User::plain();
    // `auto` is `sample` where that is enough.
    let mut engines = attach_engines(plain);
    engines.retain(|engine| *engine != "sample" || samples == Samples::Some);
    engines.push("auto");
    check_server(plain, samples, &engines, || server(plain));
    if is_root() {
        check_server(User::Oneself, samples, &["auto"], || server(User::Oneself));
    }
}

fn check_server(
    user: User,
    samples: Samples,
    engines: &[&str],
    mut server: impl FnMut() -> Server,
) {
    let stage = Stage::get();
    for engine in engines {
        let server = server();
        let plain = server.start(&stage, user);
        let pid = plain.pid.to_string();
        let ports: Vec<String> = server.ports.iter().map(|p| p.number.to_string()).collect();
        let ports = ports.join(",");
        let both = [["-p", &pid], ["--port", &ports]];
        // Attached twice, the second time it finds what the first one left. How a process is found
        // does not depend on the engine, so for the others one way is enough.
        let ways = match *engine {
            "auto" | "sample" => &both[..],
            "syscall" => &both[1..],
            _ => &both[..1],
        };
        for (round, by) in ways.iter().enumerate() {
            let options = [&["--engine", engine], &by[..]].concat();
            // By port, it may be a child that listens.
            let watched = if by[0] == "-p" { &[plain.pid][..] } else { &[] };
            let (report, made) = run_with_cpu_time(|| {
                let mut run = Run::attach(&stage, user, &options, watched);
                let made = server.clients(round as u64, 250, 9).run();
                (run.end_attached(), made)
            });
            let is_sampled = report.engine().starts_with("sample");
            match is_sampled && samples == Samples::Some {
                // Where the local port is not known, neither is whether it is the one asked for.
                true if report.number("unknown_port") > 0 => {
                    let told = report.number("total") + report.number("unknown_port");
                    assert!(told >= made.values().sum(), "{}", report.0);
                    assert_eq!(report.0["complete"], by[0] != "--port", "{}", report.0);
                }
                true => report.assert_counts_or_unknown(&made),
                false => report.assert_counts(&made),
            }
            if is_sampled {
                assert!(samples == Samples::Some || report.engine() == "sample", "{}", report.0);
                assert!(*engine != "sample" || report.engine() == "sample", "{}", report.0);
            }
            for process in session_members(plain.pid) {
                assert_free(process);
            }
            server.assert_serves();
        }
    }
}

fn check(arguments: &[&str], listens: &[Listens]) {
    check_c(Samples::All, arguments, listens);
}

fn check_c(samples: Samples, arguments: &[&str], listens: &[Listens]) {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    check_users(samples, |_| Server::c(&program, arguments, listens));
}

/// What only one of the engines can do is found by itself.
fn check_auto(program: &std::path::Path, arguments: &[&str]) {
    check_server(User::plain(), Samples::Some, &["auto"], || {
        Server::c(program, arguments, &[Listens::V4])
    });
}

test_each_shape!(check);

#[test]
fn listening_descriptors_that_move_are_followed() {
    check_c(Samples::Some, &["dup"], &[Listens::V4, Listens::V4]);
    check(&["pass"], &[Listens::V4, Listens::V4]);
}

#[test]
fn each_way_to_get_an_address_is_counted() {
    for (address, samples) in [
        ("address=full", Samples::All),
        ("address=null", Samples::Some),
        ("address=short", Samples::Some),
        ("address=heap", Samples::Some),
    ] {
        let all = [Listens::V4, Listens::Dual, Listens::V6];
        check_c(samples, &[address], if has_ipv6() { &all } else { &all[..1] });
    }
    check_c(Samples::Some, &["pool=3", "address=null"], &[Listens::V4]);
}

#[test]
fn a_thousand_threads_are_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    check_server(user, Samples::All, &attach_engines(user), || {
        Server::c(&program, &["pool=20", "idle=980"], &[Listens::V4])
    });
}

#[test]
fn a_server_that_uses_traps_and_timers_itself_is_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in ["auto", "syscall"] {
        let server = Server::c(&program, &["signals"], &[Listens::V4]);
        let mut plain = server.start(&stage, User::plain());
        for round in 0..3 {
            let pid = plain.pid.to_string();
            let options = ["--engine", engine, "-p", &pid];
            let mut run = Run::attach(&stage, User::plain(), &options, &[plain.pid]);
            let made = server.clients(round, 500, 9).run();
            run.end_attached().assert_counts(&made);
        }
        plain.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(plain.wait().code(), Some(0), "{engine}: {}", plain.stdout());
    }
}

#[test]
fn a_32_bit_server_is_counted() {
    let stage = Stage::get();
    let why = "there is no C compiler for 32 bits (gcc-multilib)";
    let program = need!(stage.server_32(), "32-bit server", why);
    for arguments in [&["call=socketcall"][..], &["pool=3"], &["fork", "call=socketcall4"]] {
        check_auto(&program, arguments);
    }
}

#[test]
fn int_0x80_in_a_64_bit_program_is_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    need!(stage.server_32(), "int 0x80", "this machine runs no 32-bit programs");
    // The tracepoints of perf do not see it: only `syscall` can.
    let user = User::plain();
    let server = || Server::c(&program, &["call=int80"], &[Listens::V4]);
    check_server(user, Samples::Some, &["syscall"], server);
}

fn check_real(name: &str, samples: Samples, server: fn(User) -> Option<Server>) {
    need!(server(User::plain()), name, "it is not installed");
    check_users(samples, |user| server(user).expect("it was there"));
}

/// The master's PID alone: its workers accept.
#[test]
fn nginx_is_counted_by_its_master() {
    check_real("nginx", Samples::All, |_| Server::nginx());
}

#[test]
fn haproxy_is_counted() {
    check_real("haproxy", Samples::Some, |_| Server::haproxy());
}

#[test]
fn redis_is_counted() {
    check_real("redis", Samples::All, |_| Server::redis());
}

#[test]
fn memcached_is_counted() {
    check_real("memcached", Samples::All, Server::memcached);
}

#[test]
fn python_with_a_thread_per_connection_is_counted() {
    check_real("python3", Samples::All, |_| Server::python_threads());
}

#[test]
fn python_on_an_event_loop_is_counted() {
    check_real("python3", Samples::All, |_| Server::python_asyncio());
}

#[test]
fn go_is_counted() {
    check_real("go", Samples::All, |_| Server::go());
}

#[test]
fn node_is_counted() {
    check_real("node", Samples::Some, |_| Server::node());
}

#[test]
fn twenty_thousand_connections_from_fifty_addresses_are_counted() {
    let stage = Stage::get();
    let server = need!(Server::nginx(), "nginx", "it is not installed");
    let user = User::plain();
    let plain = server.start(&stage, user);
    for engine in attach_engines(user) {
        let pid = plain.pid.to_string();
        let options = ["--engine", engine, "-p", &pid];
        let (report, made) = run_with_cpu_time(|| {
            let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
            let made = server.clients(20_002, 20_000, 50).run();
            (run.end_attached(), made)
        });
        report.assert_counts(&made);
    }
}

#[test]
fn no_children_counts_the_given_processes_alone() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        // Of three, each waiting on a port of its own.
        let server = Server::c(&program, &["prefork=3"], &[Listens::V4; 3]);
        let plain = server.start(&stage, user);
        let kids = wait_for("three processes", || {
            Some(children(plain.pid)).filter(|kids| kids.len() == 3)
        });
        let [first, second, _] = kids[..] else { panic!("three processes") };
        let pids = format!("{first},{second}");
        let options = ["--engine", engine, "--no-children", "-p", &pids];
        let mut run = Run::attach(&stage, user, &options, &[first, second]);
        assert!(is_free(plain.pid), "the parent was not asked for");
        let mut made = server.clients(1, 90, 5).run();
        // They were started in the order of the ports.
        made.retain(|k, _| k.1 != server.ports[2].number);
        run.end_attached().assert_counts(&made);

        let pid = plain.pid.to_string();
        let options = ["--engine", engine, "--no-children", "-p", &pid];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        let said = run.session.stderr();
        assert!(said.contains("not counted: connections that 3 child processes"), "{said}");
        server.clients(1, 30, 5).run();
        assert_eq!(run.end_attached().number("total"), 0);
    }
}

#[test]
fn several_servers_are_counted_as_pidof_lists_them() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let servers: Vec<Server> =
        ["pool=2", "fork", "loop"].map(|m| Server::c(&program, &[m], &[Listens::V4])).into();
    let plain: Vec<Session> = servers.iter().map(|s| s.start(&stage, user)).collect();
    let pids: Vec<u32> = plain.iter().map(|p| p.pid).collect();
    let text: Vec<String> = pids.iter().map(u32::to_string).collect();
    let (blank, comma) = (text.join(" "), text.join(","));
    let repeated = ["-p", &text[0], "-p", &text[1], "-p", &text[2]];
    for options in [&["-p", &blank][..], &["-p", &comma], &repeated] {
        let mut run = Run::attach(&stage, user, options, &pids);
        let mut made = Counts::new();
        for server in &servers {
            add(&mut made, &server.clients(1, 40, 4).run());
        }
        run.end_attached().assert_counts(&made);
    }
}
