//! A slow and simple parser of strace logs, written from strace(1) and from what strace prints. It shares no code
//! with the program.
//!
//! It takes a log only if every line has a form that strace writes without annotations of paths, and then claims
//! to know each connection. Of any other text it says nothing.

use std::net::{IpAddr, Ipv6Addr};

/// An accept that returned a descriptor of an internet socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepted {
    pub pid: Option<u32>,
    pub fd: i32,
    /// The address and the port; `None`: the program asked for no address.
    pub peer: Option<(IpAddr, u16)>,
}

/// What each line of a log begins with: the same in all its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Style {
    pid: Pid,
    time: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pid {
    Absent,
    /// `1234 `, as with -o FILE.
    Plain,
    /// `[pid  1234] `.
    Bracketed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Absent,
    /// `10:53:30`, with -t.
    Clock,
    /// `10:53:30.174673`, with -tt.
    Micros,
    /// `1795344802.927766`, with -ttt.
    Epoch,
    /// `     0.004183`, with -r.
    Relative,
}

/// Calls that tell more of an accept without an address, begin another run, or hide calls.
const OTHER_MEANING: [&str; 12] = [
    "accept",
    "socket",
    "bind",
    "getsockname",
    "getpeername",
    "dup",
    "clone",
    "fork",
    "vfork",
    "execve",
    "syscall",
    "io_uring",
];

/// All accepts of a log. `None`: some line is not in the grammar.
pub fn read(log: &str) -> Option<Vec<Accepted>> {
    let is_text = |c: char| c == '\n' || (' '..='~').contains(&c);
    // An entity of HTML may stand for another character, and a UNIX socket for what accept(3, NULL, NULL) returned.
    let has_entity = log.replace(", &sin6_addr)", "").contains('&');
    if log.is_empty() || !log.chars().all(is_text) || has_entity || log.contains("_UNIX") {
        return None;
    }
    let mut found = Vec::new();
    let mut style = None;
    let mut unfinished: Vec<(u32, String)> = Vec::new();
    for line in log.strip_suffix('\n')?.split('\n') {
        if is_attach_message(line) {
            continue;
        }
        let mut rest = Text(line);
        let (here, pid) = prefix(&mut rest)?;
        if *style.get_or_insert(here) != here {
            return None;
        }
        let mut line = Line { text: rest, pid, unfinished: &mut unfinished };
        found.extend(line.read()?);
    }
    // A log without accept does not show that accept was traced.
    log.contains("accept").then_some(found)
}

/// `strace: Process 1234 attached`, which strace writes between the lines.
fn is_attach_message(line: &str) -> bool {
    let number =
        line.strip_prefix("strace: Process ").and_then(|rest| rest.strip_suffix(" attached"));
    number.is_some_and(|n| n.parse::<u16>().is_ok())
}

fn prefix(line: &mut Text<'_>) -> Option<(Style, Option<u32>)> {
    let mut pid = Pid::Absent;
    let mut number = None;
    let mut ahead = *line;
    if ahead.take("[pid ") {
        ahead.spaces();
        number = Some(ahead.number()?.unsigned_abs());
        ahead.expect("] ")?;
        (pid, *line) = (Pid::Bracketed, ahead);
    } else if let Some(n) = ahead.number()
        && ahead.take(&" ".repeat(6_usize.saturating_sub(n.to_string().len()).max(1)))
    {
        // Five columns and a space.
        (pid, number, *line) = (Pid::Plain, Some(n.unsigned_abs()), ahead);
    }
    Some((Style { pid, time: time(line)? }, number))
}

