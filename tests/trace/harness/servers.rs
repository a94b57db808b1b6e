//! Servers to trace, each in a folder of its own and on ports of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::*;

/// A server: how to start it, where it listens, how to talk to it.
pub struct Server {
    pub argv: Vec<OsString>,
    pub ports: Vec<Port>,
    pub protocol: Protocol,
    /// Where it runs, and what it needs there.
    pub folder: TempDir,
}

/// By what a port of the C server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    V4,
    V6,
    /// One IPv6 socket for both: IPv4 clients have mapped addresses.
    Dual,
}

impl Server {
    /// Clients that know its ports and its protocol.
    pub fn clients(&self, seed: u64, total: usize, addresses: usize) -> Clients {
        Clients::new(seed, total, addresses, &self.ports).protocol(self.protocol)
    }

    /// `tests/tracees/server/` with these arguments; the protocol follows from them.
    pub fn c(program: &Path, arguments: &[&str], listens: &[Listens]) -> Server {
        let ports = listens.iter().map(|l| Port {
            number: free_port(),
            v4: *l != Listens::V6,
            v6: *l != Listens::V4,
            is_dual: *l == Listens::Dual,
        });
        let ports: Vec<Port> = ports.collect();
        let mut argv = vec![program.into()];
        argv.extend(listens.iter().zip(&ports).map(|(l, p)| match l {
            Listens::V4 => OsString::from(p.number.to_string()),
            Listens::V6 => format!("6:{}", p.number).into(),
            Listens::Dual => format!("d:{}", p.number).into(),
        }));
        argv.extend(arguments.iter().map(OsString::from));
        let protocol = if arguments.contains(&"mute") { CLOSED } else { GREETED };
        Server { argv, ports, protocol, folder: open_folder() }
    }

    /// Two of them that share a port (SO_REUSEPORT).
    pub fn two_on_a_port(program: &Path) -> [Server; 2] {
        let first = Server::c(program, &["reuse"], &[Listens::V4]);
        let (argv, ports) = (first.argv.clone(), first.ports.clone());
        let second = Server { argv, ports, protocol: first.protocol, folder: open_folder() };
        [first, second]
    }

    /// Two workers, two ports, IPv4 and IPv6 each.
    pub fn nginx() -> Option<Server> {
        let program = find_program("nginx")?;
        let folder = open_folder();
        let ports = [both(), both()];
        let listen = ports.map(|p| {
            let v6 = if p.v6 { format!("listen [::]:{};", p.number) } else { String::new() };
            format!("listen {};{v6}", p.number)
        });
        let config = format!(
            "daemon off; worker_processes 2; pid nginx.pid; error_log stderr;
             events {{ worker_connections 256; }}
             http {{
                 access_log off;
                 client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c;
                 uwsgi_temp_path d; scgi_temp_path e;
                 server {{ {} {} location / {{ return 200 'ok'; }} }}
             }}",
            listen[0], listen[1]
        );
        fs::write(folder.path().join("nginx.conf"), config).expect("a folder to write in");
        let argv = [program.as_os_str(), "-e".as_ref(), "stderr".as_ref(), "-p".as_ref()]
            .into_iter()
            .chain([folder.path().as_os_str(), "-c".as_ref(), "nginx.conf".as_ref()]);
        let argv = argv.map(OsString::from).collect();
        Some(Server { argv, ports: ports.into(), protocol: HTTP, folder })
    }

    /// Four threads, one port by IPv4, one dual-stack.
    pub fn haproxy() -> Option<Server> {
        let program = find_program("haproxy")?;
        let ports = [v4(), Port { is_dual: true, ..both() }];
        let second = if ports[1].v6 { ":::" } else { "*:" };
        let config = format!(
            "global\n nbthread 4\n maxconn 2000\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 5s\n\
             frontend all\n bind 127.0.0.1:{}\n bind {second}{}{}\n \
             http-request return status 200 content-type text/plain string ok\n",
            ports[0].number,
            ports[1].number,
            if ports[1].v6 { " v4v6" } else { "" },
        );
        let folder = open_folder();
        fs::write(folder.path().join("haproxy.cfg"), config).expect("a folder to write in");
        let config = folder.path().join("haproxy.cfg").into();
        let argv = vec![program.into(), "-db".into(), "-f".into(), config];
        Some(Server { argv, ports: ports.into(), protocol: HTTP, folder })
    }

