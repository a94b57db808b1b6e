//! What stands before a call: `[pid] [secontext] [wall] [rel] [nr] [ip]`, each of them optional.

use super::cursor::Cursor;

/// Numbers from here on are seconds since 1970, smaller ones process numbers or relative times:
/// process numbers stay below 2^22, and no trace is from before 1973.
const EPOCH: u64 = 100_000_000;

const SECOND: u64 = 1_000_000_000;

/// A time as one line tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stamp {
    /// There is none.
    #[default]
    None,
    /// Nanoseconds since 1970 (`-ttt`).
    Epoch(i64),
    /// Nanoseconds since midnight (`-t`, `-tt`). In a [fact](super::line::Fact): since the
    /// midnight before its block.
    Clock(i64),
    /// Nanoseconds since the line before (`-r`). In a fact: since the block began.
    Since(i64),
}

impl Stamp {
    /// `ns` later.
    pub fn plus(self, ns: i64) -> Stamp {
        match self {
            Stamp::None => Stamp::None,
            Stamp::Epoch(t) => Stamp::Epoch(t.saturating_add(ns)),
            Stamp::Clock(t) => Stamp::Clock(t.saturating_add(ns)),
            Stamp::Since(t) => Stamp::Since(t.saturating_add(ns)),
        }
    }
}

/// What the prefixes told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prefix<'a> {
    /// The thread.
    pub pid: Option<u32>,
    /// Its name, escaped.
    pub comm: Option<&'a [u8]>,
    /// The time.
    pub stamp: Stamp,
}

/// Reads the prefixes of `line`; what is left is the call, or whatever else the line is.
#[inline]
pub fn split(line: &[u8]) -> (Prefix<'_>, Cursor<'_>) {
    let mut c = Cursor(line);
    let mut prefix = Prefix::default();
    pid(&mut c, &mut prefix);
    if c.peek() == b'[' {
        brackets(&mut c);
    }
    prefix.stamp = wall(&mut c);
    match (prefix.stamp, c.peek()) {
        (Stamp::None, b' ' | b'0'..=b'9') => prefix.stamp = relative(&mut c),
        (_, b'(') => {
            let mut probe = c;
            if probe.eat(b"(+") && relative(&mut probe) != Stamp::None {
                c = probe;
            }
        }
        _ => {}
    }
    if c.peek() == b'[' {
        brackets(&mut c);
    }
    (prefix, c)
}

fn pid<'a>(c: &mut Cursor<'a>, prefix: &mut Prefix<'a>) {
    let mut probe = *c;
    let bracket = probe.eat(b"[pid");
    if bracket {
        probe.spaces();
    }
    let Some(number) = probe.number().filter(|n| *n < EPOCH) else { return };
    let mut comm = None;
    if probe.peek() == b'<' {
        // `<` and `>` in a name are escaped.
        let Some(end) = memchr::memchr(b'>', probe.0) else { return };
        comm = Some(&probe.0[1..end]);
        probe.skip(end + 1);
    }
    if bracket && !probe.eat(b"]") {
        return;
    }
    if probe.spaces() == 0 {
        return;
    }
    prefix.pid = u32::try_from(number).ok();
    prefix.comm = comm;
    *c = probe;
}

/// `[label] `, `[ 288] `, `[00007f7a49728f63] `.
fn brackets(c: &mut Cursor<'_>) {
    for _ in 0..3 {
        let near = &c.0[..c.0.len().min(256)];
        let Some(end) = memchr::memchr(b']', near).filter(|_| c.peek() == b'[') else { return };
        if c.0.get(end + 1) != Some(&b' ') {
            return;
        }
        c.skip(end + 2);
    }
}

