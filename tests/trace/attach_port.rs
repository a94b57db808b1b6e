//! `--port` alone finds the server.

use nix::sys::signal::Signal;

use crate::harness::*;

#[test]
fn the_process_that_listens_there_is_found_and_only_that_port_counted() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for mode in ["loop", "pool=4", "prefork=4"] {
        let server = Server::c(&program, &[mode], &[Listens::V4, Listens::V4]);
        let plain = server.start(&stage, user);
        let port = server.ports[0].number;
        let mut run = Run::attach(&stage, user, &["--port", &port.to_string()], &[plain.pid]);
        let told = match mode {
            "prefork=4" => "server: 5 processes listen on ".to_owned(),
            _ => format!("process {} (server) listens on ", plain.pid),
        };
        assert!(run.session.stderr().contains(&told), "{}", run.session.stderr());
        let mut made = server.clients(1, 120, 5).run();
        made.retain(|k, _| k.1 == port);
        run.end_attached().assert_counts(&made);
        server.assert_serves();
    }
}

#[test]
fn all_owners_of_a_port_are_watched() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let [first, second] = Server::two_on_a_port(&program);
    let plain = [first.start(&stage, user), second.start(&stage, user)];
    let pids = [plain[0].pid, plain[1].pid];
    wait_for("both listen", || pids.iter().all(|&p| listens(p)).then_some(()));
    let port = first.ports[0].number.to_string();
    let mut run = Run::attach(&stage, user, &["--port", &port], &pids);
    let made = first.clients(1, 200, 5).run();
    run.end_attached().assert_counts(&made);
}

#[test]
fn workers_created_by_a_process_that_does_not_listen_are_counted() {
    let stage = Stage::get();
    let user = User::plain();
    let server = need!(Server::python_reuseport(), "SO_REUSEPORT", "there is no python3");
    let plain = server.start(&stage, user);
    let port = server.ports[0].number.to_string();
    for engine in attach_engines(user) {
        let before = children(plain.pid).len();
        let options = ["--engine", engine, "--port", &port];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        plain.signal(Signal::SIGUSR1);
        wait_for("another worker listens", || {
            let workers = children(plain.pid);
            (workers.len() > before && workers.iter().all(|&p| listens(p))).then_some(())
        });
        let made = server.clients(1, 200, 5).run();
        run.end_attached().assert_counts(&made);
        assert_free(plain.pid);
    }
}

#[test]
fn a_process_that_begins_to_listen_later_makes_the_report_incomplete() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    for engine in attach_engines(user) {
        let [first, second] = Server::two_on_a_port(&program);
        let plain = first.start(&stage, user);
        let port = first.ports[0].number.to_string();
        let options = ["--engine", engine, "--port", &port];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        let later = second.start(&stage, user);
        wait_for("both listen", || listens(later.pid).then_some(()));
        let made = first.clients(1, 200, 5).run();
        let report = run.end_attached();
        let said = format!("process {} (server) listens on 0.0.0.0:{port}, too", later.pid);
        assert!(report.warnings().contains(&said), "{engine}: {}", report.warnings());
        assert_eq!(report.0["complete"], false);
        assert!(report.number("total") < made.values().sum::<u64>(), "both have accepted");
        assert_free(plain.pid);
    }
}

#[test]
fn a_process_that_is_given_the_listening_socket_makes_the_report_incomplete() {
    let stage = Stage::get();
    let [giver, taker] = need!(Server::python_passes_on(), "python3", "it is not installed");
    let user = User::plain();
    for engine in attach_engines(user) {
        let plain = giver.start(&stage, user);
        let port = giver.ports[0].number.to_string();
        let options = ["--engine", engine, "--port", &port];
        let mut run = Run::attach(&stage, user, &options, &[plain.pid]);
        let other = taker.start(&stage, user);
        let made = giver.clients(1, 40, 5).run();
        let report = run.end_attached();
        let said = format!("process {} (python3", other.pid);
        assert!(report.warnings().contains(&said), "{engine}: {}", report.warnings());
        assert_eq!(report.0["complete"], false);
        assert!(report.number("total") < made.values().sum::<u64>());
        assert_free(plain.pid);
    }
}

