//! [`Mutator`]: changes the files of a corpus at random, without a fuzzer.

/// Numbers and words at which readers of records go wrong.
const WORDS: [&str; 24] = [
    "0",
    "-1",
    "65536",
    "4294967295",
    "9223372036854775807",
    "99999999999999999999",
    "1e308",
    "NaN",
    "::",
    "2001:db8::7",
    "fe80::1%eth0",
    "192.0.2.256",
    "0000-00-00",
    "9999-12-31T23:59:60.999999999Z",
    "Feb 30 25:61:61",
    "\"",
    "\\u0000",
    "{\"a\":[",
    "(",
    " ... ",
    "\t",
    "\r",
    "\u{1b}[32m",
    "\u{feff}",
];

/// Makes the same changes in each run.
pub struct Mutator(u64);

impl Mutator {
    /// The changes of a seed.
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Below `end` (xorshift64*).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        random as usize % end.max(1)
    }

    /// A part of `bytes`, some bytes long, or a line of it.
    fn part(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len());
        if self.below(3) > 0 {
            return start..(start + 1 + self.below(12)).min(bytes.len());
        }
        let begin = bytes[..start].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let end = bytes[start..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |at| start + at + 1);
        begin..end
    }

    /// Returns `bytes` with some changes, and parts of `other` among them. The first byte is kept.
    pub fn change(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let Some((&selector, record)) = bytes.split_first() else { return Vec::new() };
        let mut record = record.to_vec();
        for _ in 0..=self.below(4) {
            let part = self.part(&record);
            let at = part.start;
            match self.below(7) {
                0 if !part.is_empty() => record[at] = self.below(256) as u8,
                1 => drop(record.drain(part)),
                2 => record.splice(at..at, record[part].to_vec()).for_each(drop),
                3 => record.truncate(at),
                4 => {
                    let from = self.part(other);
                    record.splice(at..at, other[from].iter().copied()).for_each(drop);
                }
                5 => {
                    // A number in place of a number.
                    let digits =
                        |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
                    let from = at + record[at..].iter().position(u8::is_ascii_digit).unwrap_or(0);
                    let to = from + digits(&record[from..]);
                    record.splice(from..to, WORDS[self.below(6)].bytes()).for_each(drop);
                }
                _ => {
                    let word = WORDS[self.below(WORDS.len())];
                    record.splice(part, word.bytes()).for_each(drop);
                }
            }
        }
        record.insert(0, selector);
        record
    }
}
