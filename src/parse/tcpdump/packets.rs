//! [`Packets`]: finds packets in lines. `-v` writes two lines for a packet, `-x` more.

use super::line::{self, Line};
use crate::parse::timestamp::Stamp;

/// The lines of one text, in their order.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// All packets have stamps of one kind; what has another is a payload (`-A`).
    style: Option<std::mem::Discriminant<Stamp>>,
    /// The IP header of the next line's packet: its stamp and its IP ID.
    header: Option<(Stamp, Option<u16>)>,
}

impl Packets {
    /// Reads the next line, which `split` divides into its stamp and the rest. Gives the stamp of
    /// the packet, what the line is, and the IP ID from the line before.
    pub(crate) fn next(
        &mut self,
        text: &[u8],
        split: impl Fn(&[u8]) -> (Stamp, &[u8]),
    ) -> (Stamp, Line, Option<u16>) {
        match text {
            [] => return (Stamp::None, Line::Other, None),
            // A dump (-x, -X), or the packet that an ICMP error is about (-v).
            [b'\t', ..] => {
                self.header = None;
                return (Stamp::None, Line::Other, None);
            }
            _ => {}
        }
        if let (Some((stamp, id)), Some(text)) = (self.header, text.strip_prefix(b"    "))
            && !text.starts_with(b" ")
        {
            self.header = None;
            return (stamp, line::read(text), id);
        }
        let (stamp, rest) = split(text);
        let style = std::mem::discriminant(&stamp);
        // No need to look closer at what cannot be a packet.
        let fits = self.style.is_none_or(|known| known == style);
        let read = if fits { line::read(rest) } else { Line::Other };
        if read != Line::Other {
            self.style = Some(style);
        }
        self.header = match read {
            Line::Header(id) => Some((stamp, id)),
            _ => None,
        };
        (if fits { stamp } else { Stamp::None }, read, None)
    }

    /// Whether the line of a packet is missing whose header came before.
    pub(crate) fn awaits_packet(&self) -> bool {
        self.header.is_some()
    }
}
