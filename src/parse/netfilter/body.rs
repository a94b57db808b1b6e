//! The body of a LOG line, from `IN=` on. It is the same in every kind of log.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use crate::parse::cursor::Cursor;
use crate::parse::deduplicate::{self, PacketKind};
use crate::parse::digits::{ipv4, number};
use crate::parse::host::{Ends, Host};

/// A decoded LOG line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A SYN, or the SYN+ACK of one, of an inbound connection.
    Tells(Packet),
    /// Another packet, or an outbound connection.
    Other,
    /// A SYN whose fields are not all there.
    Broken,
}

/// A packet that belongs to a connection attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Client and server.
    pub ends: Ends,
    /// SYN or SYN+ACK.
    pub kind: PacketKind,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK.
    pub server_isn: Option<u32>,
    /// The IP ID of a SYN.
    pub id: Option<u16>,
}

static SRC: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" SRC="));
static OUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" OUT="));

/// Finds the body in `line`: it begins at the `IN=` whose value ends at ` OUT=`. The prefix before
/// it is free text.
pub(crate) fn find(line: &[u8]) -> Option<usize> {
    let both = OUT.find_iter(line).find_map(|out| {
        let word = line[..out].iter().rposition(|b| *b == b' ').map_or(0, |n| n + 1);
        line[word..out].windows(3).rposition(|w| w == b"IN=").map(|n| word + n)
    });
    both.or_else(|| find_single(line))
}

/// Finds a body that has `IN=` or `OUT=` alone: Proxmox leaves out the other one, which the kernel writes without a value.
fn find_single(line: &[u8]) -> Option<usize> {
    let mut end = SRC.find(line)?;
    loop {
        let word = line[..end].iter().rposition(|b| *b == b' ')? + 1;
        match &line[word..end] {
            [b'I', b'N', b'=', _, ..] | [b'O', b'U', b'T', b'=', _, ..] => return Some(word),
            [b'M', b'A', b'C', b'=', ..] | [b'P', b'H', b'Y', b'S', ..] => end = word - 1,
            _ => return None,
        }
    }
}

/// Whether `line`, which has no body, is the rest of a LOG line of a SYN whose beginning was cut off, or stands on the
/// line before, since a terminal wrapped it.
pub(crate) fn is_headless(line: &[u8]) -> bool {
    let Some(at) = memmem::find(line, b" SYN URGP=") else { return false };
    // Nothing but other flags precedes it, behind a field.
    let mut flags = line[..at].rsplit(|b| *b == b' ').take_while(|word| !word.contains(&b'='));
    !flags.any(|flag| flag == b"ACK")
}

/// Whether `line` is a LOG line, of any packet.
pub(crate) fn is_log_line(line: &[u8]) -> bool {
    let Some(at) = find(line) else { return false };
    let body = &line[at..];
    [&b" SRC="[..], b" DST=", b" LEN="].iter().all(|field| memmem::find(body, field).is_some())
}

/// Whether `line` is of a TCP packet that ipchains (Linux 2.2) logged as it came in.
pub(crate) fn is_of_ipchains(line: &[u8]) -> bool {
    memmem::find(line, b"Packet log: ").is_some_and(|at| {
        let rest = &line[at + 12..];
        memmem::find(rest, b" PROTO=6 ").is_some() && !rest.starts_with(b"output ")
    })
}

/// Whether `line`, the last one of a log, is a LOG line that was cut and may be of a TCP packet.
pub(crate) fn is_cut(line: &[u8]) -> bool {
    let Some(at) = find(line) else {
        // Cut in the first field.
        return line.rsplit(|b| *b == b' ').next().is_some_and(|word| word.starts_with(b"IN="));
    };
    let body = &line[at..];
    if memmem::find(body, b" URGP=").is_some() || memmem::find(body, b" ARP ").is_some() {
        return false;
    }
    let Some(at) = memmem::find(body, b" PROTO=") else { return true };
    let rest = &body[at + 7..];
    match rest.iter().position(|b| *b == b' ') {
        Some(end) => matches!(&rest[..end], b"TCP" | b"6"),
        None => b"TCP".starts_with(rest) || rest == b"6",
    }
}

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Body {
    read_common(body).unwrap_or_else(|| read_general(body))
}

