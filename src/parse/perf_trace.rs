//! Output of `perf trace`: a line for each system call, like strace's, with pointers in place of
//! addresses.
//!
//! The forms are those of perf's source (tools/perf/builtin-trace.c): the time in milliseconds since the
//! first call (with `-T` since the boot), how long the call took, the thread, and the call with the names of its arguments.
//! Where other events come between, the call is shown in two parts.

use memchr::memmem;

use super::calls::{Call, Local, Socket, Step, Thread, unknown_ends};
use super::cursor::Cursor;
use super::digits::number;
use super::host::Host;
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// perf's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "perf-trace",
    about: "output of perf trace",
    connection: "an accept call that returned a socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<PerfTrace>,
    run: |_| Some(String::new()),
    read,
};

struct PerfTrace {
    /// Whether a line has perf's times.
    has_calls: bool,
}

impl LineLog for PerfTrace {
    fn of(lines: &[&[u8]]) -> PerfTrace {
        PerfTrace { has_calls: lines.iter().any(|line| head(line).is_some()) }
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let is_loss = |text: &[u8]| text.starts_with(b"LOST ") && text.ends_with(b" events!");
        if self.has_calls && is_loss(line.trim_ascii()) {
            return ParsedLine::Lost;
        }
        let Some(Head { stamp, comm, tid, rest }) = head(line) else { return ParsedLine::Foreign };
        let thread = Thread { pid: tid.unwrap_or(0), tid: tid.unwrap_or(0) };
        // The second part of a call: ` ... [continued]: accept4())    = 7`.
        let (is_second, text) = match memmem::find(rest, b"[continued]: ") {
            Some(at) => (true, &rest[at + 13..]),
            None => (false, rest),
        };
        let Some(open) = memchr::memchr(b'(', text) else { return ParsedLine::Foreign };
        let (name, args) = (&text[..open], &text[open + 1..]);
        if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') || name.is_empty() {
            return ParsedLine::Foreign;
        }
        let step = match name {
            b"accept" | b"accept4" => accept(args, is_second, comm, tid, stamp),
            b"bind" => Some(bind(args)),
            b"socket" => Some(made(args)),
            _ => return ParsedLine::Other,
        };
        step.map_or(ParsedLine::Broken, |step| Call { stamp, thread, step }.parsed())
    }
}

/// The parts of a line.
struct Head<'a> {
    stamp: Stamp,
    comm: Option<&'a [u8]>,
    tid: Option<u32>,
    rest: &'a [u8],
}

/// Reads `  4583.125 ( 0.002 ms): lighttpd/14597 accept4(…`. Of one thread, its name is left out.
fn head(line: &[u8]) -> Option<Head<'_>> {
    let mut cursor = Cursor(line);
    cursor.blanks();
    // The beginning of a call that was not seen is `?`.
    let begun = if cursor.eat(b"?") { None } else { Some(milliseconds(&mut cursor)?) };
    cursor.require(b" (")?;
    cursor.blanks();
    let mut spent = cursor;
    let lasted = milliseconds(&mut spent).filter(|_| spent.eat(b" ms"));
    if lasted.is_some() {
        cursor = spent;
    }
    cursor.blanks();
    cursor.require(b"):")?;
    cursor.blanks();
    let rest = cursor.0;
    let ended = begun.map(|ns| ns.saturating_add(lasted.unwrap_or(0)));
    let stamp = ended.map_or(Stamp::None, Stamp::Elapsed);
    // The name of a thread may have blanks: the number behind it decides.
    // It may be in parentheses, too.
    let begin = usize::from(rest.first() == Some(&b'('));
    let open = memchr::memchr(b'(', &rest[begin..]).map_or(rest.len(), |at| begin + at);
    let tid = |text: &[u8]| {
        let slash = memchr::memrchr(b'/', text)?;
        let end = memchr::memchr(b' ', &text[slash..])? + slash;
        Some((slash, number::<u32>(&text[slash + 1..end])?, end))
    };
    if let Some((slash, tid, end)) = tid(&rest[..open]) {
        // `:14597` stands for a name that perf does not know.
        let comm = Some(rest[..slash].trim_ascii()).filter(|comm| !comm.starts_with(b":"));
        let rest = rest[end..].trim_ascii_start();
        return Some(Head { stamp, comm, tid: Some(tid), rest });
    }
    let mut own = Cursor(rest);
    if let Some(tid) = own.number_up_to(10).and_then(|tid| u32::try_from(tid).ok())
        && own.eat(b" ")
    {
        return Some(Head { stamp, comm: None, tid: Some(tid), rest: own.0 });
    }
    Some(Head { stamp, comm: None, tid: None, rest })
}

