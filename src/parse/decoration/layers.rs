//! [`Layers`]: the prefixes that every line of a text has.

use super::wrapper::{MAX_LAYERS, Stripped, strip};
use crate::parse::cursor::Cursor;
use crate::parse::timestamp::Stamp;

/// A prefix that every line of a text has. It is stripped exactly: the blanks behind it belong to
/// the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Blanks, the same for each line.
    Blanks(Box<[u8]>),
    /// The number of the line, in a column of its own, and one blank or tab.
    Number,
    /// A prefix with a time.
    Stamp,
    /// Any other prefix that [`strip`] knows.
    Other,
}

impl Layer {
    /// The outermost prefix that all `lines` have; none of them is empty.
    pub(crate) fn of(lines: &[&[u8]]) -> Option<Layer> {
        let first = lines.first()?;
        let blanks = lines.iter().fold(leading_blanks(first), |shared, line| {
            let n = shared.iter().zip(*line).take_while(|(a, b)| a == b).count();
            &shared[..n]
        });
        let numbers: Option<Vec<i64>> =
            lines.iter().map(|line| numbered(line).map(|(number, _)| number)).collect();
        let counts = |n: &[i64]| n.len() > 2 && n.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if numbers.is_some_and(|numbers| counts(&numbers)) {
            return Some(Layer::Number);
        }
        if !blanks.is_empty() {
            return Some(Layer::Blanks(blanks.into()));
        }
        let stripped: Option<Vec<Stripped<'_>>> =
            lines.iter().map(|line| strip_exactly(line)).collect();
        let stamped = stripped?.iter().all(|stripped| stripped.stamp != Stamp::None);
        Some(if stamped { Layer::Stamp } else { Layer::Other })
    }

    /// Strips this prefix; `None` if `line` has none.
    pub(crate) fn strip<'a>(&self, line: &'a [u8]) -> Option<Stripped<'a>> {
        let bare = |rest| Stripped { stamp: Stamp::None, rest };
        match self {
            Layer::Blanks(blanks) => line.strip_prefix(&**blanks).map(bare),
            Layer::Number => numbered(line).map(|(_, rest)| bare(rest)),
            Layer::Stamp | Layer::Other => strip_exactly(line),
        }
    }
}

/// The prefixes that every line of a text has, the outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers(pub Vec<Layer>);

impl Layers {
    /// Finds the fewest prefixes behind which `is_known` knows a line of the text that begins with
    /// `head`; none if there are no such.
    pub(crate) fn of(head: &[u8], is_known: impl Fn(&[&[u8]]) -> bool) -> Layers {
        let mut lines = first_lines(head);
        let mut layers = Vec::new();
        while !is_known(&lines) {
            let Some(layer) = Layer::of(&lines).filter(|_| layers.len() < MAX_LAYERS) else {
                return Layers::default();
            };
            let mut inner = Vec::with_capacity(lines.len());
            for line in lines {
                let Some(stripped) = layer.strip(line) else { return Layers::default() };
                inner.push(stripped.rest);
            }
            lines = inner;
            layers.push(layer);
        }
        Layers(layers)
    }

    /// Strips the prefixes. The stamp is that of the innermost that has one.
    #[inline]
    pub(crate) fn strip<'a>(&self, line: &'a [u8]) -> (Stamp, &'a [u8]) {
        let (mut stamp, mut rest) = (Stamp::None, line);
        for layer in &self.0 {
            let Some(stripped) = layer.strip(rest) else { break };
            rest = stripped.rest;
            if stripped.stamp != Stamp::None {
                stamp = stripped.stamp;
            }
        }
        (stamp, rest)
    }
}

/// Number of lines from which the prefixes of all lines are learnt.
const MAX_LINES: usize = 1000;

/// The first lines of a text that are not empty. The last line of `head` may be cut, and is
/// only taken if there is no other.
pub(crate) fn first_lines(head: &[u8]) -> Vec<&[u8]> {
    let whole = memchr::memrchr(b'\n', head).map_or(head, |end| &head[..end]);
    let is_empty = |line: &&[u8]| line.trim_ascii().is_empty();
    let lines = whole.split(|b| *b == b'\n' || *b == 0).filter(|line| !is_empty(line));
    lines.take(MAX_LINES).collect()
}

fn leading_blanks(line: &[u8]) -> &[u8] {
    &line[..line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()]
}

/// The number that a line begins with, and what follows the blank behind it.
pub(crate) fn numbered(line: &[u8]) -> Option<(i64, &[u8])> {
    let mut cursor = Cursor(line);
    cursor.blanks();
    let number = cursor.number_up_to(9)?;
    match cursor.0 {
        [b' ' | b'\t', rest @ ..] => Some((number, rest)),
        [] => Some((number, &[])),
        _ => None,
    }
}

/// Strips the outermost prefix, but no blanks of the line itself.
fn strip_exactly(line: &[u8]) -> Option<Stripped<'_>> {
    if !leading_blanks(line).is_empty() {
        return None;
    }
    let Stripped { stamp, rest } = strip(line)?;
    let mut at = line.len() - rest.len();
    let is_blank = |at: usize| matches!(line.get(at), Some(b' ' | b'\t'));
    while at >= 2 && is_blank(at - 1) && is_blank(at - 2) {
        at -= 1;
    }
    Some(Stripped { stamp, rest: &line[at..] })
}
