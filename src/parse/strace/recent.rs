//! [`Recent`]: texts of the lines before, which the next line mostly has too. Comparing with them is
//! faster than reading the same again.

use super::fd_annotation::{FdAnnotation, fd_annotation};
use crate::parse::cursor::Cursor;
use crate::sys;

/// Number of local ends of annotations that are remembered.
pub(crate) const RECENT_LOCALS: usize = 4;

/// Number of endings that are remembered for each family.
const RECENT_ENDINGS: usize = 2;

/// Parts of the lines of accept.
#[derive(Debug, Default)]
pub struct Recent {
    /// The annotation of a listener: `<TCP:[0.0.0.0:80]>`.
    pub listener: Text,
    /// Those of connections, up to the peer: `<TCP:[192.0.2.1:80->`.
    pub locals: [Text; RECENT_LOCALS],
    next_local: usize,
    /// By [`Family`]: `")}, [16], SOCK_CLOEXEC) = `, all from the address to the new descriptor.
    endings: [[Text; RECENT_ENDINGS]; 2],
    next_ending: usize,
}

/// How a line shows an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    /// `inet_addr("192.0.2.77")`.
    V4,
    /// `inet_pton(AF_INET6, "2001:db8::7", &sin6_addr)`.
    V6,
}

impl Recent {
    /// Remembers the annotation of a listener. Whether it is another one than before.
    pub(super) fn learn_listener(&mut self, listener: &[u8]) -> bool {
        let is_new = !listener.is_empty() && self.listener.begins(listener).is_none();
        if is_new {
            self.listener.set(listener);
        }
        is_new
    }

    /// Remembers the local end of a connection's annotation, and gives its place.
    pub(super) fn learn_local(&mut self, result: &[u8]) -> Option<usize> {
        let ends = fd_annotation(&mut Cursor(result));
        let n = memchr::memmem::find(result, b"->")?;
        if !matches!(ends, FdAnnotation::Ends(_, Some(_))) {
            return None;
        }
        self.next_local = (self.next_local + 1) % RECENT_LOCALS;
        self.locals[self.next_local].set(&result[..n + 2]);
        Some(self.next_local)
    }

    /// Remembers what is between an address and the new descriptor.
    pub(super) fn learn_ending(&mut self, family: Family, ending: &[u8]) {
        self.next_ending = (self.next_ending + 1) % RECENT_ENDINGS;
        self.endings[family as usize][self.next_ending].set(ending);
    }

    /// The length of a known ending that `bytes` begin with.
    #[inline(always)]
    pub(super) fn ending(&self, family: Family, bytes: &[u8]) -> Option<usize> {
        let [one, other] = &self.endings[family as usize];
        match one.begins(bytes) {
            None => other.begins(bytes),
            known => known,
        }
    }
}

/// Half of the bytes that a [`Text`] may have.
const HALF: usize = 48;

/// A short text.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub struct Text {
    halves: [[u8; HALF]; 2],
    length: usize,
}

impl Default for Text {
    fn default() -> Text {
        Text { halves: [[0; HALF]; 2], length: 0 }
    }
}

impl Text {
    /// Sets it; nothing if it is too long.
    pub(super) fn set(&mut self, text: &[u8]) {
        self.length = 0;
        if let Some(place) = self.halves.as_flattened_mut().get_mut(..text.len()) {
            place.copy_from_slice(text);
            self.length = text.len();
        }
    }

    /// Its length, if `bytes` begin with it.
    #[inline(always)]
    pub(super) fn begins(&self, bytes: &[u8]) -> Option<usize> {
        let n = self.length;
        if n == 0 {
            return None;
        }
        let is_same = match bytes.first_chunk() {
            Some(first) if n <= HALF => sys::digits::shared(first, &self.halves[0]) >= n,
            _ => self.is_long_beginning(bytes),
        };
        is_same.then_some(n)
    }

    #[inline(always)]
    fn is_long_beginning(&self, bytes: &[u8]) -> bool {
        let n = self.length;
        let ([first, second, ..], _) = bytes.as_chunks::<HALF>() else {
            return bytes.get(..n) == self.halves.as_flattened().get(..n);
        };
        sys::digits::shared(first, &self.halves[0]) == HALF
            && sys::digits::shared(second, &self.halves[1]) >= n - HALF
    }
}

/// What texts of the lines before mean, of which the next line mostly has the same.
#[derive(Default)]
pub(super) struct Meanings {
    /// The first eight bytes of a time.
    pub(super) time: Meaning,
    /// Names of calls that do not matter, with what ends them.
    names: KnownNames,
    /// Whether names of threads in prefixes are wanted.
    pub(super) want_comms: bool,
}

/// The meaning of eight bytes.
#[derive(Default)]
pub(super) struct Meaning {
    text: [u8; 8],
    value: u64,
}

impl Meaning {
    /// The value of `text`, by `read` if it is not the text of the line before.
    #[inline(always)]
    pub(super) fn of(
        &mut self,
        text: [u8; 8],
        read: impl FnOnce([u8; 8]) -> Option<u64>,
    ) -> Option<u64> {
        if text != self.text {
            self.value = read(text)?;
            self.text = text;
        }
        Some(self.value)
    }
}

