//! Logs of gVisor's own strace (`runsc --strace`): a line when a system call begins and one when it has ended.
//!
//! The forms are those of gVisor's source: `pkg/sentry/strace/strace.go` and `socket.go` for the calls,
//! `pkg/sentry/kernel/task_log.go` for the process and the thread before them, `pkg/log/glog.go` for the
//! time. In its JSON formats the time is a member of the object, and the rest is the same.

use memchr::memmem;

use super::calls::{Call, Local, Socket, Step, Thread, unknown_ends};
use super::cursor::Cursor;
use super::digits::number;
use super::host::Host;
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// gVisor's strace.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "gvisor",
    about: "log of gVisor with --strace",
    connection: "an accept call that returned a TCP socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Gvisor>,
    run: |_| Some(String::new()),
    read,
};

struct Gvisor;

impl LineLog for Gvisor {
    fn of(_: &[&[u8]]) -> Gvisor {
        Gvisor
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        // Every call is logged from this file.
        let Some(at) = memmem::find(&line[..line.len().min(256)], b"strace.go:") else {
            return ParsedLine::Foreign;
        };
        let Some((stamp, thread, rest)) = head(line, at) else { return ParsedLine::Foreign };
        // The name of a thread may have blanks.
        let call = [&b" X "[..], b" E "].iter().filter_map(|mark| memmem::find(rest, mark)).min();
        // A line that was wrapped or cut.
        let Some(call) = call else { return ParsedLine::Broken };
        let (comm, text) = (&rest[..call], &rest[call + 3..]);
        let Some(open) = memchr::memchr(b'(', text) else { return ParsedLine::Broken };
        let step = match (&text[..open], rest[call + 1]) {
            (b"accept" | b"accept4", b'X') => accept(&text[open + 1..], comm, thread, stamp),
            (b"accept" | b"accept4", _) => Some(Step::NotAccepted),
            (b"bind", b'X') => Some(bind(&text[open + 1..])),
            _ => return ParsedLine::Other,
        };
        step.map_or(ParsedLine::Broken, |step| Call { stamp, thread, step }.parsed())
    }
}

/// Reads what stands before the name of the thread: `I1122 10:58:42.200113    4349 strace.go:614] [   1:   1] `,
/// with the numbers of the thread's own namespace in parentheses if they differ. `at`: where the file is.
fn head(line: &[u8], at: usize) -> Option<(Stamp, Thread, &[u8])> {
    let stamp = if at == 0 { Stamp::None } else { glog_stamp(&line[..at])? };
    let mut cursor = Cursor(&line[at..]);
    cursor.require(b"strace.go:")?;
    cursor.number_up_to(6)?;
    cursor.require(b"] [")?;
    let mut id = |end: &[u8]| {
        cursor.blanks();
        let id = cursor.number_up_to(10)?;
        if cursor.eat(b"(") {
            cursor.blanks();
            cursor.number_up_to(10)?;
            cursor.require(b")")?;
        }
        cursor.require(end)?;
        u32::try_from(id).ok()
    };
    let (pid, tid) = (id(b":")?, id(b"] ")?);
    Some((stamp, Thread { pid, tid }, cursor.0))
}

/// `I1122 10:58:42.200113    4349 `.
fn glog_stamp(text: &[u8]) -> Option<Stamp> {
    let mut cursor = Cursor(text.strip_prefix(b"I").or_else(|| text.strip_prefix(b"D"))?);
    let (month, day) = (cursor.number_up_to(2)?, cursor.number_up_to(2)?);
    cursor.require(b" ")?;
    let ns = cursor.clock()?;
    cursor.blanks();
    cursor.number_up_to(10)?;
    cursor.blanks();
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    (is_date && cursor.0.is_empty()).then_some(Stamp::Yearless(month as i8, day as i8, ns))
}

/// Reads the arguments and the result of accept: `0x3 socket:[2], 0x7f… {Family: AF_INET, Addr:
/// 198.51.100.7, Port: 40755}, 0x7f… {length=16}) = 5 (0x5) (28.684µs)`. `None`: they cannot be read.
fn accept(text: &[u8], comm: &[u8], thread: Thread, stamp: Stamp) -> Option<Step> {
    let end = memmem::rfind(text, b") = ")?;
    let (args, result) = (&text[..end], text[end + 4..].trim_ascii_end());
    // The time that it took is the last part.
    if !result.ends_with(b"s)") {
        return None;
    }
    if memmem::find(result, b" errno=").is_some() {
        return Some(Step::NotAccepted);
    }
    let word = Cursor(result).word();
    // Before 2020, in hexadecimal only.
    let fd = number::<u32>(word).or_else(|| u32::try_from(Cursor(word).integer()?).ok())?;
    let mut ends = unknown_ends();
    match address(args) {
        Some(Local::Ip(host, port)) => {
            ends.client = host.unwrap_or(ends.client);
            ends.client_port = Some(port);
        }
        Some(Local::Other) => return Some(Step::NotAccepted),
        // The server did not ask for the address, or gVisor could not read it.
        None if memmem::find(args, b", null").is_some()
            || memmem::find(args, b"{length null}").is_some()
            || memmem::find(args, b"{error ").is_some()
            || memmem::find(args, b", error ").is_some()
            || memmem::find(args, b"{address too short").is_some() => {}
        None => return None,
    }
    let mut event = Event::new(stamp, ends, Some(true));
    event.more.comm = Some(String::from_utf8_lossy(comm.trim_ascii()).into());
    (event.more.pid, event.more.tid) = (Some(thread.pid), Some(thread.tid));
    event.more.fd = i32::try_from(fd).ok();
    Some(Step::Accepted { listener: socket(args), event: Box::new(event), is_address_next: false })
}

