//! Writes a strace log of a given shape, for measuring: `genshapes SHAPE ADDRESSES MEGABYTES`.
//!
//! SHAPE joins with `+`: `f` (a process number) or `pid` (`[pid N]`), one of `t`, `tt`, `ttt`, `r`
//! (times; `r` may follow one of the others), `T` (durations), `yy` (annotated descriptors), `v6`
//! (IPv6 clients), `long` (of those, half have long addresses), `mapped` (IPv4 clients of an IPv6 socket), `threads` (of
//! 400 threads), `fds` (descriptors up to 60,000), `half` (every call in two halves), `old`
//! (`accept` instead of `accept4`), `y` (descriptors with inodes), `comm` (names of threads), `k` (stack frames
//! behind each call), `again` (each accept is tried once more, in vain), `all` (each connection is read from, written to, waited for and
//! closed, as without `-e`), `few` (the same with ten requests on each), `fork` (a process for each connection), `named`
//! (getsockname behind each accept), `null` (accept without an address, getpeername behind it), `full` (three accepts more
//! for which no descriptor is free), `unix` (one of a Unix socket more), `proxy` (a connection to another server behind
//! each), `ns` (times in nanoseconds), and what another program put
//! before each line: `journal`, `docker`, `cri`, `compose`, or around it: `json`, as Docker's json-file does. `none` adds
//! nothing. The clients come equally often, in any order; with `bursts`, a hundred times in a row.

#[path = "common/random.rs"]
mod random;

use std::fmt::Write as _;
use std::io::Write;

use random::Random;

struct Shape(Vec<String>);

impl Shape {
    fn has(&self, part: &str) -> bool {
        self.0.iter().any(|known| known == part)
    }

    fn pid(&self, pid: u64) -> String {
        match (self.has("f"), self.has("pid")) {
            (true, _) if self.has("comm") => format!("{pid}<nginx> "),
            (true, _) => format!("{pid:<5} "),
            (_, true) => format!("[pid {pid:>5}] "),
            _ => String::new(),
        }
    }

    /// The time of a line, `step` after the one before.
    fn time(&self, now: u64, step: u64) -> String {
        let (s, us) = (now / 1_000_000, now % 1_000_000);
        let clock = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
        let nanos = if self.has("ns") { "123" } else { "" };
        let time = if self.has("t") {
            format!("{clock} ")
        } else if self.has("tt") {
            format!("{clock}.{us:06}{nanos} ")
        } else if self.has("ttt") {
            format!("{}.{us:06}{nanos} ", 1_795_344_802 + s)
        } else {
            String::new()
        };
        match (self.has("r"), time.is_empty()) {
            (false, _) => time,
            (true, true) => format!("     0.{step:06}{nanos} "),
            (true, false) => format!("{time}(+     0.{step:06}{nanos}) "),
        }
    }

    fn address(&self, client: u64, port: u64) -> (String, String) {
        let ipv4 = format!("10.{}.{}.{}", client >> 16 & 255, client >> 8 & 255, client & 255);
        if self.has("v6") || self.has("mapped") {
            let ip = if self.has("mapped") {
                format!("::ffff:{ipv4}")
            } else if self.has("long") && client.is_multiple_of(2) {
                let part = |n: u64| (client + 1).wrapping_mul(n) % 0x10000;
                let [a, b, c, d] = [48_271, 16_807, 69_621, 39_373].map(part);
                format!("2001:db8:{:x}:1:{a:x}:{b:x}:{c:x}:{d:x}", client / 65536 + 1)
            } else {
                format!("2001:db8:{:x}::{:x}", client / 65536 + 1, client % 65536 + 1)
            };
            let address = format!(
                "{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"{ip}\", &sin6_addr), sin6_scope_id=0}}, [28]"
            );
            return (format!("[{ip}]"), address);
        }
        let address = format!(
            "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ipv4}\")}}, [112 => 16]"
        );
        (ipv4, address)
    }
}

