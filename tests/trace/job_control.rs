//! A terminal and a shell: Ctrl-C, Ctrl-Z, fg, bg, and the window that is closed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;

/// A shell on a terminal.
fn shell(stage: &Stage, folder: &Path) -> Option<Terminal> {
    let bash = find_program("bash")?;
    let argv = [bash.into(), "--norc".into(), "--noprofile".into(), "-i".into()];
    let mut terminal = Terminal::start(stage, User::plain(), folder, &argv);
    terminal.wait_for("$ ");
    Some(terminal)
}

/// The command line that traces this server and writes to `report.json`.
fn line(stage: &Stage, options: &str, server: &Server) -> String {
    let words: Vec<_> = server.argv.iter().map(|w| w.to_string_lossy()).collect();
    let tcptally = stage.tcptally();
    let tcptally = tcptally.to_string_lossy();
    let report = "-F json -o report.json --by ip,port";
    format!("{tcptally} trace {options} {report} -- {}", words.join(" "))
}

fn wait_until_it_listens(server: &Server) {
    let port = server.ports[0].number;
    wait_for("the server listens", || listening_ports().contains(&port).then_some(()));
}

fn report(folder: &Path) -> Report {
    let path = folder.join("report.json");
    let text = wait_for("a report", || fs::read_to_string(&path).ok());
    Report(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn a_job_is_suspended_and_continued_with_its_server() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    // While `sample` looks for the tracepoints, another process belongs to the job.
    for engine in ["seccomp", "syscall"] {
        let folder = open_folder();
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut terminal = need!(shell(&stage, folder.path()), "job control", "there is no bash");
        let shell_pid = terminal.pid;
        terminal.type_in(&(line(&stage, &format!("--engine {engine}"), &server) + "\n"));
        wait_until_it_listens(&server);
        let mut made = server.clients(1, 20, 3).run();

        terminal.type_in("\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("$ ");
        let job = session_members(shell_pid).into_iter().filter(|&p| p != shell_pid);
        let job: Vec<u32> = job.collect();
        assert_eq!(job.len(), 2, "tcptally and the server");
        let stopped = |p: &u32| threads(*p).iter().all(|t| matches!(state(t), Some('T' | 't')));
        wait_for("all of the job is stopped", || job.iter().all(stopped).then_some(()));

        terminal.type_in("bg\n");
        terminal.wait_for("$ ");
        add(&mut made, &server.clients(2, 20, 3).run());

        // The shell shows the job again when it has handed the terminal over.
        terminal.type_in("fg\n");
        terminal.wait_for("trace --engine");
        add(&mut made, &server.clients(3, 20, 3).run());
        terminal.type_in("\x1a");
        terminal.wait_for("Stopped");
        wait_for("all of the job is stopped", || job.iter().all(stopped).then_some(()));
        // The shell shows the job again when it has handed the terminal over.
        terminal.type_in("fg\n");
        terminal.wait_for("trace --engine");
        add(&mut made, &server.clients(4, 20, 3).run());

        // Ctrl-C goes to both; the server dies of it, and the shell sees that it did.
        terminal.type_in("\x03");
        terminal.wait_for("$ ");
        terminal.type_in("echo status $?\n");
        terminal.wait_for("status 130");
        report(folder.path()).assert_counts(&made);
        terminal.type_in("exit\n");
        terminal.wait();
        terminal.assert_all_gone();
    }
}

/// A server that takes its time to end after Ctrl-C is waited for.
#[test]
fn a_server_that_handles_ctrl_c_is_waited_for() {
    let stage = Stage::get();
    let folder = open_folder();
    let script = "trap 'sleep 0.3; echo goodbye; exit 5' INT; echo ready; \
                  while :; do sleep 0.05; done";
    let argv: Vec<OsString> = [stage.tcptally()]
        .into_iter()
        .chain(["trace", "-o", "report", "--", "bash", "-c", script].map(OsString::from))
        .collect();
    need!(find_program("bash"), "Ctrl-C", "there is no bash");
    let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
    terminal.wait_for("ready");
    terminal.type_in("\x03");
    terminal.wait_for("goodbye");
    assert_eq!(terminal.wait().code(), Some(5));
    terminal.assert_all_gone();
    assert!(folder.path().join("report").exists());
}

#[test]
fn ctrl_c_without_a_shell_ends_both() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let folder = open_folder();
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let words: Vec<OsString> = line(&stage, "", &server).split(' ').map(OsString::from).collect();
    let words: Vec<OsString> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &words);
    wait_until_it_listens(&server);
    let made = server.clients(1, 20, 3).run();
    terminal.type_in("\x03");
    assert_eq!(terminal.wait().signal(), Some(Signal::SIGINT as i32));
    terminal.assert_all_gone();
    report(folder.path()).assert_counts(&made);
}

