//! Other network namespaces, where one may enter them.

use std::ffi::OsString;
use std::io::Write;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::watching::*;

/// A server and its clients in a namespace of their own; the clients come when told to.
struct World {
    session: Session,
    pid: u32,
    port: u16,
    _folder: tempfile::TempDir,
}

const SCRIPT: &str = "import fcntl, os, socket, struct, sys
up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(up, 0x8914, struct.pack('16sh14x', b'lo', 0x49))
port = int(sys.argv[1])
server = socket.create_server(('127.0.0.1', port), backlog=100)
print('ready', os.getpid(), flush=True)
for line in sys.stdin:
    for n in range(int(line)):
        client = socket.create_connection(('127.0.0.1', port),
                                          source_address=('127.9.0.%d' % (1 + n % 5), 0))
        server.accept()[0].close()
        client.recv(1)
        client.close()
    print('done', flush=True)
";

impl World {
    fn make(user: User, unshare: &[&str]) -> Option<World> {
        let stage = Stage::get();
        let folder = open_folder();
        let python = find_program("python3")?;
        let mut argv: Vec<OsString> = vec![find_program("unshare")?.into()];
        argv.extend(unshare.iter().map(OsString::from));
        let port = free_port();
        argv.extend([python.into(), "-c".into(), SCRIPT.into(), port.to_string().into()]);
        let mut session =
            Session::start_with(&stage, user, folder.path(), &argv, Stdio::piped(), &[]);
        let pid = wait_for("the namespace is there", || {
            if session.ended().is_some() {
                return Some(None);
            }
            let told = session.stdout();
            Some(Some(told.strip_prefix("ready ")?.trim().parse().ok()?))
        })?;
        // With --fork, the number is another one inside; there is none here.
        Some(World { session, pid, port, _folder: folder })
    }

    fn come(&mut self, n: u32) {
        let mut stdin = self.session.stdin().expect("a pipe");
        writeln!(stdin, "{n}").expect("it reads");
        wait_for("the clients are done", || self.session.stdout().contains("done").then_some(()));
    }
}

fn counts(n: u64, port: u16) -> Counts {
    (0..5).map(|i| ((client(i).ip(), port), n / 5)).collect()
}

fn check(user: User, unshare: &[&str], more: &[&str]) {
    let why = "unshare, python3 or the right to make one is missing";
    let mut world = need!(World::make(user, unshare), "a network namespace", why);
    let netns = world.pid.to_string();
    let watch = Watch::as_user(user, &[world.port], &[&["--netns", &netns], more].concat());
    world.come(500);
    watch.end().assert_counts(&counts(500, world.port));
}

#[test]
fn a_namespace_of_root_is_watched() {
    if !is_root() {
        return skip("root's namespaces", "only root may enter them");
    }
    check(User::Oneself, &["--net"], &[]);
}

/// As rootless containers have them: it belongs to a user namespace that the user made.
#[test]
fn a_namespace_of_an_unprivileged_user_is_watched() {
    check(User::plain(), &["--user", "--map-root-user", "--net"], &[]);
}

/// Metrics are served in the namespace of the user, and do not prevent entering the other one.
#[test]
fn metrics_are_served_outside_of_the_namespace() {
    let why = "unshare, python3 or the right to make one is missing";
    let user = User::plain();
    let options = ["--user", "--map-root-user", "--net"];
    let mut world = need!(World::make(user, &options), "a network namespace", why);
    let (netns, metrics) = (world.pid.to_string(), free_port());
    let options = ["--netns", &netns, "--metrics", &format!("127.0.0.1:{metrics}")];
    let watch = Watch::as_user(user, &[world.port], &options);
    world.come(500);
    crate::metrics::scrape(metrics, "tcptally_connections_total 500\n");
    watch.end().assert_counts(&counts(500, world.port));
}

#[test]
fn a_namespace_of_root_is_refused_to_other_users() {
    if !is_root() {
        return skip("root's namespaces", "only root makes them");
    }
    let why = "unshare or python3 is missing";
    let world = need!(World::make(User::Oneself, &["--net"]), "a network namespace", why);
    let netns = world.pid.to_string();
    let mut watch = Watch::command(User::Nobody, &["--port", "1", "--netns", &netns]);
    assert_eq!(watch.session.wait().code(), Some(1));
    let stderr = watch.session.stderr();
    assert!(stderr.contains("not permitted to enter") && stderr.contains("root"), "{stderr}");
}

/// With no other traffic, the kernel's count of connections says exactly what is missing.
#[test]
fn the_number_of_lost_connections_is_exact_in_a_namespace() {
    if !is_root() {
        return skip("root's namespaces", "only root may enter them");
    }
    let why = "unshare or python3 is missing";
    let mut world = need!(World::make(User::Oneself, &["--net"]), "a network namespace", why);
    let netns = world.pid.to_string();
    let options = ["--netns", &netns, "--buffer", "4000", "--engine", "sockdiag"];
    let watch = Watch::as_user(User::Oneself, &[world.port], &options);
    watch.session.signal(Signal::SIGSTOP);
    let pid = watch.session.pid;
    let stopped = |t: &String| state(t) == Some('T');
    wait_for("it stops", || threads(pid).iter().all(stopped).then_some(()));
    world.come(500);
    watch.session.signal(Signal::SIGCONT);
    let report = watch.end();
    assert!(report.number("lost") > 0, "{}", report.0);
    assert_eq!(report.number("total") + report.number("lost"), 500, "{}", report.0);
}