impl Shape {
    /// What stands behind the listener and behind the new descriptor, whose inode follows from `inode`.
    fn annotations(&self, ip: &str, port: u64, inode: u64) -> (&'static str, String) {
        match (self.has("yy"), self.has("v6")) {
            (true, true) => {
                ("<TCPv6:[[::]:80]>", format!("<TCPv6:[[2001:db8::1]:80->{ip}:{port}]>"))
            }
            (true, false) => ("<TCP:[0.0.0.0:80]>", format!("<TCP:[192.0.2.1:80->{ip}:{port}]>")),
            _ if self.has("y") => ("<socket:[31337]>", format!("<socket:[{}]>", 100_000 + inode)),
            _ => ("", String::new()),
        }
    }

    /// What follows an accept: its stack, and another one for which nobody waits.
    fn write_rest_of_accept(&self, line: &mut String, call: &str) {
        let lines = line.lines().count();
        if self.has("again") {
            let _ = writeln!(
                line,
                "{call}, 0x7ffd5a5c2c60, [112], SOCK_NONBLOCK) = -1 EAGAIN (Resource temporarily unavailable)"
            );
        }
        if self.has("full") {
            let failed = "0x7ffd5a5c2c60, [112], SOCK_NONBLOCK) = -1 EMFILE (Too many open files)";
            line.push_str(&format!("{call}, {failed}\n").repeat(3));
        }
        if self.has("unix") {
            let _ = writeln!(line, "{call}, {{sa_family=AF_UNIX}}, [112 => 2], SOCK_NONBLOCK) = 9");
        }
        if self.has("k") {
            for _ in 0..lines {
                line.push_str(
                    " > /usr/lib/x86_64-linux-gnu/libc.so.6(accept4+0x50) [0x11e1a0]\n \
                     > /usr/sbin/nginx(ngx_event_accept+0x9f) [0x4f0b2]\n \
                     > /usr/sbin/nginx(ngx_epoll_process_events+0x1c4) [0x58a21]\n \
                     > /usr/sbin/nginx(main+0x8c3) [0x2c1ab]\n",
                );
            }
        }
    }
}

impl Shape {
    /// What a server without `-e` does with a connection; `before` stands before each call.
    fn write_requests(&self, line: &mut String, before: &str, fd: u64, spent: &str) {
        let requests = match (self.has("few"), self.has("all")) {
            (true, _) => 10,
            (_, true) => 1,
            _ => return,
        };
        for _ in 0..requests {
            let _ = write!(
                line,
                "{before}epoll_wait(8, [{{events=EPOLLIN, data={{u32={fd}, u64={fd}}}}}], 512, -1) = 1{spent}\n\
                 {before}recvfrom({fd}, \"GET /index.html HTTP/1.1\\r\\nHost: e\"..., 1024, 0, NULL, NULL) = 76{spent}\n\
                 {before}writev({fd}, [{{iov_base=\"HTTP/1.1 200 OK\\r\\nServer: nginx/\"..., iov_len=238}}], 1) = 238{spent}\n"
            );
        }
        let _ = writeln!(line, "{before}close({fd})                                = 0{spent}");
    }
}

impl Shape {
    /// What a server does that starts a process for each connection.
    fn write_fork(&self, line: &mut String, parent: &str, child: u64, time: &str, fd: u64) {
        if !self.has("fork") {
            return;
        }
        let own = format!("{}{time}", self.pid(child));
        let _ = write!(
            line,
            "{parent}clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>\n\
             {own}close(4 <unfinished ...>\n\
             {parent}<... clone resumed>, child_tidptr=0x7f2b2c0a1a10) = {child}\n\
             {own}<... close resumed>)             = 0\n\
             {parent}close({fd})                           = 0\n\
             {own}read({fd}, \"GET / HTTP/1.0\\r\\n\\r\\n\", 4096) = 18\n\
             {own}write({fd}, \"HTTP/1.0 200 OK\\r\\n\"..., 204) = 204\n\
             {own}close({fd})                           = 0\n\
             {own}exit_group(0)                     = ?\n\
             {own}+++ exited with 0 +++\n\
             {parent}--- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={child}, si_uid=0, si_status=0, si_utime=0, si_stime=0}} ---\n"
        );
    }