/// `HH:MM:SS[.FRACTION] ` or `EPOCH[.FRACTION] `.
#[inline]
fn wall(c: &mut Cursor<'_>) -> Stamp {
    let mut probe = *c;
    let stamp = match c.0 {
        [h1, h2, b':', m1, m2, b':', s1, s2, ..] => {
            let two = |a: u8, b: u8| {
                let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
                if a < 10 && b < 10 { u64::from(a * 10 + b) } else { u64::MAX }
            };
            let (h, m, s) = (two(*h1, *h2), two(*m1, *m2), two(*s1, *s2));
            // A leap second is told as :60.
            if h > 23 || m > 59 || s > 60 {
                return Stamp::None;
            }
            probe.skip(8);
            let ns = ((h * 60 + m) * 60 + s) * SECOND + probe.fraction();
            Stamp::Clock(ns as i64)
        }
        [b'0'..=b'9', ..] => {
            let Some(seconds) = probe.number().filter(|n| (EPOCH..EPOCH * 90).contains(n)) else {
                return Stamp::None;
            };
            Stamp::Epoch((seconds * SECOND + probe.fraction()) as i64)
        }
        _ => return Stamp::None,
    };
    if probe.peek() != b' ' {
        return Stamp::None;
    }
    probe.skip(1);
    *c = probe;
    stamp
}

/// `     0.004183 `, or `     0.004183) ` behind `(+`.
fn relative(c: &mut Cursor<'_>) -> Stamp {
    let mut probe = *c;
    probe.spaces();
    let Some(seconds) = probe.number().filter(|n| *n < EPOCH) else { return Stamp::None };
    let ns = seconds * SECOND + probe.fraction();
    probe.eat(b")");
    if probe.spaces() == 0 {
        return Stamp::None;
    }
    *c = probe;
    Stamp::Since(ns as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let day = |h: i64, m: i64, s: i64| ((h * 60 + m) * 60 + s) * SECOND as i64;
        let cases: &[(&str, Option<u32>, Option<&str>, Stamp)] = &[
            ("accept(", None, None, Stamp::None),
            ("12755 accept(", Some(12755), None, Stamp::None),
            (
                "4     11:02:34.101501 accept(",
                Some(4),
                None,
                Stamp::Clock(day(11, 2, 34) + 101_501_000),
            ),
            ("[pid  8139] accept(", Some(8139), None, Stamp::None),
            ("[pid 10091] 11:09:58 accept(", Some(10091), None, Stamp::Clock(day(11, 9, 58))),
            (
                "29428<python3> 1795345151.587245 accept(",
                Some(29428),
                Some("python3"),
                Stamp::Epoch(1_795_345_151_587_245_000),
            ),
            ("[pid 18227<C2 Compil>] accept(", Some(18227), Some("C2 Compil"), Stamp::None),
            ("1795344802.927766 accept(", None, None, Stamp::Epoch(1_795_344_802_927_766_000)),
            ("1795346001 accept(", None, None, Stamp::Epoch(1_795_346_001_000_000_000)),
            ("77 1795346001 accept(", Some(77), None, Stamp::Epoch(1_795_346_001_000_000_000)),
            ("1795344806.587036039 accept(", None, None, Stamp::Epoch(1_795_344_806_587_036_039)),
            ("10:53:13.418 accept(", None, None, Stamp::Clock(day(10, 53, 13) + 418_000_000)),
            ("     0.004183 accept(", None, None, Stamp::Since(4_183_000)),
            ("     0 accept(", None, None, Stamp::Since(0)),
            ("5760       0.654334 accept(", Some(5760), None, Stamp::Since(654_334_000)),
            ("5760       0 accept(", Some(5760), None, Stamp::Since(0)),
            (
                "10:53:30.174673 (+     0.008233) accept(",
                None,
                None,
                Stamp::Clock(day(10, 53, 30) + 174_673_000),
            ),
            (
                "[pid 17041] 1795346082.445640 (+     0.315166) accept(",
                Some(17041),
                None,
                Stamp::Epoch(1_795_346_082_445_640_000),
            ),
            ("849   [ 288] [00007f7a49728f63] accept(", Some(849), None, Stamp::None),
            (
                "849 10:53:30 [ 288] [f7f415e9] accept(",
                Some(849),
                None,
                Stamp::Clock(day(10, 53, 30)),
            ),
            ("[unconfined_u:r:t:s0-s0:c0.c1023] accept(", None, None, Stamp::None),
            ("12 [unconfined_t] 10:53:30 accept(", Some(12), None, Stamp::Clock(day(10, 53, 30))),
        ];
        for (line, pid, comm, stamp) in cases {
            let (prefix, rest) = split(line.as_bytes());
            let want = Prefix { pid: *pid, comm: comm.map(str::as_bytes), stamp: *stamp };
            assert_eq!((prefix, rest.0), (want, &b"accept("[..]), "{line}");
        }
    }
}
