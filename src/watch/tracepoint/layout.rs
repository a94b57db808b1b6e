//! [`Layout`]: the offsets of the fields of `sock:inet_sock_set_state` in this kernel's records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sys::sock_diag::End;

/// Offsets into the raw record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    socket: usize,
    old_state: usize,
    new_state: usize,
    local_port: usize,
    peer_port: usize,
    family: usize,
    local_ipv4: usize,
    peer_ipv4: usize,
    local_ipv6: usize,
    peer_ipv6: usize,
}

/// A change of a socket's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateChange {
    /// The address of the kernel's `struct sock`. It identifies the socket while it exists.
    pub socket: u64,
    /// The state before, from the kernel's net/tcp_states.h.
    pub old_state: i32,
    /// The state after.
    pub new_state: i32,
    /// The local address.
    pub local: End,
    /// The remote address.
    pub peer: End,
}

impl Layout {
    /// Parses the file `format` of the tracepoint. `None` if a field is missing or has another
    /// size.
    pub(super) fn parse(format: &str) -> Option<Layout> {
        let at = |name: &str, size: usize| {
            let line = format.lines().find(|line| field_name(line) == Some(name))?;
            let number = |key: &str| line.split_once(key)?.1.split(';').next()?.trim().parse().ok();
            number("offset:").filter(|_| number("size:") == Some(size))
        };
        Some(Layout {
            socket: at("skaddr", 8)?,
            old_state: at("oldstate", 4)?,
            new_state: at("newstate", 4)?,
            local_port: at("sport", 2)?,
            peer_port: at("dport", 2)?,
            family: at("family", 2)?,
            local_ipv4: at("saddr", 4)?,
            peer_ipv4: at("daddr", 4)?,
            local_ipv6: at("saddr_v6", 16)?,
            peer_ipv6: at("daddr_v6", 16)?,
        })
    }

    /// Decodes a raw record. `None` if it is cut off or of another family than IPv4 and IPv6.
    pub(super) fn decode(&self, raw: &[u8]) -> Option<StateChange> {
        let (local, peer): (IpAddr, IpAddr) =
            match i32::from(u16::from_ne_bytes(bytes(raw, self.family)?)) {
                libc::AF_INET => {
                    let ip = |at| Some(Ipv4Addr::from(bytes::<4>(raw, at)?));
                    (ip(self.local_ipv4)?.into(), ip(self.peer_ipv4)?.into())
                }
                libc::AF_INET6 => {
                    let ip = |at| Some(Ipv6Addr::from(bytes::<16>(raw, at)?));
                    (ip(self.local_ipv6)?.into(), ip(self.peer_ipv6)?.into())
                }
                _ => return None,
            };
        Some(StateChange {
            socket: u64::from_ne_bytes(bytes(raw, self.socket)?),
            old_state: i32::from_ne_bytes(bytes(raw, self.old_state)?),
            new_state: i32::from_ne_bytes(bytes(raw, self.new_state)?),
            local: (local, u16::from_ne_bytes(bytes(raw, self.local_port)?)),
            peer: (peer, u16::from_ne_bytes(bytes(raw, self.peer_port)?)),
        })
    }
}

/// Decodes a raw record by the tracepoint's file `format`: the local and the remote address.
#[cfg(feature = "internals")]
pub fn decode_state_change(format: &str, raw: &[u8]) -> Option<(End, End)> {
    let change = Layout::parse(format)?.decode(raw)?;
    Some((change.local, change.peer))
}

/// The name in a line such as `field:__u8 saddr[4];  offset:32;  size:4;  signed:0;`.
fn field_name(line: &str) -> Option<&str> {
    let declaration = line.trim_start().strip_prefix("field:")?.split(';').next()?;
    let name = declaration.split_ascii_whitespace().next_back()?;
    name.trim_start_matches('*').split('[').next()
}

fn bytes<const N: usize>(raw: &[u8], at: usize) -> Option<[u8; N]> {
    raw.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 4.16 to 5.5 have one byte for the protocol, and so the addresses at odd offsets.
    const LINUX_4_16: &str = "name: inet_sock_set_state
ID: 1403
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;
\tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;
\tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;
\tfield:__u16 family;\toffset:28;\tsize:2;\tsigned:0;
\tfield:__u8 protocol;\toffset:30;\tsize:1;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:31;\tsize:4;\tsigned:0;
\tfield:__u8 daddr[4];\toffset:35;\tsize:4;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:39;\tsize:16;\tsigned:0;
\tfield:__u8 daddr_v6[16];\toffset:55;\tsize:16;\tsigned:0;

print fmt: \"family=%s saddr=%pI4\", REC->family, REC->saddr
";

    fn raw(family: u16) -> Vec<u8> {
        let mut raw = vec![0; 8];
        raw.extend(0xffff_8880_1234_5678_u64.to_ne_bytes());
        raw.extend([3i32, 1].iter().flat_map(|n| n.to_ne_bytes()));
        raw.extend([443, 50_000, family].iter().flat_map(|n: &u16| n.to_ne_bytes()));
        raw.push(6);
        raw.extend([127, 0, 0, 1, 127, 0, 0, 2]);
        raw.extend(Ipv6Addr::LOCALHOST.octets());
        raw.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        raw
    }

    #[test]
    fn both_families_are_decoded_by_the_kernels_own_format() {
        let layout = Layout::parse(LINUX_4_16).unwrap();
        for (family, local, peer) in [(2, "127.0.0.1", "127.0.0.2"), (10, "::1", "2001:db8::7")] {
            let change = StateChange {
                socket: 0xffff_8880_1234_5678,
                old_state: 3,
                new_state: 1,
                local: (local.parse().unwrap(), 443),
                peer: (peer.parse().unwrap(), 50_000),
            };
            assert_eq!(layout.decode(&raw(family)), Some(change));
        }
        assert_eq!(layout.decode(&raw(1)), None);
        for length in 0..raw(10).len() {
            assert_eq!(layout.decode(&raw(10)[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_format_without_a_field_is_refused() {
        assert_eq!(Layout::parse(""), None);
        for (field, other) in [("skaddr", "sock"), ("sport;", "sport[2];"), ("size:16", "size:8")] {
            let format = LINUX_4_16.replace(field, other);
            let is_known = field == "sport;";
            assert_eq!(Layout::parse(&format).is_some(), is_known, "{field}");
        }
    }
}
