//! `tcptally trace -- COMMAND` beside `strace -f -o /dev/null COMMAND`: for every way to start and to end,
//! the same exit status or signal and the same output. Where they differ, the case says why.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use crate::harness::*;

/// One way to start a command, or for a command to end.
struct Case {
    /// What the shell does before it executes the tracer with `"$@"`.
    before: &'static str,
    command: &'static [&'static str],
    /// The exit status of tcptally where it differs from strace, and why.
    differs: Option<(i32, &'static str)>,
}

const fn case(before: &'static str, command: &'static [&'static str]) -> Case {
    Case { before, command, differs: None }
}

const fn differs(command: &'static [&'static str], status: i32, why: &'static str) -> Case {
    Case { before: EXECUTE, command, differs: Some((status, why)) }
}

const SIGNALS: &str = "while read -r n v; do case $n in SigBlk:|SigIgn:) \
                       echo $((0x$v & 0x7fffffff));; esac; done </proc/self/status";
const EXECUTE: &str = "exec \"$@\"";
const CONVENTION: &str = "env(1), nohup(1) and timeout(1) tell by 126 and 127 that a command was not \
                          executed; strace exits with 1, which may be the command's own status";

const BY_SHELL: &str = "execvp(3) has sh run a script without #!, as env(1) and every shell do; strace calls \
                        execve(2)";
const CLOSED: &str = "the runtime of Rust opens /dev/null in place of closed standard streams, so that no \
                      other file gets their numbers";

fn endings() -> Vec<Case> {
    let mut cases = Vec::new();
    for script in [
        "exit 0",
        "exit 1",
        "exit 42",
        "exit 125",
        "exit 126",
        "exit 127",
        "exit 255",
        "kill -HUP $$",
        "kill -INT $$",
        "kill -QUIT $$",
        "kill -ABRT $$",
        "kill -KILL $$",
        "kill -SEGV $$",
        "kill -PIPE $$",
        "kill -TERM $$",
        "kill -USR1 $$",
        "kill -VTALRM $$",
        "kill -IO $$",
        // A signal that the shell handles, or ignores.
        "trap 'echo caught; exit 9' TERM; kill -TERM $$",
        "trap '' TERM; kill -TERM $$; echo lives",
        // Stops and goes on.
        "(sleep 0.2; kill -CONT $$) & kill -STOP $$; echo resumed; wait",
        "(sleep 0.2; kill -CONT $$) & kill -TSTP $$; echo resumed; wait",
        // Children that end before, after and without the command.
        "sleep 0.1 & wait; echo waited",
        "(sleep 0.2; echo orphan) & exit 3",
        "(setsid sh -c 'sleep 0.2; echo daemon') & exit 4",
        "sh -c 'kill -KILL $$'; echo $?",
        "sh -c 'exit 7'; echo $?",
        "sh -c 'kill -SEGV $$'; echo $?",
        // Pipes that are closed by their reader, and the end of input.
        "yes | head -n 1",
        "cat; echo end",
        "read line || echo none",
    ] {
        cases.push(case(EXECUTE, Box::leak(Box::new(["sh", "-c", script]))));
    }
    cases.push(case("exec \"$@\" | head -n 1", &["yes"]));
    cases.push(case("\"$@\"; echo $?", &["sh", "-c", "kill -TERM $$"]));
    cases.push(case("ulimit -c unlimited; exec \"$@\"", &["sh", "-c", "kill -ABRT $$"]));
    cases
}

fn starts() -> Vec<Case> {
    let show = "umask; ulimit -n; nice; pwd; echo $0 $# \"$@\" $X";
    let script: &'static [&'static str] =
        Box::leak(Box::new(["sh", "-c", show, "zero", "a b", "", "*"]));
    // ls opens the directory as the first free one.
    let descriptors = &["ls", "/proc/self/fd"];
    // Without real-time signals: the C library has two of its own, and strace changes one.
    let signals = &["sh", "-c", SIGNALS];
    vec![
        case(EXECUTE, script),
        case("umask 077; ulimit -n 100; export X=1; exec nice -n 3 \"$@\"", script),
        // Descriptors: none of the tracer's, and those that were open.
        case(EXECUTE, descriptors),
        case("exec 7</dev/null 9>/dev/null; exec \"$@\"", descriptors),
        // Signals that are ignored or were not.
        case(EXECUTE, signals),
        case("trap '' HUP INT QUIT TERM USR1 USR2 CHLD; exec \"$@\"", signals),
        // Standard streams that are closed.
        Case {
            before: "exec \"$@\" <&-",
            command: &["sh", "-c", "cat 2>/dev/null"],
            differs: Some((0, CLOSED)),
        },
        case("exec \"$@\" >&-", &["sh", "-c", "echo x; echo $? >&2; exit 5"]),
        case("exec \"$@\" 2>&-", &["sh", "-c", "echo x; exit 6"]),
        case("exec \"$@\" <&- >&- 2>&-", &["sh", "-c", "exit 7"]),
        // Where the command is looked for.
        case(EXECUTE, &["./script", "x"]),
        case("cd dir; exec \"$@\"", &["../script", "x"]),
        case("PATH=.:$PATH; exec \"$@\"", &["script", "x"]),
        case("PATH=$PWD/closed:$PWD:$PATH; exec \"$@\"", &["script", "x"]),
        case("PATH=$PWD/nowhere:$PATH; exec \"$@\"", &["true"]),
        case("mkdir gone; cd gone; rmdir ../gone; exec \"$@\"", &["true"]),
        case(EXECUTE, &["./setuid", "-u"]),
        differs(&["./without-interpreter"], 0, BY_SHELL),
        differs(&["./no-such-program"], 127, CONVENTION),
        differs(&["no-such-program"], 127, CONVENTION),
        differs(&["./data"], 126, CONVENTION),
        differs(&["./dir"], 126, CONVENTION),
        differs(&["/"], 126, CONVENTION),
        differs(&["./broken"], 127, CONVENTION),
        differs(&[""], 127, CONVENTION),
    ]
}

