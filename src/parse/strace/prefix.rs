//! Reads the prefixes of a line: `[pid] [secontext] [wall] [rel] [nr] [ip]`, each optional.

use crate::parse::cursor::Cursor;
use crate::parse::digits::leading_digits;
use crate::parse::timestamp::{DAY, SECOND, Stamp};

/// Numbers from here on are seconds since 1970, smaller ones process numbers or relative times:
/// process numbers stay below 2^22, and no trace is from before 1973.
pub(crate) const EPOCH: u64 = 100_000_000;
/// Times of strace are before the year 2255.
pub(crate) const EPOCH_END: u64 = EPOCH * 90;

/// Number of columns of the whole seconds of a relative time (`-r`).
const RELATIVE_WIDTH: usize = 6;

/// The prefixes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Prefix<'a> {
    /// The thread.
    pub pid: Option<u32>,
    /// Its name, escaped.
    pub comm: Option<&'a [u8]>,
    /// The time.
    pub stamp: Stamp,
}

/// Reads the prefixes of `line`; what is left is the call, or whatever else the line is.
#[inline]
pub(crate) fn split(line: &[u8]) -> (Prefix<'_>, Cursor<'_>) {
    let mut c = Cursor(line);
    let mut prefix = Prefix::default();
    pid(&mut c, &mut prefix);
    if c.peek() == b'[' {
        if prefix.pid.is_none() && !labels(&mut c, &mut prefix) {
            return (prefix, c);
        }
        brackets(&mut c);
    }
    prefix.stamp = wall(&mut c);
    match (prefix.stamp, c.peek()) {
        (Stamp::None, b' ' | b'0'..=b'9') => {
            let is_after_pid = prefix.pid.is_some();
            prefix.stamp = padded_relative(&mut c, line.len(), is_after_pid);
        }
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
    let length = c.0.len() - probe.0.len();
    if !bracket && comm.is_none() && is_number_before_pid(length, probe) {
        pid(&mut probe, prefix);
        *c = probe;
        return;
    }
    prefix.pid = u32::try_from(number).ok();
    prefix.comm = comm;
    *c = probe;
}

/// Whether the number and the blanks before `rest`, of this length, are those of the line in a listing: what follows
/// is a process number, and no padded relative time.
fn is_number_before_pid(length: usize, rest: Cursor<'_>) -> bool {
    let digits = leading_digits(rest.0).1;
    (1..8).contains(&digits)
        && rest.0.get(digits) == Some(&b' ')
        && length + digits < 2 * RELATIVE_WIDTH
}

/// Steps over a security context, or what looks like one and is the label of another program: the process follows
/// only the latter. False: what the brackets hold is not strace's.
fn labels<'a>(c: &mut Cursor<'a>, prefix: &mut Prefix<'a>) -> bool {
    let near = &c.0[..c.0.len().min(256)];
    let is_own = |end: usize| match near[1..end].trim_ascii_start() {
        inside @ [b'0'..=b'9', ..] => inside.iter().all(u8::is_ascii_hexdigit),
        inside => inside.iter().all(|b| b.is_ascii_alphanumeric() || b"_:.,-!?".contains(b)),
    };
    if !memchr::memchr(b']', near).is_some_and(is_own) {
        return false;
    }
    brackets(c);
    pid(c, prefix);
    true
}

