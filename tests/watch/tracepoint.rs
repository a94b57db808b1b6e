//! Counts by the kernel's tracepoint, against what the clients know and against sock_diag.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::watching::*;

/// Whether the tracepoint can be used; says why not.
fn can_trace() -> bool {
    if !is_root() {
        skip("the tracepoint", "only root may use it");
        return false;
    }
    let port = free_port().to_string();
    let mut watch = Watch::command(
        User::Oneself,
        &["--port", &port, "--engine", "tracepoint", "--duration", "1ms"],
    );
    if watch.session.wait().success() {
        return true;
    }
    skip("the tracepoint", watch.session.stderr().trim());
    false
}

/// A watcher of each engine, which must tell the same.
struct Both([Watch; 2]);

impl Both {
    fn ports(ports: &[u16]) -> Both {
        Both(["tracepoint", "sockdiag"].map(|engine| {
            let watch = Watch::as_user(User::Oneself, ports, &["-v", "--engine", engine]);
            let stderr = watch.session.stderr();
            assert!(stderr.contains(&format!("engine {engine}: as requested")), "{stderr}");
            watch
        }))
    }

    fn assert_counts(self, made: &Counts) {
        let [tracepoint, sockdiag] = self.0;
        sockdiag.end().assert_counts(made);
        let report = tracepoint.end();
        assert_eq!(report.engine(), "tracepoint");
        report.assert_counts(made);
        report.assert_complete();
    }
}

/// Connects, and closes in order or by a reset, before or after it is accepted.
fn come(n: usize, listener: &TcpListener, from: SocketAddr, to: SocketAddr) {
    let stream = connect_from(from, to);
    match n % 4 {
        0 => reset(stream),
        1 => {
            drop(listener.accept());
            return;
        }
        2 => drop(stream),
        _ => {
            let accepted = listener.accept().expect("a connection").0;
            reset(accepted);
            return;
        }
    }
    drop(listener.accept());
}

#[test]
fn tracepoint_counts_all_families_and_addresses_as_sockdiag_does() {
    if !can_trace() || !has_ipv6() {
        return;
    }
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let (dual, port) = listen(any, 300);
    let (ipv4, other) = listen(Ipv4Addr::UNSPECIFIED, 300);
    let both = Both::ports(&[port, other]);
    let mut made = Counts::new();
    for n in 0..400 {
        let ip = Ipv4Addr::new(127, 0, (n % 3) as u8, 1 + (n % 7) as u8);
        let (listener, from, to): (_, SocketAddr, SocketAddr) = match n % 3 {
            0 => (&dual, (Ipv6Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, port).into()),
            1 => (&dual, client(n), (ip, port).into()),
            _ => (&ipv4, client(n), (ip, other).into()),
        };
        note(&mut made, from, to.port());
        come(n / 3, listener, from, to);
    }
    both.assert_counts(&made);
}

#[test]
fn tracepoint_counts_lists_and_ranges_of_ports() {
    if !can_trace() {
        return;
    }
    let listeners: Vec<_> = (0..6).map(|_| listen(Ipv4Addr::LOCALHOST, 300)).collect();
    let watched: Vec<u16> = listeners[..4].iter().map(|(_, port)| *port).collect();
    let list: Vec<String> = watched.iter().map(|p| format!("{p}-{p}")).collect();
    let options = ["--port", &list.join(","), "-F", "json", "-o", "report.json", "--by", "ip,port"];
    let mut watch = Watch::command(User::Oneself, &options);
    wait_for("it watches", || watch.session.stderr().contains("watching port").then_some(()));
    assert!(watch.session.ended().is_none());
    let mut made = Counts::new();
    for n in 0..300 {
        let (listener, port) = &listeners[n % 6];
        if n % 6 < 4 {
            note(&mut made, client(n), *port);
        }
        come(n / 6, listener, client(n), local(*port));
    }
    let report = watch.end();
    assert_eq!(report.engine(), "tracepoint");
    report.assert_counts(&made);
}

