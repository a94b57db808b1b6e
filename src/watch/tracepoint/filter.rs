//! Builds the kernel filters that select changes of state: Documentation/trace/events.rst.
//!
//! The kernel evaluates a filter from left to right, up to the first condition that decides. A
//! connection on loopback changes its state 11 times, and one of them is the one that counts. So the
//! condition that rejects the most comes first.

use std::ffi::CString;

use crate::watch::ports::PortSet;

/// Maximum length of a filter: the kernel accepts one page.
const MAX_FILTER_BYTES: usize = 4000;

/// New inbound connections: a socket that leaves SYN_RECV (3), except to CLOSE (7). Nearly all go
/// to ESTABLISHED (1). With TCP Fast Open, a server that closes early takes its socket to FIN_WAIT1,
/// and a FIN beside the SYN to CLOSE_WAIT.
pub(super) fn connections(ports: &PortSet) -> CString {
    filter("oldstate == 3 && newstate != 7", ports)
}

/// The changes that decide which connections count. A listener starts (LISTEN is 10), perhaps
/// before it has a port. A socket that has sent a SYN receives one (SYN_SENT, 2, to SYN_RECV):
/// simultaneous open, which is outbound. It may also leave SYN_RECV by CLOSE.
pub(super) fn others(ports: &PortSet) -> CString {
    let ports = format!("(sport == 0 || {})", list(ports));
    let text = format!("(newstate == 10 || {SIMULTANEOUS_OPEN}) && {ports} && protocol == 6");
    CString::new(text).unwrap_or_default()
}

const SIMULTANEOUS_OPEN: &str =
    "(oldstate == 2 && newstate == 3) || (oldstate == 3 && newstate == 7)";

fn filter(condition: &str, ports: &PortSet) -> CString {
    // The text consists of digits and words and has no NUL. Subflows of MPTCP are TCP (6), too.
    let text = format!("{condition} && {} && protocol == 6", list(ports));
    CString::new(text).unwrap_or_default()
}

/// The condition for local ports: a few ports too many instead of a filter that is too long.
fn list(ports: &PortSet) -> String {
    let range = |(low, high): (u16, u16)| match low == high {
        true => format!("sport == {low}"),
        false => format!("(sport >= {low} && sport <= {high})"),
    };
    let all: Vec<String> = ports.ranges().iter().map(|r| range(*r)).collect();
    let all = format!("({})", all.join(" || "));
    match (ports.ranges().first(), ports.ranges().last()) {
        (Some(first), Some(last)) if all.len() > MAX_FILTER_BYTES - 200 => range((first.0, last.1)),
        _ => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_one_filter() {
        let ports = [443..=443, 80..=80, 8000..=8010].into_iter().collect();
        assert_eq!(
            connections(&ports).to_str().unwrap(),
            "oldstate == 3 && newstate != 7 && \
             (sport == 80 || sport == 443 || (sport >= 8000 && sport <= 8010)) && protocol == 6"
        );
        assert_eq!(
            others(&ports).to_str().unwrap(),
            "(newstate == 10 || (oldstate == 2 && newstate == 3) || (oldstate == 3 && newstate == 7)) \
             && (sport == 0 || (sport == 80 || sport == 443 || (sport >= 8000 && sport <= 8010))) \
             && protocol == 6"
        );
    }

    #[test]
    fn very_many_ranges_are_given_to_the_kernel_as_one() {
        let ports: PortSet = (1..=2000u16).map(|i| i * 3..=i * 3).collect();
        let text = connections(&ports);
        let text = text.to_str().unwrap();
        assert!(text.ends_with("(sport >= 3 && sport <= 6000) && protocol == 6"), "{text:?}");
    }
}
