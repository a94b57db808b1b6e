//! The time in the name of a file, as programs that take snapshots write it.

use std::sync::LazyLock;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use regex::Regex;

use crate::RecordTime;

/// The moment in a file's name: `nf_conntrack.20261122-110313.gz`, `2026-11-22T11:03:13`,
/// `1795345122`.
pub(crate) fn moment_in(name: &str, zone: &TimeZone) -> Option<RecordTime> {
    // The crate is built without Unicode's classes, such as \d.
    static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            "(20[0-9]{2})-?([0-9]{2})-?([0-9]{2})[-_T. ]?\
             ([0-9]{2})[-_:.h]?(?:([0-9]{2})[-_:.m]?([0-9]{2})?)?",
        )
        .ok()
    });
    static EPOCH: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("(?:^|[^0-9])(1[0-9]{9})(?:[^0-9]|$)").ok());
    if let Some(found) = EPOCH.as_ref()?.captures(name) {
        return Some(jiff::Timestamp::from_second(found[1].parse().ok()?).ok()?.into());
    }
    let found = DATE.as_ref()?.captures(name)?;
    let part = |n: usize| found.get(n).map_or(Some(0), |m| m.as_str().parse::<i8>().ok());
    let date = Date::new(found[1].parse().ok()?, part(2)?, part(3)?).ok()?;
    let time = Time::new(part(4)?, part(5)?, part(6)?, 0).ok()?;
    let at = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
    Some(at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots_tell_their_time() {
        let of = |name: &str| moment_in(name, &TimeZone::UTC).map_or("-".into(), |m| m.to_string());
        let want = "2026-11-22T11:03:13.000000Z";
        for name in [
            "nf_conntrack.20261122-110313.gz",
            "20261122110313",
            "x2120261122110313",
            "ct-2026-11-22T11:03:13.txt",
            "2026-11-22_11-03-13",
            "2026-11-22 11h03m13",
            "snap.1795345393",
        ] {
            assert_eq!(of(name), want, "{name}");
        }
        assert_eq!(of("2026-11-22T11:03.gz"), "2026-11-22T11:03:00.000000Z");
        for name in ["20261122-10.tar", "20261122-10.1.tar"] {
            assert_eq!(of(name), "2026-11-22T10:00:00.000000Z", "{name}");
        }
        for name in ["", "nf_conntrack", "2026-11-22", "20261322-110313", "snap.17953453930", "é20"]
        {
            assert_eq!(of(name), "-", "{name}");
        }
    }
}