/// What a run of a tracer gave.
#[derive(Debug, PartialEq)]
struct Gave {
    status: ExitStatus,
    stdout: String,
}

/// Runs a case under a tracer.
fn run(tracer: &[OsString], case: &Case) -> Gave {
    let stage = Stage::get();
    let folder = open_folder();
    prepare(folder.path());
    let mut argv: Vec<OsString> = ["sh", "-c", case.before, "sh"].map(OsString::from).into();
    argv.extend(tracer.iter().cloned());
    argv.extend(case.command.iter().map(OsString::from));
    let core = [OsString::from("prlimit"), "--core=0:".into()];
    let argv: Vec<OsString> = core.into_iter().chain(argv).collect();
    let environment = [("LC_ALL", OsStr::new("C"))];
    let user = User::plain();
    let mut session =
        Session::start_with(&stage, user, folder.path(), &argv, Stdio::null(), &environment);
    let status = session.wait();
    session.assert_all_gone();
    // strace's folder and tcptally's have other names.
    let stdout = session.stdout().replace(folder.path().to_str().expect("an ASCII path"), "FOLDER");
    Gave { status, stdout }
}

/// The files that the cases execute.
fn prepare(folder: &std::path::Path) {
    let file = |name: &str, content: &str, mode| {
        std::fs::write(folder.join(name), content).expect("a folder to write in");
        set_mode(&folder.join(name), mode);
    };
    file("script", "#!/bin/sh\necho script $0 $1\n", 0o755);
    file("without-interpreter", "echo hi\n", 0o755);
    file("broken", "#!/no/such/interpreter\n", 0o755);
    file("data", "data\n", 0o644);
    for (name, mode) in [("dir", 0o755), ("closed", 0)] {
        std::fs::create_dir(folder.join(name)).expect("a folder to write in");
        set_mode(&folder.join(name), mode);
    }
    // Root's, so that a user who executes it would become root.
    std::fs::copy("/usr/bin/id", folder.join("setuid")).expect("id is there");
    let permissions = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(folder.join("setuid"), permissions).expect("it is ours");
}

/// Whether tcptally did as strace, or differs as the case says.
fn is_right(case: &Case, gave: &Gave, expected: &Gave) -> bool {
    // Whether a core was written depends on the limit of the tracer itself.
    let without_core = |status: ExitStatus| status.into_raw() & !0x80;
    let is_same_status = without_core(gave.status) == without_core(expected.status);
    match case.differs {
        Some((status, _)) => gave != expected && gave.status.code() == Some(status),
        None => is_same_status && gave.stdout == expected.stdout,
    }
}

fn check(cases: Vec<Case>, engines: &[&str]) {
    let strace = need!(find_program("strace"), "strace as judge", "there is no strace");
    let stage = Stage::get();
    let judge: Vec<OsString> = [strace.into(), "-f".into(), "-o".into(), "/dev/null".into()].into();
    let check = |case: &Case| {
        let expected = run(&judge, case);
        for engine in engines {
            let words = ["trace", "-q", "-o", "/dev/null", "--engine", engine, "--"];
            let mut tracer: Vec<OsString> = vec![stage.tcptally()];
            tracer.extend(words.map(OsString::from));
            let gave = run(&tracer, case);
            if !is_right(case, &gave, &expected) {
                let Case { before, command, differs } = case;
                return Some(format!(
                    "{before} {command:?} under {engine}: {gave:?}; strace: {expected:?}, {differs:?}"
                ));
            }
        }
        None
    };
    // Most of the time they wait.
    let share = cases.len().div_ceil(4);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let run =
            |share| scope.spawn(move || std::iter::Iterator::filter_map(share, check).collect());
        let threads: Vec<std::thread::ScopedJoinHandle<'_, Vec<String>>> =
            cases.chunks(share).map(|share| run(share.iter())).collect();
        threads.into_iter().flat_map(|t| t.join().expect("no case panics")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_ends_as_under_strace() {
    check(endings(), &["seccomp", "syscall"]);
}

#[test]
fn a_command_starts_as_under_strace() {
    check(starts(), &["seccomp"]);
}
