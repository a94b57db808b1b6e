//! Output of truss of illumos and Solaris. That of FreeBSD's truss is read as strace's, which it is like, and
//! [`freebsd_truss`](super::freebsd_truss) converts its prefixes.
//!
//! The forms are those of illumos's source (usr/src/cmd/truss/actions.c, main.c, expound.c): the process
//! and the thread with `-f` or several threads, the seconds since the base time with `-d`, the call, and behind
//! tabs or a blank its result. The library's version argument (`SOV_...`) is in every call of a socket. With
//! `-v accept` the client's address follows in a line of its own.

use memchr::memmem;

use super::calls::{Call, Local, Socket, Step, Thread, unknown_ends};
use super::cursor::Cursor;
use super::digits::number;
use super::host::Host;
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// truss's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "truss",
    about: "output of truss of illumos or Solaris",
    connection: "an accept call that returned a socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Truss>,
    run: |_| Some(String::new()),
    read,
};

/// The form of the lines.
struct Truss {
    /// Whether a line has the version argument of a socket call.
    has_sockets: bool,
    /// The base time of `-d`, in nanoseconds since 1970.
    base: Option<i64>,
}

impl LineLog for Truss {
    fn of(lines: &[&[u8]]) -> Truss {
        Truss {
            has_sockets: lines.iter().any(|line| is_socket_call(line)),
            base: lines.iter().find_map(|line| base_time(line)),
        }
    }

    /// The process and the thread look like the tag of a logger.
    fn begin(&self, line: &[u8], at: usize) -> usize {
        let before = line[..at].trim_ascii_end();
        let Some(id) = before.strip_suffix(b":") else { return at };
        let digits = |text: &[u8]| text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let mut begin = id.len() - digits(id);
        if begin < id.len() && id[..begin].ends_with(b"/") {
            begin -= 1;
            begin -= digits(&id[..begin]);
        }
        if begin == id.len() { at } else { begin }
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if !self.has_sockets {
            return ParsedLine::Foreign;
        }
        if base_time(line).is_some() {
            return ParsedLine::Other;
        }
        let (thread, elapsed, rest) = head(line);
        let stamp = match (self.base, elapsed) {
            (Some(base), Some(ns)) => Stamp::Epoch(base.saturating_add(ns)),
            _ => Stamp::None,
        };
        let call = |step| Call { stamp, thread, step }.parsed();
        if let Some(address) = address(rest) {
            return call(Step::Address(address));
        }
        let Some(open) = memchr::memchr(b'(', rest) else {
            // A further line about a call.
            return ParsedLine::Other;
        };
        let (name, args) = (&rest[..open], &rest[open + 1..]);
        if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') || name.is_empty() {
            // Perhaps a call behind what another program wrote.
            let has_accept = memmem::find(rest, b"accept").is_some();
            return if has_accept { ParsedLine::Foreign } else { ParsedLine::Other };
        }
        match name {
            b"accept" | b"accept4" => accept(args, thread, stamp).map_or(ParsedLine::Broken, call),
            b"bind" => call(bind(args)),
            b"so_socket" => call(made(args)),
            _ => call(Step::Other),
        }
    }
}

/// Whether a line is a call of a socket, by its version argument.
fn is_socket_call(line: &[u8]) -> bool {
    let (_, _, rest) = head(line);
    let n = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    n > 0
        && rest.get(n) == Some(&b'(')
        && memmem::find(rest, b", SOV_").is_some()
        && matches!(
            &rest[..n],
            b"accept"
                | b"accept4"
                | b"bind"
                | b"listen"
                | b"so_socket"
                | b"connect"
                | b"getsockname"
                | b"getpeername"
                | b"setsockopt"
                | b"getsockopt"
                | b"shutdown"
        )
}

/// `Base time stamp:  1795345122.2001  [ Sun Nov 22 10:58:42 UTC 2026 ]`, in nanoseconds since 1970.
fn base_time(line: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(line.strip_prefix(b"Base time stamp:")?);
    cursor.blanks();
    cursor.seconds()
}

