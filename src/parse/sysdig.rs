//! Events of sysdig: what accept and accept4 returned, with both ends.
//!
//! The form is that of sysdig's default output (`%evt.num %evt.outputtime %evt.cpu %proc.name
//! (%thread.tid) %evt.dir %evt.type %evt.info`); `fd` shows the tuple behind `<4t>` or `<6t>`, as
//! Falco's libraries print it: the client first.

use memchr::memmem;

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::services;
use super::timestamp::Stamp;

/// sysdig's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "sysdig",
    about: "text of sysdig with accept events",
    connection: "an accept that returned a TCP socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Sysdig>,
    run: |_| Some(String::new()),
    read,
};

struct Sysdig;

impl LineLog for Sysdig {
    fn of(_: &[&[u8]]) -> Sysdig {
        Sysdig
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(event) = event(line) else {
            // An event in a form of one's own (-p, -t).
            let has = |text: &[u8]| memmem::find(line, text).is_some();
            let is_accept = has(b"accept") && (has(b"(<4t>") || has(b"(<6t>"));
            return if is_accept { ParsedLine::Broken } else { ParsedLine::Foreign };
        };
        let Fields { stamp, comm, thread, name, info } = event;
        if !matches!(name, b"accept" | b"accept4") {
            return ParsedLine::Other;
        }
        let value = |key: &[u8]| {
            let at = memmem::find(info, key)?;
            (at == 0 || info[at - 1] == b' ').then(|| Cursor(&info[at + key.len()..]).word())
        };
        let Some(fd) = value(b"fd=") else { return ParsedLine::Broken };
        let tuple = match fd.iter().position(|b| *b == b'(') {
            // An error: `-11(EAGAIN)`.
            _ if fd.starts_with(b"-") => return ParsedLine::Evidence,
            // A socket of another family, or one that sysdig does not know.
            Some(open) if fd[open..].starts_with(b"(<u>") => return ParsedLine::Evidence,
            Some(open) if fd[open..].starts_with(b"(<4t>") || fd[open..].starts_with(b"(<6t>") => {
                fd[open + 5..].strip_suffix(b")")
            }
            _ => value(b"tuple="),
        };
        let Some(ends) = tuple.and_then(ends) else { return ParsedLine::Broken };
        let mut event = Event::new(stamp, ends, Some(true));
        event.more.comm = Some(String::from_utf8_lossy(comm).into());
        event.more.tid = thread;
        event.more.fd = number::<u16>(&fd[..fd.iter().take_while(|b| b.is_ascii_digit()).count()])
            .map(i32::from);
        event.parsed()
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no call of accept that returned is in it, so nothing shows that such calls were recorded; \
             sysdig \"evt.type in (accept,accept4)\" records them",
        )
    }

    fn may_be_cut(&self, line: &[u8]) -> bool {
        // What follows the tuple is always there.
        memmem::find(line, b" queuepct=").is_none()
    }
}

/// The parts of a line.
struct Fields<'a> {
    stamp: Stamp,
    comm: &'a [u8],
    thread: Option<u32>,
    name: &'a [u8],
    info: &'a [u8],
}