#[test]
fn a_listener_of_another_user_makes_the_report_incomplete() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !is_root() {
        return skip("a listener of another user", "there is no other user to be");
    }
    let [own, roots] = [(); 2].map(|()| Server::c(&program, &["loop"], &[Listens::V4]));
    let plain = own.start(&stage, User::Nobody);
    let _other = roots.start(&stage, User::Oneself);
    let [port, others_port] = [&own, &roots].map(|server| server.ports[0].number);
    let ports = format!("{port},{others_port}");
    let mut run = Run::attach(&stage, User::Nobody, &["--port", &ports], &[plain.pid]);
    let made = own.clients(1, 40, 5).run();
    roots.clients(2, 40, 5).run();
    let report = run.end_attached();
    assert_eq!(report.counts(), made);
    assert_eq!(report.0["complete"], false);
    let said = format!("a process that is not visible listens on 0.0.0.0:{others_port}, too");
    assert!(report.warnings().contains(&said), "{}", report.warnings());
    assert_free(plain.pid);
}

/// Whether a process has a socket at all: the C server opens one to listen, and no other before
/// its first client.
pub fn listens(pid: u32) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = descriptors.filter_map(|d| std::fs::read_link(d.ok()?.path()).ok());
    links.filter(|l| l.to_string_lossy().starts_with("socket:")).count() == 1
        && state(&pid.to_string()) == Some('S')
}

#[test]
fn a_port_without_listener_is_an_error_that_names_other_listeners() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let user = User::plain();
    let server = Server::c(&program, &[], &[Listens::V4]);
    let _plain = server.start(&stage, user);
    let nobodys = free_port().to_string();
    let folder = open_folder();
    let mut argv = vec![stage.tcptally()];
    argv.extend(["trace", "--port", &nobodys].map(std::ffi::OsString::from));
    let mut session = Session::start(&stage, user, folder.path(), &argv);
    assert_eq!(session.wait().code(), Some(1), "{}", session.stderr());
    let said = session.stderr();
    assert!(said.contains(&nobodys), "{said}");
    assert!(said.contains(&server.ports[0].number.to_string()), "{said}");
}

/// `/proc/PID/fd` is empty then.
#[test]
fn a_server_whose_first_thread_has_ended_is_found_by_its_port() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for user in User::all() {
        let server = Server::c(&program, &["leaderless=3"], &[Listens::V4]);
        let plain = server.start(&stage, user);
        let pid = wait_for("the first thread has ended", || {
            let child = children(plain.pid).first().copied()?;
            (state(&child.to_string()) == Some('Z')).then_some(child)
        });
        let port = server.ports[0].number.to_string();
        let mut run = Run::attach(&stage, user, &["--port", &port], &[]);
        assert!(run.session.stderr().contains(&format!("process {pid} ")), "it says which");
        let made = server.clients(1, 60, 5).run();
        run.end_attached().assert_counts(&made);
        assert_free(pid);
        server.assert_serves();
    }
}

#[test]
fn a_server_in_another_network_namespace_is_found_by_its_port() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    if !is_root() || find_program("ip").is_none() || find_program("bash").is_none() {
        return skip("another network namespace", "it takes root, ip(8) and bash");
    }
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let folder = open_folder();
    let words: Vec<_> = server.argv.iter().map(|w| w.to_string_lossy()).collect();
    let script = format!("ip link set lo up && echo up && exec {}", words.join(" "));
    let argv = ["unshare", "--net", "sh", "-c", &script].map(std::ffi::OsString::from);
    let plain = Session::start(&stage, User::Oneself, folder.path(), &argv);
    let enter = |script: &str| {
        let pid = plain.pid.to_string();
        let arguments = ["--net", "--target", &pid, "bash", "-c", script];
        let output = std::process::Command::new("nsenter").args(arguments).output();
        output.expect("nsenter (util-linux) starts")
    };
    let number = server.ports[0].number;
    let listener = format!(":{number:04X} 00000000:0000 0A");
    wait_for("the server listens", || {
        let table = String::from_utf8_lossy(&enter("cat /proc/net/tcp").stdout).into_owned();
        table.contains(&listener).then_some(())
    });
    let options = ["--port", &number.to_string()];
    let mut run = Run::attach(&stage, User::Oneself, &options, &[plain.pid]);
    let said = run.session.stderr();
    assert!(said.contains("in another network namespace"), "{said}");
    for _ in 0..5 {
        let client =
            format!("exec 3<>/dev/tcp/127.0.0.1/{number}; read -r answer <&3; echo $answer");
        assert_eq!(enter(&client).stdout, b"ok\n");
    }
    assert_eq!(run.end_attached().number("total"), 5);
    assert_free(plain.pid);
}