/// Reads the arguments and the result of bind.
fn bind(text: &[u8]) -> Step {
    let Some(end) = memmem::rfind(text, b") = 0 ").or_else(|| memmem::rfind(text, b") = 0x0 "))
    else {
        return Step::Other;
    };
    match (socket(&text[..end]), address(&text[..end])) {
        (Some(socket), Some(local)) => Step::Bound(socket, local),
        _ => Step::Other,
    }
}

/// `0x3 socket:[2]`, at the beginning.
fn socket(args: &[u8]) -> Option<Socket> {
    let mut cursor = Cursor(args);
    let fd = cursor.integer()?;
    if cursor.eat(b" socket:[") {
        return number(&cursor.0[..memchr::memchr(b']', cursor.0)?]).map(Socket::Inode);
    }
    u32::try_from(fd).ok().map(Socket::Descriptor)
}

/// `{Family: AF_INET, Addr: 198.51.100.7, Port: 40755}`; `None`: no address can be read.
fn address(args: &[u8]) -> Option<Local> {
    let at = memmem::find(args, b"{Family: AF_")?;
    let inside = &args[at + 12..];
    let family = &inside[..memchr::memchr(b',', inside)?];
    if !matches!(family, b"INET" | b"INET6") {
        return Some(Local::Other);
    }
    let mut cursor = Cursor(&inside[family.len()..]);
    cursor.require(b", Addr: ")?;
    let word = cursor.word();
    let address = word.strip_suffix(b",")?;
    cursor.require(b" Port: ")?;
    let port = u16::try_from(cursor.number_up_to(5)?).ok()?;
    cursor.require(b"}")?;
    // gVisor prints any address as nothing.
    let host = if address.is_empty() { None } else { Some(Host::address(address)?) };
    Some(Local::Ip(host.filter(|host| host.ip().is_some_and(|ip| !ip.is_unspecified())), port))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Gvisor>(inputs, cx);
    seen.calls.report(
        &name,
        "run runsc with --strace, and with --strace-syscalls=accept,accept4,bind or without that",
        ", because the server did not ask accept for it",
        cx,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "I1122 10:58:42.200113       1 strace.go:614] [   1:   1] ";

    fn shown(line: &str) -> String {
        match Gvisor.parse_line(line.as_bytes()) {
            ParsedLine::Call(call) => match call.step {
                Step::Accepted { listener, event, .. } => format!(
                    "{:?} {:?} {:?} {:?} {:?}",
                    event.ends.client.ip(),
                    event.ends.client_port,
                    event.more.comm.unwrap(),
                    event.more.fd,
                    listener.unwrap()
                ),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn accepts_of_every_version() {
        let address =
            "0x7f1a {Family: AF_INET, Addr: 198.51.100.7, Port: 40755}, 0x7f1b {length=16}";
        let want = "Some(198.51.100.7) Some(40755) \"my app\" Some(7) Inode(2)";
        for line in [
            format!("{HEAD}my app X accept(0x3 socket:[2], {address}) = 7 (0x7) (28.684µs)"),
            format!(
                "{HEAD}my app X accept4(0x3 socket:[2], {address}, SOCK_NONBLOCK) = 7 (0x7) (1.2ms)"
            ),
            format!("{HEAD}my app X accept(0x3 socket:[2], {address}) = 0x7 (28.684µs)"),
            format!(
                "strace.go:602] [   9(   1):  12(   4)] my app X accept(0x3 socket:[2], {address}) = 7 (0x7) (1µs)"
            ),
        ] {
            assert_eq!(shown(&line), want, "{line}");
        }
        assert_eq!(shown(&format!("{HEAD}nginx X")), "Broken", "a wrapped line");
        let call = |text: &str| format!("{HEAD}nginx X {text}");
        for (text, want) in [
            (
                "accept(0x3 socket:[2], 0x7f {Family: AF_INET6, Addr: 2001:db8::7, Port: 40755}, 0x7f \
                 {length=28}) = 7 (0x7) (1µs)",
                "Some(2001:db8::7) Some(40755) \"nginx\" Some(7) Inode(2)",
            ),
            (
                "accept4(0x3, null, null, 0x800) = 7 (0x7) (1µs)",
                "None None \"nginx\" Some(7) Descriptor(3)",
            ),
            (
                "accept4(0x3 socket:[2], 0x7f, 0x7f {length=16}, SOCK_NONBLOCK) = -1 errno=11 \
                 (resource temporarily unavailable) (1.5µs)",
                "NotAccepted",
            ),
            (
                "accept(0x3 socket:[2], 0x7f {Family: AF_UNIX, Addr: \"\"}, 0x7f {length=2}) = 7 (0x7) (1µs)",
                "NotAccepted",
            ),
            (
                "bind(0x3 socket:[2], 0x7f {Family: AF_INET, Addr: 0.0.0.0, Port: 8080}, 0x10) = 0 (0x0) (1µs)",
                "Bound(Inode(2), Ip(None, 8080))",
            ),
            ("accept(0x3 socket:[2], 0x7f {Family: AF_INET, Addr: 198.51", "Broken"),
            (
                "accept(0x3 socket:[2], 0x7f {Family: AF_INET, Addr: x, Port: 7}, 0x7f) = 7 (0x7) (1µs)",
                "Broken",
            ),
            ("read(0x3, 0x7f \"X accept(0x3\", 0x9) = 9 (0x9) (1µs)", "Other"),
        ] {
            assert_eq!(shown(&call(text)), want, "{text}");
        }
        assert_eq!(shown("I1122 10:58:42.200113 1 main.go:219] Version 1"), "Foreign");
        assert_eq!(
            shown(&format!("app: {HEAD}nginx X accept(0x3, null, null) = 7 (0x7) (1µs)")),
            "Foreign"
        );
    }
}