/// `4583.125`, as nanoseconds.
fn milliseconds(cursor: &mut Cursor<'_>) -> Option<i64> {
    let ms = cursor.number_up_to(13)?;
    if cursor.peek() != b'.' {
        return None;
    }
    ms.checked_mul(1_000_000)?.checked_add(cursor.fraction() as i64 / 1000)
}

/// The first word of the result of a call, `) = 7`; `None`: the line has none.
fn result(args: &[u8]) -> Option<&[u8]> {
    let at = memmem::rfind(args, b"= ")?;
    let before = args[..at].trim_ascii_end();
    before.ends_with(b")").then(|| Cursor(args[at + 2..].trim_ascii()).word())
}

/// Reads the arguments and the result of accept. `None`: the line is cut.
fn accept(
    args: &[u8],
    is_second: bool,
    comm: Option<&[u8]>,
    tid: Option<u32>,
    stamp: Stamp,
) -> Option<Step> {
    let Some(result) = result(args) else {
        // The first part ends with `...`.
        let is_first = memmem::find(args, b") ...").is_some();
        return is_first.then(|| Step::Accepts(socket(args)));
    };
    if result.starts_with(b"-") {
        return Some(Step::NotAccepted);
    }
    let fd = u32::try_from(Cursor(result).integer()?).ok()?;
    let mut event = Event::new(stamp, unknown_ends(), Some(true));
    event.more.comm = comm.map(|comm| String::from_utf8_lossy(comm).into());
    event.more.tid = tid;
    event.more.fd = i32::try_from(fd).ok();
    let listener = if is_second { None } else { socket(args) };
    Some(Step::Accepted { listener, event: Box::new(event), is_address_next: false })
}

/// Reads the arguments and the result of bind, whose address newer versions show.
fn bind(args: &[u8]) -> Step {
    let is_done = result(args).is_some_and(|result| Cursor(result).number_up_to(10) == Some(0));
    let (Some(socket), true) = (socket(args), is_done) else { return Step::Other };
    let Some(at) = memmem::find(args, b".family: ") else { return Step::Other };
    let inside = &args[at + 9..];
    if !inside.starts_with(b"INET") {
        return Step::Bound(socket, Local::Other);
    }
    let value = |name: &[u8]| {
        let at = memmem::find(inside, name)? + name.len();
        let n = inside[at..].iter().take_while(|b| !matches!(b, b',' | b' ' | b'}')).count();
        Some(&inside[at..at + n])
    };
    match value(b"port: ").and_then(number) {
        Some(port) => {
            let host = value(b"addr: ").and_then(Host::address);
            let host = host.filter(|host| host.ip().is_some_and(|ip| !ip.is_unspecified()));
            Step::Bound(socket, Local::Ip(host, port))
        }
        None => Step::Other,
    }
}

/// Reads the arguments and the result of socket.
fn made(args: &[u8]) -> Step {
    let fd = result(args).and_then(|result| Cursor(result).number_up_to(10));
    let Some(fd) = fd.and_then(|fd| u32::try_from(fd).ok()) else { return Step::Other };
    let is_unix = [&b"family: LOCAL"[..], b"family: UNIX"].iter().any(|f| args.starts_with(f));
    Step::Made(Socket::Descriptor(fd), is_unix.then_some(Local::Other))
}