#[test]
fn a_closed_terminal_ends_both_and_the_report_is_written() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for under_shell in [true, false] {
        let folder = open_folder();
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let line = line(&stage, "-q", &server);
        let mut terminal = if under_shell {
            let mut terminal = need!(shell(&stage, folder.path()), "a shell", "there is no bash");
            terminal.type_in(&(line + "\n"));
            terminal
        } else {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Terminal::start(&stage, User::plain(), folder.path(), &words)
        };
        wait_until_it_listens(&server);
        let made = server.clients(1, 20, 3).run();
        terminal.close();
        terminal.wait();
        terminal.assert_all_gone();
        report(folder.path()).assert_counts(&made);
    }
}

/// The reader of the terminal takes his time; the server does not wait for him.
#[test]
fn ctrl_s_does_not_stop_an_attached_server() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let plain = server.start(&stage, User::plain());
    let folder = open_folder();
    let pid = plain.pid.to_string();
    let arguments = ["trace", "-p", &pid, "--events"].map(OsString::from);
    let argv: Vec<OsString> = [stage.tcptally()].into_iter().chain(arguments).collect();
    let mut terminal = Terminal::start(&stage, User::plain(), folder.path(), &argv);
    terminal.wait_for("attached");
    terminal.type_in("\x13");
    signal(terminal.pid, Signal::SIGUSR1);
    server.clients(1, 200, 3).run();
    terminal.type_in("\x11");
    terminal.wait_for(" so far");
    terminal.type_in("\x03");
    assert_eq!(terminal.wait().code(), Some(0));
    assert_free(plain.pid);
}

/// A stopped tracer would keep the server waiting.
#[test]
fn ctrl_z_while_attached_is_explained_once_and_counting_continues() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_engines(User::plain()) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let plain = server.start(&stage, User::plain());
        let folder = open_folder();
        let mut terminal = need!(shell(&stage, folder.path()), "job control", "there is no bash");
        let tcptally = stage.tcptally();
        let report_to = "-F json -o report.json --by ip,port";
        let of = format!("-p {} --engine {engine}", plain.pid);
        terminal.type_in(&format!("{} trace {of} {report_to}\n", tcptally.to_string_lossy()));
        terminal.wait_for("attached to");
        let mut made = server.clients(1, 30, 3).run();
        for _ in 0..2 {
            terminal.type_in("\x1a");
        }
        terminal.wait_for("SIGTSTP (Ctrl-Z) ignored");
        terminal.wait_for("Ctrl-C ends tcptally and prints the report");
        add(&mut made, &server.clients(2, 30, 3).run());
        terminal.type_in("\x03");
        terminal.wait_for("$ ");
        report(folder.path()).assert_counts(&made);
        let screen = terminal.screen();
        assert_eq!(screen.matches("SIGTSTP").count(), 1, "{engine}: {screen}");
        terminal.type_in("exit\n");
        terminal.wait();
        assert_free(plain.pid);
    }
}

/// What tcptally says there neither stops it, nor is it kept from saying it.
#[test]
fn a_background_job_writes_its_report_despite_tostop() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let plain = server.start(&stage, User::plain());
    let folder = open_folder();
    let mut terminal = need!(shell(&stage, folder.path()), "job control", "there is no bash");
    let tcptally = stage.tcptally();
    let line = format!("stty tostop; {} trace -p {} &\n", tcptally.to_string_lossy(), plain.pid);
    terminal.type_in(&line);
    terminal.wait_for("attached to");
    server.clients(1, 30, 3).run();
    terminal.type_in("kill %1\n");
    terminal.wait_for("connections");
    terminal.type_in("exit\n");
    terminal.wait();
    assert_free(plain.pid);
}

/// The terminal stays the server's: it may read from it in the foreground.
#[test]
fn a_traced_program_reads_from_the_terminal() {
    let stage = Stage::get();
    let folder = open_folder();
    let mut terminal = need!(shell(&stage, folder.path()), "a shell", "there is no bash");
    let tcptally = stage.tcptally();
    let tcptally = tcptally.to_string_lossy();
    let script = "read -r x; echo \"it reads <$x>\"";
    terminal.type_in(&format!("{tcptally} trace -q -o report -- sh -c '{script}'\n"));
    terminal.type_in("hello\n");
    terminal.wait_for("it reads <hello>");
    terminal.type_in("exit\n");
    terminal.wait();
}
