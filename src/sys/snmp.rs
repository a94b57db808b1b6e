//! [`PassiveOpens`]: the kernel's own count of inbound connections, for comparison.

use std::fs::File;
use std::io::{Read, Seek};

/// Reads `PassiveOpens` of the network namespace in which it was opened (RFC 4022:
/// tcpPassiveOpens, all ports together).
#[derive(Debug)]
pub(crate) struct PassiveOpens(File);

impl PassiveOpens {
    /// Opens the counter of the calling thread's namespace. `None` if /proc hides it.
    pub(crate) fn open() -> Option<PassiveOpens> {
        File::open("/proc/thread-self/net/snmp").ok().map(PassiveOpens)
    }

    /// Reads the counter.
    pub(crate) fn read(&mut self) -> Option<u64> {
        let mut text = String::new();
        self.0.rewind().ok()?;
        self.0.read_to_string(&mut text).ok()?;
        passive_opens(&text)
    }
}

/// Two lines start with `Tcp:`: the first has the names, the second the values.
fn passive_opens(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|l| l.strip_prefix("Tcp:")).map(str::split_whitespace);
    let (mut names, mut values) = (lines.next()?, lines.next()?);
    let at = names.position(|n| n == "PassiveOpens")?;
    values.nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_value_by_its_name() {
        let snmp = "Ip: Forwarding\nIp: 2\nTcp: RtoMin ActiveOpens PassiveOpens AttemptFails\n\
                    Tcp: 200 7 12345 3\nUdp: PassiveOpens\nUdp: 9\n";
        assert_eq!(passive_opens(snmp), Some(12345));
        assert_eq!(passive_opens("Tcp: RtoMin\nTcp: 200\n"), None);
    }
}
