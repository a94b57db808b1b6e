//! The body of the lines that are most of a log: a SYN over IPv4, with its fields as the kernel
//! writes them and no options. [`body::read`](super::body::read) says the same of it, in three
//! times the time.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::body::{Body, Packet};
use crate::parse::deduplicate::PacketKind;
use crate::parse::host::{Ends, Host};

static SRC: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" SRC="));

/// Reads a body; `None` if it is of another form.
pub fn read(body: &[u8]) -> Option<Body> {
    let at = SRC.find(body)?;
    let (inward, outward) = interfaces(&body[..at])?;
    let mut rest = Rest(&body[at + 5..]);
    let client = rest.address()?;
    rest.pass(b" DST=")?;
    let server = rest.address()?;
    for name in [&b" LEN="[..], b" TOS=", b" PREC=", b" TTL="] {
        rest.pass(name)?;
        rest.word();
    }
    rest.pass(b" ID=")?;
    let id = rest.number()?;
    // Without a warning if it is not there.
    let _ = rest.pass(b" DF");
    rest.pass(b" PROTO=TCP SPT=")?;
    let client_port = rest.number()?;
    rest.pass(b" DPT=")?;
    let server_port = rest.number()?;
    let mut isn = None;
    if rest.pass(b" SEQ=").is_some() {
        isn = Some(rest.number()?);
        rest.pass(b" ACK=")?;
        rest.word();
    }
    for name in [&b" WINDOW="[..], b" RES="] {
        rest.pass(name)?;
        rest.word();
    }
    rest.pass(b" SYN URGP=")?;
    rest.word();
    if !rest.0.trim_ascii_end().is_empty() {
        return None;
    }
    if !inward && outward {
        return Some(Body::Other);
    }
    let ends = Ends {
        client: Host::Ip(client.into()),
        client_port: Some(client_port.try_into().ok()?),
        server: Host::Ip(server.into()),
        server_port: Some(server_port.try_into().ok()?),
    };
    let id = Some(id.try_into().ok()?).filter(|id| *id != 0);
    Some(Body::Tells(Packet { ends, part: PacketKind::Syn, isn, server_isn: None, id }))
}

/// Whether `IN=` and `OUT=` have a value, if nothing but `MAC=` follows.
fn interfaces(front: &[u8]) -> Option<(bool, bool)> {
    let mut rest = Rest(front);
    rest.pass(b"IN=")?;
    let inward = rest.word() > 0;
    rest.pass(b" OUT=")?;
    let outward = rest.word() > 0;
    if rest.pass(b" MAC=").is_some() {
        let odd = |b: &u8| matches!(b, b' ' | b'[' | b'(');
        return (!rest.0.iter().any(odd)).then_some((inward, outward));
    }
    rest.0.is_empty().then_some((inward, outward))
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    #[inline]
    fn pass(&mut self, what: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(what)?;
        Some(())
    }

    /// Passes what comes before the next blank; gives how much that was.
    #[inline]
    fn word(&mut self) -> usize {
        let n = self.0.iter().take_while(|b| **b != b' ').count();
        self.0 = &self.0[n..];
        n
    }

    /// A number that is followed by a blank.
    #[inline]
    fn number(&mut self) -> Option<u32> {
        let mut value = 0_u64;
        for (n, b) in self.0.iter().take(11).enumerate() {
            match b {
                b'0'..=b'9' => value = value * 10 + u64::from(b - b'0'),
                b' ' if n > 0 => {
                    self.0 = &self.0[n..];
                    return u32::try_from(value).ok();
                }
                _ => return None,
            }
        }
        None
    }

    /// An address that is followed by a blank.
    #[inline]
    fn address(&mut self) -> Option<Ipv4Addr> {
        let (mut address, mut octet, mut digits, mut octets) = (0_u32, 0_u32, 0, 0);
        for (n, b) in self.0.iter().take(16).enumerate() {
            match b {
                b'0'..=b'9' if digits == 0 || (1..26).contains(&octet) => {
                    octet = octet * 10 + u32::from(b - b'0');
                    digits += 1;
                }
                b'.' | b' ' if digits > 0 && octet < 256 => {
                    address = address << 8 | octet;
                    octets += 1;
                    (octet, digits) = (0, 0);
                    if *b == b' ' {
                        self.0 = &self.0[n..];
                        return (octets == 4).then(|| Ipv4Addr::from(address));
                    }
                }
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body;
    use super::*;

    const SYN: &str = "IN=ens19 OUT= MAC=02:00:5e:77:00:01:02:00:5e:77:00:fe:08:00 \
        SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP \
        SPT=40755 DPT=4711 SEQ=4294967295 ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0 ";

    #[test]
    fn addresses() {
        for text in
            ["0.0.0.0", "255.255.255.255", "256.0.0.1", "01.2.3.4", "1.2.3", "1..2.3", "9999999999"]
        {
            let line = format!("{text} ");
            assert_eq!(Rest(line.as_bytes()).address(), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_it_reads() {
        assert!(read(SYN.as_bytes()).is_some());
        for (from, to) in
            [(" SEQ=4294967295 ACK=0", ""), (" DF", ""), ("OUT= ", "OUT=a "), ("ens19", "")]
        {
            assert!(read(SYN.replace(from, to).as_bytes()).is_some(), "{to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Words left out, doubled, changed, or damaged.
        #[test]
        fn says_what_the_other_says(
            changes in prop::collection::vec((0..24usize, 0..6u8, 0..64usize, any::<u8>()), 0..4),
        ) {
            let mut words: Vec<Vec<u8>> = SYN.split(' ').map(|w| w.as_bytes().to_vec()).collect();
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
            if let Some(at) = body::find(&line)
                && let Some(fast_path) = read(&line[at..])
            {
                prop_assert_eq!(fast_path, body::general(&line[at..]));
            }
        }
    }
}
