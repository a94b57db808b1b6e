//! What stands between the arguments of a call.

use crate::parse::cursor::Cursor;

/// Steps over the comma between two arguments: with a space, or as qemu and truss write it.
#[inline]
pub(super) fn comma(c: &mut Cursor<'_>) -> bool {
    if c.eat(b", ") {
        return true;
    }
    c.eat(b",")
}

/// `name=` of `--arg-names`.
pub(super) fn argument(c: &mut Cursor<'_>) {
    if !c.peek().is_ascii_lowercase() {
        return;
    }
    let n = c.0.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if c.0.get(n) == Some(&b'=') {
        c.skip(n + 1);
    }
}
