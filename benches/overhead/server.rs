//! The servers that are watched.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{self, Started, wait_for};

/// Which server, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The example `accept_server`, of this model.
    Own(&'static str),
    /// nginx with so many workers; each request is a connection.
    Nginx(u32),
    /// nginx with one worker and connections that stay.
    KeepAlive,
    /// haproxy with so many threads, which take the buffers for addresses from the heap.
    Haproxy(u32),
}

/// The models of `accept_server` that measure how long each accept takes: of a connection that has just come, and of one
/// that waited with others.
pub const TIMED: &str = "timed";
pub const QUEUED: &str = "queued";

/// A server that listens.
pub struct Server {
    /// The first is the one that was started.
    pub pids: Vec<i32>,
    pub address: SocketAddrV4,
    /// The server itself, or the tracer that started it.
    pub process: Started,
}

impl Kind {
    /// The command that starts it, with its files in `dir`.
    pub fn command(self, own: &Path, dir: &Path) -> Result<Vec<OsString>> {
        match self {
            Kind::Own(model) => Ok(vec![own.into(), model.into()]),
            Kind::Nginx(_) | Kind::KeepAlive => {
                let conf = dir.join("nginx.conf");
                fs::write(&conf, nginx_conf(self.workers(), free_port()?, dir))?;
                let mut argv: Vec<OsString> = vec![nginx_path().into(), "-c".into(), conf.into()];
                argv.extend(["-p".into(), dir.into(), "-e".into(), dir.join("error.log").into()]);
                Ok(argv)
            }
            Kind::Haproxy(threads) => {
                let conf = dir.join("haproxy.cfg");
                fs::write(&conf, haproxy_conf(threads, free_port()?))?;
                Ok(vec![haproxy_path().into(), "-db".into(), "-f".into(), conf.into()])
            }
        }
    }

    /// Whether the server tells how long an accept took.
    pub fn tells_accept_time(self) -> bool {
        matches!(self, Kind::Own(TIMED | QUEUED))
    }

    fn workers(self) -> u32 {
        if let Kind::Nginx(n) = self { n } else { 1 }
    }

    /// Waits until it listens. `process` is the server or, `traced`, the tracer that started it.
    pub fn ready(self, mut process: Started, dir: &Path) -> Result<Server> {
        let (pid, port) = match self {
            Kind::Own(_) => {
                let mut line = String::new();
                let stdout = process.child.stdout.as_mut().context("no stdout")?;
                BufReader::new(stdout).read_line(&mut line)?;
                let Some((pid, port)) = line.trim().split_once(' ') else {
                    process.wait()?;
                    return Err(process.must_run().err().context("the server did not start")?);
                };
                (pid.parse()?, port.parse()?)
            }
            Kind::Nginx(_) | Kind::KeepAlive => {
                let pid = wait_for("nginx to start", || {
                    process.must_run()?;
                    let text = fs::read_to_string(dir.join("nginx.pid")).unwrap_or_default();
                    Ok(text.trim().parse().ok())
                })?;
                wait_for("nginx's workers", || {
                    Ok((processes::family(pid).len() > self.workers() as usize).then_some(()))
                })?;
                (pid, port_in(&dir.join("nginx.conf"))?)
            }
            Kind::Haproxy(_) => {
                let port = port_in(&dir.join("haproxy.cfg"))?;
                wait_for("haproxy to listen", || {
                    process.must_run()?;
                    Ok(is_listening(port)?.then_some(()))
                })?;
                let family = processes::family(process.pid());
                let is_haproxy = |pid: &i32| {
                    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "haproxy\n")
                };
                (family.into_iter().find(is_haproxy).context("no haproxy")?, port)
            }
        };
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Ok(Server { pids: processes::family(pid), address, process })
    }
}

/// Where nginx is.
pub fn nginx_path() -> PathBuf {
    daemon_path("nginx")
}

/// Where haproxy is.
pub fn haproxy_path() -> PathBuf {
    daemon_path("haproxy")
}

/// In sbin, which is not in every user's PATH.
fn daemon_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|p| p.exists())
        .unwrap_or_else(|| name.into())
}

/// Whether somebody listens on this port. To connect would count.
fn is_listening(port: u16) -> Result<bool> {
    let listener = format!("0100007F:{port:04X} 00000000:0000 0A");
    Ok(fs::read_to_string("/proc/net/tcp")?.contains(&listener))
}

fn haproxy_conf(threads: u32, port: u16) -> String {
    format!(
        "global\n nbthread {threads}\n maxconn 2000\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 5s\n\
         frontend all\n bind 127.0.0.1:{port}\n \
         http-request return status 200 content-type text/plain string hello\n"
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The answers come from memory, so that none needs a file that a worker may not read.
fn nginx_conf(workers: u32, port: u16, dir: &Path) -> String {
    let dir = dir.display();
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        temporary += &format!("  {kind}_temp_path {dir}/{kind};\n");
    }
    format!(
        "worker_processes {workers};\ndaemon off;\npid {dir}/nginx.pid;\n\
         error_log {dir}/error.log;\nevents {{ worker_connections 1024; }}\nhttp {{\n\
         {temporary}  access_log off;\n  keepalive_requests 1000000000;\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n\
         \x20   location / {{ return 200 \"hello\\n\"; }}\n\
         \x20   location /status {{ stub_status; }}\n  }}\n}}\n"
    )
}

fn port_in(conf: &Path) -> Result<u16> {
    let conf = fs::read_to_string(conf)?;
    let rest = conf.split("127.0.0.1:").nth(1);
    let port = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    Ok(port.context("no port")?.parse()?)
}

impl Server {
    /// How many connections nginx says it has accepted, this question's among them.
    pub fn accepts(&self) -> Result<u64> {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let numbers = answer.lines().skip_while(|l| !l.starts_with("server accepts")).nth(1);
        let first = numbers.and_then(|l| l.split_ascii_whitespace().next());
        Ok(first.context("nginx gives no status")?.parse()?)
    }

    /// How long an accept took as the server saw it, in µs: the median.
    pub fn accept_us(&mut self) -> Result<f64> {
        use std::io::Write;
        let child = &mut self.process.child;
        child.stdin.as_mut().context("no stdin")?.write_all(b"\n")?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().context("no stdout")?).read_line(&mut line)?;
        Ok(line.trim().parse::<f64>()? / 1e3)
    }

    /// Ends it; a tracer that started it ends with it.
    pub fn end(mut self) -> Result<()> {
        let _ = kill(Pid::from_raw(self.pids[0]), Signal::SIGTERM);
        self.process.wait()?;
        self.pids.clear();
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in &self.pids {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}