/// `[label] `, `[ 288] `, `[00007f7a49728f63] `.
fn brackets(c: &mut Cursor<'_>) {
    for _ in 0..3 {
        let near = &c.0[..c.0.len().min(256)];
        let Some(end) = memchr::memchr(b']', near).filter(|_| c.peek() == b'[') else { return };
        // The process is always first.
        if c.0.get(end + 1) != Some(&b' ') || near.starts_with(b"[pid ") {
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
        [_, _, b':', _, _, b':', _, _, ..] => {
            let Some(seconds) = clock(c.0) else { return Stamp::None };
            probe.skip(8);
            Stamp::Clock(nanoseconds(seconds, probe.fraction()))
        }
        [b'0'..=b'9', ..] => {
            let Some(seconds) = probe.number().filter(|n| (EPOCH..EPOCH_END).contains(n)) else {
                return Stamp::None;
            };
            Stamp::Epoch(nanoseconds(seconds, probe.fraction()))
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

/// Whole seconds, fewer than [`EPOCH_END`], and a fraction.
fn nanoseconds(seconds: u64, fraction: u64) -> i64 {
    seconds as i64 * SECOND + fraction as i64
}

/// `HH:MM:SS` in seconds.
#[inline(always)]
pub(crate) fn clock(text: &[u8]) -> Option<u64> {
    let x = u64::from_le_bytes(*text.first_chunk::<8>()?) ^ 0x3030_3a30_303a_3030;
    // Nothing but digits, and zeros where the colons were.
    if (x.wrapping_add(0x7676_7f76_767f_7676) | x) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let two = |at: u32| (x >> at & 0xf) * 10 + (x >> (at + 8) & 0xf);
    let (h, m, s) = (two(0), two(24), two(48));
    // A leap second is told as :60.
    (h < 24 && m < 60 && s <= 60).then_some((h * 60 + m) * 60 + s)
}

/// [`relative`], unless it is a number that another program has put there: strace pads whole seconds to
/// [`RELATIVE_WIDTH`] columns, and process numbers to one less.
fn padded_relative(c: &mut Cursor<'_>, length: usize, is_after_pid: bool) -> Stamp {
    let mut probe = *c;
    let blanks = probe.spaces();
    let digits = leading_digits(probe.0).1;
    let is_padded = if is_after_pid {
        length - probe.0.len() + digits >= 2 * RELATIVE_WIDTH
    } else {
        // A number of five digits behind one blank is more likely a process than three hours.
        blanks + digits == RELATIVE_WIDTH && blanks > 1 || blanks == 0 && digits > RELATIVE_WIDTH
    };
    if is_padded || probe.0.get(digits) == Some(&b'.') { relative(c) } else { Stamp::None }
}

/// `     0.004183 `, or `     0.004183) ` behind `(+`.
fn relative(c: &mut Cursor<'_>) -> Stamp {
    let mut probe = *c;
    probe.spaces();
    let Some(seconds) = probe.number().filter(|n| *n < EPOCH) else { return Stamp::None };
    let ns = nanoseconds(seconds, probe.fraction());
    probe.eat(b")");
    if probe.spaces() == 0 {
        return Stamp::None;
    }
    *c = probe;
    Stamp::Since(ns)
}

/// The time of a line that has one of its own and one of a wrapper. The wrapper's counts where the
/// line has none, and tells the date of a bare clock time.
pub(super) fn best(own: Stamp, wrapper: Stamp) -> Stamp {
    // The clock time that is nearest to the wrapper's may be on the other side of midnight.
    let nearest = |clock: i64, ns: i64| clock - (clock - ns + DAY / 2).div_euclid(DAY) * DAY;
    match (own, wrapper) {
        (_, Stamp::None) => own,
        (Stamp::None | Stamp::Since(_), _) => wrapper,
        (Stamp::Clock(clock), Stamp::Civil(date, ns)) => Stamp::Civil(date, nearest(clock, ns)),
        (Stamp::Clock(clock), Stamp::Yearless(month, day, ns)) => {
            Stamp::Yearless(month, day, nearest(clock, ns))
        }
        (Stamp::Clock(_), Stamp::Epoch(_)) => wrapper,
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_of_a_day_are_clocks() {
        assert_eq!(clock(b"00:00:00"), Some(0));
        assert_eq!(clock(b"23:59:60 "), Some(86_400));
        for wrong in [
            "24:00:00",
            "23:60:00",
            "23:00:61",
            "2a:00:00",
            "23-00:00",
            "23:0:00 ",
            "23:00;00",
            "/3:00:00",
            "\u{7f}\u{7f}:00:00",
        ] {
            assert_eq!(clock(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_read_in_every_form() {
        let day = |h: i64, m: i64, s: i64| ((h * 60 + m) * 60 + s) * SECOND;
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
            ("[INFO] 1001 accept(", Some(1001), None, Stamp::None),
            ("[INFO] [pid  1001] accept(", Some(1001), None, Stamp::None),
            ("5  1001 10:53:30 accept(", Some(1001), None, Stamp::Clock(day(10, 53, 30))),
        ];
        for (line, pid, comm, stamp) in cases {
            let (prefix, rest) = split(line.as_bytes());
            let want = Prefix { pid: *pid, comm: comm.map(str::as_bytes), stamp: *stamp };
            assert_eq!((prefix, rest.0), (want, &b"accept("[..]), "{line}");
        }
    }
}