#[test]
fn tracepoint_counts_what_a_full_backlog_lets_in() {
    if !can_trace() {
        return;
    }
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 4);
    let both = Both::ports(&[port]);
    let waiting: Vec<_> = (0..40).map(|n| connect_in_background(client(n), local(port))).collect();
    let mut made = Counts::new();
    listener.set_nonblocking(true).expect("an option");
    // Those that the backlog kept out have given up before it has room again.
    let mut first = wait_for("the first ones are there", || listener.accept().ok().map(Some));
    drop(waiting);
    loop {
        let Some((_, from)) = first.take().or_else(|| listener.accept().ok()) else { break };
        note(&mut made, SocketAddr::new(from.ip(), 0), port);
    }
    assert!(!made.is_empty() && made.len() < 40, "{}", made.len());
    both.assert_counts(&made);
}

#[test]
fn tracepoint_counts_listeners_that_come_and_go_and_no_outbound_connections() {
    if !can_trace() {
        return;
    }
    let (elsewhere, other) = listen(Ipv4Addr::LOCALHOST, 300);
    let port = free_port();
    let both = Both::ports(&[port]);
    let mut made = Counts::new();
    for n in 0..30 {
        let listener = listen_at(local(port), 5);
        note(&mut made, client(n), port);
        come(n, &listener, client(n), local(port));
        let from: SocketAddr = (Ipv4Addr::new(127, 9, 7, 1 + n as u8), port).into();
        let outbound = connect_from(from, local(other));
        drop(elsewhere.accept());
        drop(outbound);
        // A socket that connects to itself opens simultaneously, and is outbound.
        let itself = SocketAddr::from((Ipv4Addr::new(127, 9, 8, 1 + n as u8), port));
        drop(connect_from(itself, itself));
        close(listener);
    }
    both.assert_counts(&made);
}

#[test]
fn tracepoint_counts_fast_open_and_syn_cookies_once() {
    if !can_trace() {
        return;
    }
    let why = "unshare or python3 is missing";
    let mut world = need!(World::make(FAST_OPEN), "a network namespace", why);
    let netns = world.pid.to_string();
    let options = ["--netns", &netns, "--engine", "tracepoint"];
    let watch = Watch::as_user(User::Oneself, &[world.port], &options);
    world.come(60);
    let report = watch.end();
    assert_eq!(report.number("total"), 120, "{}", report.0);
    report.assert_complete();
}

#[test]
fn tracepoint_gives_exact_times_and_client_ports_at_once() {
    if !can_trace() {
        return;
    }
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["-e", "-F", "jsonl", "--engine", "tracepoint"];
    let watch = Watch::start(User::Oneself, &[port], &options);
    let mut truth = Vec::new();
    let mut open = Vec::new();
    for n in 0..20 {
        let before = jiff::Timestamp::now();
        let stream = connect_from(client(n), local(port));
        truth.push((before, jiff::Timestamp::now(), stream.local_addr().expect("bound").port()));
        open.push((stream, listener.accept()));
    }
    let events = watch.events();
    assert_eq!(events.len(), 20);
    for (event, (before, after, peer)) in events.iter().zip(truth) {
        assert_eq!(event["peer_port"], peer, "{event}");
        let time: jiff::Timestamp = event["time"].as_str().expect("a time").parse().expect("one");
        // The offset of the clock is read each time.
        let slack = jiff::SignedDuration::from_millis(1);
        assert!(before - slack <= time && time <= after + slack, "{event}: {before} {after}");
    }
}

/// The reader is stopped while its small rings overflow.
#[test]
fn tracepoint_reports_exactly_how_many_were_lost() {
    if !can_trace() {
        return;
    }
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let options = ["--engine", "tracepoint", "--buffer", "4096"];
    let watch = Watch::as_user(User::Oneself, &[port], &options);
    watch.session.signal(Signal::SIGSTOP);
    let pid = watch.session.pid;
    let stopped = |t: &String| state(t) == Some('T');
    wait_for("it stops", || threads(pid).iter().all(stopped).then_some(()));
    for n in 0..500 {
        come(n, &listener, client(n), local(port));
    }
    watch.session.signal(Signal::SIGCONT);
    let report = watch.end();
    let (total, lost) = (report.number("total"), report.number("lost"));
    assert_eq!(total + lost, 500, "{}", report.0);
    assert!(lost > 300, "{}", report.0);
    assert_eq!(report.0["complete"], false);
    assert!(report.warnings().contains("ring buffers"), "{}", report.0);
}

