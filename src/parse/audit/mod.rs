//! Logs of the Linux audit system: audit.log of auditd, what ausearch prints (also with `-i`), and the kernel's log.
//!
//! The records are those of `kernel/auditsc.c` of Linux (SYSCALL, SOCKADDR), the interpreted ones those of
//! `auparse/interpret.c` of audit-userspace. The records of an event are in one line here, see [`events`].

pub(crate) mod events;

use memchr::memmem;

use self::events::{EVENT, LOSS};
use super::calls::{Call, Local, Socket, Step, Thread, unknown_ends};
use super::cursor::Cursor;
use super::digits::number;
use super::host::Host;
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// Logs of auditd.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "audit",
    about: "audit log of Linux, of auditd or ausearch",
    connection: "an accept call that returned a TCP socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Audit>,
    run: |_| Some(String::new()),
    read,
};

struct Audit;

impl LineLog for Audit {
    fn of(_: &[&[u8]]) -> Audit {
        Audit
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if line == LOSS {
            return ParsedLine::Lost;
        }
        let Some(event) = line.strip_prefix(EVENT) else { return ParsedLine::Foreign };
        let (id, fields) = split_id(event);
        let stamp = stamp(id);
        let address = address(fields);
        let name = match (field(fields, "syscall"), field(fields, "arch")) {
            (Some(call), arch) => call_name(call, arch.unwrap_or_default(), field(fields, "a0")),
            // The record of the call is in another file, or was filtered out.
            (None, _) => Name::Unknown,
        };
        let is_inet = matches!(address, Ok(Some(Local::Ip(..))));
        match name {
            Name::Other => ParsedLine::Other,
            Name::Unknown if is_inet => ParsedLine::Broken,
            Name::Unknown => ParsedLine::Other,
            Name::Accept => accept(fields, stamp, address).unwrap_or(ParsedLine::Broken),
            Name::Bind => bind(fields, stamp, address),
        }
    }
}

/// Which system call an event is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Accept,
    Bind,
    Other,
    /// One of a machine that is not known here.
    Unknown,
}

/// Numbers of `bind`, `accept`, `accept4` and `socketcall` by the architecture (`AUDIT_ARCH_*`); 0 if there is none.
const NUMBERS: [(&str, [u32; 4]); 11] = [
    ("c000003e", [49, 43, 288, 0]),         // x86-64
    ("40000003", [361, 0, 364, 102]),       // i386
    ("c00000b7", [200, 202, 242, 0]),       // AArch64
    ("40000028", [282, 285, 366, 0]),       // ARM
    ("c0000015", [327, 330, 344, 102]),     // ppc64le
    ("80000015", [327, 330, 344, 102]),     // ppc64
    ("80000016", [361, 0, 364, 102]),       // s390x
    ("c00000f3", [200, 202, 242, 0]),       // RISC-V
    ("c0000102", [200, 202, 242, 0]),       // LoongArch
    ("c0000008", [5048, 5042, 5293, 0]),    // MIPS64, little-endian
    ("40000008", [4169, 4168, 4334, 4102]), // MIPS, little-endian
];

/// The bit that system calls of x32 have.
const X32: u32 = 0x4000_0000;

fn call_name(call: &[u8], arch: &[u8], argument: Option<&[u8]>) -> Name {
    let Some(call) = number::<u32>(call) else {
        return match call {
            b"accept" | b"accept4" => Name::Accept,
            b"bind" => Name::Bind,
            // ausearch interprets the first argument of socketcall too.
            b"socketcall" => argument.map_or(Name::Other, |name| call_name(name, b"", None)),
            _ if call.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') => Name::Other,
            _ => Name::Unknown,
        };
    };
    let known = NUMBERS.iter().find(|(name, _)| name.as_bytes() == arch);
    let Some((_, [bind, accept, accept4, socketcall])) = known else { return Name::Unknown };
    let call = call & !X32;
    match argument {
        Some(b"2") if call == *socketcall => Name::Bind,
        Some(b"5" | b"12") if call == *socketcall => Name::Accept,
        _ if call == *accept || call == *accept4 => Name::Accept,
        _ if call == *bind => Name::Bind,
        _ => Name::Other,
    }
}

/// The identifier of an event and its fields. With `-i` the identifier has a blank.
fn split_id(event: &[u8]) -> (&[u8], &[u8]) {
    let end = memmem::find(event, b" arch=")
        .unwrap_or_else(|| memmem::find(event, b" saddr=").unwrap_or(event.len()));
    event.split_at(end)
}

/// `1795345122.200:4711`. What `-i` prints has a date in the form of the user's language, of which only the time of day
/// is certain: `11/22/2026 10:58:42.200:4711`.
fn stamp(id: &[u8]) -> Stamp {
    match memchr::memchr(b' ', id) {
        Some(blank) => Cursor(&id[blank + 1..]).clock().map_or(Stamp::None, Stamp::Clock),
        None => Cursor(id).seconds().map_or(Stamp::None, Stamp::Epoch),
    }
}

