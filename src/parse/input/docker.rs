//! Lines of Docker's `json-file` logs. A log may have millions, so they are read without a map of their members.

/// How each line begins.
const BEGIN: &[u8] = b"{\"log\":\"";

/// Whether `bytes` begin as a line does.
#[inline]
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN)
}

/// Reads a line as Docker writes it, `{"log":"…","stream":"…","time":"…"}`. Appends what the program wrote to `log`, and
/// returns the time. `None`, with `log` unchanged, if the line has to be read as any other JSON.
pub(super) fn read<'a>(line: &'a [u8], log: &mut String) -> Option<&'a str> {
    let has_control = line.iter().copied().fold(u8::MAX, u8::min) < b' ';
    let line = std::str::from_utf8(line.strip_prefix(BEGIN)?).ok().filter(|_| !has_control)?;
    let before = log.len();
    let time = unescape(line, log).and_then(time);
    if time.is_none() {
        log.truncate(before);
    }
    time
}

/// The time, in what follows the text.
fn time(rest: &str) -> Option<&str> {
    let (stream, rest) = rest.strip_prefix(",\"stream\":\"")?.split_once('"')?;
    let time = rest.strip_prefix(",\"time\":\"")?.strip_suffix("\"}")?;
    let is_plain = |text: &str| memchr::memchr2(b'"', b'\\', text.as_bytes()).is_none();
    (is_plain(stream) && is_plain(time)).then_some(time)
}

/// Appends the string of JSON whose opening quote is before `rest`, and returns what follows its closing quote.
fn unescape<'a>(mut rest: &'a str, text: &mut String) -> Option<&'a str> {
    loop {
        let end = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
        text.push_str(&rest[..end]);
        let escaped = match &rest.as_bytes()[end..] {
            [b'"', ..] => return Some(&rest[end + 1..]),
            [_, b'u', digits @ ..] => {
                let digits = digits.first_chunk::<4>()?;
                rest = rest[end..].get(6..)?;
                text.push(character(*digits)?);
                continue;
            }
            [_, escaped, ..] => *escaped,
            _ => return None,
        };
        text.push(match escaped {
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'"' | b'\\' | b'/' => char::from(escaped),
            _ => return None,
        });
        rest = &rest[end + 2..];
    }
}

/// The character that four hexadecimal digits stand for, if it is not half of a pair.
fn character(digits: [u8; 4]) -> Option<char> {
    let value = digits
        .iter()
        .try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))?;
    char::from_u32(value)
}
