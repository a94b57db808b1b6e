//! Finds the columns of a line, 64 bytes at a time.

use crate::sys;

/// Passes the parts of `line` between the bytes that are separators to `column`, until that returns false.
/// No separator is above `highest`.
#[inline(always)]
fn each<'a>(
    line: &'a [u8],
    highest: u8,
    separates: impl Fn(u8) -> bool,
    mut column: impl FnMut(&'a [u8]) -> bool,
) {
    let mut from = 0;
    for at in (0..line.len()).step_by(64) {
        let mut found = match (line[at..].first_chunk(), line.last_chunk()) {
            (Some(block), _) => sys::digits::at_most(block, highest),
            // The last 64 bytes, without those that were looked at.
            (None, Some(last)) => sys::digits::at_most(last, highest) >> (at + 64 - line.len()),
            (None, None) => {
                let mut padded = [0xff; 64];
                padded[..line.len()].copy_from_slice(line);
                sys::digits::at_most(&padded, highest)
            }
        };
        while found != 0 {
            let to = at + found.trailing_zeros() as usize;
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
    each(line, b'\t', |byte| byte == b'\t', column);
}

/// Passes the words of `line`, between any white space, to `word`.
#[inline]
pub(super) fn each_word<'a>(line: &'a [u8], mut word: impl FnMut(&'a [u8])) {
    each(
        line,
        b' ',
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
            ], 0..200),
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