/// The value of a field: up to a blank, or the mark before what auditd adds with `log_format = ENRICHED`.
fn field<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = format!(" {name}=");
    let value = &fields[memmem::find(fields, key.as_bytes())? + key.len()..];
    let end = value.iter().position(|b| b" \x1d\\\"\t".contains(b) && value.first() != Some(b));
    let value = &value[..end.unwrap_or(value.len())];
    Some(value.strip_prefix(b"\"").unwrap_or(value))
}

fn accept(fields: &[u8], stamp: Stamp, address: Result<Option<Local>, ()>) -> Option<ParsedLine> {
    let thread = thread(fields);
    match field(fields, "success")? {
        b"no" => return Some(Call { stamp, thread, step: Step::NotAccepted }.parsed()),
        b"yes" => {}
        _ => return None,
    }
    let mut ends = unknown_ends();
    match address.ok()? {
        Some(Local::Ip(host, port)) => {
            ends.client = host.unwrap_or(ends.client);
            ends.client_port = Some(port);
        }
        Some(Local::Other) => {
            return Some(Call { stamp, thread, step: Step::NotAccepted }.parsed());
        }
        None => {}
    }
    let mut event = Event::new(stamp, ends, Some(true));
    event.more.pid = Some(thread.pid);
    event.more.fd = number::<u32>(field(fields, "exit")?).and_then(|fd| i32::try_from(fd).ok());
    event.more.fd?;
    event.more.comm = field(fields, "comm").map(|comm| String::from_utf8_lossy(comm).into());
    let listener = socket(fields);
    let step = Step::Accepted { listener, event: Box::new(event), is_address_next: false };
    Some(Call { stamp, thread, step }.parsed())
}

fn bind(fields: &[u8], stamp: Stamp, address: Result<Option<Local>, ()>) -> ParsedLine {
    let is_bound = field(fields, "success") == Some(b"yes");
    match (socket(fields), address) {
        (Some(socket), Ok(Some(local))) if is_bound => {
            Call { stamp, thread: thread(fields), step: Step::Bound(socket, local) }.parsed()
        }
        _ => ParsedLine::Other,
    }
}

/// The process. Threads have no number of their own in these records.
fn thread(fields: &[u8]) -> Thread {
    let pid = field(fields, "pid").and_then(number).unwrap_or(0);
    Thread { pid, tid: pid }
}

/// The first argument of a call, which is hexadecimal; with `-i` behind `0x`. That of socketcall is no socket.
fn socket(fields: &[u8]) -> Option<Socket> {
    let argument = std::str::from_utf8(field(fields, "a0")?).ok()?;
    let digits = argument.strip_prefix("0x").unwrap_or(argument);
    let is_socketcall = matches!(field(fields, "syscall"), Some(b"102" | b"4102" | b"socketcall"));
    let fd = u32::from_str_radix(digits, 16).ok().filter(|_| !is_socketcall)?;
    Some(Socket::Descriptor(fd))
}

/// The address of an event; none if the call has none. `Err`: it cannot be read.
fn address(fields: &[u8]) -> Result<Option<Local>, ()> {
    let Some(at) = memmem::find(fields, b" saddr=") else { return Ok(None) };
    let value = &fields[at + 7..];
    let address = match value.first() {
        Some(b'{') => interpreted(value, b"laddr=", b"lport="),
        Some(b'0'..=b'9' | b'A'..=b'F') => raw(value),
        _ => interpreted(value, b"host:", b"serv:"),
    };
    address.map(Some).ok_or(())
}

/// `{ saddr_fam=inet laddr=198.51.100.7 lport=40755 }`, before audit 2.8 `inet host:198.51.100.7 serv:40755`.
fn interpreted(value: &[u8], host: &[u8], port: &[u8]) -> Option<Local> {
    let behind = |key: &[u8]| Some(Cursor(&value[memmem::find(value, key)? + key.len()..]).word());
    let family = behind(b"fam=").unwrap_or_else(|| Cursor(value).word());
    if !matches!(family, b"inet" | b"inet6" | b"ipv4" | b"ipv6") {
        return (!family.is_empty()).then_some(Local::Other);
    }
    local(Host::address(behind(host)?)?, number(behind(port)?)?)
}

/// A struct sockaddr in hexadecimal.
fn raw(value: &[u8]) -> Option<Local> {
    let digits = value.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&value[..digits]).ok()?;
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let port = || Some(u16::from_be_bytes([byte(2)?, byte(3)?]));
    // The family is in the byte order of the machine.
    match byte(0)? | byte(1)? {
        2 => {
            let ip: [u8; 4] = [byte(4)?, byte(5)?, byte(6)?, byte(7)?];
            local(Host::from(std::net::IpAddr::from(ip)), port()?)
        }
        10 => {
            let mut ip = [0; 16];
            for (at, octet) in ip.iter_mut().enumerate() {
                *octet = byte(8 + at)?;
            }
            local(Host::from(std::net::IpAddr::from(ip)), port()?)
        }
        _ => Some(Local::Other),
    }
}

