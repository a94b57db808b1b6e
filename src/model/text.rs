//! Makes text from outside (names of threads, hosts and files) safe for terminals and spreadsheets;
//! numbers with nouns.

use std::borrow::Cow;

/// Whether a character can control a terminal, or change how the text around it is shown: control
/// characters (C0, DEL, C1), line and paragraph separators, and controls of bidirectional text.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends a number in decimal, several times as fast as the standard library's formatting.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        at -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Escapes the characters of [`is_control`], so that the text cannot control a terminal.
pub(crate) fn printable(text: &str) -> String {
    escape_if(text, is_control)
}

/// The same for text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    escape_if(text, |c| c != '\n' && is_control(c))
}

fn escape_if(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Escapes text for a cell of csv, so that it controls no terminal and is no formula of a
/// spreadsheet: a backslash stands before a backslash and before a `=`, `+`, `-` or `@` at the
/// beginning, and the characters of [`is_control`] are `\n`, `\u{1b}` and so on. [`unescape_cell`]
/// restores the text.
pub(crate) fn escape_cell(text: &str) -> Cow<'_, str> {
    let begins_formula = text.starts_with(['=', '+', '-', '@']);
    if !begins_formula && !text.contains(|c| c == '\\' || is_control(c)) {
        return Cow::Borrowed(text);
    }
    let mut cell = String::with_capacity(text.len() + 8);
    if begins_formula {
        cell.push('\\');
    }
    for c in text.chars() {
        match c {
            '\\' => cell.push_str("\\\\"),
            c if is_control(c) => cell.extend(c.escape_default()),
            c => cell.push(c),
        }
    }
    Cow::Owned(cell)
}

/// Restores the text of a cell that [`escape_cell`] made. Text that is no such cell is kept as far as
/// possible.
pub(crate) fn unescape_cell(cell: &str) -> Cow<'_, str> {
    if !cell.contains('\\') {
        return Cow::Borrowed(cell);
    }
    let mut text = String::with_capacity(cell.len());
    let mut rest = cell;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let code = || {
            let (hex, after) = rest.strip_prefix("u{")?.split_once('}')?;
            Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, after))
        };
        let mut chars = rest.chars();
        match (code(), chars.next()) {
            (Some((c, after)), _) => {
                text.push(c);
                rest = after;
                continue;
            }
            (None, Some('n')) => text.push('\n'),
            (None, Some('r')) => text.push('\r'),
            (None, Some('t')) => text.push('\t'),
            (None, Some(c)) => text.push(c),
            (None, None) => text.push('\\'),
        }
        rest = chars.as_str();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Returns a number with its noun, in the singular or the plural.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_those_of_the_library() {
        for number in [0, 1, 9, 10, 99, 100, 255, 65_535, u64::MAX / 10, u64::MAX - 1, u64::MAX] {
            let mut out = b"n".to_vec();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("n{number}"));
        }
    }

    #[test]
    fn nothing_from_outside_controls_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}é"), "a\\u{1b}[2Jb\\nc\\u{9b}é");
        assert_eq!(
            printable("a\u{7f}\u{2028}\u{202e}\u{2066}"),
            r"a\u{7f}\u{2028}\u{202e}\u{2066}"
        );
        assert_eq!(printable_lines("a\nb\x1b"), "a\nb\\u{1b}");
        assert_eq!(printable("nginx: 日本 ١"), "nginx: 日本 ١");
    }

    #[test]
    fn cells_are_no_formulas_and_control_nothing() {
        for (text, cell) in [
            ("nginx", "nginx"),
            ("=cmd|' /C calc'!A0", r"\=cmd|' /C calc'!A0"),
            ("-bash", r"\-bash"),
            ("a-b", "a-b"),
            (r"a\b", r"a\\b"),
            ("\t=1", r"\t=1"),
            ("\x1b]0;x\x07", r"\u{1b}]0;x\u{7}"),
        ] {
            assert_eq!(escape_cell(text), cell);
            assert_eq!(unescape_cell(cell), text);
        }
        assert_eq!(unescape_cell(r"a\"), r"a\");
        assert_eq!(unescape_cell(r"\u{zz}"), "u{zz}");
    }

    proptest! {
        #[test]
        fn a_cell_is_restored_and_safe(text in r"[-=+@\\nrtu{}0-9a-f\x00-\x1f\x7f-\u{9f}\u{2028}\u{202e}é]{0,12}") {
            let cell = escape_cell(&text).into_owned();
            prop_assert_eq!(unescape_cell(&cell), text.as_str());
            prop_assert!(!cell.contains(is_control));
            prop_assert!(!cell.starts_with(['=', '+', '-', '@']));
        }
    }
}