    pub fn redis() -> Option<Server> {
        let port = both();
        let mut argv: Vec<OsString> = vec![find_program("redis-server")?.into()];
        let number = port.number.to_string();
        // In protected mode, version 7.0 refuses all clients but 127.0.0.1, and closes their connections
        // with the request unread: then a reset follows the message, and may overtake it.
        let options = ["--protected-mode", "no", "--save", "", "--appendonly", "no"];
        argv.extend(["--port", &number].map(OsString::from));
        argv.extend(options.map(OsString::from));
        argv.extend(["--bind", "127.0.0.1"].map(OsString::from));
        if port.v6 {
            argv.push("::1".into());
        }
        Some(Server { argv, ports: vec![port], protocol: REDIS, folder: open_folder() })
    }

    pub fn memcached(user: User) -> Option<Server> {
        let port = v4();
        let number = port.number.to_string();
        let mut argv: Vec<OsString> = vec![find_program("memcached")?.into()];
        argv.extend(["-p", &number, "-l", "127.0.0.1", "-t", "4", "-U", "0"].map(OsString::from));
        if user.is_root() {
            argv.extend(["-u", "nobody"].map(OsString::from));
        }
        Some(Server { argv, ports: vec![port], protocol: MEMCACHED, folder: open_folder() })
    }

    /// http.server, a thread per connection.
    pub fn python_threads() -> Option<Server> {
        Server::script("python3", include_str!("../../tracees/threads.py"))
    }

    /// A process without listener creates workers that have one each.
    pub fn python_reuseport() -> Option<Server> {
        Server::script("python3", include_str!("../../tracees/reuseport.py"))
    }

    /// Passes its listening socket on to another process, and accepts nothing; and that process.
    pub fn python_passes_on() -> Option<[Server; 2]> {
        let giver = Server::script("python3", include_str!("../../tracees/passes_on.py"))?;
        let (mut argv, ports) = (giver.argv.clone(), giver.ports.clone());
        argv.push("take".into());
        let taker = Server { argv, ports, protocol: giver.protocol, folder: open_folder() };
        Some([giver, taker])
    }

    /// A listening socket for each address family. Its buffer is as long as the addresses of the family.
    pub fn python_asyncio() -> Option<Server> {
        let mut server = Server::script("python3", include_str!("../../tracees/asyncio.py"))?;
        server.argv.push("127.0.0.1".into());
        if has_ipv6() {
            server.argv.push("::1".into());
            server.ports[0].v6 = true;
        }
        Some(server)
    }

    /// It asks accept for no address.
    pub fn node() -> Option<Server> {
        Server::script("node", include_str!("../../tracees/node.js"))
    }

    /// A cluster of node whose workers are replaced now and then.
    pub fn node_cluster() -> Option<Server> {
        Server::script("node", include_str!("../../tracees/cluster.js"))
    }

    /// Apache with the module prefork, whose processes are replaced now and then.
    pub fn apache() -> Option<Server> {
        let program = find_program("apache2")?;
        let modules = Path::new("/usr/lib/apache2/modules");
        if !modules.join("mod_mpm_prefork.so").exists() {
            return None;
        }
        let folder = open_folder();
        let port = v4();
        let path = folder.path().display();
        let config = format!(
            "ServerRoot {path}\nServerName localhost\nPidFile {path}/apache.pid\n\
             DefaultRuntimeDir {path}\nErrorLog {path}/error.log\nListen 127.0.0.1:{}\n\
             LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             DocumentRoot {path}\nStartServers 3\nMaxRequestWorkers 20\n\
             MaxConnectionsPerChild 30\nMutex posixsem\n",
            port.number,
            modules = modules.display(),
        );
        fs::write(folder.path().join("apache.conf"), config).expect("a folder to write in");
        let config = folder.path().join("apache.conf").into();
        let argv = vec![program.into(), "-DFOREGROUND".into(), "-f".into(), config];
        Some(Server { argv, ports: vec![port], protocol: HTTP, folder })
    }