#[test]
fn connections_of_other_namespaces_are_not_counted() {
    if !can_trace() {
        return;
    }
    let why = "unshare or python3 is missing";
    let mut inner = need!(World::make(PLAIN), "a network namespace", why);
    let listener = listen_at(local(inner.port), 300);
    let options = ["-v"];
    let watch = Watch::as_user(User::Oneself, &[inner.port], &options);
    let stderr = watch.session.stderr();
    assert!(stderr.contains("engine sockdiag: ") && stderr.contains("namespaces"), "{stderr}");
    let mut made = Counts::new();
    for n in 0..50 {
        note(&mut made, client(n), inner.port);
        come(n, &listener, client(n), local(inner.port));
    }
    let options = ["--port", &inner.port.to_string(), "--engine", "tracepoint"];
    let mut refused = Watch::command(User::Oneself, &options);
    assert_eq!(refused.session.wait().code(), Some(1));
    let stderr = refused.session.stderr();
    assert!(stderr.contains("--engine sockdiag") && stderr.contains("ns/net"), "{stderr}");
    inner.come(100);
    watch.end().assert_counts(&made);
}

#[test]
fn a_listener_that_begins_in_another_namespace_changes_the_engine() {
    if !can_trace() {
        return;
    }
    let why = "unshare or python3 is missing";
    let port = free_port();
    let listener = listen_at(local(port), 300);
    let watch = Watch::as_user(User::Oneself, &[port], &["-v"]);
    assert!(watch.session.stderr().contains("engine tracepoint"), "{}", watch.session.stderr());
    let mut made = Counts::new();
    for n in 0..50 {
        note(&mut made, client(n), port);
        come(n, &listener, client(n), local(port));
    }
    let mut inner = need!(World::on_port(PLAIN, port), "a network namespace", why);
    wait_for("the engine changes", || {
        watch.session.stderr().contains("continuing with engine sockdiag").then_some(())
    });
    inner.come(100);
    for n in 0..50 {
        note(&mut made, client(n), port);
        come(n, &listener, client(n), local(port));
    }
    let report = watch.end();
    assert_eq!(report.engine(), "tracepoint, sock_diag");
    report.assert_counts(&made);
    report.assert_complete();
}

/// Clients come all the time, some of them while both engines run.
#[test]
fn no_connection_counts_twice_while_the_engine_changes() {
    if !can_trace() {
        return;
    }
    let port = free_port();
    let listener = listen_at(local(port), 300);
    let watch = Watch::as_user(User::Oneself, &[port], &["-v"]);
    let ends = AtomicBool::new(false);
    let made = AtomicU64::new(0);
    let inner = std::thread::scope(|scope| {
        scope.spawn(|| {
            // They stay open for a while: the next engine must see those that were opened while it started.
            let mut open = VecDeque::new();
            while !ends.load(Ordering::Relaxed) {
                let stream = connect_from(client(0), local(port));
                made.fetch_add(1, Ordering::Relaxed);
                open.push_back((stream, listener.accept().expect("a connection")));
                if open.len() > 200 {
                    open.pop_front();
                }
            }
        });
        let come = || {
            let before = made.load(Ordering::Relaxed);
            let some = || (made.load(Ordering::Relaxed) > before + 500).then_some(());
            wait_for("more clients come", some);
        };
        come();
        let inner = World::on_port(PLAIN, port);
        if inner.is_some() {
            wait_for("the engine changes", || {
                watch.session.stderr().contains("continuing with engine sockdiag").then_some(())
            });
        }
        come();
        ends.store(true, Ordering::Relaxed);
        inner
    });
    let _inner = need!(inner, "a network namespace", "unshare or python3 is missing");
    let report = watch.end();
    assert_eq!(report.engine(), "tracepoint, sock_diag");
    let left_out = left_out(&report);
    let (total, made) = (report.number("total"), made.into_inner());
    assert_eq!(total + left_out, made, "{total} and {left_out} left out: {}", report.warnings());
}

/// How many connections may belong to another namespace.
fn left_out(report: &Report) -> u64 {
    let warnings = report.warnings();
    let Some((before, _)) = warnings.split_once(" left out: they came") else { return 0 };
    let number = before.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty());
    number.and_then(|digits| digits.parse().ok()).expect("a number of connections")
}

