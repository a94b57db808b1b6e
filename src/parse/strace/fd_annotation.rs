//! Reads the annotation of a descriptor (`-y`, `-yy`), between angle brackets.

use super::sockaddr::{End, text};
use crate::model::connection::canonical;
use crate::parse::cursor::{Cursor, unescape};

/// The meaning of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum FdAnnotation {
    /// There is none.
    #[default]
    None,
    /// `socket:[N]`: a socket with this inode, of any family.
    Inode(u64),
    /// `TCP:[N]`: a TCP socket with this inode.
    Tcp(u64),
    /// `TCP:[LOCAL]` or `TCP:[LOCAL->REMOTE]`.
    Ends(End, Option<End>),
    /// A socket of another kind: a unix socket, UDP.
    Foreign,
    /// A file or a pipe, which no accept has.
    File,
}

/// Reads an annotation and what may follow it: `(deleted)`, and a security context in brackets.
#[inline]
pub(crate) fn fd_annotation(c: &mut Cursor<'_>) -> FdAnnotation {
    if c.peek() != b'<' {
        if c.0.starts_with(b" [") {
            context(c);
        }
        return FdAnnotation::None;
    }
    let Some(end) = end(c.0) else { return FdAnnotation::None };
    let inside = &c.0[1..end];
    c.skip(end + 1);
    c.eat(b"(deleted)");
    if c.0.starts_with(b" [") {
        context(c);
    }
    if inside.starts_with(br"\x") {
        return meaning(&unescape(inside));
    }
    meaning(inside)
}

/// `accept4(3 [unconfined_t], …`: `--secontext` with descriptors.
fn context(c: &mut Cursor<'_>) {
    let near = &c.0[..c.0.len().min(256)];
    if let Some(end) = memchr::memchr(b']', near) {
        c.skip(end + 1);
    }
}