/// `1234 10:58:42.200113456 0 nginx (907) < accept fd=7(…) …` of an event that ends.
fn event(line: &[u8]) -> Option<Fields<'_>> {
    let mut cursor = Cursor(line);
    cursor.number_up_to(18)?;
    cursor.require(b" ")?;
    let stamp = cursor.iso().or_else(|| cursor.clock().map(Stamp::Clock)).or_else(|| {
        let ns = cursor.seconds()?;
        Some(if ns >= 100_000_000_000_000_000 { Stamp::Epoch(ns) } else { Stamp::Elapsed(ns) })
    })?;
    cursor.require(b" ")?;
    cursor.number_up_to(4)?;
    cursor.require(b" ")?;
    let rest = cursor.0;
    let arrow = [&b") < "[..], b") > "].iter().filter_map(|a| memmem::find(rest, a)).min()?;
    let open = memchr::memrchr(b'(', &rest[..arrow])?;
    // The process and its thread, or the thread alone; with `-pc` also the thread in its container.
    let ids = rest[open + 1..arrow].split(|b| *b == b':').next().unwrap_or_default();
    let thread = ids.rsplit(|b| *b == b'.').next().and_then(number)?;
    let mut behind = Cursor(&rest[arrow + 4..]);
    let name = behind.word();
    if rest[arrow + 2] == b'>' {
        // An event that begins.
        return Some(Fields { stamp, comm: &[], thread: None, name: b">", info: &[] });
    }
    behind.eat(b" ");
    // `-pc` writes the container and its identifier before the process.
    let begin = memmem::rfind(&rest[..open], b") ").map_or(0, |at| at + 2);
    let comm = rest[begin..open].trim_ascii();
    Some(Fields { stamp, comm, thread: Some(thread), name, info: behind.0 })
}

/// `198.51.100.7:40755->192.0.2.77:443`.
fn ends(tuple: &[u8]) -> Option<Ends> {
    let arrow = memmem::find(tuple, b"->")?;
    let end = |text: &[u8]| {
        let colon = memchr::memrchr(b':', text)?;
        Some((Host::address(&text[..colon])?, services::port(&text[colon + 1..])?))
    };
    let ((client, client_port), (server, server_port)) =
        (end(&tuple[..arrow])?, end(&tuple[arrow + 2..])?);
    Some(Ends { client, client_port: Some(client_port), server, server_port: Some(server_port) })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<Sysdig>(inputs, cx);
    cx.status.warn(format!(
        "{name}: sysdig writes to its standard error how many events the driver dropped; this \
         text does not contain it (-v)"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match Sysdig.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{} {:?} {:?} {:?} {:?}",
                e.ends.client.ip().unwrap(),
                e.ends.server_port.unwrap(),
                e.more.comm.unwrap(),
                e.more.tid.unwrap(),
                e.more.fd
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn accepts_count() {
        let info = "fd=7(<4t>198.51.100.7:40755->192.0.2.77:443) tuple=198.51.100.7:40755->192.0.2.77:443 \
            queuepct=0 queuelen=0 queuemax=511";
        for before in [
            "1234 10:58:42.200113456 0 my app (907) < accept ",
            "1234 10:58:42.200113456 3 my app (900.907) < accept4 flags=0 ",
            "1234 1795345122.200113456 0 my app (907) < accept ",
            "1234 0.200113456 0 my app (907) < accept ",
            "1234 2026-11-22 10:58:42.200113456 0 my app (907) < accept ",
            "1234 10:58:42.200113456 0 web-1 (730a6f492270) my app (907:6) < accept ",
        ] {
            assert_eq!(
                shown(&format!("{before}{info}")),
                "198.51.100.7 443 \"my app\" 907 Some(7)"
            );
        }
        let before = "1234 10:58:42.200113456 0 nginx (907) ";
        let ipv6 = "< accept fd=7(<6t>2001:db8::7:40755->2001:db8:77::1:443) tuple=x queuepct=0";
        assert!(shown(&format!("{before}{ipv6}")).starts_with("2001:db8::7 443"));
        assert!(
            shown(&format!("{before}{}", ipv6.replace(":443)", ":https)")))
                .starts_with("2001:db8::7 443")
        );
        for (rest, want) in [
            ("> accept flags=0", "Other"),
            ("< accept fd=-11(EAGAIN) tuple=NULL queuepct=0", "Evidence"),
            ("< accept fd=7(<u>) tuple=0->ffff /run/x.sock queuepct=0", "Evidence"),
            ("< read res=5 data=fd=7(<4t>", "Other"),
            ("< accept fd=7(<4t>198.51.1", "Broken"),
        ] {
            assert_eq!(shown(&format!("{before}{rest}")), want, "{rest}");
        }
        assert_eq!(shown("1234 hello"), "Foreign");
    }
}
