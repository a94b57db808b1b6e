//! [`Paired`]: recognises connections that a log has in lines of two kinds.

use std::collections::HashMap;
use std::hash::RandomState;

use super::host::{Ends, Host};

/// Maximum number of connections that are remembered: twice this.
const MAX_OPEN: usize = 1 << 18;

/// Which of the two lines of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// The line of the more detailed level.
    First,
    /// The other one.
    Second,
}

/// The client's end, and the number that the log gives the connection.
type Key = (Host, Option<u16>, u64);

/// Connections of which one line was seen. They are in one of the two: in `young` if they were seen lately.
#[derive(Default)]
pub(crate) struct Paired {
    young: HashMap<Key, Half, RandomState>,
    old: HashMap<Key, Half, RandomState>,
}

impl Paired {
    /// Whether a line is of a connection that has had its other line.
    pub(crate) fn is_further(&mut self, half: Half, number: u64, ends: &Ends) -> bool {
        let key = (ends.client.clone(), ends.client_port, number);
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        if known.is_some_and(|known| *known != half) {
            self.young.remove(&key);
            self.old.remove(&key);
            return true;
        }
        if self.young.len() >= MAX_OPEN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, half);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_unless_its_other_half_did() {
        let ends = |port| Ends {
            client: Host::address(b"198.51.100.7").unwrap(),
            client_port: Some(port),
            server: Host::Name("".into()),
            server_port: None,
        };
        let mut paired = Paired::default();
        for (half, number, port, want) in [
            (Half::First, 1, 7, false),
            (Half::Second, 1, 7, true),
            // The server was started again, and numbers its connections from 1.
            (Half::First, 1, 7, false),
            (Half::First, 1, 7, false),
            (Half::Second, 1, 8, false),
            (Half::Second, 2, 7, false),
            (Half::First, 2, 7, true),
        ] {
            assert_eq!(
                paired.is_further(half, number, &ends(port)),
                want,
                "{half:?} {number} {port}"
            );
        }
        for number in 0..3 * MAX_OPEN as u64 {
            assert!(!paired.is_further(Half::First, number, &ends(9)));
        }
        assert!(paired.young.len() + paired.old.len() <= 2 * MAX_OPEN);
        assert!(paired.is_further(Half::Second, 3 * MAX_OPEN as u64 - 1, &ends(9)));
    }
}
