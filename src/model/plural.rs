//! Numbers with nouns.

/// Returns a number with its noun, in the singular or the plural.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
