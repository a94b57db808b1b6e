//! The body of a LOG line, from `IN=` on: the same in every log that it may get to.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use memchr::memmem::{self, Finder};

use super::fast_path;
use crate::parse::deduplicate::PacketKind;
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};

/// What a LOG line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// A SYN, or the SYN+ACK of one, of an inbound connection.
    Tells(Packet),
    /// Another packet, or an outbound connection.
    Other,
    /// A SYN whose fields are not all there.
    Broken,
}

/// A packet that tells of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who opened it.
    pub ends: Ends,
    /// SYN or SYN+ACK.
    pub part: PacketKind,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK.
    pub server_isn: Option<u32>,
    /// The IP ID of a SYN.
    pub id: Option<u16>,
}

static OUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" OUT="));

/// Where in `line` the body begins: at an `IN=` whose value ends at ` OUT=`. The prefix before it
/// is free text.
pub fn find(line: &[u8]) -> Option<usize> {
    OUT.find_iter(line).find_map(|out| {
        let word = line[..out].iter().rposition(|b| *b == b' ').map_or(0, |n| n + 1);
        line[word..out].windows(3).rposition(|w| w == b"IN=").map(|n| word + n)
    })
}

/// Whether `line` is a LOG line, of whatever packet.
pub fn is_log_line(line: &[u8]) -> bool {
    let Some(at) = find(line) else { return false };
    let body = &line[at..];
    [&b" SRC="[..], b" DST=", b" LEN="].iter().all(|field| memmem::find(body, field).is_some())
}

/// Reads a body.
pub fn read(body: &[u8]) -> Body {
    fast_path::read(body).unwrap_or_else(|| general(body))
}

/// Reads a body of any form.
pub(super) fn general(body: &[u8]) -> Body {
    let mut fields = Fields::default();
    let mut words = body.split(|b| *b == b' ');
    while let Some(word) = words.next() {
        match word {
            // What follows is the packet that an ICMP error is about.
            [b'[', b'S', b'R', b'C', b'=', ..] if fields.proto.is_some() => break,
            // Options, in hex or words.
            [b'(', .., b')'] => {}
            [b'(', ..] => {
                let mut rest = words.clone();
                if rest.any(|w| w.ends_with(b")")) {
                    words = rest;
                }
            }
            _ => fields.take(word),
        }
    }
    fields.body()
}

/// An address, or the word that somebody put in its place before he passed the log on.
fn address_or_mask(value: &[u8]) -> Option<Host> {
    let is_word = value.iter().any(u8::is_ascii_alphabetic);
    Host::address(value).or_else(|| Host::address_or_name(value).filter(|_| is_word))
}

/// Where the packet was logged: a hash of the prefix of the rule, and of the interfaces that stand
/// at the beginning of `body`.
pub fn point(prefix: &[u8], body: &[u8]) -> u32 {
    let mut blanks = memchr::memchr_iter(b' ', body);
    let interfaces = &body[..blanks.nth(1).unwrap_or(body.len())];
    let hash = FixedState::with_seed(0).hash_one((without_uptime(prefix), interfaces));
    (hash >> 32) as u32
}

/// What follows the kernel's own stamp, if there is one: `[ 1485.291490] `.
fn without_uptime(prefix: &[u8]) -> &[u8] {
    let stamp = memchr::memchr_iter(b'[', prefix).find_map(|open| {
        let close = open + memchr::memchr(b']', &prefix[open..])?;
        let inner = prefix[open + 1..close].trim_ascii();
        let numeric = |b: &u8| b.is_ascii_digit() || *b == b'.';
        (!inner.is_empty() && inner.iter().all(numeric)).then_some(close + 1)
    });
    &prefix[stamp.unwrap_or(0)..]
}

