//! Writes a strace log of any size, the same for the same seed: `genlog accept|mixed MEGABYTES
//! [SEED]`. For measuring; the shapes of lines are those of strace 6.1 with `-f -tt -o`.
//!
//! `accept`: nearly every line is an accepted connection. `mixed`: one line in twenty is, as when
//! all calls of a web server are traced. In both, some calls are in two halves, two listeners
//! are bound, and descriptors are closed and come again.

#[path = "common/random.rs"]
mod random;

use std::io::{BufWriter, Write};

use random::Random;

struct Log<W> {
    out: W,
    written: u64,
    /// Microseconds since midnight.
    now: u64,
    random: Random,
}

impl<W: Write> Log<W> {
    fn line(&mut self, pid: u64, text: &str) -> std::io::Result<()> {
        self.now += self.random.below(40);
        let (s, us) = (self.now / 1_000_000, self.now % 1_000_000);
        let (h, m, s) = (s / 3600 % 24, s / 60 % 60, s % 60);
        let line = format!("{pid:<5} {h:02}:{m:02}:{s:02}.{us:06} {text}\n");
        self.written += line.len() as u64;
        self.out.write_all(line.as_bytes())
    }

    fn accept(&mut self, pid: u64, fd: u64) -> std::io::Result<()> {
        let r = &mut self.random;
        // Few clients come often, many seldom.
        let range = [16, 64, 512, 4096][r.below(4) as usize];
        let client = r.below(range);
        let (port, listener) = (32768 + r.below(28000), 4 + r.below(2));
        let rest = format!(
            "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"10.1.{}.{}\")}}, [112 => 16], SOCK_NONBLOCK) = {fd}",
            client / 256,
            client % 256
        );
        if r.below(16) == 0 {
            self.line(pid, &format!("accept4({listener},  <unfinished ...>"))?;
            self.line(pid + 10, &format!("close({})                                = 0", fd + 1))?;
            self.line(pid, &format!("<... accept4 resumed>{rest}"))
        } else {
            self.line(pid, &format!("accept4({listener}, {rest}"))
        }
    }

    /// What a web server does with a connection.
    fn serve(&mut self, pid: u64, fd: u64) -> std::io::Result<()> {
        let n = self.random.below(100_000);
        self.line(
            pid,
            "epoll_wait(8, [{events=EPOLLIN, data={u32=2908471312, u64=140223}}], 512, -1) = 1",
        )?;
        self.line(
            pid,
            &format!("epoll_ctl(8, EPOLL_CTL_ADD, {fd}, {{events=EPOLLIN|EPOLLET}}) = 0"),
        )?;
        self.line(pid, "epoll_wait(8, [{events=EPOLLIN, data={u32=1, u64=1}}], 512, 60000) = 1")?;
        self.line(pid, &format!("recvfrom({fd}, \"GET /{n} HTTP/1.1\\r\\nHost: x\\r\\n\"..., 1024, 0, NULL, NULL) = 312"))?;
        self.line(
            pid,
            &format!("stat(\"/srv/{n}\", {{st_mode=S_IFREG|0644, st_size=612, ...}}) = 0"),
        )?;
        self.line(pid, &format!("openat(AT_FDCWD, \"/srv/{n}\", O_RDONLY) = {}", fd + 1))?;
        self.line(pid, &format!("fstat({}, {{st_mode=S_IFREG|0644, ...}}) = 0", fd + 1))?;
        self.line(
            pid,
            &format!(
                "writev({fd}, [{{iov_base=\"HTTP/1.1 200 OK\\r\\n\"..., iov_len=238}}], 1) = 238"
            ),
        )?;
        self.line(pid, &format!("sendfile({fd}, {}, [0] => [612], 612) = 612", fd + 1))?;
        self.line(pid, "write(5, \"10.1.2.3 - - GET accept4(3, \\\"6.6.6.6\\\")\"..., 98) = 98")?;
        self.line(pid, &format!("close({})                                = 0", fd + 1))?;
        self.line(pid, &format!("setsockopt({fd}, SOL_TCP, TCP_NODELAY, [1], 4) = 0"))?;
        self.line(pid, "gettimeofday({tv_sec=1795344771, tv_usec=438045}, NULL) = 0")?;
        self.line(pid, &format!("recvfrom({fd}, 0x55d0c2a0, 1024, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)"))?;
        self.line(pid, "futex(0x7f1c2a0, FUTEX_WAKE_PRIVATE, 1) = 0")?;
        self.line(pid, "epoll_wait(8, [{events=EPOLLIN|EPOLLRDHUP, data={u32=1}}], 512, 5) = 1")?;
        self.line(pid, &format!("recvfrom({fd}, \"\", 1024, 0, NULL, NULL) = 0"))?;
        self.line(pid, &format!("close({fd})                                = 0"))
    }
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).map(|a| a.parse::<u64>().ok());
    let kind = args.first().map(String::as_str);
    let (Some("accept" | "mixed"), Some(Some(megabytes)), seed) =
        (kind, number(1), number(2).unwrap_or(Some(1)).unwrap_or(1))
    else {
        eprintln!("usage: genlog accept|mixed MEGABYTES [SEED]");
        std::process::exit(2);
    };
    let random = Random::new(seed);
    let out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    // Some logs pass midnight.
    let mut log = Log { out, written: 0, now: 86_380_000_000, random };
    log.line(1000, "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 4")?;
    log.line(
        1000,
        "bind(4, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0",
    )?;
    log.line(1000, "listen(4, 511)                          = 0")?;
    log.line(1000, "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5")?;
    log.line(1000, "bind(5, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0")?;
    log.line(1000, "listen(5, 511)                          = 0")?;
    while log.written < megabytes * 1_000_000 {
        let (pid, fd) = (1001 + log.random.below(8), 7 + log.random.below(200));
        log.accept(pid, fd)?;
        if kind == Some("mixed") {
            log.serve(pid, fd)?;
        }
    }
    log.out.flush()
}