/// The end of the annotation at the beginning of `text`. `>` is escaped except in `->` and in quotes.
fn end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    let mut brackets = 0;
    loop {
        match *text.get(at)? {
            b'\\' => at += 1,
            b'"' => {
                let mut c = Cursor(&text[at..]);
                c.quoted()?;
                at = text.len() - c.0.len();
                continue;
            }
            b'[' => brackets += 1,
            b']' => brackets -= 1,
            b'>' if brackets <= 0 || text[at - 1] != b'-' => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

fn meaning(note: &[u8]) -> FdAnnotation {
    let other = match is_other(note) {
        _ if is_file(note) => FdAnnotation::File,
        true => FdAnnotation::Foreign,
        false => FdAnnotation::None,
    };
    let Some(at) = find_pair(note, *b":[") else { return other };
    let (protocol, rest) = (&note[..at], &note[at + 2..]);
    let Some(inside) = rest.strip_suffix(b"]") else { return other };
    let inode = || Cursor(inside).number().filter(|_| inside.iter().all(u8::is_ascii_digit));
    match protocol {
        b"socket" => inode().map_or(FdAnnotation::None, FdAnnotation::Inode),
        b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" => match inode() {
            Some(inode) => FdAnnotation::Tcp(inode),
            None => ends(inside),
        },
        _ if is_other_protocol(protocol) => FdAnnotation::Foreign,
        _ => other,
    }
}

/// Whether this is the kernel's name of another protocol, such as `ALG` or `AF_VSOCK`. Sockets of SMC accept TCP
/// connections.
fn is_other_protocol(name: &[u8]) -> bool {
    name.len() > 1
        && !name.starts_with(b"SMC")
        && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-/".contains(b))
}

/// Whether this is certainly no TCP socket. What cannot be read is no reason to leave connections
/// out.
fn is_other(note: &[u8]) -> bool {
    // Each length is known to the compiler, which compares without memcmp(3).
    let is_other = note.starts_with(b"UNIX")
        || note.starts_with(b"NETLINK")
        || note.starts_with(b"UDP")
        || note.starts_with(b"RAW")
        || note.starts_with(b"PING")
        || note.starts_with(b"SCTP")
        || note.starts_with(b"DCCP")
        || note.starts_with(b"L2TP")
        || note.starts_with(b"(null)");
    is_other && note.ends_with(b"]")
}

/// Whether this is certainly no socket.
fn is_file(note: &[u8]) -> bool {
    note.starts_with(b"/")
        || note.starts_with(b"pipe:")
        || note.starts_with(b"anon_inode:")
        || note.starts_with(b"char ")
        || note.starts_with(b"block ")
}

/// Where two bytes are first. Annotations are so short that a search of memchr takes longer to set up.
fn find_pair(text: &[u8], pair: [u8; 2]) -> Option<usize> {
    text.windows(2).position(|two| two == pair)
}

fn ends(inside: &[u8]) -> FdAnnotation {
    let (local, remote) = match find_pair(inside, *b"->") {
        Some(at) => (&inside[..at], Some(&inside[at + 2..])),
        None => (inside, None),
    };
    match end_of(local) {
        Some(local) => FdAnnotation::Ends(local, remote.and_then(end_of)),
        // TCP all the same.
        None => FdAnnotation::Tcp(0),
    }
}

/// `1.2.3.4:80`, `[::1]:80`, and `::1:80` as 4.10 to 4.21 wrote it.
fn end_of(end: &[u8]) -> Option<End> {
    let colon = memchr::memrchr(b':', end)?;
    let mut digits = Cursor(&end[colon + 1..]);
    let port = u16::try_from(digits.number()?).ok().filter(|_| digits.0.is_empty())?;
    let ip = &end[..colon];
    let ip = ip.strip_prefix(b"[").and_then(|ip| ip.strip_suffix(b"]")).unwrap_or(ip);
    Some(End { ip: canonical(text(ip)?), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str, port: u16) -> End {
        End { ip: ip.parse().unwrap(), port }
    }

    #[test]
    fn annotations_of_descriptors_are_read_in_every_form() {
        let cases: &[(&str, FdAnnotation)] = &[
            ("", FdAnnotation::None),
            ("<socket:[1935294]>", FdAnnotation::Inode(1_935_294)),
            ("<TCP:[7951995]>", FdAnnotation::Tcp(7_951_995)),
            ("<TCP:[0.0.0.0:27315]>", FdAnnotation::Ends(at("0.0.0.0", 27315), None)),
            ("<TCPv6:[[::]:24151]>", FdAnnotation::Ends(at("::", 24151), None)),
            ("<TCPv6:[:::27305]>", FdAnnotation::Ends(at("::", 27305), None)),
            (
                "<TCP:[127.0.0.1:24104->127.0.0.5:37729]>",
                FdAnnotation::Ends(at("127.0.0.1", 24104), Some(at("127.0.0.5", 37729))),
            ),
            (
                "<TCPv6:[[::ffff:127.0.0.1]:24140->[::ffff:127.0.0.90]:42185]>",
                FdAnnotation::Ends(at("127.0.0.1", 24140), Some(at("127.0.0.90", 42185))),
            ),
            (
                "<TCPv6:[::ffff:127.0.0.1:27306->::ffff:127.0.0.3:46303]>",
                FdAnnotation::Ends(at("127.0.0.1", 27306), Some(at("127.0.0.3", 46303))),
            ),
            (
                "<TCPv6:[::1:27305->::1:42281]>",
                FdAnnotation::Ends(at("::1", 27305), Some(at("::1", 42281))),
            ),
            (r#"<UNIX-STREAM:[1912589,@"\x6f\x64"]>"#, FdAnnotation::Foreign),
            (r#"<UNIX-STREAM:[1922740->1922739,@"a>b]>"]>"#, FdAnnotation::Foreign),
            (r#"<(null):[16257723,"\x2f\x74"]>"#, FdAnnotation::Foreign),
            (r"</tmp/a, b) = 5\76>", FdAnnotation::File),
            ("</tmp/gone>(deleted)", FdAnnotation::File),
            ("<UDP:[0.0.0.0:53]>", FdAnnotation::Foreign),
            ("<ALG:[28312]>", FdAnnotation::Foreign),
            ("<AF_VSOCK:[28312]>", FdAnnotation::Foreign),
            ("<SMC:[28312]>", FdAnnotation::None),
            ("<UDP:[,  <unfinished ...>", FdAnnotation::None),
            (r"<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x37\x5d>", FdAnnotation::Inode(7)),
            ("<socket:[5]> [system_u:r:t]", FdAnnotation::Inode(5)),
            (" [system_u:r:t]", FdAnnotation::None),
        ];
        for (form, want) in cases {
            let line = format!("{form}, NULL");
            let mut c = Cursor(line.as_bytes());
            assert_eq!(fd_annotation(&mut c), *want, "{form}");
            assert_eq!(c.0, b", NULL", "{form}");
        }
    }
}