/// Reads the body of a SYN over IPv4 without IP or TCP options, its fields in the order in which
/// the kernel writes them. These are most lines of a log. `None`: the body has another form. The
/// result is that of [`read_general`], in a third of the time.
fn read_common(body: &[u8]) -> Option<Body> {
    let at = SRC.find(body)?;
    let (inward, outward) = interfaces(&body[..at])?;
    let mut rest = Cursor(&body[at + 5..]);
    let client = ipv4(rest.word())?;
    rest.require(b" DST=")?;
    let server = ipv4(rest.word())?;
    for name in [&b" LEN="[..], b" TOS=", b" PREC=", b" TTL="] {
        rest.require(name)?;
        rest.word();
    }
    rest.require(b" ID=")?;
    let id: u16 = number(rest.word())?;
    rest.eat(b" DF");
    rest.require(b" PROTO=TCP SPT=")?;
    let client_port = number(rest.word())?;
    rest.require(b" DPT=")?;
    let server_port = number(rest.word())?;
    let mut isn = None;
    if rest.eat(b" SEQ=") {
        isn = Some(number(rest.word())?);
        rest.require(b" ACK=")?;
        rest.word();
    }
    for name in [&b" WINDOW="[..], b" RES="] {
        rest.require(name)?;
        rest.word();
    }
    rest.require(b" SYN URGP=")?;
    rest.word();
    if !rest.0.trim_ascii_end().is_empty() {
        return None;
    }
    if !inward && outward {
        return Some(Body::Other);
    }
    let ends = Ends {
        client: Host::v4(client),
        client_port: Some(client_port),
        server: Host::v4(server),
        server_port: Some(server_port),
    };
    let id = Some(id).filter(|id| *id != 0);
    Some(Body::Tells(Packet { ends, kind: PacketKind::Syn, isn, server_isn: None, id }))
}

/// Returns whether `IN=` and `OUT=` have values; `None` if anything but `MAC=` follows.
fn interfaces(front: &[u8]) -> Option<(bool, bool)> {
    // A bracket that ends a value is no part of it.
    if memchr::memchr(b']', front).is_some() {
        return None;
    }
    let mut rest = Cursor(front);
    rest.require(b"IN=")?;
    let inward = !rest.word().is_empty();
    rest.require(b" OUT=")?;
    let outward = !rest.word().is_empty();
    if rest.eat(b" MAC=") {
        let odd = |b: &u8| matches!(b, b' ' | b'[' | b'(');
        return (!rest.0.iter().any(odd)).then_some((inward, outward));
    }
    rest.0.is_empty().then_some((inward, outward))
}