#[test]
fn unprivileged_users_get_sockdiag_and_the_reason() {
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::ports(&[port], &["-v"]);
    let stderr = watch.session.stderr();
    assert!(stderr.contains("engine sockdiag: the tracepoint"), "{stderr}");
    assert!(stderr.contains("root may read it"), "{stderr}");
    note(&mut Counts::new(), client(0), port);
    come(1, &listener, client(0), local(port));
    let options = ["--port", &port.to_string(), "--engine", "tracepoint"];
    let mut refused = Watch::command(User::plain(), &options);
    assert_eq!(refused.session.wait().code(), Some(1));
    assert!(refused.session.stderr().contains("--engine sockdiag"));
    let options = ["--port", &port.to_string(), "--engine", "tracepoint", "--columns", "bytes"];
    let mut refused = Watch::command(User::plain(), &options);
    assert_eq!(refused.session.wait().code(), Some(2));
    assert_eq!(watch.end().number("total"), 1);
}

#[test]
fn statistics_come_from_sockdiag() {
    if !can_trace() {
        return;
    }
    let (listener, port) = listen(Ipv4Addr::LOCALHOST, 300);
    let watch = Watch::as_user(User::Oneself, &[port], &["-v", "--columns", "bytes"]);
    let stderr = watch.session.stderr();
    assert!(stderr.contains("engine sockdiag: only sock_diag has bytes"), "{stderr}");
    come(1, &listener, client(0), local(port));
    assert_eq!(watch.end().number("total"), 1);
}

/// A server and its clients in a network namespace of their own.
struct World {
    session: Session,
    pid: u32,
    port: u16,
    _folder: tempfile::TempDir,
}

const SET_UP: &str = "import fcntl, os, socket, struct, sys
up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(up, 0x8914, struct.pack('16sh14x', b'lo', 0x49))
port = int(sys.argv[1])
";

const PLAIN: &str = "
server = socket.create_server(('127.0.0.1', port), backlog=100)
print('ready', os.getpid(), flush=True)
for line in sys.stdin:
    for n in range(int(line)):
        client = socket.create_connection(('127.0.0.1', port))
        server.accept()[0].close()
        client.close()
    print('done', flush=True)
";

/// As many connections with TCP Fast Open as with SYN cookies.
const FAST_OPEN: &str = "
def sysctl(name, value):
    open('/proc/sys/net/ipv4/' + name, 'w').write(value)
sysctl('tcp_fastopen', '0x203')
sysctl('tcp_syncookies', '2')
server = socket.create_server(('127.0.0.1', port), backlog=100)
print('ready', os.getpid(), flush=True)
for line in sys.stdin:
    for fast in [False, True]:
        if fast:
            sysctl('tcp_syncookies', '1')
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 50)
        for n in range(int(line)):
            client = socket.socket()
            if fast:
                client.sendto(b'x', 0x20000000, ('127.0.0.1', port))
            else:
                client.connect(('127.0.0.1', port))
            accepted = server.accept()[0]
            if fast:
                accepted.recv(1)
            accepted.close()
            client.close()
    print('done', flush=True)
";

impl World {
    fn make(script: &str) -> Option<World> {
        World::on_port(script, free_port())
    }

    fn on_port(script: &str, port: u16) -> Option<World> {
        let stage = Stage::get();
        let folder = open_folder();
        let argv: Vec<std::ffi::OsString> = vec![
            find_program("unshare")?.into(),
            "--net".into(),
            find_program("python3")?.into(),
            "-c".into(),
            format!("{SET_UP}{script}").into(),
            port.to_string().into(),
        ];
        let pipe = std::process::Stdio::piped();
        let mut session =
            Session::start_with(&stage, User::Oneself, folder.path(), &argv, pipe, &[]);
        let pid = wait_for("the namespace is there", || {
            if session.ended().is_some() {
                return Some(None);
            }
            Some(Some(session.stdout().strip_prefix("ready ")?.trim().parse().ok()?))
        })?;
        Some(World { session, pid, port, _folder: folder })
    }

    fn come(&mut self, n: u32) {
        use std::io::Write;
        let mut stdin = self.session.stdin().expect("a pipe");
        writeln!(stdin, "{n}").expect("it reads");
        wait_for("the clients are done", || {
            let ended = self.session.ended();
            assert!(ended.is_none(), "it failed: {}", self.session.stderr());
            self.session.stdout().contains("done").then_some(())
        });
    }
}