/// Reads what stands before a call: `1815/1:\t`, `1815:\t` or `/1:\t`, and with `-d`, `-D` or `-E` seconds with
/// four digits behind the point. The first of these are since the base time if the record has one.
fn head(line: &[u8]) -> (Thread, Option<i64>, &[u8]) {
    let mut cursor = Cursor(line);
    let id = |cursor: &mut Cursor<'_>| {
        cursor.number_up_to(9).and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
    };
    let mut prefix = cursor;
    let pid = id(&mut prefix);
    let tid = if prefix.eat(b"/") { id(&mut prefix) } else { 0 };
    let mut thread = Thread::default();
    if prefix.eat(b":") && (pid, tid) != (0, 0) {
        thread = Thread { pid, tid };
        cursor = prefix;
    }
    let mut elapsed = None;
    loop {
        let mut seconds = cursor;
        seconds.blanks();
        let text = seconds.0;
        let Some(ns) = seconds.seconds() else { break };
        // `12.3456`
        let written = &text[..text.len() - seconds.0.len()];
        if memchr::memchr(b'.', written) != written.len().checked_sub(5)
            || seconds.spaces() == 0 && !seconds.eat(b"\t")
        {
            break;
        }
        elapsed = elapsed.or(Some(ns));
        cursor = seconds;
    }
    (thread, elapsed, cursor.0.trim_ascii_start())
}

/// `AF_INET  name = 198.51.100.7  port = 40755`; `None`: the line is none.
fn address(text: &[u8]) -> Option<Local> {
    let family = Cursor(text).word();
    if !family.starts_with(b"AF_") {
        return None;
    }
    if !matches!(family, b"AF_INET" | b"AF_INET6") {
        return Some(Local::Other);
    }
    let mut cursor = Cursor(&text[memmem::find(text, b" = ")? + 3..]);
    let host = Host::address(cursor.word())?;
    cursor.blanks();
    cursor.require(b"port = ")?;
    let port = u16::try_from(cursor.number_up_to(5)?).ok()?;
    Some(Local::Ip(
        Some(host).filter(|host| host.ip().is_some_and(|ip| !ip.is_unspecified())),
        port,
    ))
}

/// How a call ended.
enum Ended<'a> {
    Returned(&'a [u8]),
    Failed,
    /// It goes on: it is shown again at its end.
    Sleeping,
}

/// Reads what follows the arguments; `None`: nothing that can be read.
fn ended(args: &[u8]) -> Option<Ended<'_>> {
    let close = memchr::memchr(b')', args)?;
    let text = args[close + 1..].trim_ascii();
    match text.strip_prefix(b"= ") {
        Some(value) => Some(Ended::Returned(value)),
        None if text.starts_with(b"Err#") => Some(Ended::Failed),
        None if text.starts_with(b"(sleeping...") => Some(Ended::Sleeping),
        None => None,
    }
}

fn descriptor(args: &[u8]) -> Option<Socket> {
    let fd = Cursor(args).number_up_to(9)?;
    u32::try_from(fd).ok().map(Socket::Descriptor)
}

fn accept(args: &[u8], thread: Thread, stamp: Stamp) -> Option<Step> {
    let Ended::Returned(value) = ended(args)? else { return Some(Step::NotAccepted) };
    let fd = number::<u32>(value)?;
    let mut event = Event::new(stamp, unknown_ends(), Some(true));
    let known = |id: u32| (id != 0).then_some(id);
    (event.more.pid, event.more.tid) = (known(thread.pid), known(thread.tid));
    event.more.fd = i32::try_from(fd).ok();
    Some(Step::Accepted {
        listener: descriptor(args),
        event: Box::new(event),
        is_address_next: true,
    })
}

fn bind(args: &[u8]) -> Step {
    match (ended(args), descriptor(args)) {
        (Some(Ended::Returned(_)), Some(socket)) => Step::Binds(socket),
        _ => Step::Other,
    }
}

