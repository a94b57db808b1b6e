//! [`Peer`]: the ends of a connection in a line.

use crate::parse::digits::number;
use crate::parse::host::Host;

/// What a line says after the mark. Without a client it shows that connections are logged, and is of none that counts.
pub(in crate::parse) struct Peer {
    pub client: Option<(Host, Option<u16>)>,
    pub server: Option<(Host, u16)>,
    pub server_port: Option<u16>,
}

/// A client, where the line does not name the server's end.
pub(super) fn client(host: Host, port: Option<u16>) -> Peer {
    Peer { client: Some((host, port)), server: None, server_port: None }
}

/// A connection of a Unix socket, or the end of one.
pub(super) const NONE: Peer = Peer { client: None, server: None, server_port: None };

/// `198.51.100.7:40755`, `[2001:db8::7]:40755`, `2001:db8::7:40755`, and what is no part of it.
pub(super) fn address(text: &[u8]) -> Option<((Host, u16), &[u8])> {
    let word = text.iter().take_while(|b| !b" \t,;\"<#".contains(b)).count();
    let (word, rest) = text.split_at(word);
    let word = word.strip_suffix(b".").unwrap_or(word);
    let (host, port) = Host::before_colon(word)?;
    Some(((host, number(port)?), rest))
}
