//! The flags and sequence numbers of a packet, in the form of tcpdump 4.0 and in the form before.

use memchr::memmem;

use crate::parse::cursor::Cursor;
use crate::parse::deduplicate::PacketKind;

/// The flags and sequence numbers of a packet.
pub(super) struct PacketFlags {
    /// `None`: nothing about a connection.
    pub kind: Option<PacketKind>,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The server's, of a SYN+ACK; the sequence number of a RST.
    pub server_isn: Option<u32>,
    /// It does nothing but acknowledge.
    pub is_acknowledgement: bool,
}

fn packet_flags(
    syn: bool,
    ack: bool,
    end: (bool, bool),
    seq: Option<u32>,
    acked: Option<u32>,
) -> PacketFlags {
    let (fin, rst) = end;
    let kind = match (syn, ack) {
        // No system opens a connection with these.
        (true, _) if fin || rst => None,
        (true, false) => Some(PacketKind::Syn),
        (true, true) => Some(PacketKind::SynAck),
        (false, true) if !rst => Some(PacketKind::Onward),
        (false, _) if rst => PacketKind::of_rst(ack, seq),
        (false, _) => None,
    };
    let isn = match kind {
        Some(PacketKind::Syn) => seq,
        Some(PacketKind::SynAck) => acked.map(|n| n.wrapping_sub(1)),
        // The numbers of the second RST on the same ports are relative to those of the first: its sequence number is 0
        // all the same.
        Some(PacketKind::Rst) if seq != Some(0) => acked.map(|n| n.wrapping_sub(1)),
        _ => None,
    };
    let server_isn = seq.filter(|_| kind.is_some_and(PacketKind::is_of_server));
    PacketFlags { kind, isn, server_isn, is_acknowledgement: false }
}

/// `S.], seq 121917192, ack 3510996926, win …`
pub(super) fn new_flags(body: &[u8]) -> Option<PacketFlags> {
    let close = memchr::memchr(b']', &body[..body.len().min(16)])?;
    let flags = &body[..close];
    let has = |flag: u8| flags.contains(&flag);
    let value = |name: &[u8]| {
        let at = memmem::find(body, name)? + name.len();
        let mut cursor = Cursor(&body[at..]);
        let number = u32::try_from(cursor.number_up_to(10)?).ok();
        // At the end of a line that was wrapped, digits may be missing.
        number.filter(|_| !cursor.0.is_empty())
    };
    if !has(b'S') && !has(b'R') {
        let is_acknowledgement = flags == b"." && body.trim_ascii_end().ends_with(b", length 0");
        let flags = packet_flags(false, has(b'.'), (has(b'F'), false), None, None);
        return Some(PacketFlags { is_acknowledgement, ..flags });
    }
    let end = (has(b'F'), has(b'R'));
    Some(packet_flags(has(b'S'), has(b'.'), end, value(b", seq "), value(b", ack ")))
}

/// The flags that a body begins with as before 4.0, and what follows them.
pub(super) fn old_flag_letters(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|b| matches!(b, b' ' | b',')).unwrap_or(body.len());
    let (flags, rest) = body.split_at(end);
    let known = !flags.is_empty() && flags.iter().all(|b| b"SFRPWEU.".contains(b));
    known.then_some((flags, rest))
}

/// Passes what stands between the flags and the numbers: `, cksum 0x1234 (correct),` of 3.9,
/// `[tcp sum ok]` and `[bad tcp cksum 1234 (->5678)!]` of those before and of OpenBSD, which
/// also has `(src OS: …)`. False if the packet ends there.
fn pass_remarks(cursor: &mut Cursor<'_>) -> bool {
    loop {
        cursor.eat(b",");
        cursor.blanks();
        if cursor.eat(b"cksum ") {
            let Some(at) = memchr::memchr(b')', cursor.0) else { return false };
            cursor.0 = &cursor.0[at + 1..];
        } else if cursor.0.starts_with(b"[|tcp]") || cursor.0.starts_with(b"[bad hdr length") {
            return false;
        } else if let Some(length) = bracketed(cursor.0) {
            cursor.0 = &cursor.0[length..];
        } else {
            return true;
        }
    }
}

/// The length of the bracket that `text` begins with, with those in it.
fn bracketed(text: &[u8]) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'[' | b'(' => depth += 1,
            b']' | b')' if depth == 1 => return Some(at + 1),
            b']' | b')' => depth -= 1,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// `S 121917192:121917192(0) ack 3510996926 win …`, as before 4.0.
pub(super) fn old_flags(body: &[u8]) -> Option<PacketFlags> {
    let (flags, rest) = old_flag_letters(body)?;
    let mut cursor = Cursor(rest);
    let has = |flag: u8| flags.contains(&flag);
    if !pass_remarks(&mut cursor) {
        // Whether it is a SYN or its answer would follow.
        return None;
    }
    let mut seq = None;
    let mut numbers = cursor;
    if let Some(first) = numbers.number_up_to(10) {
        if !numbers.eat(b":") || numbers.number_up_to(10).is_none() || !numbers.eat(b"(") {
            return None;
        }
        seq = u32::try_from(first).ok();
    } else if !cursor.0.starts_with(b"ack ") && !cursor.0.starts_with(b"win ") {
        return None;
    }
    let acked = if cursor.0.starts_with(b"ack ") {
        Some(4)
    } else {
        memmem::find(&cursor.0[..cursor.0.len().min(80)], b") ack ").map(|at| at + 6)
    };
    if has(b'S') && !has_all_of_syn(cursor.0) {
        return None;
    }
    let acked = acked.and_then(|at| Cursor(&cursor.0[at..]).number_up_to(10));
    let acked_number = acked.and_then(|n| u32::try_from(n).ok());
    let is_acknowledgement = flags == b"." && seq.is_none();
    let flags = packet_flags(has(b'S'), acked.is_some(), (has(b'F'), has(b'R')), seq, acked_number);
    Some(PacketFlags { is_acknowledgement, ..flags })
}

/// Whether what follows the flags of a SYN goes on behind its acknowledgement, which makes it an answer: the line may
/// have been wrapped before.
fn has_all_of_syn(text: &[u8]) -> bool {
    let begins = [&b"win "[..], b"ack "].iter().any(|word| text.starts_with(word));
    begins || memmem::find(text, b" win ").is_some() || memmem::find(text, b") ack ").is_some()
}
