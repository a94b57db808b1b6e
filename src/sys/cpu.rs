//! The CPUs that are online.

use std::{fs, io};

/// Returns the list of online CPUs in the kernel's format.
pub(crate) fn online() -> io::Result<String> {
    // Containers may lack /sys.
    fs::read_to_string("/sys/devices/system/cpu/online")
        .or_else(|_| fs::read_to_string("/proc/stat").map(|text| list_of_proc_stat(&text)))
}

/// The CPUs of /proc/stat, which has a line `cpuN` for each that is online: proc_stat(5).
fn list_of_proc_stat(text: &str) -> String {
    let number =
        |line: &str| line.split_whitespace().next()?.strip_prefix("cpu")?.parse::<u32>().ok();
    let numbers: Vec<String> = text.lines().filter_map(number).map(|n| n.to_string()).collect();
    numbers.join(",")
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

    #[test]
    fn proc_stat_lists_the_cpus_that_are_online() {
        let text = "cpu  1 2 3\ncpu0 1 2 3\ncpu2 1 2 3\nintr 5\n";
        assert_eq!(parse_list(&list_of_proc_stat(text)), Some(vec![0, 2]));
    }
}
