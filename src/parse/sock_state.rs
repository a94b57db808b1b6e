//! Text of the tracepoint `sock:inet_sock_set_state`, from tracefs (`trace`, `trace_pipe`), trace-cmd and perf script.
//!
//! Its form is that of include/trace/events/sock.h. What stands before it differs between the tools, and ends with the
//! time. The process there is the one that the CPU ran when the packet came, and mostly not the server.

use memchr::memmem;

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// Changes of TCP states, as the kernel's tracepoint has them.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "sock-state",
    about: "sock:inet_sock_set_state in text of ftrace or perf script",
    connection: "a passive open (TCP_SYN_RECV to TCP_ESTABLISHED)",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<SockState>,
    run: |_| Some(String::new()),
    read,
};

const MARK: &[u8] = b"inet_sock_set_state: ";

struct SockState {
    /// Whether a line is of the tracepoint.
    has_events: bool,
}

impl LineLog for SockState {
    fn of(lines: &[&[u8]]) -> SockState {
        SockState { has_events: lines.iter().any(|line| event(line).is_some()) }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        match event(line) {
            Some((stamp, fields)) => change(stamp, fields).unwrap_or(ParsedLine::Broken),
            None if self.has_events && has_lost_events(line) => ParsedLine::Lost,
            None => ParsedLine::Foreign,
        }
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no connection becomes TCP_ESTABLISHED from TCP_SYN_RECV in it, so nothing shows that passive opens are \
             recorded; record the tracepoint on all CPUs and for all processes (perf record -a)",
        )
    }
}

/// The time of a line of the tracepoint, and its fields.
fn event(line: &[u8]) -> Option<(Stamp, &[u8])> {
    let at = memmem::find(line, MARK)?;
    let before = line[..at].strip_suffix(b"sock:").unwrap_or(&line[..at]).trim_ascii_end();
    let word = before.rsplit(u8::is_ascii_whitespace).next()?;
    let mut cursor = Cursor(word.strip_suffix(b":")?);
    let ns = cursor.seconds().filter(|_| cursor.0.is_empty() && word.contains(&b'.'))?;
    Some((Stamp::Uptime(ns), line[at + MARK.len()..].trim_ascii()))
}

/// Reads the fields of a line; `None`: one is missing, or damaged.
fn change(stamp: Stamp, fields: &[u8]) -> Option<ParsedLine> {
    let value = |key: &str| {
        let mut words = fields.split(u8::is_ascii_whitespace);
        words.find_map(|word| word.strip_prefix(key.as_bytes()))
    };
    let (old, new) = (value("oldstate=")?, value("newstate=")?);
    if !old.starts_with(b"TCP_") || !STATES.contains(&new) {
        return None;
    }
    let is_tcp = value("protocol=")? == b"IPPROTO_TCP";
    match (old, new) {
        (b"TCP_SYN_RECV", b"TCP_ESTABLISHED") if is_tcp => {}
        (b"TCP_LISTEN", b"TCP_SYN_RECV") if is_tcp => return Some(ParsedLine::Evidence),
        _ => return Some(ParsedLine::Other),
    }
    let (local, remote) = match value("family=")? {
        b"AF_INET" => ("saddr=", "daddr="),
        b"AF_INET6" => ("saddrv6=", "daddrv6="),
        _ => return None,
    };
    let ends = Ends {
        client: Host::address(value(remote)?)?,
        client_port: Some(number(value("dport=")?)?),
        server: Host::address(value(local)?)?,
        server_port: Some(number(value("sport=")?)?),
    };
    if ends.is_one_socket() {
        return Some(ParsedLine::Other);
    }
    Some(ParsedLine::Ends(stamp, ends, Some(true)))
}

/// The states that the tracepoint names.
const STATES: [&[u8]; 12] = [
    b"TCP_ESTABLISHED",
    b"TCP_SYN_SENT",
    b"TCP_SYN_RECV",
    b"TCP_FIN_WAIT1",
    b"TCP_FIN_WAIT2",
    b"TCP_TIME_WAIT",
    b"TCP_CLOSE",
    b"TCP_CLOSE_WAIT",
    b"TCP_LAST_ACK",
    b"TCP_LISTEN",
    b"TCP_CLOSING",
    b"TCP_NEW_SYN_RECV",
];

