//! [`NextHits`]: where the next line is that may tell of an accept, so that the lines before it need no search.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::rescue;
use super::result::ACCEPT;

/// A line that has none of these hides no accept, as [`rescue::may_hide_accept`] sees it: what is left of a damaged
/// name, and parts of an internet address.
static MARKS: LazyLock<[Finder<'static>; 5]> =
    LazyLock::new(|| ["acce", "ept", "_port=", "_addr=", "_family="].map(Finder::new));

/// The next places in a text where an accept may be.
#[derive(Default)]
pub(super) struct NextHits {
    accept: NextHit,
    marks: [NextHit; 5],
}

impl NextHits {
    /// Whether `accept` is in a part of `text`. Parts never go back.
    #[inline]
    pub(super) fn has_accept(&mut self, text: &[u8], part: Range<usize>) -> bool {
        self.accept.is_within(&ACCEPT, text, part)
    }

    /// Whether the line that is a part of `text` and has no `accept` may hide one all the same. Parts never go back.
    #[inline]
    pub(super) fn may_hide_accept(&mut self, text: &[u8], part: Range<usize>) -> bool {
        let mut marks = self.marks.iter_mut().zip(&*MARKS);
        marks.any(|(next, mark)| next.is_within(mark, text, part.clone()))
            && rescue::may_hide_accept(&text[part])
    }
}

/// The next place in a text where a mark is.
#[derive(Default)]
struct NextHit {
    /// The mark is not between the end of the last part and here.
    at: Option<usize>,
}

impl NextHit {
    #[inline]
    fn is_within(&mut self, mark: &Finder<'_>, text: &[u8], part: Range<usize>) -> bool {
        let from = part.start;
        let next = match self.at {
            Some(at) if at >= from => at,
            _ => {
                let at = mark.find(&text[from..]).map_or(usize::MAX, |n| from + n);
                self.at = Some(at);
                at
            }
        };
        next < part.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_of_a_hidden_accept_is_searched_for() {
        for mark in rescue::ADDRESS.iter().chain(&*rescue::NAME) {
            let is_in = |part: &Finder<'_>| part.find(mark.needle()).is_some();
            assert!(MARKS.iter().any(is_in), "{}", mark.needle().escape_ascii());
        }
    }

    #[test]
    fn hits_are_found_in_the_part_where_they_are() {
        let text = b"read(3) = 0\nlisten(3) = 0\nccept4(3, NULL) = 7\nread(7) = 0\naccept(3) = 8\n";
        let mut hits = NextHits::default();
        let mut at = 0;
        let found = text.split_inclusive(|b| *b == b'\n').map(|line| {
            let part = at..at + line.len() - 1;
            at += line.len();
            (hits.has_accept(text, part.clone()), hits.may_hide_accept(text, part))
        });
        let want = [(false, false), (false, false), (false, true), (false, false), (true, true)];
        assert_eq!(found.collect::<Vec<_>>(), want);
    }
}
