//! One flow, as conntrack and the kernel's table print it: as a line, or as XML.

use memchr::memmem;

use crate::parse::cursor::Cursor;
use crate::parse::decoration::wrapper::{self, Stripped};
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::timestamp::Stamp;

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was created.
    New,
    /// Its state changed.
    Update,
    /// It was removed.
    Destroy,
}

/// A TCP flow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What happened; `None`: it is in the table.
    pub event: Option<Event>,
    /// When.
    pub stamp: Stamp,
    /// The client and the server: source and destination of the original direction.
    pub ends: Ends,
    /// The state of the connection: 0 SYN_SENT, 1 SYN_RECV, 2 ESTABLISHED, 3 and more: it ends.
    pub rank: u8,
    /// Seconds until the kernel removes it.
    pub timeout: Option<i64>,
    /// Both directions were seen beyond the handshake.
    pub assured: bool,
    /// The kernel's number for it.
    pub id: Option<u64>,
    /// Packets of the original direction.
    pub packets: Option<u64>,
    /// Its age in seconds.
    pub age: Option<i64>,
}

/// `ESTABLISHED`.
pub(crate) const ESTABLISHED: u8 = 2;
/// The states in which a connection ends.
pub(crate) const ENDING: u8 = 3;
/// `TIME_WAIT`.
pub(crate) const TIME_WAIT: u8 = 5;

impl Entry {
    /// A socket in a list of sockets, `rank` as in [`Entry::rank`].
    pub(crate) fn of_socket(ends: Ends, rank: u8) -> Entry {
        Entry {
            event: None,
            stamp: Stamp::None,
            ends,
            rank,
            timeout: None,
            assured: false,
            id: None,
            packets: None,
            age: None,
        }
    }

    /// Whether the connection is known to have been established.
    pub(crate) fn established(&self) -> bool {
        self.assured || (2..=TIME_WAIT).contains(&self.rank)
    }
}

/// The kind of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A TCP flow.
    Tcp(Box<Entry>),
    /// A flow of another protocol.
    OtherFlow,
    /// A TCP flow whose addresses or ports cannot be read.
    Damaged,
    /// No flow.
    Other,
}

fn rank(state: &[u8]) -> Option<u8> {
    Some(match state {
        b"SYN_SENT" | b"SYN_SENT2" | b"NONE" => 0,
        b"SYN_RECV" => 1,
        b"ESTABLISHED" => 2,
        b"FIN_WAIT" | b"CLOSE_WAIT" => 3,
        b"LAST_ACK" => 4,
        b"TIME_WAIT" => TIME_WAIT,
        b"CLOSE" => 6,
        _ => return None,
    })
}

/// Reads a line of text, which may have the prefixes of loggers. Their time is that of the line if
/// it has none of its own.
pub(crate) fn text(line: &[u8]) -> Line {
    let first = bare(line);
    // Every flow has `=`.
    if first != Line::Other || !line.contains(&b'=') {
        return first;
    }
    let without_prefix = |stripped: Stripped<'_>| match bare(stripped.rest) {
        Line::Other => None,
        Line::Tcp(mut entry) => {
            if entry.stamp == Stamp::None {
                entry.stamp = stripped.stamp;
            }
            Some(Line::Tcp(entry))
        }
        other => Some(other),
    };
    wrapper::without_prefixes(line).find_map(without_prefix).unwrap_or(Line::Other)
}

/// The numbers of the protocols that conntrack tracks by their names. It calls others `unknown`.
fn is_protocol(name: &[u8], number: u8) -> bool {
    match name {
        b"tcp" => number == 6,
        b"udp" => number == 17,
        b"icmp" => number == 1,
        b"icmpv6" | b"ipv6-icmp" => number == 58,
        b"sctp" => number == 132,
        b"dccp" => number == 33,
        b"udplite" => number == 136,
        b"gre" => number == 47,
        b"esp" => number == 50,
        b"igmp" => number == 2,
        b"unknown" => true,
        _ => false,
    }
}