impl Meanings {
    /// Nothing is known yet.
    pub(super) fn new(want_comms: bool) -> Meanings {
        Meanings { want_comms, ..Meanings::default() }
    }

    /// The length of the name that `text` begins with, if it is that of a call that does not matter and
    /// `end` follows: a parenthesis, or a space in the second half of a call.
    #[inline(always)]
    pub(super) fn known_name(&self, text: [u8; 16], end: u8) -> Option<usize> {
        self.names.length(text, end)
    }

    /// Remembers a name with which `text` begins, which has `length` bytes before `end`.
    #[inline(never)]
    pub(super) fn learn_name(&mut self, text: [u8; 16], length: usize, end: u8) {
        self.names.learn(text, length, end);
    }
}

/// Number of names that are remembered, as a power of two.
const NAMES_BITS: u32 = 6;

/// A name and what ends it in two words, with zeros behind them.
#[derive(Clone, Copy, Default)]
struct KnownName {
    first: u64,
    second: u64,
    /// The bits of the second word that belong to it.
    mask: u64,
    /// Of the name alone.
    length: usize,
}

struct KnownNames([KnownName; 1 << NAMES_BITS]);

impl Default for KnownNames {
    fn default() -> KnownNames {
        // Of no text, since there is something behind its end.
        let first = u64::from_le_bytes([b'('; 8]);
        KnownNames([KnownName { first, ..KnownName::default() }; 1 << NAMES_BITS])
    }
}

impl KnownNames {
    #[inline(always)]
    fn length(&self, text: [u8; 16], end: u8) -> Option<usize> {
        let ([first, second], []) = text.as_chunks::<8>() else { return None };
        let (first, second) = (up_to(end, *first), u64::from_le_bytes(*second));
        let known = &self.0[slot(first)];
        let is_same = known.first == first && (known.second ^ second) & known.mask == 0;
        is_same.then_some(known.length)
    }

    fn learn(&mut self, text: [u8; 16], length: usize, end: u8) {
        let ([first, second], []) = text.as_chunks::<8>() else { return };
        // With the parenthesis.
        let behind = (length + 1).saturating_sub(8);
        if behind > 8 {
            return;
        }
        let mask = u64::MAX.checked_shr(64 - 8 * behind as u32).unwrap_or(0);
        let first = up_to(end, *first);
        self.0[slot(first)] =
            KnownName { first, second: u64::from_le_bytes(*second) & mask, mask, length };
    }
}

/// The bytes up to the first `end`, which is included, or all.
#[inline(always)]
fn up_to(end: u8, eight: [u8; 8]) -> u64 {
    let x = u64::from_le_bytes(eight);
    let differ = x ^ u64::from_le_bytes([end; 8]);
    // The highest bit of each byte that does not differ; those above the first may be wrong.
    let marks = differ.wrapping_sub(0x0101_0101_0101_0101) & !differ & 0x8080_8080_8080_8080;
    x & (marks ^ marks.wrapping_sub(1))
}

#[inline(always)]
fn slot(first: u64) -> usize {
    (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - NAMES_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_recognised() {
        let long: Vec<u8> = (1..=120).collect();
        for n in 1..=96 {
            let mut text = Text::default();
            text.set(&long[..n]);
            for end in n..=long.len() {
                assert_eq!(text.begins(&long[..end]), Some(n), "{n} of {end}");
            }
            let mut other = long.clone();
            for at in 0..n {
                other[at] ^= 0x80;
                assert_eq!(text.begins(&other), None, "{at} of {n}");
                other[at] ^= 0x80;
            }
            assert_eq!(text.begins(&long[..n - 1]), None);
        }
        let mut text = Text::default();
        text.set(&long[..97]);
        assert_eq!(text.begins(&long), None);
    }

    #[test]
    fn only_names_that_were_learnt_are_known() {
        let calls = [
            "read(7, \"GET / HTTP",
            "readv(7, [{iov_base",
            "epoll_wait(8, [{event",
            "brk(NULL)     = 0x5",
            "clock_nanosleep(CLOCK_MON",
            "rt_sigprocmask(SIG_BLOCK",
            "clock_gettime64(CLOCK",
            "openat(AT_FDCWD, ",
            "recvfrom(3, \"\", 5",
            "recvmsg(3, {msg_name",
            "getpid()         = 7",
        ];
        let sixteen = |text: &str| *text.as_bytes().first_chunk::<16>().unwrap();
        for call in calls {
            let mut meanings = Meanings::default();
            let length = call.find('(').unwrap();
            assert!(
                !calls.iter().any(|c| meanings.known_name(sixteen(c), b'(').is_some()),
                "{call}"
            );
            meanings.learn_name(sixteen(call), length, b'(');
            for other in calls {
                let want = Some(length).filter(|n| other == call && *n < 16);
                assert_eq!(meanings.known_name(sixteen(other), b'('), want, "{call} {other}");
            }
            let other = call.replacen('(', "x(", 1);
            assert!(meanings.known_name(sixteen(&other), b'(').is_none(), "{other}");
        }
        assert!(Meanings::default().known_name([0; 16], b'(').is_none());
        assert!(Meanings::default().known_name([b'('; 16], b'(').is_none());
    }
}
