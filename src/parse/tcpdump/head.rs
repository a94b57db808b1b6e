//! What stands before the flags of a packet: its ends, the link it was seen on, and the rule of pf that it met.

use std::sync::LazyLock;

use memchr::memmem::{self, FinderRev};

use crate::parse::deduplicate;
use crate::parse::host::{Ends, Host};
use crate::parse::services;

pub(super) static ARROW: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b" > "));

/// What is before and behind the `: ` that follows the last ` > ` that has one.
pub(super) fn head_and_body(text: &[u8]) -> Option<(&[u8], &[u8])> {
    ARROW.rfind_iter(text).find_map(|arrow| {
        let colon = arrow + memmem::find(&text[arrow..], b": ")?;
        Some((&text[..colon], &text[colon + 2..]))
    })
}

/// The ends, from the last `A.P > B.Q`. Behind IPv6 extension headers it has the ports only; the
/// addresses stand before.
pub(super) fn ends(head: &[u8]) -> Option<Ends> {
    let (from, to, before) = last_pair(head)?;
    // tcpdump 3.9 puts no blank behind the options of an extension header: `DSTOPT (padn)46267`.
    let from = memchr::memrchr(b')', from).map_or(from, |at| &from[at + 1..]);
    let number_or_service = |t: &[u8]| !t.contains(&b'.') && !t.contains(&b':');
    if number_or_service(from) && number_or_service(to) {
        let (client, server, _) = last_pair(before)?;
        return Some(Ends {
            client: Host::address_or_name(client)?,
            client_port: services::port(from),
            server: Host::address_or_name(server.strip_suffix(b":").unwrap_or(server))?,
            server_port: services::port(to),
        });
    }
    let split = |end: &'_ [u8]| {
        let dot = memchr::memrchr(b'.', end)?;
        Some((Host::address_or_name(&end[..dot])?, services::port(&end[dot + 1..])))
    };
    let ((client, client_port), (server, server_port)) = (split(from)?, split(to)?);
    Some(Ends { client, client_port, server, server_port })
}

/// The words around the last ` > `, and what is before them.
fn last_pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let arrow = ARROW.rfind(text)?;
    let start = text[..arrow].iter().rposition(|b| matches!(b, b' ' | b'\t')).map_or(0, |n| n + 1);
    let right = &text[arrow + 3..];
    let end = memchr::memchr(b' ', right).unwrap_or(right.len());
    Some((&text[start..arrow], &right[..end], &text[..start]))
}

/// What pf did with a packet, by `rule 3/0(match): pass in on em0: …` of its log interface (`-i pflog0
/// -e`), or `rule 3/(match) pass in on em0: …` of OpenBSD's tcpdump: whether it came in, and whether it was blocked.
pub(super) fn pf_rule(head: &[u8]) -> Option<(bool, bool)> {
    let at = memmem::find(head, b"rule ")?;
    let rule = (at == 0 || head[at - 1] == b' ').then(|| &head[at + 5..])?;
    let mut action: &[u8] = b"";
    let mut words = rule.split(|b| *b == b' ');
    let inward = loop {
        match words.next()? {
            b"in" => break true,
            b"out" => break false,
            word => action = word,
        }
    };
    Some((inward, action == b"block"))
}

/// `ens19 In  IP …` of libpcap 1.10, ` In 02:00:… ethertype …` of those before (`-e`).
pub(super) fn inward(head: &[u8]) -> Option<bool> {
    let mut words = head.split(|b| *b == b' ').filter(|w| !w.is_empty()).take(2);
    words.find_map(|word| match word {
        b"In" => Some(true),
        b"Out" => Some(false),
        _ => None,
    })
}

/// A hash of the interface (`ens19 In  IP …`), or of the sender's address on the link (`-e`).
pub(super) fn point(head: &[u8]) -> Option<u32> {
    let mut words = head.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let is_way = |word: &[u8]| matches!(word, b"In" | b"Out" | b"P" | b"B" | b"M");
    let is_mac = |word: &[u8]| word.len() == 17 && word.iter().filter(|b| **b == b':').count() == 5;
    let (first, second) = (words.next()?, words.next()?);
    let name = if is_way(second) || is_mac(first) {
        first
    } else if is_way(first) && is_mac(second) {
        second
    } else {
        return None;
    };
    Some(deduplicate::point(name))
}
