//! Decodes socket addresses of the kernel: ip(7), ipv6(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The size of a `struct sockaddr_in`.
pub(crate) const INET_BYTES: usize = 16;
/// The size of a `struct sockaddr_in6`.
pub(crate) const INET6_BYTES: usize = 28;

/// Decodes an IP address of `family` in network byte order. `None`: another family, or too few
/// bytes.
pub(crate) fn decode_ip(family: i32, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Decodes a `struct sockaddr_in` or `sockaddr_in6`. `None`: another family, or too few bytes.
pub fn decode(sockaddr: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*sockaddr.first_chunk()?));
    let port = u16::from_be_bytes(*sockaddr.get(2..)?.first_chunk()?);
    let ip = match family {
        libc::AF_INET if sockaddr.len() >= INET_BYTES => sockaddr.get(4..)?,
        libc::AF_INET6 if sockaddr.len() >= INET6_BYTES => sockaddr.get(8..)?,
        _ => return None,
    };
    Some(SocketAddr::new(decode_ip(family, ip)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_decoded() {
        let mut v4 = [0; INET_BYTES];
        v4[..8].copy_from_slice(&[2, 0, 0x30, 0x39, 127, 0, 0, 5]);
        assert_eq!(decode(&v4), Some("127.0.0.5:12345".parse().unwrap()));
        let mut v6 = [0; INET6_BYTES];
        v6[..4].copy_from_slice(&[10, 0, 0x30, 0x39]);
        v6[23] = 1;
        assert_eq!(decode(&v6), Some("[::1]:12345".parse().unwrap()));
    }

    #[test]
    fn cut_off_addresses_and_other_families_are_not_decoded() {
        for (family, size) in [(2, INET_BYTES - 1), (10, INET6_BYTES - 1), (1, INET6_BYTES)] {
            let mut bytes = vec![0; size];
            bytes[0] = family;
            assert_eq!(decode(&bytes), None, "{family}");
        }
        assert_eq!(decode(&[2]), None);
    }
}