    /// What asks for the ends of a connection: `peer` is the address as accept shows it.
    fn write_names(&self, line: &mut String, before: &str, fd: u64, peer: &str) {
        if self.has("named") {
            let own = "{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}";
            let _ = writeln!(line, "{before}getsockname({fd}, {own}, [128 => 16]) = 0");
        }
        if self.has("null") {
            let _ = writeln!(line, "{before}getpeername({fd}, {peer}) = 0");
        }
        if self.has("proxy") {
            let other = fd + 1;
            let server =
                "{sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr(\"192.0.2.9\")}";
            let _ = writeln!(
                line,
                "{before}socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = {other}\n\
                 {before}connect({other}, {server}, 16) = -1 EINPROGRESS (Operation now in progress)\n\
                 {before}close({other})                                = 0"
            );
        }
    }

    /// A line with what another program puts before it or around it.
    fn wrapped(&self, line: &str, now: u64) -> String {
        let (s, us) = (now / 1_000_000, now % 1_000_000);
        let clock = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
        let docker = format!("2026-11-22T{clock}.{us:06}123Z");
        if self.has("journal") {
            format!("Nov 22 {clock} web1 strace[812]: {line}")
        } else if self.has("docker") {
            format!("{docker} {line}")
        } else if self.has("cri") {
            format!("{docker} stderr F {line}")
        } else if self.has("compose") {
            format!("web-1  | {line}")
        } else if self.has("json") {
            let line = line.replace('\\', "\\\\").replace('"', "\\\"");
            let line = line.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
            format!("{{\"log\":\"{line}\\n\",\"stream\":\"stderr\",\"time\":\"{docker}\"}}")
        } else {
            line.to_owned()
        }
    }
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|a| a.parse::<u64>().ok());
    let (Some(shape), Some(addresses @ 1..), Some(megabytes)) =
        (args.first(), number(1), number(2))
    else {
        eprintln!("usage: genshapes SHAPE ADDRESSES MEGABYTES");
        std::process::exit(2);
    };
    let shape = Shape(shape.split('+').map(str::to_owned).collect());
    let mut random = Random::new(7);
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let (mut written, mut now) = (0, 50_000_000_000);
    let (mut client, mut turn) = (0, 0_u64);
    let mut line = String::new();
    while written < megabytes * 1_000_000 {
        let step = random.below(40);
        now += step;
        let threads = if shape.has("threads") { 400 } else { 8 };
        let pid = shape.pid(1001 + random.below(threads));
        let time = shape.time(now, step);
        let descriptors = if shape.has("fds") { 60_000 } else { 200 };
        let (port, fd) = (32768 + random.below(28000), 7 + random.below(descriptors));
        if !shape.has("bursts") || turn.is_multiple_of(100) {
            client = random.below(addresses);
        }
        turn += 1;
        let (ip, address) = shape.address(client, port);
        let (listener, result) = shape.annotations(&ip, port, random.below(900_000));
        let spent = if shape.has("T") { " <0.000046>" } else { "" };
        let name = if shape.has("old") { "accept" } else { "accept4" };
        let flags = if shape.has("old") { "" } else { ", SOCK_NONBLOCK" };
        line.clear();
        let shown = if shape.has("null") { "NULL, NULL" } else { &address };
        let _ = if shape.has("half") {
            let (other, next) = (shape.pid(2000), fd + 1);
            write!(
                line,
                "{pid}{time}{name}(4{listener},  <unfinished ...>\n{other}{time}close({next})                                = 0\n{pid}{time}<... {name} resumed>{shown}{flags}) = {fd}{result}{spent}\n"
            )
        } else {
            writeln!(line, "{pid}{time}{name}(4{listener}, {shown}{flags}) = {fd}{result}{spent}")
        };
        shape.write_rest_of_accept(&mut line, &format!("{pid}{time}{name}(4{listener}"));
        let before = format!("{pid}{time}");
        shape.write_names(&mut line, &before, fd, &address);
        shape.write_requests(&mut line, &before, fd, spent);
        shape.write_fork(&mut line, &before, 2000 + turn % 30_000, &time, fd);
        for line in line.lines() {
            let line = shape.wrapped(line, now);
            written += line.len() as u64 + 1;
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}
