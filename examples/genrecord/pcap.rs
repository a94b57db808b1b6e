//! A capture of the Ethernet of a web server: handshakes, data, packets that are sent again, and
//! what else there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::random::Random;
use super::{Attempt, Clients};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// How far a connection is.
struct Flow {
    attempt: Attempt,
    v6: bool,
    stage: Stage,
    /// SYNs that nobody answers, before the one that somebody does.
    vain: u32,
    refused: bool,
    /// Segments of the response that are still to come.
    segments: u32,
    sent: u32,
}

enum Stage {
    Syn,
    SynAck,
    Ack,
    Request,
    Response,
    Acknowledge,
    Fin,
    FinAck,
    LastAck,
}

/// A capture that is being written.
struct Capture<'a, W> {
    out: &'a mut W,
    written: u64,
    snaplen: usize,
    /// Microseconds since 1970.
    now: u64,
    frame: Vec<u8>,
}

/// Of a segment.
struct Header {
    from_client: bool,
    flags: u8,
    seq: u32,
    ack: u32,
    /// Bytes of payload.
    length: usize,
    options: usize,
}

impl<W: Write> Capture<'_, W> {
    /// Writes what is in `frame`, of which the rest of `length` is payload.
    fn end(&mut self, length: usize) -> io::Result<()> {
        let captured = length.min(self.snaplen);
        self.frame.resize(captured, b'x');
        let (s, us) = ((self.now / 1_000_000) as u32, (self.now % 1_000_000) as u32);
        for word in [s, us, captured as u32, length as u32] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.written += 16 + captured as u64;
        self.out.write_all(&self.frame)
    }

    fn ethernet(&mut self, inward: bool, ethertype: u16) {
        let (server, router) = ([2, 0, 0x5e, 0x77, 0, 1], [2, 0, 0x5e, 0x77, 0, 0xfe]);
        let (to, from) = if inward { (server, router) } else { (router, server) };
        self.frame.clear();
        self.frame.extend(to);
        self.frame.extend(from);
        self.frame.extend(ethertype.to_be_bytes());
    }

    fn ipv4(&mut self, protocol: u8, id: u16, source: Ipv4Addr, to: Ipv4Addr, length: usize) {
        self.frame.extend([0x45, 0]);
        self.frame.extend((length as u16).to_be_bytes());
        self.frame.extend(id.to_be_bytes());
        self.frame.extend([0x40, 0, 54, protocol, 0, 0]);
        self.frame.extend(source.octets());
        self.frame.extend(to.octets());
    }

    fn segment(&mut self, flow: &Flow, h: &Header) -> io::Result<()> {
        let Attempt { ip, port, to, id, .. } = flow.attempt;
        let tcp = 20 + h.options;
        let (ports, ends) =
            if h.from_client { ([port, to], [ip, SERVER]) } else { ([to, port], [SERVER, ip]) };
        self.ethernet(h.from_client, if flow.v6 { 0x86dd } else { 0x0800 });
        let front = if flow.v6 {
            self.frame.extend([0x60, 0, 0, 0]);
            self.frame.extend(((tcp + h.length) as u16).to_be_bytes());
            self.frame.extend([6, 54]);
            for end in ends {
                self.frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
                self.frame.extend(end.octets());
            }
            54
        } else {
            self.ipv4(6, id, ends[0], ends[1], 20 + tcp + h.length);
            34
        };
        for port in ports {
            self.frame.extend(port.to_be_bytes());
        }
        self.frame.extend(h.seq.to_be_bytes());
        self.frame.extend(h.ack.to_be_bytes());
        self.frame.extend([(tcp as u8 / 4) << 4, h.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        self.frame.resize(front + tcp, 1);
        self.end((front + tcp + h.length).max(60))
    }

    /// DNS, HTTP/3, ARP, ping.
    fn other(&mut self, random: &mut Random) -> io::Result<()> {
        let client = Ipv4Addr::from(0x0a00_0000 | random.below(1 << 16) as u32);
        let inward = random.below(2) == 0;
        let (from, to) = if inward { (client, SERVER) } else { (SERVER, client) };
        match random.below(16) {
            0 => {
                self.ethernet(inward, 0x0806);
                self.end(60)
            }
            1 => {
                self.ethernet(inward, 0x0800);
                self.ipv4(1, 7, from, to, 84);
                self.end(98)
            }
            n => {
                let length = if n < 4 { 60 } else { 1200 };
                self.ethernet(inward, 0x0800);
                self.ipv4(17, 7, from, to, 28 + length);
                let port = if n < 4 { 53_u16 } else { 443 };
                self.frame.extend(port.to_be_bytes());
                self.frame.extend([0xc3, 0x50]);
                self.frame.extend((8 + length as u16).to_be_bytes());
                self.end(42 + length)
            }
        }
    }

    /// Sends the next packet of a flow; gives after how many microseconds the one after it comes.
    fn go_on(&mut self, flow: &mut Flow, random: &mut Random) -> io::Result<Option<u64>> {
        let (isn, server_isn) = (flow.attempt.isn, flow.attempt.isn ^ 0x5555_5555);
        let (mine, its) = (isn.wrapping_add(1), server_isn.wrapping_add(1));
        let sent = its.wrapping_add(flow.sent * 1448);
        let rtt = 2000 + random.below(60_000);
        let segment = |from_client, flags, seq, ack, length, options| Header {
            from_client,
            flags,
            seq,
            ack,
            length,
            options,
        };
        let (header, stage, pause) = match flow.stage {
            Stage::Syn if flow.vain > 0 => {
                flow.vain -= 1;
                flow.attempt.id = flow.attempt.id.wrapping_add(1);
                (segment(true, SYN, isn, 0, 0, 20), Stage::Syn, 1_000_000)
            }
            Stage::Syn => (segment(true, SYN, isn, 0, 0, 20), Stage::SynAck, 30),
            Stage::SynAck if flow.refused => {
                self.segment(flow, &segment(false, RST | ACK, 0, mine, 0, 0))?;
                return Ok(None);
            }
            Stage::SynAck => (segment(false, SYN | ACK, server_isn, mine, 0, 20), Stage::Ack, rtt),
            Stage::Ack => (segment(true, ACK, mine, its, 0, 12), Stage::Request, 50),
            Stage::Request => (segment(true, PSH | ACK, mine, its, 350, 12), Stage::Response, 900),
            Stage::Response => {
                let header = segment(false, ACK, sent, mine.wrapping_add(350), 1448, 12);
                flow.sent += 1;
                flow.segments -= 1;
                let next = if flow.sent.is_multiple_of(2) || flow.segments == 0 {
                    (Stage::Acknowledge, rtt)
                } else {
                    (Stage::Response, 10)
                };
                // Lost on the way, and sent again.
                if random.below(64) == 0 {
                    self.segment(flow, &header)?;
                }
                (header, next.0, next.1)
            }
            Stage::Acknowledge => {
                let next = if flow.segments == 0 { Stage::Fin } else { Stage::Response };
                (segment(true, ACK, mine.wrapping_add(350), sent, 0, 12), next, 20)
            }
            Stage::Fin => (segment(false, FIN | ACK, sent, mine, 0, 12), Stage::FinAck, rtt),
            Stage::FinAck => (segment(true, FIN | ACK, mine, sent, 0, 12), Stage::LastAck, 20),
            Stage::LastAck => {
                self.segment(flow, &segment(false, ACK, sent, mine, 0, 12))?;
                return Ok(None);
            }
        };
        self.segment(flow, &header)?;
        flow.stage = stage;
        Ok(Some(pause))
    }
}

pub fn write(out: &mut impl Write, size: u64, snaplen: u32, mut random: Random) -> io::Result<()> {
    out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    out.write_all(&snaplen.to_le_bytes())?;
    out.write_all(&1_u32.to_le_bytes())?;
    let mut capture = Capture {
        out,
        written: 24,
        snaplen: snaplen as usize,
        now: 1_795_345_122_000_000,
        frame: Vec::new(),
    };
    let mut clients = Clients::new();
    let mut flows: Vec<Flow> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut due: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut arrival = capture.now;
    while capture.written < size {
        if due.peek().is_none_or(|Reverse((at, _))| *at > arrival) {
            capture.now = arrival;
            arrival += random.below(4000);
            if random.below(2) == 0 {
                capture.other(&mut random)?;
                continue;
            }
            let flow = Flow {
                attempt: clients.next(&mut random),
                v6: random.below(8) == 0,
                stage: Stage::Syn,
                vain: if random.below(32) == 0 { 1 + random.below(3) as u32 } else { 0 },
                refused: random.below(16) == 0,
                segments: 1 + random.below(14) as u32,
                sent: 0,
            };
            let place = free.pop().unwrap_or(flows.len());
            if place == flows.len() {
                flows.push(flow);
            } else {
                flows[place] = flow;
            }
            due.push(Reverse((capture.now, place)));
        } else if let Some(Reverse((at, place))) = due.pop() {
            capture.now = capture.now.max(at);
            match capture.go_on(&mut flows[place], &mut random)? {
                Some(pause) => due.push(Reverse((at + pause, place))),
                None => free.push(place),
            }
        }
    }
    Ok(())
}