fn time(line: &mut Text<'_>) -> Option<Time> {
    let mut ahead = *line;
    let indented = ahead.spaces();
    let first = ahead.digits();
    let kind = if first.is_empty() {
        return (indented == 0).then_some(Time::Absent);
    } else if ahead.take(":") {
        let is_clock = first.len() == 2 && first < "24" && indented == 0;
        let minute = ahead.digits();
        ahead.expect(":")?;
        let second = ahead.digits();
        let is_rest = |digits: &str| digits.len() == 2 && digits < "60";
        if !is_clock || !is_rest(minute) || !is_rest(second) {
            return None;
        }
        if ahead.take(".") {
            (ahead.digits().len() == 6).then_some(Time::Micros)?
        } else {
            Time::Clock
        }
    } else {
        ahead.expect(".")?;
        if ahead.digits().len() != 6 {
            return None;
        }
        match (first.len(), indented) {
            (10, 0) if first.starts_with('1') => Time::Epoch,
            // Six columns before the point.
            (digits, indented) if digits + indented == 6 => Time::Relative,
            _ => return None,
        }
    };
    ahead.expect(" ")?;
    *line = ahead;
    Some(kind)
}

/// What stands behind the prefix.
struct Line<'a, 'b> {
    text: Text<'a>,
    pid: Option<u32>,
    /// Calls that have begun, with the process.
    unfinished: &'b mut Vec<(u32, String)>,
}

impl Line<'_, '_> {
    /// The accept that this line completes, if any; `None`: not in the grammar.
    fn read(&mut self) -> Option<Option<Accepted>> {
        let text = &mut self.text;
        if text.take("+++ ") {
            return (text.take("exited with ") && text.number().is_some() && text.0 == " +++")
                .then_some(None);
        }
        if text.take("--- ") {
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            (text.take_while(is_name).starts_with("SIG") && text.take(" ")).then_some(())?;
            text.value()?;
            return (text.0 == " ---").then_some(None);
        }
        if text.take("<... ") {
            return self.resumed();
        }
        let name = text.name()?;
        text.expect("(")?;
        if self.pid.is_some_and(|pid| self.unfinished.iter().any(|u| u.0 == pid)) {
            return None;
        }
        if name == "accept" || name == "accept4" {
            text.descriptor()?;
            if text.take(",  <unfinished ...>") || text.take(" <unfinished ...>") {
                return self.begin(name);
            }
            text.expect(", ")?;
            return self.accepted(name);
        }
        if OTHER_MEANING.iter().any(|other| name.starts_with(other)) {
            return None;
        }
        text.arguments()?;
        if text.take(" <unfinished ...>") {
            return self.begin(name);
        }
        text.expect(")")?;
        text.result()?;
        Some(None)
    }

    /// Notes a call that another thread interrupts.
    fn begin(&mut self, name: &str) -> Option<Option<Accepted>> {
        self.unfinished.push((self.pid?, name.to_owned()));
        self.text.0.is_empty().then_some(None)
    }

    fn resumed(&mut self) -> Option<Option<Accepted>> {
        let text = &mut self.text;
        let name = text.name()?;
        text.expect(" resumed>")?;
        let at = self.unfinished.iter().position(|u| Some(u.0) == self.pid && u.1 == name)?;
        self.unfinished.remove(at);
        if name == "accept" || name == "accept4" {
            let _ = text.take(", ");
            return self.accepted(name);
        }
        let _ = text.take(", ");
        text.arguments()?;
        text.expect(")")?;
        text.result()?;
        Some(None)
    }

    /// From the address on.
    fn accepted(&mut self, name: &str) -> Option<Option<Accepted>> {
        let text = &mut self.text;
        let address = text.address()?;
        text.expect(", ")?;
        text.length()?;
        if name == "accept4" {
            text.expect(", ")?;
            text.flags()?;
        }
        text.expect(")")?;
        let result = text.result()?;
        let peer = match (address, result) {
            (_, None) => return Some(None),
            // The kernel has written something there that strace could not read.
            (Address::Pointer, Some(_)) => return None,
            (Address::Null, Some(_)) => None,
            (Address::Inet(ip, port), Some(_)) => Some((ip, port)),
        };
        Some(result.map(|fd| Accepted { pid: self.pid, fd, peer }))
    }
}

enum Address {
    Null,
    Pointer,
    Inet(IpAddr, u16),
}

