//! [`FlowElements`]: divides a text into the `<flow>` elements of conntrack's XML format.

use memchr::memmem;

/// How an element begins, and how it ends.
const OPEN: &[u8] = b"<flow";
const CLOSE: &[u8] = b"</flow>";

/// Maximum length of an element in bytes. conntrack's have less than 2 KiB.
const LONGEST: usize = 64 * 1024;

/// The text of elements whose end was not seen yet. conntrack prints each element on one line; other programs
/// indent XML over many lines or print a whole document on one.
#[derive(Default)]
pub(super) struct FlowElements {
    /// An element, or else bytes that may begin one.
    text: Vec<u8>,
}

impl FlowElements {
    /// Whether an element has begun and has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.text.starts_with(OPEN)
    }

    /// Takes further text, and gives each element that ends in it; `None`: one that is damaged.
    pub(super) fn take(&mut self, text: &[u8], give: &mut dyn FnMut(Option<&[u8]>)) {
        self.text.extend_from_slice(text);
        let mut at = 0;
        while let Some(end) = memmem::find(&self.text[at..], CLOSE) {
            let part = &self.text[at..at + end];
            at += end + CLOSE.len();
            let mut begun = memmem::find_iter(part, OPEN);
            let Some(mut last) = begun.next() else { continue };
            for next in begun {
                give(None);
                last = next;
            }
            give(Some(&part[last..]));
        }
        let open = memmem::find(&self.text[at..], OPEN).map(|n| at + n);
        let tail = self.text.len().saturating_sub(OPEN.len() - 1).max(at);
        self.text.drain(..open.unwrap_or(tail));
        if self.text.len() > LONGEST {
            give(None);
            self.text.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&str]) -> (Vec<Option<String>>, bool) {
        let mut elements = FlowElements::default();
        let mut given = Vec::new();
        for piece in pieces {
            elements.take(piece.as_bytes(), &mut |element| {
                given.push(element.map(|e| String::from_utf8(e.to_vec()).unwrap()));
            });
        }
        (given, elements.is_open())
    }

    #[test]
    fn elements_are_found_wherever_the_text_is_divided() {
        let text = "<conntrack><flow type=\"new\">a</flow> <flow>b</flow></conntrack>";
        let want = vec![Some("<flow type=\"new\">a".to_owned()), Some("<flow>b".to_owned())];
        for at in 0..text.len() {
            assert_eq!(elements(&[&text[..at], &text[at..]]), (want.clone(), false), "{at}");
        }
    }

    #[test]
    fn elements_without_an_end_are_damaged() {
        assert_eq!(elements(&["<flow>a<flow>b</flow>"]).0, [None, Some("<flow>b".to_owned())]);
        assert!(elements(&["<flow>a</flow><flow>b"]).1);
        let long = "x".repeat(LONGEST);
        assert_eq!(elements(&["<flow>", &long]), (vec![None], false));
    }
}
