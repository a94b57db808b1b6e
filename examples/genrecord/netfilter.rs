//! A kernel log: lines of the LOG target among those of drivers, as rsyslog and journald write it.

use std::collections::VecDeque;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::random::Random;
use super::{Attempt, Clients};

struct Log<'a, W> {
    out: &'a mut W,
    written: u64,
    size: u64,
    /// Microseconds since 1970.
    now: i64,
    /// The second of the stamp below, and what it was.
    shown: (i64, DateTime),
    random: Random,
}

impl<W: Write> Log<'_, W> {
    /// A third of the log each: RFC 3164, RFC 3339, `journalctl -o short-iso`.
    fn line(&mut self, text: &str) -> io::Result<()> {
        let (second, us) = (self.now / 1_000_000, self.now % 1_000_000);
        if self.shown.0 != second {
            let at = Timestamp::from_second(second).map_err(io::Error::other)?;
            self.shown = (second, TimeZone::UTC.to_datetime(at));
        }
        let at = self.shown.1;
        let uptime = format!("[{:5}.{us:06}]", second - 1_793_500_000);
        let line = match self.written * 3 / self.size {
            0 => format!("{} gw1 kernel: {uptime} {text}\n", at.strftime("%b %e %H:%M:%S")),
            1 => {
                let at = at.strftime("%Y-%m-%dT%H:%M:%S");
                format!("{at}.{us:06}+00:00 gw1 kernel: {uptime} {text}\n")
            }
            _ => format!("{} gw1 kernel: {text}\n", at.strftime("%Y-%m-%dT%H:%M:%S+0000")),
        };
        self.written += line.len() as u64;
        self.out.write_all(line.as_bytes())
    }

    fn syn(&mut self, a: &Attempt, id: u16) -> io::Result<()> {
        let Attempt { ip, port, to, .. } = a;
        self.line(&format!(
            "FW-NEW: IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 SRC={ip} \
             DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=54 ID={id} DF PROTO=TCP SPT={port} \
             DPT={to} WINDOW=64240 RES=0x00 SYN URGP=0 "
        ))
    }

    fn syn6(&mut self, a: &Attempt) -> io::Result<()> {
        let Attempt { ip, port, to, .. } = a;
        let [_, b, c, d] = ip.octets();
        self.line(&format!(
            "FW-NEW: IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:86:dd \
             SRC=2001:0db8:000c:0000:0000:00{b:02x}:00{c:02x}:00{d:02x} \
             DST=2001:0db8:0077:0000:0000:0000:0000:0001 LEN=80 TC=0 HOPLIMIT=54 \
             FLOWLBL=767371 PROTO=TCP SPT={port} DPT={to} WINDOW=64800 RES=0x00 SYN URGP=0 "
        ))
    }

    /// What is no new TCP connection.
    fn other(&mut self) -> io::Result<()> {
        let n = self.random.below(60_000);
        match self.random.below(16) {
            0..6 => self.line(&format!(
                "FW-DROP: IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
                 SRC=203.0.113.{} DST=192.0.2.77 LEN=78 TOS=0x00 PREC=0x00 TTL=110 ID={n} \
                 PROTO=UDP SPT={n} DPT=137 LEN=58 ",
                n % 256
            )),
            6..9 => self.line(&format!(
                "FW-DROP: IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
                 SRC=203.0.113.{} DST=192.0.2.77 LEN=40 TOS=0x00 PREC=0x00 TTL=50 ID=0 DF \
                 PROTO=TCP SPT=443 DPT={n} WINDOW=0 RES=0x00 ACK RST URGP=0 ",
                n % 256
            )),
            9..12 => self.line(&format!(
                "FW-OUT: IN= OUT=ens19 SRC=192.0.2.77 DST=203.0.113.{} LEN=60 TOS=0x00 PREC=0x00 \
                 TTL=64 ID={n} DF PROTO=TCP SPT={n} DPT=443 WINDOW=64240 RES=0x00 SYN URGP=0 ",
                n % 256
            )),
            12 => self
                .line("TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies."),
            13 => self.line(&format!(
                "audit: type=1400 audit(1795345122.202:{n}): apparmor=\"DENIED\" \
                 operation=\"open\" profile=\"/usr/sbin/named\" name=\"/proc/{n}/task/\" pid={n} \
                 comm=\"isc-worker0000\" requested_mask=\"r\" denied_mask=\"r\" fsuid=101 ouid=101"
            )),
            14 => self.line("usb 1-1.2: new high-speed USB device number 7 using xhci_hcd"),
            _ => self.line(&format!("nf_conntrack: nf_conntrack: table full, dropping packet {n}")),
        }
    }
}

pub fn write(out: &mut impl Write, size: u64, random: Random) -> io::Result<()> {
    let mut clients = Clients::new();
    let shown = (0, DateTime::default());
    let now = 1_793_577_600_000_000;
    let mut log = Log { out, written: 0, size, now, shown, random };
    // Attempts that nobody answered, in the order in which they are sent again.
    let mut unanswered: VecDeque<(i64, Attempt, u16)> = VecDeque::new();
    while log.written < size {
        // Once in the log, for a twentieth of it, somebody floods the server.
        let flood = log.written * 20 / size == 12;
        log.now += log.random.below(if flood { 200 } else { 40_000 }) as i64;
        while unanswered.front().is_some_and(|(due, ..)| *due <= log.now) {
            let Some((due, a, nth)) = unanswered.pop_front() else { break };
            log.now = log.now.max(due);
            log.syn(&a, a.id.wrapping_add(nth))?;
            if nth < 4 {
                unanswered.push_back((due + 1_000_000, a, nth + 1));
            }
        }
        match log.random.below(32) {
            0..6 => log.other()?,
            6 => {
                let attempt = clients.next(&mut log.random);
                log.syn6(&attempt)?;
            }
            sort => {
                let mut attempt = clients.next(&mut log.random);
                attempt.id = attempt.id.min(u16::MAX - 8);
                log.syn(&attempt, attempt.id)?;
                match sort {
                    // Two rules log it.
                    7 => log.syn(&attempt, attempt.id)?,
                    8 => unanswered.push_back((log.now + 1_000_000, attempt, 1)),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