/// The rest of a line.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn take(&mut self, token: &str) -> bool {
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.take(token).then_some(())
    }

    fn take_while(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !is(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn spaces(&mut self) -> usize {
        self.take_while(|c| c == ' ').len()
    }

    fn digits(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_digit())
    }

    /// A number as strace prints a descriptor or a process: no leading zero.
    fn number(&mut self) -> Option<i32> {
        let digits = self.digits();
        if digits.len() > 1 && digits.starts_with('0') { None } else { digits.parse().ok() }
    }

    fn name(&mut self) -> Option<&'a str> {
        let name = self.take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
    }

    /// A descriptor, with -y or without.
    fn descriptor(&mut self) -> Option<()> {
        self.number()?;
        if self.take("<socket:[") || self.take("<TCP:[") {
            self.number()?;
            self.expect("]>")?;
        }
        Some(())
    }

    fn address(&mut self) -> Option<Address> {
        if self.take("NULL") {
            return Some(Address::Null);
        }
        if self.take("0x") {
            let digits = self.take_while(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            return (digits.len() == 12).then_some(Address::Pointer);
        }
        self.expect("{sa_family=AF_INET")?;
        if self.take("6, sin6_port=htons(") {
            let port = self.port()?;
            self.expect("), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"")?;
            let ip: Ipv6Addr = self.take_while(|c| c != '"').parse().ok()?;
            self.expect("\", &sin6_addr), sin6_scope_id=0}")?;
            return Some(Address::Inet(IpAddr::from(ip).to_canonical(), port));
        }
        self.expect(", sin_port=htons(")?;
        let port = self.port()?;
        self.expect("), sin_addr=inet_addr(\"")?;
        let ip = self.take_while(|c| c != '"').parse().ok()?;
        self.expect("\")}")?;
        Some(Address::Inet(IpAddr::V4(ip), port))
    }

    fn port(&mut self) -> Option<u16> {
        u16::try_from(self.number()?).ok()
    }

    fn length(&mut self) -> Option<()> {
        if self.take("NULL") {
            return Some(());
        }
        self.expect("[")?;
        self.number()?;
        if self.take(" => ") {
            self.number()?;
        }
        self.expect("]")
    }

    fn flags(&mut self) -> Option<()> {
        let flags = self.take_while(|c| c.is_ascii_uppercase() || c == '_' || c == '|' || c == '0');
        ["0", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SOCK_CLOEXEC|SOCK_NONBLOCK"]
            .contains(&flags)
            .then_some(())
    }

    /// Up to the closing bracket or the mark of an unfinished call.
    fn arguments(&mut self) -> Option<()> {
        if self.0.starts_with(')') {
            return Some(());
        }
        loop {
            self.value()?;
            if !self.take(", ") {
                return Some(());
            }
        }
    }

    /// A value: words, a string, `{...}`, `[...]`, or `name=value`.
    fn value(&mut self) -> Option<()> {
        for (open, close) in [("{", "}"), ("[", "]")] {
            if self.take(open) {
                while !self.take(close) {
                    self.value()?;
                    let _ = self.take(", ");
                }
                return Some(());
            }
        }
        if self.take("\"") {
            return self.string();
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_|-+.*".contains(c);
        let word = self.take_while(is_word);
        if word.is_empty() || word.contains("accept") || word.contains("connect") {
            return None;
        }
        if self.take("=") { self.value() } else { Some(()) }
    }

    /// Behind the opening quotation mark.
    fn string(&mut self) -> Option<()> {
        loop {
            self.take_while(|c| c != '"' && c != '\\');
            if self.take("\"") {
                let _ = self.take("...");
                return Some(());
            }
            self.expect("\\")?;
            self.0 = self.0.get(1..)?;
        }
    }

    /// Behind the closing bracket: the descriptor or number, or `None` for an error.
    fn result(&mut self) -> Option<Option<i32>> {
        (self.spaces() > 0).then_some(())?;
        self.expect("= ")?;
        let result = if self.take("-1 E") {
            self.take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
            self.expect(" (")?;
            self.take_while(|c| c.is_ascii_alphabetic() || c == ' ');
            self.expect(")")?;
            None
        } else if self.take("?") {
            None
        } else {
            Some(self.number()?)
        };
        if self.take(" <") {
            self.number()?;
            self.expect(".")?;
            (self.digits().len() == 6).then_some(())?;
            self.expect(">")?;
        }
        self.0.is_empty().then_some(result)
    }
}