/// Reads a line of text without prefixes.
fn bare(line: &[u8]) -> Line {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).peekable();
    let mut stamp = Stamp::None;
    if let Some(inner) = words.peek().and_then(|w| w.strip_prefix(b"[")?.strip_suffix(b"]"))
        && inner.first().is_some_and(u8::is_ascii_digit)
    {
        stamp = Cursor(inner).seconds().map_or(Stamp::None, Stamp::Epoch);
        words.next();
    }
    let event = match words.peek() {
        Some(&b"[NEW]") => Some(Event::New),
        Some(&b"[UPDATE]") => Some(Event::Update),
        Some(&b"[DESTROY]") => Some(Event::Destroy),
        _ => None,
    };
    if event.is_some() {
        words.next();
    }
    if matches!(words.peek(), Some(&(b"ipv4" | b"ipv6"))) {
        words.next();
        words.next();
    }
    let (Some(name), Some(protocol)) = (words.next(), words.next()) else { return Line::Other };
    if !number(protocol).is_some_and(|number| is_protocol(name, number)) {
        return Line::Other;
    }
    let mut e = Fields::default();
    let mut last: &[u8] = b"";
    for word in words {
        last = word;
        match memchr::memchr(b'=', word) {
            Some(at) => e.take(&word[..at], &word[at + 1..]),
            // Only established connections are offloaded; their lines have no state.
            None if matches!(word, b"[ASSURED]" | b"[OFFLOAD]" | b"[HW_OFFLOAD]") => {
                e.assured = true;
                e.offloaded |= word != b"[ASSURED]";
            }
            None if e.src.is_none() => {
                e.timeout = e.timeout.or_else(|| number(word));
                e.rank = e.rank.or_else(|| rank(word));
            }
            None => {}
        }
    }
    let is_tcp = name == b"tcp" && protocol == b"6";
    if e.src.is_none() || e.dst.is_none() {
        return if is_tcp && e.rank.is_some() { Line::Damaged } else { Line::Other };
    }
    if name != b"tcp" {
        return Line::OtherFlow;
    }
    // The other direction always follows: without it, digits of the port may be missing.
    let is_last = last.starts_with(b"dport=") && line.ends_with(last);
    if is_last && e.dport.is_some_and(|port| last.ends_with(port)) {
        return Line::Damaged;
    }
    e.entry(event, stamp)
}

/// Reads a `<flow>` element.
pub(crate) fn xml(flow: &[u8]) -> Line {
    let opening = &flow[..memchr::memchr(b'>', flow).unwrap_or(flow.len())];
    let event =
        [("\"new\"", Event::New), ("\"update\"", Event::Update), ("\"destroy\"", Event::Destroy)]
            .iter()
            .find(|(name, _)| memmem::find(opening, name.as_bytes()).is_some())
            .map(|(_, event)| *event);
    let tag = |name: &str| -> Option<&[u8]> {
        let open = format!("<{name}>");
        let start = memmem::find(flow, open.as_bytes())? + open.len();
        let end = memchr::memchr(b'<', &flow[start..])?;
        Some(flow[start..start + end].trim_ascii())
    };
    let is_tcp = memmem::find(flow, b"protoname=\"tcp\"").is_some();
    let (Some(src), Some(dst)) = (tag("src"), tag("dst")) else {
        return if is_tcp { Line::Damaged } else { Line::Other };
    };
    if !is_tcp {
        return Line::OtherFlow;
    }
    let value = |name: &str| tag(name).and_then(number::<i64>);
    let stamp = || {
        let date = jiff::civil::Date::new(
            value("year")?.try_into().ok()?,
            value("month")?.try_into().ok()?,
            value("day")?.try_into().ok()?,
        );
        let seconds = (value("hour")?.checked_mul(60)?.checked_add(value("min")?)?)
            .checked_mul(60)?
            .checked_add(value("sec")?)?;
        (0..=86_400).contains(&seconds).then_some(())?;
        Some(Stamp::Civil(date.ok()?, seconds * 1_000_000_000))
    };
    let fields = Fields {
        src: Some(src),
        dst: Some(dst),
        sport: tag("sport"),
        dport: tag("dport"),
        rank: tag("state").and_then(rank),
        timeout: value("timeout"),
        assured: memmem::find(flow, b"<assured").is_some(),
        offloaded: false,
        id: tag("id"),
        packets: tag("packets"),
        age: tag("deltatime").or_else(|| tag("delta-time")),
    };
    fields.entry(event, stamp().unwrap_or(Stamp::None))
}