    /// A Go server, where the compiler is there.
    pub fn go() -> Option<Server> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| {
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-server");
            let mut go = Command::new(find_program("go")?);
            go.args(["build", "-o"]).arg(&program);
            go.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracees/server.go"));
            go.env("GO111MODULE", "off").env("CGO_ENABLED", "0");
            go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
            let output = go.output().ok()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "server.go does not compile:\n{errors}");
            Some(program)
        });
        let folder = open_folder();
        let copy = folder.path().join("go-server");
        fs::copy(program.as_ref()?, &copy).expect("the program can be copied");
        set_mode(&copy, 0o755);
        let port = v4();
        let argv = vec![copy.into(), port.number.to_string().into()];
        Some(Server { argv, ports: vec![port], protocol: GREETED, folder })
    }

    /// A script that listens on the port that is its argument.
    fn script(interpreter: &str, source: &str) -> Option<Server> {
        let program = find_program(interpreter)?;
        let folder = open_folder();
        fs::write(folder.path().join("script"), source).expect("a folder to write in");
        let port = v4();
        let script = folder.path().join("script").into();
        let argv = vec![program.into(), script, port.number.to_string().into()];
        Some(Server { argv, ports: vec![port], protocol: HTTP, folder })
    }

    /// Starts it by itself and waits until it listens.
    #[track_caller]
    pub fn start(&self, stage: &Stage, user: User) -> Session {
        let mut session = Session::start(stage, user, self.folder.path(), &self.argv);
        self.wait_until_it_listens(&mut session);
        session
    }

    /// Waits until it listens on all its ports. Nothing connects to find out: that would count.
    #[track_caller]
    pub fn wait_until_it_listens(&self, session: &mut Session) {
        wait_for("the server listens", || {
            if let Some(status) = session.ended() {
                panic!("ended before it listened: {status}; stderr:\n{}", session.stderr());
            }
            self.listens().then_some(())
        });
    }

    /// Whether it listens on all its ports, for IPv4 and for IPv6 where clients come by both.
    pub fn listens(&self) -> bool {
        let [v4, v6] = listening_tables();
        self.ports.iter().all(|port| {
            let (in_v4, in_v6) = (v4.contains(&port.number), v6.contains(&port.number));
            match (port.v4, port.v6) {
                (true, true) => in_v6 && (port.is_dual || in_v4),
                (true, false) => in_v4 || in_v6,
                (false, _) => in_v6,
            }
        })
    }

    /// Panics unless it answers on every port.
    #[track_caller]
    pub fn assert_serves(&self) -> Counts {
        let mut counts = Counts::new();
        for port in &self.ports {
            add(&mut counts, &Clients::new(1, 1, 1, &[*port]).protocol(self.protocol).run());
        }
        counts
    }
}

fn v4() -> Port {
    Port { number: free_port(), v4: true, v6: false, is_dual: false }
}

fn both() -> Port {
    Port { number: free_port(), v4: true, v6: has_ipv6(), is_dual: false }
}

/// Whether this machine has ::1.
pub fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// A port that nobody uses, below those that clients get, and never the same twice.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() * 97 % 20_000) as u16;
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let v6 = || !has_ipv6() || TcpListener::bind(("::", port)).is_ok();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && v6() {
            return port;
        }
    }
}

/// The TCP ports that somebody in this network namespace listens on.
pub fn listening_ports() -> Vec<u16> {
    listening_tables().concat()
}

/// The same, of IPv4 sockets and of IPv6 sockets.
fn listening_tables() -> [Vec<u16>; 2] {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, port) = local.rsplit_once(':')?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(|table| {
        let Ok(file) = fs::File::open(table) else { return Vec::new() };
        // The kernel lists the listeners first; to read on would take seconds where tens of
        // thousands of connections have just ended.
        let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
        lines.map_while(|line| port(&line)).collect()
    })
}
