//! Writes logs as strace does, from any bytes: each byte is a choice. So a fuzzer and a property test reach the
//! same logs, and what a log says is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parser::Accepted;

/// More lines than this only take time.
const MAX_LINES: usize = 40;

/// Takes decisions from bytes; after the last one each is 0.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn number(&mut self) -> usize {
        self.below(256) << 8 | self.below(256)
    }
}

/// Parts of strings that look like something else.
const TRAPS: [&str; 14] = [
    "accept4(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"6.6.6.6\")}, [16], 0) = 4",
    "accept(3, NULL, NULL) = 5",
    "<... accept resumed>",
    " <unfinished ...>",
    ") = 7",
    "\"",
    "\\",
    "\\\"",
    ", ",
    "[pid 7] ",
    "+++ exited with 0 +++",
    "GET / HTTP/1.1",
    "{",
    "]>",
];

struct Writer<'a> {
    choices: Choices<'a>,
    /// How pids and times are written.
    pids: usize,
    times: usize,
    /// Seconds and microseconds since the beginning.
    now: usize,
    text: String,
    told: Vec<Accepted>,
}

/// A thread, and the call that it has begun.
#[derive(Clone)]
struct Thread {
    pid: u32,
    begun: Option<&'static str>,
}

/// A log, and the accepts in it in the order of their lines.
pub fn build(bytes: &[u8]) -> (String, Vec<Accepted>) {
    let mut choices = Choices(bytes);
    let (pids, times) = (choices.below(3), choices.below(5));
    let mut writer = Writer { choices, pids, times, now: 0, text: String::new(), told: Vec::new() };
    let mut threads = [
        Thread { pid: 1234, begun: None },
        Thread { pid: 1235, begun: None },
        Thread { pid: 100_001, begun: None },
    ];
    while !writer.choices.0.is_empty() && writer.text.matches('\n').count() < MAX_LINES {
        let thread = if pids == 0 { 0 } else { writer.choices.below(threads.len()) };
        writer.line(&mut threads[thread]);
    }
    // A log in which nothing was accepted shows that accept was traced.
    writer.prefix(&threads[0].clone());
    match threads[0].begun.take() {
        Some(name) => writer.end(&threads[0].clone(), name),
        None => writer
            .text
            .push_str("accept(3, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)\n"),
    }
    if !writer.text.contains("accept") {
        writer.prefix(&threads[0].clone());
        writer.text.push_str("accept(3, NULL, NULL) = ?\n");
    }
    (writer.text, writer.told)
}