/// An address, or none if it is that of any.
fn local(host: Host, port: u16) -> Option<Local> {
    let is_any = host.ip().is_some_and(|ip| ip.is_unspecified());
    Some(Local::Ip((!is_any).then_some(host), port))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Audit>(inputs, cx);
    seen.calls.report(
        &name,
        "auditctl -a always,exit -F arch=b64 -S accept,accept4,bind logs them",
        ", because the server did not ask accept for it",
        cx,
    );
    cx.status.warn(format!(
        "{name}: events that the kernel lost or limited are not in it (auditctl -s shows how many), and accepts by io_uring \
         are no system calls"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(event: &str) -> String {
        match Audit.parse_line(format!("audit event {event}").as_bytes()) {
            ParsedLine::Call(call) => match call.step {
                Step::Accepted { listener, event, .. } => format!(
                    "{:?} {:?} {:?} {:?} {:?}",
                    call.stamp,
                    event.ends.client.ip(),
                    event.ends.client_port,
                    event.more.fd.unwrap(),
                    listener
                ),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    const HEAD: &str = "1795345122.200:4711 arch=c000003e syscall=288 success=yes exit=5 a0=4 a1=7ffd items=0 ppid=1 \
        pid=912 comm=\"nginx\" exe=\"/usr/sbin/nginx\" key=\"accept\"";

    #[test]
    fn accepts_have_their_address() {
        let want =
            "Epoch(1795345122200000000) Some(198.51.100.7) Some(40755) 5 Some(Descriptor(4))";
        let inet = "saddr=02009F33C63364070000000000000000";
        assert_eq!(shown(&format!("{HEAD} {inet}")), want);
        let enriched = format!(
            "{HEAD}\u{1d}ARCH=x86_64 SYSCALL=accept4 {inet}\u{1d}SADDR={{ saddr_fam=inet }}"
        );
        assert_eq!(shown(&enriched), want);
        let mapped = "saddr=0A009F330000000000000000000000000000FFFFC633640700000000";
        assert_eq!(shown(&format!("{HEAD} {mapped}")), want);
        let ipv6 = "saddr=0A009F330000000020010DB800000000000000000000000700000000";
        assert!(shown(&format!("{HEAD} {ipv6}")).contains("Some(2001:db8::7) Some(40755)"));
        assert!(shown(HEAD).contains("None None 5"), "accept without an address");
        for address in [
            "saddr={ saddr_fam=inet laddr=198.51.100.7 lport=40755 } ",
            "saddr={ fam=inet laddr=198.51.100.7 lport=40755 } ",
            "saddr=inet host:198.51.100.7 serv:40755",
        ] {
            let id = "11/22/2026 10:58:42.200:4711 arch=x86_64 syscall=accept4 success=yes exit=5 a0=0x4 pid=912";
            let want = "Clock(39522200000000) Some(198.51.100.7) Some(40755) 5 Some(Descriptor(4))";
            assert_eq!(shown(&format!("{id} {address}")), want);
        }
    }

    #[test]
    fn other_events_do_not_count() {
        let inet = "saddr=02009F33C63364070000000000000000";
        for (event, want) in [
            (HEAD.replace("success=yes exit=5", "success=no exit=-11"), "NotAccepted"),
            (format!("{HEAD} saddr=01002F72756E2F7800"), "NotAccepted"),
            (format!("{HEAD} saddr=0100"), "NotAccepted"),
            (HEAD.replace("=288", "=42"), "Other"),
            (format!("{HEAD} saddr=02009F33C633"), "Broken"),
            (HEAD.replace(" exit=5", ""), "Broken"),
            (format!("1.2:3 {inet}"), "Broken"),
            (format!("{} {inet}", HEAD.replace("c000003e", "c00000ff")), "Broken"),
            (
                format!("{} {inet}", HEAD.replace("=288", "=49")),
                "Bound(Descriptor(4), Ip(Some(Ip(198.51.100.7)), 40755))",
            ),
        ] {
            assert_eq!(shown(&event), want, "{event}");
        }
        let i386 = HEAD.replace("c000003e syscall=288", "40000003 syscall=102");
        assert!(shown(&i386.replace("a0=4", "a0=12")).contains("None None 5 None"));
        assert_eq!(shown(&i386.replace("a0=4", "a0=3")), "Other");
        assert_eq!(shown(HEAD).len(), shown(&HEAD.replace("=288", "=1073742112")).len(), "x32");
    }
}