#[derive(Default)]
struct Fields<'a> {
    inward: bool,
    outward: bool,
    src: Option<&'a [u8]>,
    dst: Option<&'a [u8]>,
    proto: Option<&'a [u8]>,
    spt: Option<&'a [u8]>,
    dpt: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    seq: Option<&'a [u8]>,
    ack_seq: Option<&'a [u8]>,
    syn: bool,
    ack: bool,
    fin_or_rst: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, word: &'a [u8]) {
        let word = word.strip_suffix(b"]").unwrap_or(word);
        let (field, value) = match word {
            [b'I', b'N', b'=', value @ ..] => return self.inward |= !value.is_empty(),
            [b'O', b'U', b'T', b'=', value @ ..] => return self.outward |= !value.is_empty(),
            [b'S', b'R', b'C', b'=', value @ ..] => (&mut self.src, value),
            [b'D', b'S', b'T', b'=', value @ ..] => (&mut self.dst, value),
            [b'P', b'R', b'O', b'T', b'O', b'=', value @ ..] => (&mut self.proto, value),
            [b'S', b'P', b'T', b'=', value @ ..] => (&mut self.spt, value),
            [b'D', b'P', b'T', b'=', value @ ..] => (&mut self.dpt, value),
            [b'I', b'D', b'=', value @ ..] => (&mut self.id, value),
            [b'S', b'E', b'Q', b'=', value @ ..] => (&mut self.seq, value),
            [b'A', b'C', b'K', b'=', value @ ..] => (&mut self.ack_seq, value),
            // Flags stand behind the ports.
            b"SYN" if self.dpt.is_some() => return self.syn = true,
            b"ACK" if self.dpt.is_some() => return self.ack = true,
            b"FIN" | b"RST" if self.dpt.is_some() => return self.fin_or_rst = true,
            _ => return,
        };
        field.get_or_insert(value);
    }

    fn body(&self) -> Body {
        if !matches!(self.proto, Some(b"TCP" | b"6")) || !self.syn || self.fin_or_rst {
            return Body::Other;
        }
        // A SYN that this machine sends opens a connection elsewhere; a SYN+ACK that it sends
        // answers one.
        if self.inward && !self.outward && self.ack || !self.inward && self.outward && !self.ack {
            return Body::Other;
        }
        let ends = || {
            Some(Ends {
                client: address_or_mask(self.src?)?,
                client_port: Some(number(self.spt?)?),
                server: address_or_mask(self.dst?)?,
                server_port: Some(number(self.dpt?)?),
            })
        };
        let Some(ends) = ends() else { return Body::Broken };
        Body::Tells(if self.ack {
            let isn = self.ack_seq.and_then(number).map(|acked: u32| acked.wrapping_sub(1));
            let server_isn = self.seq.and_then(number);
            Packet { ends: ends.turned(), part: PacketKind::SynAck, isn, server_isn, id: None }
        } else {
            let id = self.id.and_then(number).filter(|id| *id != 0);
            let isn = self.seq.and_then(number);
            Packet { ends, part: PacketKind::Syn, isn, server_isn: None, id }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: &str = "IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
        SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP \
        SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN URGP=0 ";

    fn tells(body: &str) -> Option<String> {
        let at = find(body.as_bytes())?;
        match read(&body.as_bytes()[at..]) {
            Body::Tells(p) => Some(format!(
                "{:?} {}:{} {}:{} {:?} {:?}",
                p.part,
                p.ends.client.ip().unwrap(),
                p.ends.client_port.unwrap(),
                p.ends.server.ip().unwrap(),
                p.ends.server_port.unwrap(),
                p.isn,
                p.id
            )),
            Body::Other => None,
            Body::Broken => Some("broken".into()),
        }
    }

    #[test]
    fn prefixes() {
        let want = "Syn 198.51.100.10:40755 192.0.2.77:4711 None Some(27356)";
        for prefix in [
            "",
            "FW:NEW:",
            "syn6=",
            "[UFW ALLOW] ",
            "SRC= ",
            "IN= ",
            "a OUT= ",
            "SRC=1.2.3.4 DPT=80 ",
        ] {
            assert_eq!(tells(&format!("{prefix}{SYN}")).as_deref(), Some(want), "{prefix}");
        }
    }

    #[test]
    fn forms_of_the_body() {
        let syn = Some("Syn 198.51.100.10:40755 192.0.2.77:4711 None Some(27356)".to_owned());
        for (from, to) in [
            ("MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00", "MAC="),
            (" MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00", ""),
            ("MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00", "MAC= [removed]"),
            ("MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00", "MAC=[02:00 ("),
            ("OUT= ", "OUT= PHYSIN=veth1 "),
            ("OUT= ", "OUT=br0 PHYSIN=veth1 PHYSOUT=veth2 "),
            ("URGP=0 ", "URGP=0 OPT (020405B40402080A23DF2E1A000000000103030A) UID=0 MARK=0x1 "),
            ("DF PROTO", "DF OPT (94040000) PROTO"),
            ("DF PROTO", "DF OPT ( AH SPI=0x1 ) PROTO"),
            ("RES=0x00 SYN", "RES=0x00 CWR ECE SYN"),
            ("RES=0x00 SYN", "RES=0x00 PSH SYN"),
            ("URGP=0 ", "URGP=0 ]"),
        ] {
            assert_eq!(tells(&SYN.replace(from, to)), syn, "{to}");
        }
        assert_eq!(
            tells(&SYN.replace("WINDOW", "SEQ=7 ACK=0 WINDOW")).unwrap(),
            "Syn 198.51.100.10:40755 192.0.2.77:4711 Some(7) Some(27356)"
        );
        for (from, to) in [
            ("IN=ens19 OUT=", "IN= OUT=ens19"),
            ("RES=0x00 SYN", "RES=0x00 ACK SYN"),
            ("RES=0x00 SYN", "RES=0x00 ACK"),
            ("RES=0x00 SYN", "RES=0x00 SYN FIN"),
            ("RES=0x00 SYN", "RES=0x00 RST SYN"),
            ("PROTO=TCP", "PROTO=UDP"),
            ("PROTO=TCP", "PROTO=ICMP TYPE=3 CODE=3 [SRC=192.0.2.77 DST=192.0.2.1 PROTO=TCP"),
            ("IN=ens19", "X=ens19"),
        ] {
            assert_eq!(tells(&SYN.replace(from, to)), None, "{to}");
        }
        assert_eq!(tells(&SYN.replace("SRC=198.51.100.10", "SRC=198.51")).unwrap(), "broken");
    }

    #[test]
    fn an_answer_on_its_way_out() {
        let body = "IN= OUT=eth0 SRC=192.0.2.77 DST=198.51.100.10 ID=0 DF PROTO=TCP SPT=80 \
            DPT=40755 SEQ=1 ACK=8 WINDOW=65160 RES=0x00 ACK SYN URGP=0";
        assert_eq!(tells(body).unwrap(), "SynAck 198.51.100.10:40755 192.0.2.77:80 Some(7) None");
    }
}