/// `fd: 3<socket:[631034]>`, at the beginning.
fn socket(args: &[u8]) -> Option<Socket> {
    let mut cursor = Cursor(args);
    cursor.require(b"fd: ")?;
    let fd = cursor.number_up_to(10)?;
    if cursor.eat(b"<socket:[") {
        return number(&cursor.0[..memchr::memchr(b']', cursor.0)?]).map(Socket::Inode);
    }
    u32::try_from(fd).ok().map(Socket::Descriptor)
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<PerfTrace>(inputs, cx);
    seen.calls.report(
        &name,
        "run perf trace -e 'accept*'",
        ", because perf trace prints pointers only; strace -e trace=network and 'tcptally trace' show them. \
         Connections of Unix sockets count too, unless their socket call is in the record",
        cx,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match (PerfTrace { has_calls: true }).parse_line(line.as_bytes()) {
            ParsedLine::Call(call) => match call.step {
                Step::Accepted { listener, event, .. } => {
                    let comm = event.more.comm.as_deref().unwrap_or("-");
                    let (tid, fd) = (event.more.tid, event.more.fd);
                    format!("{:?} {comm} {tid:?} {fd:?} {listener:?}", call.stamp)
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn accepts_of_every_form() {
        let args =
            "fd: 3<socket:[631034]>, upeer_sockaddr: 0x7ffc3059b420, upeer_addrlen: 0x7ffc3059b3c4";
        let at = "Elapsed(4583127000)";
        for (line, want) in [
            (
                format!(
                    "  4583.125 ( 0.002 ms): lighttpd/14597 accept4({args}, flags: 526336) = 6"
                ),
                format!("{at} lighttpd Some(14597) Some(6) Some(Inode(631034))"),
            ),
            (
                format!("  4583.125 ( 0.002 ms): my app/7 accept({args})        = 6"),
                format!("{at} my app Some(7) Some(6) Some(Inode(631034))"),
            ),
            (
                format!("  4583.125 ( 0.002 ms): (app)/7 accept({args})        = 6"),
                format!("{at} (app) Some(7) Some(6) Some(Inode(631034))"),
            ),
            (
                format!("4583.125 ( 0.002 ms): 14597 accept({args}) = 6"),
                format!("{at} - Some(14597) Some(6) Some(Inode(631034))"),
            ),
            (
                "4583.125 ( 0.002 ms): accept(fd: 3, upeer_sockaddr: 0x7f)      = 6".into(),
                format!("{at} - None Some(6) Some(Descriptor(3))"),
            ),
            (
                "4583.125 (812.002 ms): nginx/7  ... [continued]: accept4())     = 6".into(),
                "Elapsed(5395127000) nginx Some(7) Some(6) None".into(),
            ),
            (
                "         ? (         ): :9/9  ... [continued]: accept4())       = 6".into(),
                "None - Some(9) Some(6) None".into(),
            ),
        ] {
            assert_eq!(shown(&line), want, "{line}");
        }
        for (rest, want) in [
            (format!("nginx/7 accept4({args}) = -1 EAGAIN (Resource temporarily unavailable)"), "NotAccepted"),
            (format!("nginx/7 accept4({args}) ..."), "Accepts(Some(Inode(631034)))"),
            (format!("nginx/7 accept4({args}"), "Broken"),
            ("nginx/7 epoll_wait(epfd: 4, maxevents: 1025) = 1".into(), "Other"),
            ("nginx/7 socket(family: LOCAL, type: STREAM) = 6".into(), "Made(Descriptor(6), Some(Other))"),
            ("nginx/7 socket(family: LOCAL, type: STREAM) = 6$".into(), "Made(Descriptor(6), Some(Other))"),
            (
                "nginx/7 bind(fd: 3, umyaddr: { .family: INET, port: 8080, addr: 0.0.0.0 }, addrlen: 16) = 0"
                    .into(),
                "Bound(Descriptor(3), Ip(None, 8080))",
            ),
            ("nginx/7 sched:sched_switch(prev_comm: \"x\")".into(), "Foreign"),
        ] {
            assert_eq!(shown(&format!("  0.000 (         ): {rest}")), want, "{rest}");
        }
        assert_eq!(shown("LOST 12 events!"), "Lost");
        assert_eq!(shown("12 accept4(3, NULL, NULL) = 6"), "Foreign");
    }
}
