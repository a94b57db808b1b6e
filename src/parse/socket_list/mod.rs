//! Lists of the open sockets of one moment, or of several: `ss -tan` of iproute2, `netstat -tan`
//! of net-tools, of the BSDs and of Windows, `lsof -nP -i`, and the kernel's own table. Also the sockets that `ss -E` shows when they are destroyed.
//!
//! A list does not show who opened a connection. Where it has the listening sockets, it is inbound
//! if something listens on its local port; otherwise the ports decide, see [`PortUses`]. Each list
//! begins with its header line; a connection in several lists counts once.
//!
//! A destroyed socket of TCP has the state UNCONN and both ends, which no socket in a list has. If the program
//! that closed it discarded what was not sent (SO_LINGER), the port of the peer is `*`.

mod line;
mod socket;
mod table;

use std::io;

use self::line::{is_header, is_weak_header, line};
use self::socket::Line;
use crate::model::plural;
use crate::parse::conntrack::date_line;
use crate::parse::conntrack::entry::Entry;
use crate::parse::conntrack::tables::{Moment, Tables};
use crate::parse::decoration::layers;
use crate::parse::gaps::{self, Gaps};
use crate::parse::host::{Ends, Host};
use crate::parse::input::{Input, common_name};
use crate::parse::lines;
use crate::parse::port_uses::{Direction, PortUses};
use crate::parse::reader::{Context, RecordFormat, Setting};
use crate::parse::timestamp::Calendar;
use crate::{Connection, RecordTime, ShortfallKind};

/// Lists of ss and netstat.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "sockets",
    about: "list of open sockets, of ss, netstat or lsof, or /proc/net/tcp",
    connection: "a TCP socket that a client opened",
    is_text: true,
    is_json: false,
    is_snapshot: true,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// Maximum number of sockets of a file that wait for its end.
const MAX_SOCKETS: usize = 1 << 20;

fn recognise(head: &[u8]) -> bool {
    let (mut header, mut weak_header) = (false, false);
    lines::each(head, |text, _| {
        header |= is_header(text) && !is_weak_header(text);
        weak_header |= is_weak_header(text);
    });
    header || {
        // A list that grep has made has no header.
        let lines = layers::first_lines(head);
        let known = |text: &&&[u8]| match line(text).1 {
            Line::Socket(..) | Line::Listening(_) | Line::Destroyed(_) => true,
            Line::Broken => weak_header,
            _ => false,
        };
        let known = lines.iter().filter(known).count();
        known > 0 && (weak_header || known * 2 > lines.len())
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
    gaps: Gaps,
    /// Sockets of other protocols and without a connection.
    others: u64,
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
        let mut gaps = std::mem::take(&mut self.gaps);
        let end = gaps::blocks(input, &mut gaps, |block, _| {
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
                    Line::OtherSocket => self.others += 1,
                    Line::Other => {
                        let time = calendar.record_time(date_line(text));
                        self.date = time.or(self.date.take());
                    }
                }
            });
        });
        self.gaps = gaps;
        end
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

/// What a list without connections lacks.
const WITHOUT_CONNECTIONS: &str = "no TCP connection in any state is in it, so nothing shows that connections were \
                                   asked for; 'ss -tan' lists them, and 'ss -l' and 'netstat -l' leave them out";

/// The rank of an established connection.
const ESTABLISHED: u8 = 2;

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    let zone = cx.zone();
    inputs.sort_by_cached_key(|input| Moment::of_file(input, &zone).time);
    let name = common_name(inputs.iter());
    let mut tables = Tables::new(cx.options.established);
    let mut uses = PortUses::new(cx.options.port);
    let local = cx.options.local.clone();
    let (mut unknown, mut lists, mut destroyed) = (0, 0, 0);
    let (mut shown, mut others) = (0, 0);
    for mut input in inputs {
        let moment = Moment::of_file(&input, &zone);
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
        shown += file.sockets.len() as u64 + file.destroyed + file.broken;
        others += file.listening.len() as u64 + file.others;
        report_file(&mut file, &input, cx);
        lists += u64::from(!file.sockets.is_empty() || file.destroyed == 0);
        let mut sockets = file.sockets.into_iter().peekable();
        for (number, date) in file.lists.iter().enumerate() {
            tables.begin(date.map_or(moment, Moment::from));
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
            cx.record_read_error(&input, e);
        }
    }
    cx.require_evidence(shown > 0 || others == 0, &name, WITHOUT_CONNECTIONS);
    cx.is_known_line = Some(Box::new(|text| line(text).1 != Line::Other));
    tables.note_file_time(&name, cx.status);
    report(&name, unknown, if lists == 0 { None } else { Some(tables.count()) }, cx);
    if destroyed > 0 {
        warn_of_open_sockets(&name, cx);
    }
}

fn warn_of_open_sockets(name: &str, cx: &mut Context<'_>) {
    cx.status.warn(format!(
        "{name}: ss -E shows a socket when it is closed, so connections that were still open are not in it; \
         nor are those that the kernel could not tell ss in time"
    ));
}

/// Reports what of a file may hide connections.
fn report_file(file: &mut File, input: &Input, cx: &mut Context<'_>) {
    let name = input.name();
    cx.status.record_unreadable_lines(name, file.broken);
    if file.broken > 0 {
        cx.status.warn(format!(
            "{name}: if the list has names in place of addresses or ports, make it with numbers (ss -tan, netstat -tan, \
             lsof -nP -iTCP)"
        ));
    }
    file.gaps.report(name, cx.status);
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
                "{name}: {} left out because they seem to be UDP sockets; ss -tan lists TCP \
                 sockets, and ss -tuan shows the protocol of each",
                plural(count, "socket is", "sockets are")
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
            "{name}: {} left out because it is not known which end is the server; {} decides it, and so does a list \
             with the listening sockets (ss -tan)",
            plural(unknown, "socket is", "sockets are"),
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
