//! Detects prefixes that other programs add to every line of tcpdump's output.
//!
//! They are found by the beginning of the text as a whole. One line is not enough: tcpdump
//! itself begins lines with blanks, tabs, numbers and stamps, and a payload (`-A`) may look like
//! anything.

use super::line::{self, Line};
use super::packets::{Packets, ReadLine};
use crate::parse::decoration::layers::{Layer, Layers, first_lines};
use crate::parse::decoration::wrapper::{MAX_LAYERS, Stripped};
use crate::parse::timestamp::Stamp;

/// The prefixes of a text that begins with `head`.
pub(super) fn of(head: &[u8]) -> Layers {
    let mut lines = first_lines(head);
    let mut layers = Vec::new();
    let mut before = count(&lines);
    while layers.len() < MAX_LAYERS {
        let Some(layer) = Layer::of(&lines) else { break };
        let inner: Option<Vec<&[u8]>> = lines.iter().map(|line| inner(&layer, line)).collect();
        let Some(inner) = inner else { break };
        let after = count(&inner);
        let strip = match layer {
            _ if before.packets == 0 => true,
            Layer::Stamp => after.packets > 0 && after.stamped == after.packets,
            Layer::Other => after.has_all_of(&before) && !is_own(lines[0]),
            Layer::Blanks(_) | Layer::Number => {
                after.packets > before.packets || after.stamped > before.stamped
            }
        };
        if !strip {
            break;
        }
        layers.push(layer);
        (lines, before) = (inner, after);
    }
    Layers(if before.packets == 0 { Vec::new() } else { layers })
}

/// Whether packets in `head` have stamps behind `prefixes`.
pub(super) fn is_stamped(head: &[u8], prefixes: &Layers) -> bool {
    let lines: Vec<&[u8]> = first_lines(head).iter().map(|line| prefixes.strip(line).1).collect();
    count(&lines).stamped > 0
}

/// What follows `layer` in a line.
fn inner<'a>(layer: &Layer, line: &'a [u8]) -> Option<&'a [u8]> {
    layer.strip(line).map(|Stripped { rest, .. }| rest)
}

/// Whether a line begins with an address, as tcpdump prints it without stamps.
fn is_own(line: &[u8]) -> bool {
    let word = line.split(|b| *b == b' ').next().unwrap_or_default();
    word.iter().filter(|b| **b == b':').count() > 1
        && word.iter().all(|b| b.is_ascii_hexdigit() || b":.".contains(b))
}

struct Count {
    packets: usize,
    /// Those with a stamp.
    stamped: usize,
    /// Those whose direction is known, or that pf blocked.
    directed: usize,
}

impl Count {
    /// Whether nothing of what `other` counts was lost: it may have been tcpdump's own.
    fn has_all_of(&self, other: &Count) -> bool {
        self.packets >= other.packets
            && self.stamped >= other.stamped
            && self.directed >= other.directed
    }
}

/// Counts the packets in `lines`.
fn count(lines: &[&[u8]]) -> Count {
    let mut count = Count { packets: 0, stamped: 0, directed: 0 };
    let mut packets = Packets::exact();
    for text in lines {
        let ReadLine { stamp, line, .. } = packets.next(text, line::stamp);
        if !matches!(line, Line::Other | Line::Header(_)) {
            count.packets += 1;
            count.stamped += usize::from(stamp != Stamp::None);
            count.directed += usize::from(line.is_directed());
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: &str =
        "10:58:42.2 IP 198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7, win 1";
    const DUMP: &str = "\t0x0000:  6003 c8e5 0028 0640 2001 0db8 000c 0000  `....(.@........";

    fn stripped(lines: &[String]) -> Vec<String> {
        let text = lines.join("\n") + "\n";
        let prefixes = of(text.as_bytes());
        let strip = |line: &String| String::from_utf8(prefixes.strip(line.as_bytes()).1.to_vec());
        lines.iter().map(|line| strip(line).unwrap()).collect()
    }

    #[test]
    fn prefixes_of_all_lines_are_stripped() {
        let lines = [SYN, DUMP, SYN, DUMP];
        for prefix in [
            "\t",
            "> ",
            "> > ",
            "dump.txt:",
            "web-1  | ",
            "[pod/web-1/app] ",
            "Nov 26 12:00:00 gw1 tcpdump[7]: ",
            "00:00:07 ",
            "2026-11-26T12:00:00.5Z stdout F ",
            "> 2026-11-26 12:00:00 ",
        ] {
            let text = lines.map(|line| format!("{prefix}{line}"));
            assert_eq!(stripped(&text), lines, "{prefix}");
        }
        let mut n = 0;
        let numbered = lines.map(|line| {
            n += 1;
            format!("{n:7} {line}")
        });
        assert_eq!(stripped(&numbered), lines);
        // Blanks matter where a packet has a second line.
        let header = "10:58:42.2 IP (tos 0x0, ttl 64, id 7, proto TCP (6), length 60)".to_owned();
        let packet = "    198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7".to_owned();
        let verbose = [header, packet];
        assert_eq!(stripped(&verbose.clone().map(|line| format!("    {line}"))), verbose);
    }

    #[test]
    fn text_that_tcpdump_prints_itself_is_kept() {
        let a = "IP 198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7, win 1";
        let header = "IP (tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto TCP (6), length 60)";
        for lines in [
            [format!("10:58:42.2 {a}"), format!("10:58:43.2 {a}"), format!("10:58:44.2 {a}")],
            [a.into(), a.into(), a.into()],
            [format!("    1  {a}"), format!("    2  {a}"), format!("    3  {a}")],
            [
                format!("    1  10:58:42.2 {header}"),
                format!("    {}", &a[3..]),
                format!("    2  10:58:43.2 {header}"),
            ],
            [0, 1, 2].map(|_| format!("02:00:5e:77:00:fe > 02:00:5e:77:00:01, {a}")),
            [
                "tcpdump: listening on pflog0, link-type PFLOG (OpenBSD pflog file)".into(),
                format!("10:58:42.2 rule 3/0(match): block in on em0: {}", &a[3..]),
                format!("10:58:43.2 rule 4/0(match): pass out on em0: {}", &a[3..]),
            ],
            [0, 1, 2].map(|_| "2001:db8::1.40755 > 2001:db8::2.80: Flags [S], seq 7, win 1".into()),
        ] {
            assert_eq!(stripped(&lines), lines);
        }
    }
}