fn made(args: &[u8]) -> Step {
    let Some(Ended::Returned(value)) = ended(args) else { return Step::Other };
    let Some(fd) = number(value) else { return Step::Other };
    let is_unix = args.starts_with(b"PF_UNIX") || args.starts_with(b"PF_LOCAL");
    Step::Made(Socket::Descriptor(fd), is_unix.then_some(Local::Other))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Truss>(inputs, cx);
    seen.calls.report(
        &name,
        "run truss with -t accept, or without -t",
        "; truss -v accept,bind shows it. Without it, connections of Unix sockets count too",
        cx,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let log = Truss { has_sockets: true, base: Some(1_000_000_000) };
        match log.parse_line(line.as_bytes()) {
            ParsedLine::Call(call) => match call.step {
                Step::Accepted { listener, event, .. } => {
                    let Thread { pid, tid } = call.thread;
                    format!(
                        "{:?} {pid}/{tid} {:?} {:?}",
                        call.stamp,
                        event.more.fd,
                        listener.unwrap()
                    )
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_thread_is_no_prefix_of_another_program() {
        let log = Truss { has_sockets: true, base: None };
        for (line, want) in [
            (">/2:\taccept(3", "/2:\taccept(3"),
            ("web 1815/2:\taccept(3", "1815/2:\taccept(3"),
            ("1815: accept(3", "1815: accept(3"),
            ("app: accept(3", "accept(3"),
        ] {
            let at = line.find("accept").unwrap();
            assert_eq!(&line[log.begin(line.as_bytes(), at)..], want);
        }
    }

    #[test]
    fn lines_of_every_form() {
        let accepted = "accept(3, 0x08047B3C, 0x08047C3C, SOV_DEFAULT, 0)";
        for (line, want) in [
            (format!("{accepted}\t= 5"), "None 0/0 Some(5) Descriptor(3)"),
            (format!("{accepted} = 5"), "None 0/0 Some(5) Descriptor(3)"),
            (format!("1815/1:\t{accepted} = 5"), "None 1815/1 Some(5) Descriptor(3)"),
            (format!("/2:\t{accepted} = 5"), "None 0/2 Some(5) Descriptor(3)"),
            (
                format!("6428:\t 12.0037 {accepted} = 5"),
                "Epoch(13003700000) 6428/0 Some(5) Descriptor(3)",
            ),
            (
                format!(" 12.0037\t 0.0001\t{accepted} = 5"),
                "Epoch(13003700000) 0/0 Some(5) Descriptor(3)",
            ),
            (format!("{accepted} (sleeping...)"), "NotAccepted"),
            (format!("{accepted} Err#11 EAGAIN"), "NotAccepted"),
            (accepted.into(), "Broken"),
            ("bind(3, 0x080474F0, 16, SOV_SOCKBSD) = 0".into(), "Binds(Descriptor(3))"),
            (
                "so_socket(PF_UNIX, SOCK_STREAM, 0, \"\", SOV_DEFAULT) = 4".into(),
                "Made(Descriptor(4), Some(Other))",
            ),
            ("\tAF_INET  name = 0.0.0.0  port = 25588".into(), "Address(Ip(None, 25588))"),
            (
                "1815/1:\tAF_INET6  name = 2001:db8::7  port = 40755".into(),
                "Address(Ip(Some(Ip(2001:db8::7)), 40755))",
            ),
            ("\tAF_UNIX  name = \"/run/x\"".into(), "Address(Other)"),
            ("read(5, \" G E T\", 1024) = 3".into(), "Other"),
            ("\tscope id = 0  source id = 0x0".into(), "Other"),
            (format!("app: {accepted} = 5"), "Foreign"),
        ] {
            assert_eq!(shown(&line), want, "{line}");
        }
        let freebsd =
            "accept4(0x3,{ AF_INET 198.51.100.7:40755 },0x7fffffffe4a4,0x10000000) = 5 (0x5)\n";
        assert!(!line_log::recognise::<Truss>(freebsd.as_bytes()));
    }
}
