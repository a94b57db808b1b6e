//! Classes of durations and sizes, so that connections can be counted by them: powers of ten, the
//! lower bound included, the upper not.

use std::time::Duration;

/// Names of the classes of [`of_duration`].
const DURATIONS: [&str; 9] = [
    "<100us",
    "100us-1ms",
    "1-10ms",
    "10-100ms",
    "100ms-1s",
    "1-10s",
    "10-100s",
    "100-1000s",
    ">=1000s",
];

/// Names of the classes of [`of_bytes`].
const SIZES: [&str; 9] =
    ["0", "1-999B", "1-10kB", "10-100kB", "100kB-1MB", "1-10MB", "10-100MB", "100MB-1GB", ">=1GB"];

/// The class of a duration. Longer ones have larger numbers.
pub fn of_duration(duration: Duration) -> u8 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    // Below 100 there are two digits at the most.
    digits(micros).saturating_sub(2).min(8)
}

/// The class of a number of bytes. Larger ones have larger numbers.
pub fn of_bytes(bytes: u64) -> u8 {
    match digits(bytes) {
        0 => 0,
        n => n.saturating_sub(2).clamp(1, 8),
    }
}

/// What a class of durations is called.
pub fn duration(bucket: u8) -> Option<&'static str> {
    DURATIONS.get(usize::from(bucket)).copied()
}

/// What a class of sizes is called.
pub fn bytes(bucket: u8) -> Option<&'static str> {
    SIZES.get(usize::from(bucket)).copied()
}

/// How many decimal digits a number has, 0 none.
fn digits(n: u64) -> u8 {
    n.checked_ilog10().map_or(0, |log| log as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_durations() {
        let named = |micros| duration(of_duration(Duration::from_micros(micros))).unwrap();
        let mut from = 100;
        assert_eq!((named(0), named(99)), ("<100us", "<100us"));
        for name in &DURATIONS[1..] {
            let last = if *name == ">=1000s" { u64::MAX } else { 10 * from - 1 };
            assert_eq!((named(from), named(last)), (*name, *name));
            from *= 10;
        }
        assert_eq!(named(2_500_000), "1-10s");
    }

    #[test]
    fn bounds_of_sizes() {
        let named = |n| bytes(of_bytes(n)).unwrap();
        assert_eq!((named(0), named(1), named(999)), ("0", "1-999B", "1-999B"));
        let mut from = 1000;
        for name in &SIZES[2..] {
            let last = if *name == ">=1GB" { u64::MAX } else { 10 * from - 1 };
            assert_eq!((named(from), named(last)), (*name, *name));
            from *= 10;
        }
    }
}
