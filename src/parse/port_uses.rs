//! [`PortUses`]: infers the direction of a connection from the ports, for records that do not show it.

/// Linux gives clients ports from here on by default (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL_PORT: u16 = 32768;
/// Only servers of root have ports below.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Which end opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The other end.
    Inbound,
    /// The recorded machine.
    Outbound,
    /// Unknown.
    Unknown,
}

/// How many sessions used each port, at the local end and at the remote end.
pub(crate) struct PortUses {
    /// The port of `--port`, which is a server's port of this machine.
    port: Option<u16>,
    local: Vec<u32>,
    remote: Vec<u32>,
}

impl PortUses {
    /// Nothing is seen yet; `port` is a server's of this machine.
    pub(crate) fn new(port: Option<u16>) -> PortUses {
        let none = vec![0; 1 << 16];
        PortUses { port, local: none.clone(), remote: none }
    }

    /// Adds a connection between a local and a remote port.
    pub(crate) fn add(&mut self, local: u16, remote: u16) {
        let add = |uses: &mut u32| *uses = uses.saturating_add(1);
        add(&mut self.local[usize::from(local)]);
        add(&mut self.remote[usize::from(remote)]);
    }

    /// Infers the direction from the numbers of the ports, if possible: a server has the
    /// port that was asked for, or one below those that Linux gives to clients.
    pub(crate) fn by_number(&self, local: u16, remote: u16) -> Direction {
        let is_server = |port: u16| Some(port) == self.port;
        for (local, remote) in [
            (is_server(local), is_server(remote)),
            (local < FIRST_EPHEMERAL_PORT, remote < FIRST_EPHEMERAL_PORT),
            (local < FIRST_UNPRIVILEGED_PORT, remote < FIRST_UNPRIVILEGED_PORT),
        ] {
            match (local, remote) {
                (true, false) => return Direction::Inbound,
                (false, true) => return Direction::Outbound,
                _ => {}
            }
        }
        Direction::Unknown
    }

    /// Tells the direction by the numbers of the ports or else by their uses in the whole record:
    /// many sessions have the same server's port, and few the same client's.
    pub(crate) fn direction(&self, local: u16, remote: u16) -> Direction {
        match self.by_number(local, remote) {
            Direction::Unknown => {
                let uses = (self.local[usize::from(local)], self.remote[usize::from(remote)]);
                match uses.0.cmp(&uses.1) {
                    std::cmp::Ordering::Greater => Direction::Inbound,
                    std::cmp::Ordering::Less => Direction::Outbound,
                    std::cmp::Ordering::Equal => Direction::Unknown,
                }
            }
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_is_inferred_from_numbers_and_uses_of_ports() {
        use Direction::*;
        let mut uses = PortUses::new(None);
        for (local, remote, want) in [
            (443, 40755, Inbound),
            (44020, 443, Outbound),
            (8080, 40755, Inbound),
            (44020, 8080, Outbound),
            (22, 20000, Inbound),
            (20000, 22, Outbound),
            (8080, 20000, Unknown),
            (40000, 50000, Unknown),
            (179, 179, Unknown),
        ] {
            assert_eq!(uses.by_number(local, remote), want, "{local} {remote}");
        }
        assert_eq!(PortUses::new(Some(40000)).by_number(40000, 50000), Inbound);
        assert_eq!(PortUses::new(Some(50000)).by_number(40000, 50000), Outbound);
        // A proxy whose clients and backends have ports of all sorts.
        for n in 0..10 {
            uses.add(8080, 20000 + n);
            uses.add(21000 + n, 9000);
        }
        assert_eq!(uses.direction(8080, 20000), Inbound);
        assert_eq!(uses.direction(21000, 9000), Outbound);
        assert_eq!(uses.direction(3000, 3001), Unknown);
    }
}
