//! Whether the perf events of this kernel can be relied upon.
//!
//! A kernel with PREEMPT_RT before Linux 6.12 wakes up the reader of events in a thread that can be
//! preempted meanwhile. An event of a tracepoint that fires on that processor then is taken for a
//! recursion, and neither counted nor written: 0 to 7 of 200 accepts are missing with Linux 6.1-rt.
//! And it sends the signals of events with a sleeping lock while preemption is disabled ("BUG:
//! scheduling while atomic"). So no event is opened there, not even for a test.

use std::fs;

/// The first version whose PREEMPT_RT is part of the upstream kernel, and does neither.
const FIRST_RELIABLE: (u32, u32) = (6, 12);

/// Whether this is a kernel on which perf events of tracepoints get lost uncounted, and their signals
/// do harm.
pub(crate) fn loses_perf_events() -> bool {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = line("/proc/sys/kernel/osrelease");
    let version = line("/proc/sys/kernel/version");
    is_unreliable(&release, &version, line("/sys/kernel/realtime").trim() == "1")
}

/// `release` and `version` as `uname -r` and `uname -v` print them; `is_realtime` as
/// `/sys/kernel/realtime` says, which only some versions of PREEMPT_RT have.
fn is_unreliable(release: &str, version: &str, is_realtime: bool) -> bool {
    let is_realtime =
        is_realtime || version.contains("PREEMPT_RT") || version.contains("PREEMPT RT");
    // An unknown version is taken for an old one.
    is_realtime && major_and_minor(release).is_none_or(|version| version < FIRST_RELIABLE)
}

fn major_and_minor(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_kernels_before_6_12_are_unreliable() {
        let cases = [
            ("6.1.0-49-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.1.170-1", false, true),
            ("5.10.0-30-rt-amd64", "#1 SMP PREEMPT_RT Debian 5.10.218-1", true, true),
            ("4.19.0-27-rt-amd64", "#1 SMP PREEMPT RT Debian 4.19.316-1", true, true),
            ("6.6.52-rt43", "#1 SMP PREEMPT_DYNAMIC", true, true),
            ("6.11.9", "#1 SMP PREEMPT_RT", false, true),
            ("6.12.9-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.12.9-1", true, false),
            ("6.12", "#1 SMP PREEMPT_RT", false, false),
            ("7.3-rt", "#1 SMP PREEMPT_RT", true, false),
            ("10.0.1", "#1 SMP PREEMPT_RT", true, false),
            ("unknown", "#1 SMP PREEMPT_RT", false, true),
            ("6.1.0-49-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1", false, false),
            ("5.10.0-30-amd64", "#1 SMP Debian 5.10.218-1", false, false),
            ("unknown", "", false, false),
        ];
        for (release, version, is_realtime, expected) in cases {
            assert_eq!(
                is_unreliable(release, version, is_realtime),
                expected,
                "{release} {version}"
            );
        }
    }
}
