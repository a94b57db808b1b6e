//! Lists of the open sockets of one moment, or of several: `ss -tan` of iproute2 and `netstat -tan`
//! of net-tools and of the BSDs. Also the sockets that `ss -E` shows when they are destroyed.
//!
//! A list does not show who opened a connection. Where it has the listening sockets, it is inbound
//! if something listens on its local port; otherwise the ports decide, see [`PortUses`]. Each list
//! begins with its header line; a connection in several lists counts once.
//!
//! A destroyed socket of TCP has the state UNCONN and both ends, which no socket in a list has. If the program
//! that closed it discarded what was not sent (SO_LINGER), the port of the peer is `*`.

use std::io;
use std::path::Path;

use super::conntrack::entry::Entry;
use super::conntrack::tables::Tables;
use super::conntrack::{date_line, moment_in};
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::layers;
use super::lines;
use super::port_uses::{Direction, PortUses};
use super::reader::{Context, RecordFormat, Setting};
use super::timestamp::{Calendar, Stamp};
use super::wrapper::{self, Stripped};
use crate::time::local_zone;
use crate::{Connection, RecordTime, ShortfallKind};

/// Lists of ss and netstat.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "sockets",
    about: "list of open sockets, of ss or netstat",
    connection: "a TCP socket that a client opened",
    is_text: true,
    is_json: false,
    is_snapshot: true,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// A socket is not behind more words.
const MAX_WORDS: usize = 12;

/// Maximum number of sockets of a file that wait for its end.
const MAX_SOCKETS: usize = 1 << 20;

/// The states of ss, netstat and the BSDs, each with the rank that `Entry` gives it; `None`: no
/// connection.
const STATES: &[(&[u8], Option<u8>)] = &[
    (b"ESTAB", Some(2)),
    (b"ESTABLISHED", Some(2)),
    (b"SYN-RECV", Some(1)),
    (b"SYN_RECV", Some(1)),
    (b"SYN_RCVD", Some(1)),
    (b"FIN-WAIT-1", Some(3)),
    (b"FIN_WAIT1", Some(3)),
    (b"FIN_WAIT_1", Some(3)),
    (b"FIN-WAIT-2", Some(3)),
    (b"FIN_WAIT2", Some(3)),
    (b"FIN_WAIT_2", Some(3)),
    (b"CLOSE-WAIT", Some(3)),
    (b"CLOSE_WAIT", Some(3)),
    (b"CLOSING", Some(3)),
    (b"LAST-ACK", Some(4)),
    (b"LAST_ACK", Some(4)),
    (b"TIME-WAIT", Some(5)),
    (b"TIME_WAIT", Some(5)),
    (b"LISTEN", None),
    (b"UNCONN", None),
    (b"CLOSED", None),
    (b"CLOSE", None),
    (b"SYN-SENT", None),
    (b"SYN_SENT", None),
];

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// The header.
    Header,
    /// Something listens on a port.
    Listening(u16),
    /// A connection, as if it were inbound, and its rank.
    Socket(Ends, u8),
    /// A TCP socket that was destroyed, as if it were inbound.
    Destroyed(Ends),
    /// A TCP socket that cannot be read.
    Broken,
    /// A socket that is bound to a port only. Without the column of the protocol, that is one of UDP.
    Unconnected,
    /// A socket without a connection, or of another protocol.
    OtherSocket,
    /// Anything else.
    Other,
}

/// An end: an address, perhaps any, and a port, perhaps any.
#[derive(Debug, PartialEq, Eq)]
struct End {
    host: Option<Host>,
    port: Option<u16>,
}

/// Reads `192.0.2.1:22`, `[2001:db8::1]:22`, `*:*`, `0.0.0.0%eth0:68`, and with a point before the
/// port as the BSDs print it. `None`: it cannot be read.
fn end(word: &[u8]) -> Option<End> {
    let mark = match memchr::memrchr(b':', word) {
        Some(colon) if !word[colon..].contains(&b'.') => colon,
        _ => memchr::memrchr(b'.', word)?,
    };
    let (host, port) = (&word[..mark], &word[mark + 1..]);
    let port = match port {
        b"*" => None,
        port => Some(super::digits::number(port)?),
    };
    let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let host = match host {
        b"*" => None,
        host => {
            let bare = host.split(|b| *b == b'%').next().unwrap_or(host);
            let bare = bare.strip_suffix(b"]").unwrap_or(bare);
            Some(Host::address(bare)?)
        }
    };
    Some(End { host, port })
}

