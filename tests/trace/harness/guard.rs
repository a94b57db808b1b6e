//! Ends the servers of tests that are killed: `Drop` does not run then.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{Session, Stage, TIMEOUT, User, session_members, stat_field, wait_for};

/// Reads `+ SESSION START` and `- SESSION`. When the tests are gone, kills the sessions that are left.
/// A session whose first process has ended, or has another start time, may be another program's.
const SCRIPT: &str = r#"
left=" "
while read -r op sid start; do
  case $op in
    +) left="$left$sid:$start " ;;
    -) left=$(for s in $left; do [ "${s%:*}" = "$sid" ] || printf ' %s' "$s"; done)" " ;;
  esac
done
for session in $left; do
  sid=${session%:*}
  line=$(cat "/proc/$sid/stat" 2>/dev/null) || continue
  set -- ${line##*) }
  shift 19
  [ "$1" = "${session#*:}" ] || continue
  for stat in /proc/[0-9]*/stat; do
    line=$(cat "$stat" 2>/dev/null) || continue
    set -- ${line##*) }
    pid=${stat#/proc/}
    [ "$4" = "$sid" ] && kill -KILL "${pid%/stat}"
  done
done
"#;

/// Remembers a session, to be ended if the tests are killed.
pub fn guard(sid: u32) {
    if let Some(start) = stat_field(sid, 22) {
        tell(&format!("+ {sid} {start}\n"));
    }
}

/// Forgets a session that has ended.
pub fn release(sid: u32) {
    tell(&format!("- {sid}\n"));
}

fn tell(line: &str) {
    static GUARD: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null());
        // What ends the tests from a terminal must not end it.
        let child = command.stderr(Stdio::null()).process_group(0).spawn();
        child.ok()?.stdin.take().map(Mutex::new)
    });
    if let Some(guard) = guard {
        // Without a guard nothing is ended, as it would be without this module.
        let _ = guard.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// A test that is killed: `a_killed_test_leaves_no_server_behind` runs it.
#[test]
#[ignore = "another test runs it and kills it"]
fn sleeps() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().expect("a folder");
    // The second process would live on, too.
    let argv = ["sh", "-c", "sleep 300 & sleep 300"].map(Into::into);
    let session = Session::start(&stage, User::Oneself, folder.path(), &argv);
    wait_for("two processes", || (session_members(session.pid).len() >= 3).then_some(()));
    let _ = writeln!(std::io::stderr(), "session {}", session.pid);
    std::thread::sleep(TIMEOUT);
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    let this = std::env::current_exe().expect("this program");
    let arguments = ["--ignored", "--exact", "--nocapture", "harness::guard::sleeps"];
    let mut test =
        Command::new(this).args(arguments).stderr(Stdio::piped()).spawn().expect("it runs");
    let stderr = test.stderr.take().expect("a pipe");
    let sid = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("session ")?.parse::<u32>().ok());
    let sid = sid.expect("the test has started a session");
    test.kill().expect("it runs");
    test.wait().expect("it was killed");
    wait_for("its session ends", || session_members(sid).is_empty().then_some(()));
}
