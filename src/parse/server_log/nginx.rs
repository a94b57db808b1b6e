//! nginx's lines of accepted connections.

use std::hash::{DefaultHasher, Hasher};

use super::peer::{NONE, Peer, address, client};
use crate::parse::cursor::Cursor;

/// `2026/11/22 10:58:42 [debug] 912#912: *1`.
pub(super) fn is_message(before: &[u8]) -> bool {
    let mut cursor = Cursor(before);
    let is_process = |cursor: &mut Cursor<'_>| {
        cursor.number_up_to(10)?;
        cursor.require(b"#")?;
        cursor.number_up_to(10)?;
        cursor.require(b": *")?;
        cursor.number_up_to(18)?;
        Some(())
    };
    let level = |cursor: &mut Cursor<'_>| {
        cursor.iso()?;
        cursor.require(b" [")?;
        let rest =
            cursor.0.strip_prefix(b"debug] ").or_else(|| cursor.0.strip_prefix(b"info] "))?;
        cursor.0 = rest;
        is_process(cursor)
    };
    level(&mut cursor).is_some() && cursor.0.is_empty()
}

/// The process, the thread and the connection in the text before a message of nginx, as one number. Workers number the
/// connections of all of them.
pub(super) fn number(before: &[u8]) -> u64 {
    let words = before.rsplitn(3, |b| *b == b' ').take(2);
    words
        .fold(DefaultHasher::new(), |mut hasher, word| {
            hasher.write(word);
            hasher
        })
        .finish()
}

/// `198.51.100.7:40755 fd:3`.
pub(super) fn debug(text: &[u8]) -> Option<Peer> {
    if text.starts_with(b"unix: ") {
        return Some(NONE);
    }
    let ((host, port), rest) = address(text)?;
    rest.starts_with(b" fd:").then(|| client(host, Some(port)))
}

/// `198.51.100.7:40755 connected to 0.0.0.0:5432`; the end of the server is where it listens.
pub(super) fn stream(text: &[u8]) -> Option<Peer> {
    if text.starts_with(b"unix: ") || text.starts_with(b"disconnected") {
        return Some(NONE);
    }
    let ((host, port), rest) = address(text)?;
    let to = rest.strip_prefix(b" connected to ")?;
    let server_port = address(to).map(|((_, port), _)| port);
    Some(Peer { server_port, ..client(host, Some(port)) })
}

/// Whether `text` is the beginning of what [`stream`] reads.
pub(super) fn is_cut_stream(text: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_hexdigit() || b".:[]".contains(b);
    let rest = address(text).map(|(_, rest)| rest);
    rest.map_or(text.iter().all(is_part), |rest| b" connected to ".starts_with(rest))
}