fn is_header(line: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
    has("Recv-Q") && has("Send-Q") && has("Local Address")
}

/// Reads a line, which may have prefixes, and the time in these.
fn line(text: &[u8]) -> (Stamp, Line) {
    if is_header(text) {
        return (Stamp::None, Line::Header);
    }
    let whole = Stripped { stamp: Stamp::None, rest: text };
    let all = std::iter::once(whole).chain(wrapper::without_prefixes(text));
    let mut read =
        all.take(wrapper::MAX_LAYERS).map(|stripped| (stripped.stamp, bare(stripped.rest)));
    let found = read.find(|(_, line)| *line != Line::Other);
    found.unwrap_or_else(|| (Stamp::None, behind_words(text)))
}

/// Reads a line behind any words, if one of these is the state of a connection.
fn behind_words(text: &[u8]) -> Line {
    let is_state = |word: &[u8]| STATES.iter().any(|(name, _)| *name == word);
    if !text.split(u8::is_ascii_whitespace).any(is_state) {
        return Line::Other;
    }
    let starts = (1..text.len())
        .filter(|at| text[at - 1].is_ascii_whitespace() && !text[*at].is_ascii_whitespace());
    let read = starts.take(MAX_WORDS).map(|at| bare(&text[at..]));
    read.into_iter().find(|line| *line != Line::Other).unwrap_or(Line::Other)
}

fn bare(text: &[u8]) -> Line {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).peekable();
    let Some(first) = words.peek().copied() else { return Line::Other };
    let is_tcp = matches!(first, b"tcp" | b"tcp4" | b"tcp6" | b"tcp46");
    let is_netstat = is_tcp;
    if is_tcp {
        words.next();
    } else if matches!(first, b"udp" | b"udp4" | b"udp6" | b"udp46" | b"u_str" | b"u_dgr" | b"raw")
    {
        return Line::OtherSocket;
    }
    let words: Vec<&[u8]> = words.take(8).collect();
    let state = words.iter().find_map(|word| STATES.iter().find(|(name, _)| name == word));
    let queues = words.windows(2).position(|pair| {
        pair.iter().all(|word| word.iter().all(u8::is_ascii_digit)) && pair[0].len() < 11
    });
    let Some(queues) = queues.filter(|at| *at <= 1) else { return Line::Other };
    let (Some(local), Some(peer)) = (words.get(queues + 2), words.get(queues + 3)) else {
        return if state.is_some() { Line::Broken } else { Line::Other };
    };
    // `ss state established` has no column for it.
    let is_socket = state.is_some() || local.contains(&b':') && peer.contains(&b':') && queues == 0;
    if !is_socket {
        return Line::Other;
    }
    // net-tools shortens long addresses of IPv6.
    let is_short = |end: &[u8]| is_netstat && first == b"tcp6" && end.len() >= 22;
    let is_unconnected = state.is_some_and(|(name, _)| *name == b"UNCONN");
    let state = state.map_or(Some(2), |(_, rank)| *rank);
    match (end(local), end(peer), state) {
        (Some(local), Some(peer), None) if is_unconnected => destroyed(local, peer, is_tcp),
        (Some(End { port: Some(port), .. }), _, None)
            if words.iter().any(|word| *word == b"LISTEN") =>
        {
            Line::Listening(port)
        }
        (_, _, None) => Line::OtherSocket,
        _ if is_short(local) || is_short(peer) => Line::Broken,
        (Some(local), Some(peer), Some(rank)) => {
            let (Some(server), Some(client)) = (local.host, peer.host) else {
                return Line::OtherSocket;
            };
            let ends = Ends { client, client_port: peer.port, server, server_port: local.port };
            if ends.client_port.is_none() || ends.server_port.is_none() {
                return Line::OtherSocket;
            }
            Line::Socket(ends, rank)
        }
        _ => Line::Broken,
    }
}