/// Whether a line says that the kernel overwrote events before they were read.
fn has_lost_events(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    // `CPU:2 [LOST 12 EVENTS]` of trace_pipe, `CPU:2 [12 EVENTS DROPPED]` of trace-cmd.
    if line.starts_with(b"CPU:") {
        return [&b" EVENTS]"[..], b" EVENTS DROPPED]"].iter().any(|end| line.ends_with(end));
    }
    // `# entries-in-buffer/entries-written: 205/3000   #P:4` of trace.
    let Some(counts) = line.strip_prefix(b"# entries-in-buffer/entries-written: ") else {
        // Of perf script --show-lost-events.
        return memmem::find(line, b"PERF_RECORD_LOST").is_some();
    };
    let mut cursor = Cursor(counts);
    let kept = cursor.number();
    cursor.require(b"/").is_none() || kept != cursor.number()
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<SockState>(inputs, cx);
    cx.status.warn(format!(
        "{name}: the kernel writes a passive open on the CPU that handles the packet, whatever process it runs; a \
         record of one process or of some CPUs lacks connections"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "          <idle>-0       [003] ..s2. 3794784.785158: inet_sock_set_state: family=AF_INET \
        protocol=IPPROTO_TCP sport=443 dport=40755 saddr=192.0.2.77 daddr=198.51.100.7 \
        saddrv6=::ffff:192.0.2.77 daddrv6=::ffff:198.51.100.7 oldstate=TCP_SYN_RECV newstate=TCP_ESTABLISHED";

    fn shown(line: &str) -> String {
        match (SockState { has_events: true }).parse_line(line.as_bytes()) {
            ParsedLine::Ends(stamp, ends, established) => {
                assert_eq!(established, Some(true));
                let (client, server) = (ends.client.ip().unwrap(), ends.server.ip().unwrap());
                let ports = (ends.client_port.unwrap(), ends.server_port.unwrap());
                format!("{stamp:?} {client} {server} {ports:?}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn passive_opens_count_in_the_text_of_every_tool() {
        let want = "Uptime(3794784785158000) 198.51.100.7 192.0.2.77 (40755, 443)";
        let event = &OPEN[OPEN.find("inet_sock").unwrap()..];
        assert_eq!(shown(OPEN), want);
        assert_eq!(
            shown(&format!("swapper     0 [003] 3794784.785158: sock:{event}")),
            want,
            "perf script"
        );
        assert_eq!(
            shown(&format!("  <idle>-0     [003] 3794784.785158: {}", event.replace(": ", ":  "))),
            want,
            "trace-cmd"
        );
        let v6 =
            OPEN.replace("=AF_INET ", "=AF_INET6 ").replace("=::ffff:198.51.100.7", "=2001:db8::7");
        assert!(shown(&v6).contains(" 2001:db8::7 192.0.2.77 "));
        for (from, to, want) in [
            ("TCP_SYN_RECV", "TCP_SYN_SENT", "Other"),
            ("TCP_ESTABLISHED", "TCP_CLOSE", "Other"),
            (
                "TCP_SYN_RECV newstate=TCP_ESTABLISHED",
                "TCP_LISTEN newstate=TCP_SYN_RECV",
                "Evidence",
            ),
            ("IPPROTO_TCP", "IPPROTO_MPTCP", "Other"),
            ("TCP_ESTABLISHED", "TCP_ESTAB", "Broken"),
            (" newstate=TCP_ESTABLISHED", "", "Broken"),
            ("daddr=198.51.100.7", "daddr=198.51", "Broken"),
            ("3794784.785158: ", "", "Foreign"),
            // A socket that connects to itself.
            (
                "sport=443 dport=40755 saddr=192.0.2.77 ",
                "sport=40755 dport=40755 saddr=198.51.100.7 ",
                "Other",
            ),
        ] {
            assert_eq!(shown(&OPEN.replace(from, to)), want, "{to}");
        }
    }

    #[test]
    fn events_that_the_kernel_overwrote_are_lost() {
        for (line, want) in [
            ("CPU:2 [LOST 12 EVENTS]", "Lost"),
            ("CPU:2 [12 EVENTS DROPPED]", "Lost"),
            ("# entries-in-buffer/entries-written: 205/3000   #P:4", "Lost"),
            ("# entries-in-buffer/entries-written: 205/205   #P:4", "Foreign"),
            ("swapper     0 [003] 12.785158: PERF_RECORD_LOST lost 12", "Lost"),
            ("# tracer: nop", "Foreign"),
        ] {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}