/// Reads a body of any form.
fn read_general(body: &[u8]) -> Body {
    let mut fields = Fields::default();
    let mut words = body.split(|b| *b == b' ');
    while let Some(word) = words.next() {
        match word {
            // The packet that caused an ICMP error follows.
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

/// Reads an address, or the word that replaces an anonymised address.
fn address_or_mask(value: &[u8]) -> Option<Host> {
    let is_word = value.iter().any(u8::is_ascii_alphabetic);
    Host::address(value).or_else(|| Host::address_or_name(value).filter(|_| is_word))
}

/// Identifies the place where a packet was logged: a hash of the rule's prefix and of the
/// interfaces at the beginning of `body`.
pub(crate) fn point(prefix: &[u8], body: &[u8]) -> u32 {
    let mut blanks = memchr::memchr_iter(b' ', body);
    let interfaces = &body[..blanks.nth(1).unwrap_or(body.len())];
    deduplicate::point((without_uptime(prefix), interfaces))
}

/// Whether the prefix of a rule says that it refuses what it logs: `[UFW BLOCK] `, `DROP`, `filter_IN_public_REJECT: `, or `[WAN_IN-3001-D]` of
/// VyOS and UniFi.
pub(crate) fn is_of_refusal(prefix: &[u8]) -> bool {
    const WORDS: [&str; 9] = [
        "BLOCK",
        "BLOCKED",
        "DROP",
        "DROPPED",
        "REJECT",
        "REJECTED",
        "DENY",
        "DENIED",
        "BLACKLIST",
    ];
    let rule = without_uptime(prefix).trim_ascii();
    let is_word = |word: &[u8]| WORDS.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()));
    rule.split(|b| !b.is_ascii_alphanumeric()).any(is_word)
        || rule.ends_with(b"-D]")
        || rule.ends_with(b"-R]")
}

/// Removes the kernel's own stamp, such as `[ 1485.291490] `, and what precedes it.
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
            // Flags follow the ports.
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
        // A SYN that leaves this machine is an outbound connection; a SYN+ACK that leaves it answers
        // an inbound one.
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
            Packet { ends: ends.turned(), kind: PacketKind::SynAck, isn, server_isn, id: None }
        } else {
            let id = self.id.and_then(number).filter(|id| *id != 0);
            let isn = self.seq.and_then(number);
            Packet { ends, kind: PacketKind::Syn, isn, server_isn: None, id }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYN: &str = "IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
        SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP \
        SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN URGP=0 ";

    const SYN_WITH_SEQ: &str = "IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
        SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP \
        SPT=40755 DPT=4711 SEQ=4294967295 ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0 ";

    #[test]
    fn prefixes_of_rules_that_refuse() {
        for (prefix, want) in [
            (" gw1 kernel: [ 1234.567890] [UFW BLOCK] ", true),
            (" gw1 kernel: DROP ", true),
            (" gw1 kernel: \"filter_IN_public_REJECT: \"", true),
            (" gw1 kernel: Shorewall:net2fw:DROP:", true),
            (" gw1 kernel: Firewall: *TCP_IN Blocked* ", true),
            (" kernel: [ 1.2] reject wan in: ", true),
            (" UDM kernel: [WAN_IN-3001-D]", true),
            (" UDM kernel: [WAN_IN-3001-A]", false),
            (" gw1 kernel: [ 1234.567890] [UFW ALLOW] ", false),
            (" gw1 kernel: DROPBOX ", false),
            ("", false),
        ] {
            assert_eq!(is_of_refusal(prefix.as_bytes()), want, "{prefix}");
        }
    }

    fn tells(body: &str) -> Option<String> {
        let at = find(body.as_bytes())?;
        match read(&body.as_bytes()[at..]) {
            Body::Tells(p) => Some(format!(
                "{:?} {}:{} {}:{} {:?} {:?}",
                p.kind,
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
    fn a_prefix_may_contain_names_of_fields() {
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
    fn all_forms_of_a_body_are_read() {
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
    fn an_outgoing_answer_belongs_to_an_inbound_connection() {
        let body = "IN= OUT=eth0 SRC=192.0.2.77 DST=198.51.100.10 ID=0 DF PROTO=TCP SPT=80 \
            DPT=40755 SEQ=1 ACK=8 WINDOW=65160 RES=0x00 ACK SYN URGP=0";
        assert_eq!(tells(body).unwrap(), "SynAck 198.51.100.10:40755 192.0.2.77:80 Some(7) None");
    }

    #[test]
    fn usual_bodies_have_the_common_form() {
        assert!(read_common(SYN_WITH_SEQ.as_bytes()).is_some());
        for (from, to) in
            [(" SEQ=4294967295 ACK=0", ""), (" DF", ""), ("OUT= ", "OUT=a "), ("ens19", "")]
        {
            assert!(read_common(SYN_WITH_SEQ.replace(from, to).as_bytes()).is_some(), "{to}");
        }
    }

    #[test]
    fn a_bracket_behind_an_interface_is_no_interface() {
        let body = SYN_WITH_SEQ.replace("ens19", "").replace("OUT=", "OUT=]");
        assert_eq!(read(body.as_bytes()), read_general(body.as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Words are left out, repeated, changed, or damaged.
        #[test]
        fn the_common_form_is_read_as_the_general_form(
            changes in prop::collection::vec((0..24usize, 0..6u8, 0..64usize, any::<u8>()), 0..4),
        ) {
            let mut words: Vec<Vec<u8>> = SYN_WITH_SEQ.split(' ').map(|w| w.as_bytes().to_vec()).collect();
            for (word, change, at, byte) in changes {
                let word = word % words.len();
                let extra = ["IN=", "OUT=x", "SYN", "ACK", "RST", "(", "[SRC=1.2.3.4", "ID=7", "UID=0"];
                match change {
                    0 => drop(words.remove(word)),
                    1 => words.insert(word, words[word].clone()),
                    2 => words.insert(word, extra[at % extra.len()].into()),
                    3 if !words[word].is_empty() => {
                        let at = at % words[word].len();
                        words[word][at] = byte;
                    }
                    4 => words[word].push(b"0 ])9"[at % 5]),
                    _ => words[word].truncate(at),
                }
            }
            let line = words.join(&b' ');
            if let Some(at) = find(&line)
                && let Some(common) = read_common(&line[at..])
            {
                prop_assert_eq!(common, read_general(&line[at..]));
            }
        }
    }
}
