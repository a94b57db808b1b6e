//! SIGHUP reopens the file of events or intervals, as log rotation wants it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::*;

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[track_caller]
fn await_lines(path: &Path, count: usize) {
    wait_for(&format!("{count} lines in {}", path.display()), || {
        let lines = lines(path);
        assert!(lines <= count, "{lines} lines in {}", path.display());
        (lines == count).then_some(())
    });
}

fn words(stage: &Stage, words: &[&str]) -> Vec<OsString> {
    [stage.tcptally(), "trace".into()].into_iter().chain(words.iter().map(OsString::from)).collect()
}

/// Attaches to a server, with these options, and waits until it says so.
#[track_caller]
fn attach(stage: &Stage, user: User, folder: &Path, options: &[&str], pid: u32) -> Session {
    let argv = words(stage, &[options, &["-p", &pid.to_string()]].concat());
    let session = Session::start(stage, user, folder, &argv);
    wait_for("it attaches", || session.stderr().contains("attached").then_some(()));
    session
}

/// The headings of csv events, and so many events.
fn assert_events(path: &Path, count: usize) {
    let text = fs::read_to_string(path).expect("a file of events");
    assert!(text.starts_with("time,"), "{text}");
    assert_eq!(text.matches("time,elapsed").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1 + count, "{text}");
}

#[test]
fn hangup_reopens_the_file_of_events_and_none_is_lost() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in attach_engines(user) {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        let folder = open_folder();
        let [file, former] = ["events.csv", "events.csv.1"].map(|name| folder.path().join(name));
        let options = ["-e", "-F", "csv", "-o", "events.csv", "--engine", engine];
        let mut session = attach(&stage, user, folder.path(), &options, plain.pid);
        server.clients(1, 20, 3).run();
        await_lines(&file, 21);
        fs::rename(&file, &former).expect("our file");
        session.signal(Signal::SIGHUP);
        await_lines(&file, 1);
        server.clients(2, 30, 3).run();
        await_lines(&file, 31);
        // Without rotation it goes on in the same file. Another program empties it: logrotate's copytruncate.
        session.signal(Signal::SIGHUP);
        server.clients(3, 5, 3).run();
        await_lines(&file, 36);
        assert_events(&file, 35);
        fs::File::options().write(true).open(&file).and_then(|f| f.set_len(0)).expect("our file");
        server.clients(3, 5, 3).run();
        await_lines(&file, 5);
        assert!(!fs::read(&file).expect("our file").contains(&0), "a hole");
        session.signal(Signal::SIGTERM);
        assert_eq!(session.wait().code(), Some(0), "{engine}: {}", session.stderr());
        assert_events(&former, 20);
        assert!(plain.ended().is_none(), "{engine}: the server is dead");
        assert_free(plain.pid);
    }
}

/// It is meant for tcptally, and would end most commands.
#[test]
fn a_command_does_not_get_the_hangup_that_reopens_a_file() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    for engine in spawn_engines(user) {
        let server = Server::c(&program, &["loop"], &[Listens::V4]);
        let folder = open_folder();
        let file = folder.path().join("events.csv");
        let options = ["-e", "-F", "csv", "-o", "events.csv", "--engine", engine, "--"];
        let mut argv = words(&stage, &options);
        argv.extend(server.argv.iter().cloned());
        let mut session = Session::start(&stage, user, folder.path(), &argv);
        server.wait_until_it_listens(&mut session);
        server.clients(1, 10, 3).run();
        await_lines(&file, 11);
        fs::remove_file(&file).expect("our file");
        session.signal(Signal::SIGHUP);
        await_lines(&file, 1);
        server.clients(2, 10, 3).run();
        await_lines(&file, 11);
        session.signal(Signal::SIGTERM);
        session.wait();
        assert_events(&file, 10);
        session.assert_all_gone();
    }
}

#[test]
fn a_file_that_cannot_be_reopened_is_named_and_the_former_is_kept() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let folder = open_folder();
    let inner = folder.path().join("logs");
    fs::create_dir(&inner).expect("our folder");
    set_mode(&inner, 0o777);
    let options = ["-e", "-F", "jsonl", "-o", "logs/events", "--engine", "syscall"];
    let mut session = attach(&stage, user, folder.path(), &options, plain.pid);
    let former = folder.path().join("elsewhere");
    fs::rename(&inner, &former).expect("our folder");
    session.signal(Signal::SIGHUP);
    wait_for("the message", || {
        let text = session.stderr();
        (text.contains("SIGHUP: cannot reopen") && text.contains("logs/events")).then_some(())
    });
    server.clients(1, 10, 3).run();
    await_lines(&former.join("events"), 10);
    session.signal(Signal::SIGTERM);
    assert_eq!(session.wait().code(), Some(0));
    assert_free(plain.pid);
}

#[test]
fn a_new_file_of_intervals_has_headings() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
    let plain = server.start(&stage, user);
    let folder = open_folder();
    let [file, former] = ["rows.csv", "rows.csv.1"].map(|name| folder.path().join(name));
    let options = ["-i", "100ms", "-F", "csv", "-o", "rows.csv", "--engine", "syscall"];
    let mut session = attach(&stage, user, folder.path(), &options, plain.pid);
    wait_for("a row", || (lines(&file) > 1).then_some(()));
    fs::rename(&file, &former).expect("our file");
    session.signal(Signal::SIGHUP);
    wait_for("a row in the new file", || (lines(&file) > 1).then_some(()));
    session.signal(Signal::SIGTERM);
    assert_eq!(session.wait().code(), Some(0));
    let text = fs::read_to_string(&file).expect("rows");
    assert!(text.starts_with("kind,"), "{text}");
    assert_eq!(text.matches("kind,").count(), 1, "{text}");
}

/// The kernel, or the shell, sends SIGHUP then. A shell sends it with kill(2).
#[test]
fn a_terminal_that_goes_away_ends_it_although_its_file_could_be_reopened() {
    let stage = Stage::get();
    let user = User::plain();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let bash = find_program("bash");
    for through_shell in [false, true] {
        let server = Server::c(&program, &["pool=2"], &[Listens::V4]);
        let mut plain = server.start(&stage, user);
        let folder = open_folder();
        let options = ["-e", "-F", "csv", "-o", "events.csv", "--engine", "syscall", "-p"];
        let mut argv = words(&stage, &[&options[..], &[&plain.pid.to_string()]].concat());
        if through_shell {
            let bash = need!(&bash, "a hang-up by a shell", "there is no bash");
            // A job in the background, to which the shell passes the hang-up on.
            let script = "set -m; \"$@\" & trap 'kill -HUP $!; wait $!; exit 0' HUP; while :; do sleep 0.05; done";
            argv.splice(
                0..0,
                [bash.as_os_str(), "-c".as_ref(), script.as_ref(), "bash".as_ref()]
                    .map(OsString::from),
            );
        }
        let mut terminal = Terminal::start(&stage, user, folder.path(), &argv);
        terminal.wait_for("attached");
        server.clients(1, 10, 3).run();
        await_lines(&folder.path().join("events.csv"), 11);
        terminal.close();
        assert_eq!(terminal.wait().code(), Some(0));
        terminal.assert_all_gone();
        assert_events(&folder.path().join("events.csv"), 10);
        assert!(plain.ended().is_none(), "the server is dead");
        assert_free(plain.pid);
    }
}
