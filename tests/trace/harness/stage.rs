//! A folder that every user can read, with the program and the C tracees in it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tempfile::TempDir;

/// The folder; removed with the last test that holds it.
#[derive(Clone)]
pub struct Stage(Arc<TempDir>);

static CURRENT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());

impl Stage {
    /// The folder that the tests running now share.
    pub fn get() -> Stage {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = current.upgrade() {
            return Stage(folder);
        }
        let folder = open_folder();
        let program = Path::new(env!("CARGO_BIN_EXE_tcptally"));
        for name in [&TRACEE, &TRACEE_32].into_iter().filter_map(built) {
            put(name, &folder.path().join(name.file_name().expect("a program has a name")));
        }
        match without() {
            Some(calls) => put_without(&calls, program, folder.path()),
            None => put(program, &folder.path().join("tcptally")),
        }
        let folder = Arc::new(folder);
        *current = Arc::downgrade(&folder);
        Stage(folder)
    }

    /// The program under test.
    pub fn tcptally(&self) -> OsString {
        self.0.path().join("tcptally").into()
    }

    /// `tests/tracees/server/`; `None` without a C compiler.
    pub fn server(&self) -> Option<PathBuf> {
        built(&TRACEE)?;
        Some(self.0.path().join("server"))
    }

    /// The same for 32 bits; `None` where they cannot be built or run.
    pub fn server_32(&self) -> Option<PathBuf> {
        built(&TRACEE_32)?;
        Some(self.0.path().join("server32"))
    }
}

/// A new folder in which every user may write.
pub fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("tcptally-test-").tempdir();
    let folder = folder.expect("a temporary folder");
    set_mode(folder.path(), 0o777);
    folder
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn put(from: &Path, to: &Path) {
    fs::copy(from, to).expect("the program can be copied");
    set_mode(to, 0o755);
}

/// System calls that fail in tcptally in all tests, as in the argument `without` of the C server:
/// `TCPTALLY_WITHOUT=pidfd_getfd:ENOSYS`.
fn without() -> Option<String> {
    std::env::var("TCPTALLY_WITHOUT").ok().filter(|calls| !calls.is_empty())
}

/// Puts a script in the place of the program, which executes it where these calls fail.
fn put_without(calls: &str, program: &Path, folder: &Path) {
    let real = folder.join("tcptally.real");
    put(program, &real);
    let server = folder.join("server");
    let script = format!(
        "#!/bin/sh\nexec {} \"without={calls}={}\" \"$@\"\n",
        server.display(),
        real.display()
    );
    fs::write(folder.join("tcptally"), script).expect("our folder");
    set_mode(&folder.join("tcptally"), 0o755);
}

struct Tracee {
    name: &'static str,
    flags: &'static [&'static str],
    program: OnceLock<Option<PathBuf>>,
}

static TRACEE: Tracee = Tracee { name: "server", flags: &[], program: OnceLock::new() };
static TRACEE_32: Tracee = Tracee { name: "server32", flags: &["-m32"], program: OnceLock::new() };

/// Compiles the tracee, once; `None` where that, or running it, does not work.
fn built(tracee: &'static Tracee) -> Option<&'static PathBuf> {
    let build = || {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracees/server");
        let files =
            fs::read_dir(sources).expect("the sources").filter_map(|f| Some(f.ok()?.path()));
        let sources = files.filter(|f| f.extension().is_some_and(|e| e == "c"));
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(tracee.name);
        // Two test programs may build it at the same time.
        let new = program.with_extension(std::process::id().to_string());
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-pthread", "-Wall", "-o"]).arg(&new).args(sources).args(tracee.flags);
        let output = cc.output().ok()?;
        if !output.status.success() {
            // The 32-bit C library is an option; a source that does not compile is a mistake.
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!tracee.flags.is_empty(), "the C server does not compile:\n{errors}");
            return None;
        }
        fs::rename(&new, &program).ok()?;
        Command::new(&program).arg("nothing").status().ok()?.success().then_some(program)
    };
    tracee.program.get_or_init(build).as_ref()
}

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The user who runs the tests.
    Oneself,
    /// As the user 65534, who owns nothing and may do nothing. Only root can do this.
    Nobody,
}

impl User {
    /// The users that this machine lets us be, the unprivileged one first.
    pub fn all() -> Vec<User> {
        if is_root() { vec![User::Nobody, User::Oneself] } else { vec![User::Oneself] }
    }

    /// An unprivileged user: nobody, or the user of the tests if that is not root.
    pub fn plain() -> User {
        User::all()[0]
    }

    /// Whether it runs with root's capabilities.
    pub fn is_root(self) -> bool {
        self == User::Oneself && is_root()
    }

    /// The words that go before a command line.
    pub fn prefix(self) -> &'static [&'static str] {
        match self {
            User::Oneself => &[],
            User::Nobody => {
                &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
            }
        }
    }
}

/// Whether this user may open perf events on a process that runs already: engines `sample` and `perf`.
pub fn may_open_events(user: User) -> bool {
    attach_engines(user).contains(&"perf")
}

/// The engines that this user may have for a process that runs already.
pub fn attach_engines(user: User) -> Vec<&'static str> {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let paranoid: Option<i32> = paranoid.ok().and_then(|p| p.trim().parse().ok());
    let has_events = !without().is_some_and(|calls| calls.contains("perf_event_open"));
    let perf = has_events && (paranoid.is_some_and(|p| p <= 2) || user.is_root());
    if !perf {
        static SAY: std::sync::Once = std::sync::Once::new();
        SAY.call_once(|| skip("the engine perf", "perf_event_paranoid is above 2 or missing"));
    }
    if perf { vec!["sample", "perf", "syscall"] } else { vec!["syscall"] }
}

/// The engines for a command that tcptally starts, and that has its addresses on the stack.
pub fn spawn_engines(user: User) -> Vec<&'static str> {
    let sample = attach_engines(user).into_iter().filter(|engine| *engine == "sample");
    sample.chain(["seccomp", "syscall"]).collect()
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Where a program is, also a daemon's that is not on a user's PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    // The system's own first: nobody can read a version manager's in somebody's home.
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"];
    let system = folders.iter().map(|f| Path::new(f).join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path).map(|f| f.join(name)).collect::<Vec<_>>();
    system.chain(others).find(|p| p.is_file())
}

/// Says on the terminal, past the test runner's capture, that something was not tried.
pub fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}

/// What was found, or leaves the test and says so.
macro_rules! need {
    ($something:expr, $what:expr, $why:expr) => {
        match $something {
            Some(found) => found,
            None => {
                $crate::harness::skip($what, $why);
                return;
            }
        }
    };
}
pub(crate) use need;