/// A socket in the state UNCONN.
fn destroyed(local: End, peer: End, has_protocol: bool) -> Line {
    let is_known = |host: &Host| host.ip().is_none_or(|ip| !ip.is_unspecified());
    match (local, peer) {
        (End { host: Some(server), port: Some(port) }, End { host: Some(client), port: to })
            if is_known(&server) && is_known(&client) =>
        {
            Line::Destroyed(Ends { client, client_port: to, server, server_port: Some(port) })
        }
        (_, End { port: None, .. }) if !has_protocol => Line::Unconnected,
        _ => Line::OtherSocket,
    }
}

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |text, _| found = found || is_header(text));
    found || {
        // A list that grep has made has no header.
        let lines = layers::first_lines(head);
        let known = |text: &&&[u8]| {
            matches!(line(text).1, Line::Socket(..) | Line::Listening(_) | Line::Destroyed(_))
        };
        !lines.is_empty() && lines.iter().filter(known).count() * 2 > lines.len()
    }
}

/// The sockets of one file.
#[derive(Default)]
struct File {
    /// Ports on which something listens.
    listening: Vec<u16>,
    /// Connections, each with the number of its list.
    sockets: Vec<(u64, Ends, u8)>,
    /// The times of the lists.
    lists: Vec<Option<RecordTime>>,
    date: Option<RecordTime>,
    broken: u64,
    too_many: u64,
    /// Destroyed sockets whose direction the numbers of the ports do not tell.
    undecided: Vec<(Ends, Option<RecordTime>)>,
    /// How many sockets were destroyed.
    destroyed: u64,
    /// Whether there are sockets as UDP has them, and whether there are some that only TCP has.
    has_unconnected: bool,
    has_tcp: bool,
}

impl File {
    /// Reads the file, and gives the destroyed sockets of clients.
    fn read(
        &mut self,
        input: &mut Input,
        calendar: &mut Calendar,
        uses: &mut PortUses,
        local: &[Host],
        give: &mut dyn FnMut(Connection),
    ) -> io::Result<()> {
        lines::blocks(input, |block, _| {
            lines::each(block, |text, _| {
                let (stamp, line) = line(text);
                self.has_tcp |= match &line {
                    Line::Socket(_, rank) => *rank != ESTABLISHED,
                    Line::Listening(_) | Line::Destroyed(_) => true,
                    _ => false,
                };
                match line {
                    Line::Header => {
                        let date = self.date.take();
                        self.lists.push(date);
                    }
                    Line::Listening(port) => self.listening.push(port),
                    Line::Socket(ends, rank) if self.sockets.len() < MAX_SOCKETS => {
                        if self.lists.is_empty() {
                            let date = self.date.take();
                            self.lists.push(date);
                        }
                        self.sockets.push((self.lists.len() as u64 - 1, ends, rank));
                    }
                    Line::Socket(..) => self.too_many += 1,
                    Line::Destroyed(ends) => {
                        let time = calendar.record_time(stamp);
                        self.destroyed(ends, time, uses, local, give);
                    }
                    Line::Broken => self.broken += 1,
                    Line::Unconnected => self.has_unconnected = true,
                    Line::OtherSocket => {}
                    Line::Other => {
                        let time = calendar.record_time(date_line(text));
                        self.date = time.or(self.date.take());
                    }
                }
            });
        })
    }

    fn destroyed(
        &mut self,
        ends: Ends,
        time: Option<RecordTime>,
        uses: &mut PortUses,
        local: &[Host],
        give: &mut dyn FnMut(Connection),
    ) {
        self.destroyed += 1;
        let (here, there) = (ends.server_port.unwrap_or(0), ends.client_port);
        uses.add(here, there.unwrap_or(0));
        if !ends.inbound(local) {
            return;
        }
        match (uses.by_number(here, there.unwrap_or(u16::MAX)), there) {
            (Direction::Inbound, _) => give(Connection { time, ..ends.connection() }),
            // A client's port, and the peer's port is not shown.
            (Direction::Outbound, _) | (Direction::Unknown, None) => {}
            (Direction::Unknown, Some(_)) if self.undecided.len() < MAX_SOCKETS => {
                self.undecided.push((ends, time));
            }
            (Direction::Unknown, Some(_)) => self.too_many += 1,
        }
    }

    /// Gives the destroyed sockets whose direction the uses of the ports tell. Returns how many are left.
    fn decide(&mut self, uses: &PortUses, give: &mut dyn FnMut(Connection)) -> u64 {
        let mut unknown = 0;
        for (ends, time) in self.undecided.drain(..) {
            match uses.direction(ends.server_port.unwrap_or(0), ends.client_port.unwrap_or(0)) {
                Direction::Inbound => give(Connection { time, ..ends.connection() }),
                Direction::Outbound => {}
                Direction::Unknown => unknown += 1,
            }
        }
        unknown
    }
}

