//! The time in the name of a file, as programs that take snapshots write it.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::RecordTime;
use crate::parse::cursor::Cursor;

/// The moment in a file's name: `nf_conntrack.20261122-110313.gz`, `2026-11-22T11:03:13`,
/// `1795345122`.
pub(crate) fn moment_in(name: &str, zone: &TimeZone) -> Option<RecordTime> {
    let mut numbers = name.split(|c: char| !c.is_ascii_digit());
    if let Some(seconds) = numbers.find(|number| number.len() == 10 && number.starts_with('1')) {
        return Some(jiff::Timestamp::from_second(seconds.parse().ok()?).ok()?.into());
    }
    let name = name.as_bytes();
    let [year, month, day, hour, minute, second] =
        (0..name.len()).find_map(|at| Cursor(&name[at..]).date_and_clock())?;
    let date = Date::new(2000 + i16::from(year), month, day).ok()?;
    let time = Time::new(hour, minute, second, 0).ok()?;
    let at = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
    Some(at.into())
}

impl Cursor<'_> {
    /// Year of this century, month, day, hour, minute and second, with or without separators. The minute and the
    /// second may be absent.
    fn date_and_clock(mut self) -> Option<[i8; 6]> {
        self.require(b"20")?;
        let year = self.two_digits()?;
        self.separator(b"-");
        let month = self.two_digits()?;
        self.separator(b"-");
        let day = self.two_digits()?;
        self.separator(b"-_T. ");
        let hour = self.two_digits()?;
        self.separator(b"-_:.h");
        let minute = self.two_digits();
        self.separator(b"-_:.m");
        let second = minute.and_then(|_| self.two_digits());
        Some([year, month, day, hour, minute.unwrap_or(0), second.unwrap_or(0)].map(|n| n as i8))
    }

    /// Steps over one of these characters, if one is here.
    fn separator(&mut self, any: &[u8]) {
        if any.contains(&self.peek()) {
            self.skip(1);
        }
    }
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