#[derive(Default)]
struct Fields<'a> {
    src: Option<&'a [u8]>,
    dst: Option<&'a [u8]>,
    sport: Option<&'a [u8]>,
    dport: Option<&'a [u8]>,
    rank: Option<u8>,
    timeout: Option<i64>,
    assured: bool,
    offloaded: bool,
    id: Option<&'a [u8]>,
    packets: Option<&'a [u8]>,
    age: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// The first of each is of the original direction.
    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        let field = match key {
            b"src" => &mut self.src,
            b"dst" => &mut self.dst,
            b"sport" => &mut self.sport,
            b"dport" => &mut self.dport,
            b"id" => &mut self.id,
            b"packets" => &mut self.packets,
            b"delta-time" => &mut self.age,
            _ => return,
        };
        field.get_or_insert(value);
    }

    fn entry(self, event: Option<Event>, stamp: Stamp) -> Line {
        let ends = || {
            Some(Ends {
                client: Host::address(self.src?)?,
                client_port: Some(number(self.sport?)?),
                server: Host::address(self.dst?)?,
                server_port: Some(number(self.dport?)?),
            })
        };
        let Some(ends) = ends() else { return Line::Damaged };
        Line::Tcp(Box::new(Entry {
            event,
            stamp,
            ends,
            rank: self.rank.unwrap_or(if self.offloaded { ESTABLISHED } else { 0 }),
            timeout: self.timeout,
            assured: self.assured,
            id: self.id.and_then(number),
            packets: self.packets.and_then(number),
            age: self.age.and_then(number),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = "src=198.51.100.30 dst=192.0.2.77 sport=33557 dport=80 packets=3 bytes=164 \
        src=192.0.2.77 dst=198.51.100.30 sport=8080 dport=33557 packets=2 bytes=118 [ASSURED] \
        mark=0 delta-time=76 use=2";

    #[test]
    fn prefixes_before_a_flow_are_skipped() {
        for before in [
            "ipv4     2 tcp      6 431923 ESTABLISHED ",
            "tcp      6 431923 ESTABLISHED ",
            "[1795345122.200888]\t [UPDATE] tcp      6 431923 ESTABLISHED ",
            "    [NEW] ipv4     2 tcp      6 431923 ESTABLISHED ",
            "[DESTROY] tcp      6 431923 ESTABLISHED ",
        ] {
            let line = format!("{before}{FLOW}");
            let Line::Tcp(e) = text(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((e.ends.client_port, e.ends.server_port), (Some(33557), Some(80)), "{line}");
            assert_eq!(
                (e.rank, e.timeout, e.packets, e.age),
                (2, Some(431_923), Some(3), Some(76))
            );
            assert!(e.assured && e.established());
            assert_eq!(
                e.event.is_some(),
                line.contains("]\t") || line.contains("[NEW]") || line.contains("[DES")
            );
        }
        assert_eq!(text(format!("udp      17 26 {FLOW}").as_bytes()), Line::OtherFlow);
        assert_eq!(
            text(b"conntrack v1.4.7 (conntrack-tools): 44 flow entries have been shown."),
            Line::Other
        );
        assert_eq!(text(b"tcp      6 120 SYN_SENT src=x dst=y"), Line::Damaged);
        assert_eq!(text(b"tcp      6 431923 ESTABLISHED src=198.51."), Line::Damaged);
        for (before, stamp) in [
            ("Nov 26 12:00:07 gw1 conntrack[991]: ", Stamp::Yearless(11, 26, 43_207_000_000_000)),
            ("Nov 26 12:00:07 ", Stamp::Yearless(11, 26, 43_207_000_000_000)),
            ("gw-1  | ", Stamp::None),
            ("flows.txt:12:", Stamp::None),
            ("> > ", Stamp::None),
        ] {
            let line = format!("{before}    [NEW] tcp      6 120 SYN_SENT {FLOW}");
            let Line::Tcp(e) = text(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((e.event, e.stamp), (Some(Event::New), stamp), "{line}");
            let line = format!("{before}tcp      6 120 SYN_SENT src=198.51.");
            assert_eq!(text(line.as_bytes()), Line::Damaged, "{line}");
        }
        assert_eq!(text(b"Nov 26 12:00:07 gw1 app: src=1 dst=2"), Line::Other);
        for word in ["[OFFLOAD]", "[HW_OFFLOAD]"] {
            let line = format!("tcp      6 {}", FLOW.replace("[ASSURED]", word));
            let Line::Tcp(e) = text(line.as_bytes()) else { panic!("{line}") };
            assert!(e.rank == ESTABLISHED && e.established(), "{line}");
        }
    }
}