/// The rank of an established connection.
const ESTABLISHED: u8 = 2;

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    let zone = cx.options.tz.clone().unwrap_or_else(local_zone);
    let moment_of = |input: &Input| {
        let name = input.path().and_then(Path::file_name).and_then(|name| name.to_str());
        name.and_then(|name| moment_in(name, &zone)).or(input.modified().map(RecordTime::from))
    };
    inputs.sort_by_cached_key(&moment_of);
    let name = common_name(inputs.iter());
    let mut tables = Tables::new(cx.options.established);
    let mut uses = PortUses::new(cx.options.port);
    let local = cx.options.local.clone();
    let (mut unknown, mut lists, mut destroyed) = (0, 0, 0);
    for mut input in inputs {
        let moment = moment_of(&input);
        let mut calendar = Calendar::new(&mut input, cx, &|text| match line(text) {
            (stamp, Line::Destroyed(_)) => stamp,
            _ => date_line(text),
        });
        let mut file = File::default();
        let sink = &mut *cx.sink;
        let mut give = |connection| sink.take(connection);
        let end = file.read(&mut input, &mut calendar, &mut uses, &local, &mut give);
        unknown += file.decide(&uses, &mut give);
        destroyed += file.destroyed;
        file.listening.sort_unstable();
        for (_, ends, _) in &file.sockets {
            uses.add(ends.server_port.unwrap_or(0), ends.client_port.unwrap_or(0));
        }
        report_file(&mut file, &input, cx);
        lists += u64::from(!file.sockets.is_empty() || file.destroyed == 0);
        let mut sockets = file.sockets.into_iter().peekable();
        for (number, date) in file.lists.iter().enumerate() {
            tables.begin(date.or(moment));
            while let Some((_, ends, rank)) = sockets.next_if(|(list, ..)| *list == number as u64) {
                match direction(&ends, &file.listening, &uses, &cx.options.local) {
                    Direction::Inbound => {
                        let entry = Entry::of_socket(ends, rank);
                        tables.take(&entry, &mut |connection| cx.sink.take(connection));
                    }
                    Direction::Outbound => {}
                    Direction::Unknown => unknown += 1,
                }
            }
        }
        if let Err(e) = end {
            cx.record_read_error(&input, &e);
        }
    }
    report(&name, unknown, if lists == 0 { None } else { Some(tables.count()) }, cx);
    if destroyed > 0 {
        cx.status.warn(format!(
            "{name}: ss -E shows a socket when it is closed, so connections that were still open are not in it; \
             nor are those that the kernel could not tell ss in time"
        ));
    }
}

/// Reports what of a file may hide connections.
fn report_file(file: &mut File, input: &Input, cx: &mut Context<'_>) {
    let name = input.name();
    cx.status.record_unreadable_lines(name, file.broken);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        file.too_many,
        format!(
            "{name}: {} sockets are more than are remembered of one file; give each list in a file of its own",
            file.too_many
        ),
    );
    if file.has_unconnected && !file.has_tcp {
        let count = file.sockets.len() as u64;
        file.sockets.clear();
        cx.status.record_shortfall(
            ShortfallKind::UnreadableLines,
            count,
            format!(
                "{name}: {count} sockets are left out because the list seems to be of UDP, and does not say so; \
                 ss -tan lists those of TCP, and ss -tuan says which is which"
            ),
        );
    }
}

/// Reports what the lists do not show.
fn report(name: &str, unknown: u64, lists: Option<u64>, cx: &mut Context<'_>) {
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        unknown,
        format!(
            "{name}: {unknown} sockets are left out because it is not known which end is the server; \
             {} decides it, and so does a list with the listening sockets (ss -tan)",
            cx.options.name(Setting::Port)
        ),
    );
    let Some(lists) = lists else { return };
    cx.status.warn(match lists {
        0 | 1 => format!(
            "{name}: a list shows the sockets of one moment; connections that had ended by then are \
             not in it ('tcptally watch' counts all)"
        ),
        n => format!(
            "{name}: connections that came and went between two of the {n} lists are in none of them"
        ),
    });
}

