//! The CPUs that are online.

use std::{fs, io};

/// Returns the list of online CPUs in the kernel's format.
pub(crate) fn online() -> io::Result<String> {
    fs::read_to_string("/sys/devices/system/cpu/online")
}

/// Parses a list such as `0-3,6`: cpuset(7), "List format".
pub(crate) fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_parsed() {
        assert_eq!(parse_list("0\n"), Some(vec![0]));
        assert_eq!(parse_list("0-2,5,7-8\n"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(parse_list("\n"), None);
    }
}
