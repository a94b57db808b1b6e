//! The body of a LOG line, from `IN=` on: the same in every log that it may get to.

use memchr::memmem;

use crate::parse::fold::Part;
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
    pub part: Part,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The IP ID of a SYN.
    pub id: Option<u16>,
}

/// Where in `line` the body begins: at an `IN=` whose value ends at ` OUT=`. The prefix before it
/// is free text.
pub fn find(line: &[u8]) -> Option<usize> {
    memmem::find_iter(line, b" OUT=").find_map(|out| {
        let word = memchr::memrchr(b' ', &line[..out]).map_or(0, |n| n + 1);
        memmem::rfind(&line[word..out], b"IN=").map(|n| word + n)
    })
}

/// Reads a body.
pub fn read(body: &[u8]) -> Body {
    let mut fields = Fields::default();
    let mut words = body.split(|b| *b == b' ');
    while let Some(word) = words.next() {
        // What follows is the packet that an ICMP error is about.
        if word.starts_with(b"[") {
            break;
        }
        if word == b"(" || word.starts_with(b"(") {
            // Options, in hex or words.
            if !word.ends_with(b")") {
                let _ = words.by_ref().find(|w| w.ends_with(b")"));
            }
            continue;
        }
        fields.take(word);
    }
    fields.body()
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
        let Some(equals) = memchr::memchr(b'=', word) else {
            // Flags stand behind the ports.
            if self.dpt.is_some() {
                match word {
                    b"SYN" => self.syn = true,
                    b"ACK" => self.ack = true,
                    b"FIN" | b"RST" => self.fin_or_rst = true,
                    _ => {}
                }
            }
            return;
        };
        let value = &word[equals + 1..];
        let field = match &word[..equals] {
            b"IN" => {
                self.inward |= !value.is_empty();
                return;
            }
            b"OUT" => {
                self.outward |= !value.is_empty();
                return;
            }
            b"SRC" => &mut self.src,
            b"DST" => &mut self.dst,
            b"PROTO" => &mut self.proto,
            b"SPT" => &mut self.spt,
            b"DPT" => &mut self.dpt,
            b"ID" => &mut self.id,
            b"SEQ" => &mut self.seq,
            b"ACK" => &mut self.ack_seq,
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
                client: Host::address(self.src?)?,
                client_port: Some(number(self.spt?)?),
                server: Host::address(self.dst?)?,
                server_port: Some(number(self.dpt?)?),
            })
        };
        let Some(ends) = ends() else { return Body::Broken };
        Body::Tells(if self.ack {
            let acked: Option<u32> = self.ack_seq.and_then(number);
            let isn = acked.map(|n| n.wrapping_sub(1));
            Packet { ends: ends.turned(), part: Part::SynAck, isn, id: None }
        } else {
            let id = self.id.and_then(number).filter(|id| *id != 0);
            Packet { ends, part: Part::Syn, isn: self.seq.and_then(number), id }
        })
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
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
