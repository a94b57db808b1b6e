//! Finds the columns of a line, eight bytes at a time.

const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH_BITS: u64 = !LOW_BITS;

/// The high bit of each byte that is at most 0x20: blanks and control characters.
#[inline(always)]
fn up_to_blank(x: u64) -> u64 {
    !(((x & LOW_BITS) + 0x5f5f_5f5f_5f5f_5f5f) | x) & HIGH_BITS
}

/// The high bit of each byte that is a tab.
#[inline(always)]
fn tabs(x: u64) -> u64 {
    let x = x ^ 0x0909_0909_0909_0909;
    !(((x & LOW_BITS) + LOW_BITS) | x) & HIGH_BITS
}

/// Passes the parts of `line` between the bytes that are separators to `column`, until that returns false.
/// `may_separate` has the high bit of each byte that may be one.
#[inline(always)]
fn each<'a>(
    line: &'a [u8],
    may_separate: impl Fn(u64) -> u64,
    separates: impl Fn(u8) -> bool,
    mut column: impl FnMut(&'a [u8]) -> bool,
) {
    let mut from = 0;
    for at in (0..line.len()).step_by(8) {
        let eight = line[at..].first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0xff; 8];
            padded[..line.len() - at].copy_from_slice(&line[at..]);
            padded
        });
        let mut found = may_separate(u64::from_le_bytes(eight));
        while found != 0 {
            let to = at + found.trailing_zeros() as usize / 8;
            found &= found - 1;
            if separates(line[to]) {
                if !column(&line[from..to]) {
                    return;
                }
                from = to + 1;
            }
        }
    }
    column(&line[from..]);
}

/// Passes the columns of `line`, which are separated by single tabs, to `column`, until that returns false.
#[inline]
pub(super) fn each_tabbed<'a>(line: &'a [u8], column: impl FnMut(&'a [u8]) -> bool) {
    each(line, tabs, |_| true, column);
}

/// Passes the words of `line`, between any white space, to `word`.
#[inline]
pub(super) fn each_word<'a>(line: &'a [u8], mut word: impl FnMut(&'a [u8])) {
    each(
        line,
        up_to_blank,
        |byte| byte.is_ascii_whitespace(),
        |text| {
            if !text.is_empty() {
                word(text);
            }
            true
        },
    );
}

/// The words of `line`.
pub(super) fn words(line: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    each_word(line, |word| words.push(word));
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_and_words_are_those_of_split(
            line in prop::collection::vec(prop_oneof![
                3 => any::<u8>(), 3 => prop::sample::select(b"\t \r\n\x0b\x0c\0\x08\x1f\x21".to_vec()), 6 => b'a'..=b'z',
            ], 0..60),
            most in 1..20_usize,
        ) {
            let mut columns = Vec::new();
            each_tabbed(&line, |column| {
                columns.push(column);
                columns.len() < most
            });
            let split: Vec<&[u8]> = line.split(|b| *b == b'\t').take(most).collect();
            prop_assert_eq!(columns, split);
            let split = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            prop_assert_eq!(words(&line), split.collect::<Vec<_>>());
        }
    }
}