impl Writer<'_> {
    fn line(&mut self, thread: &mut Thread) {
        if self.pids > 0 && self.choices.below(24) == 0 {
            self.text.push_str("strace: Process 1236 attached\n");
            return;
        }
        self.prefix(thread);
        if let Some(name) = thread.begun.take() {
            return self.end(thread, name);
        }
        match self.choices.below(8) {
            0 => self.text.push_str(
                "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=77, si_uid=0} ---\n",
            ),
            1 | 2 => self.other_call(thread),
            _ => self.accept_call(thread),
        }
    }

    fn prefix(&mut self, thread: &Thread) {
        self.now += self.choices.below(200) * 1000 + 1;
        let (seconds, micros) = (self.now / 1_000_000, self.now % 1_000_000);
        let pid = match self.pids {
            0 => String::new(),
            1 => format!("{:<5} ", thread.pid),
            _ => format!("[pid {:>5}] ", thread.pid),
        };
        let clock = format!("10:53:{:02}", seconds % 60);
        let time = match self.times {
            0 => String::new(),
            1 => format!("{clock} "),
            2 => format!("{clock}.{micros:06} "),
            3 => format!("{}.{micros:06} ", 1_795_344_802 + seconds),
            _ => format!("{seconds:6}.{micros:06} "),
        };
        self.text.push_str(&pid);
        self.text.push_str(&time);
    }

    fn accept_call(&mut self, thread: &mut Thread) {
        let name = self.choices.one(&["accept", "accept4"]);
        let descriptor = self.choices.one(&["3", "3", "0", "17<TCP:[12345]>", "3<socket:[77]>"]);
        self.text.push_str(&format!("{name}({descriptor}"));
        if self.pids > 0 && self.choices.below(3) == 0 {
            self.text.push_str(self.choices.one(&[",  <unfinished ...>\n", " <unfinished ...>\n"]));
            thread.begun = Some(name);
        } else {
            self.text.push_str(", ");
            self.rest_of_accept(thread, name);
        }
    }

    /// From the address on.
    fn rest_of_accept(&mut self, thread: &Thread, name: &str) {
        let fd = self.choices.one(&[0, 4, 5, 11, 1023, 70_000]);
        let (address, peer) = match self.choices.below(8) {
            0 => ("NULL".to_owned(), Some(None)),
            1 => ("0x7ffda9f2a6c0".to_owned(), None),
            2 | 3 => {
                let (ip, port) = (self.ipv6(), self.choices.number() as u16);
                let text = format!(
                    "{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl(0), \
                     inet_pton(AF_INET6, \"{ip}\", &sin6_addr), sin6_scope_id=0}}"
                );
                (text, Some(Some((IpAddr::from(ip).to_canonical(), port))))
            }
            _ => {
                let (ip, port) = (self.ipv4(), self.choices.number() as u16);
                let text = format!(
                    "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}"
                );
                (text, Some(Some((IpAddr::V4(ip), port))))
            }
        };
        let length = if address == "NULL" {
            "NULL"
        } else {
            self.choices.one(&["[16]", "[128 => 16]", "[28]"])
        };
        let flags = self.choices.one(&["0", "SOCK_CLOEXEC", "SOCK_CLOEXEC|SOCK_NONBLOCK"]);
        let flags = if name == "accept4" { format!(", {flags}") } else { String::new() };
        let result = match peer {
            Some(_) => fd.to_string(),
            None => self
                .choices
                .one(&[
                    "-1 EAGAIN (Resource temporarily unavailable)",
                    "-1 EINTR (Interrupted system call)",
                    "?",
                ])
                .to_owned(),
        };
        self.text.push_str(&format!("{address}, {length}{flags})"));
        self.result(&result);
        if let Some(peer) = peer {
            let pid = (self.pids > 0).then_some(thread.pid);
            self.told.push(Accepted { pid, fd, peer });
        }
    }

    fn ipv4(&mut self) -> Ipv4Addr {
        let last = self.choices.below(256) as u8;
        self.choices.one(&[
            Ipv4Addr::new(192, 0, 2, last),
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(255, 255, 255, last),
            Ipv4Addr::new(10, last, 0, 0),
        ])
    }

    fn ipv6(&mut self) -> Ipv6Addr {
        let v4 = self.ipv4();
        let last = self.choices.number() as u16;
        self.choices.one(&[
            Ipv6Addr::LOCALHOST,
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, last, 7),
            Ipv6Addr::new(0xfe80, 0, 0, 0, last, last, last, last),
        ])
    }

    fn other_call(&mut self, thread: &mut Thread) {
        let name = self.choices.one(&["write", "read", "epoll_wait", "close", "futex", "shutdown"]);
        self.text.push_str(&format!("{name}("));
        if self.pids > 0 && self.choices.below(4) == 0 {
            self.text.push_str("5 <unfinished ...>\n");
            thread.begun = Some(name);
        } else {
            self.rest_of_other();
        }
    }

    fn rest_of_other(&mut self) {
        let string = self.string();
        let arguments = match self.choices.below(4) {
            0 => "5".to_owned(),
            1 => "[{events=EPOLLIN, data={u32=3, u64=3}}], 512, -1".to_owned(),
            _ => format!("5, \"{string}\"..., 4096"),
        };
        self.text.push_str(&format!("{arguments})"));
        let result = self.choices.one(&["0", "90", "-1 EPIPE (Broken pipe)"]);
        self.result(result);
    }

    /// The second half of a call.
    fn end(&mut self, thread: &Thread, name: &'static str) {
        self.text.push_str(&format!("<... {name} resumed>"));
        if name.starts_with("accept") {
            self.text.push_str(self.choices.one(&["", ", "]));
            self.rest_of_accept(thread, name);
        } else {
            self.text.push_str(", ");
            self.rest_of_other();
        }
    }

    fn result(&mut self, result: &str) {
        let spaces = self.choices.one(&[1, 1, 17]);
        let time = self.choices.one(&["", "", " <0.000046>"]);
        self.text.push_str(&format!("{}= {result}{time}\n", " ".repeat(spaces)));
    }

    /// The inside of a string, as strace escapes it.
    fn string(&mut self) -> String {
        let parts = self.choices.below(4);
        let text: String = (0..parts).map(|_| self.choices.one(&TRAPS)).collect();
        text.replace('\\', "\\\\").replace('"', "\\\"")
    }
}