/// Who opened a connection whose local end is given as the server's.
fn direction(ends: &Ends, listening: &[u16], uses: &PortUses, local: &[Host]) -> Direction {
    let (Some(here), Some(there)) = (ends.server_port, ends.client_port) else {
        return Direction::Unknown;
    };
    if !ends.inbound(local) {
        return Direction::Outbound;
    }
    if listening.is_empty() {
        return uses.direction(here, there);
    }
    match listening.binary_search(&here) {
        Ok(_) => Direction::Inbound,
        Err(_) => Direction::Outbound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match line(text.as_bytes()).1 {
            Line::Socket(e, rank) => format!(
                "{} {} {} {} {rank}",
                e.client.ip().unwrap(),
                e.client_port.unwrap(),
                e.server.ip().unwrap(),
                e.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn rows_of_many_tools() {
        let want = "198.51.100.7 40755 192.0.2.77 443 2";
        for text in [
            "ESTAB      0      0      192.0.2.77:443       198.51.100.7:40755",
            "ESTAB 0 0 192.0.2.77%eth0:443 198.51.100.7:40755 users:((\"nginx\",pid=9,fd=7))",
            "ESTAB 0 0 [::ffff:192.0.2.77]:443 [::ffff:198.51.100.7]:40755 uid:33 ino:7 sk:1 <->",
            "tcp   ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
            "0      0      192.0.2.77:443       198.51.100.7:40755",
            "tcp        0      0 192.0.2.77:443     198.51.100.7:40755   ESTABLISHED 9/nginx",
            "tcp4       0      0 192.0.2.77.443     198.51.100.7.40755   ESTABLISHED",
            "web-1 nginx {x} ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
            "gw1: ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
        assert_eq!(
            shown("tcp6 0 0 2001:db8::1:443 2001:db8::7:40755 TIME_WAIT"),
            "2001:db8::7 40755 2001:db8::1 443 5"
        );
    }

    #[test]
    fn destroyed_sockets_have_both_ends() {
        let read = |text: &str| match line(text.as_bytes()) {
            (stamp, Line::Destroyed(e)) => {
                format!("{stamp:?} {:?} {:?}", e.client_port, e.server_port)
            }
            (_, other) => format!("{other:?}"),
        };
        for text in [
            "UNCONN 1      0      [::ffff:192.0.2.77]:8080  [::ffff:198.51.100.7]:60143       ",
            "tcp   UNCONN 1      0      192.0.2.77:8080  198.51.100.7:60143 ino:0 sk:815083 ts sack",
        ] {
            assert_eq!(read(text), "None Some(60143) Some(8080)", "{text}");
        }
        assert_eq!(read("UNCONN 0 9 192.0.2.77:8080 198.51.100.7:*"), "None None Some(8080)");
        let stamped = read("2026-11-22T10:58:42Z UNCONN 0 9 192.0.2.77:8080 198.51.100.7:6");
        assert_eq!(stamped, "Epoch(1795345122000000000) Some(6) Some(8080)");
    }

    #[test]
    fn other_rows() {
        for (text, want) in [
            ("LISTEN 0 511 0.0.0.0:443 0.0.0.0:*", "Listening(443)"),
            ("LISTEN 0 511 *:443 *:*", "Listening(443)"),
            ("tcp6 0 0 :::443 :::* LISTEN", "Listening(443)"),
            ("tcp4 0 0 *.443 *.* LISTEN", "Listening(443)"),
            ("UNCONN 0 0 0.0.0.0:68 0.0.0.0:*", "Unconnected"),
            ("UNCONN 0 0 *:8080 *:*", "Unconnected"),
            ("tcp UNCONN 0 0 *:8080 *:*", "OtherSocket"),
            ("tcp UNCONN 0 3 0.0.0.0:47874 192.0.2.77:*", "OtherSocket"),
            ("SYN-SENT 0 1 192.0.2.77:40001 198.51.100.7:80", "OtherSocket"),
            ("udp 0 0 192.0.2.77:68 192.0.2.1:67 ESTABLISHED", "OtherSocket"),
            ("ESTAB 0 0 192.0.2.77:https client.example:40755", "Broken"),
            ("tcp6 0 0 2001:db8:77:1:2:3:4:443 2001:db8::7:40755 ESTABLISHED", "Broken"),
            ("\t cubic wscale:10,10 rto:204 rtt:0.5/0.25", "Other"),
            ("State Recv-Q Send-Q Local Address:Port Peer Address:Port", "Header"),
            ("Active Internet connections (servers and established)", "Other"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }
}
