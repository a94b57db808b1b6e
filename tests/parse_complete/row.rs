//! [`Row`]: a source of incompleteness.

/// A source of incompleteness.
pub struct Row {
    pub name: &'static str,
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub options: &'static [&'static str],
    /// Parts of the warning.
    pub warning: &'static [&'static str],
    pub total: u64,
}

/// Any total: how much of the input is read depends on where it is damaged.
pub const ANY: u64 = u64::MAX;

pub fn row(
    name: &'static str,
    file: impl AsRef<[u8]>,
    total: u64,
    warning: &'static [&'static str],
) -> Row {
    Row { name, files: vec![(name, file.as_ref().to_vec())], options: &[], warning, total }
}
