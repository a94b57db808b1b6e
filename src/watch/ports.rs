//! [`PortSet`]: the watched local ports, and the kernel filters that select them.

use std::ops::RangeInclusive;

use crate::sys::netlink::Instruction;

/// Maximum number of ranges in a kernel filter: the kernel limits the length of filter programs.
const MAX_FILTER_PORTS: usize = 256;

/// Offsets into a destroy event: `struct nlmsghdr` has 16 bytes, `struct inet_diag_msg` follows.
const SPORT: u32 = 16 + 4;
/// The least significant byte of the socket's cookie.
const COOKIE: u32 = 16 + 44 + if cfg!(target_endian = "little") { 0 } else { 3 };

/// Local ports, as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSet(Vec<(u16, u16)>);

impl FromIterator<RangeInclusive<u16>> for PortSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> PortSet {
        let mut ranges: Vec<_> =
            ranges.into_iter().filter(|r| !r.is_empty()).map(|r| (*r.start(), *r.end())).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(low) <= u32::from(last.1) + 1 => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        PortSet(merged)
    }
}

impl PortSet {
    /// Whether no port is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `port` is watched.
    pub(super) fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|(low, _)| *low <= port);
        after > 0 && self.0[after - 1].1 >= port
    }

    /// The ranges, in order.
    pub(super) fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// The ranges for a kernel filter: a few ports too many instead of a program that is too long.
    fn coarse(&self) -> Vec<(u16, u16)> {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) if self.0.len() > MAX_FILTER_PORTS => vec![(first.0, last.1)],
            _ => self.0.clone(),
        }
    }

    /// Returns the `INET_DIAG_REQ_BYTECODE` that selects the sockets of a dump. A jump to the end
    /// of the program accepts a socket, a jump four bytes beyond rejects it. See linux/inet_diag.h.
    pub(super) fn bytecode(&self) -> Vec<u8> {
        const JMP: u8 = 1;
        const S_GE: u8 = 2;
        const S_LE: u8 = 3;
        /// Two comparisons of eight bytes, and a jump of four.
        const RANGE: usize = 20;
        let ranges = self.coarse();
        let len = ranges.len() * RANGE;
        let mut code = Vec::with_capacity(len);
        // `yes` and `no` are offsets in bytes from the operation.
        let mut op = |code_: u8, yes: u8, no: usize| {
            code.extend([code_, yes]);
            code.extend((no as u16).to_ne_bytes());
        };
        for (i, &(low, high)) in ranges.iter().enumerate() {
            let start = i * RANGE;
            let next = if i + 1 == ranges.len() { len + 4 } else { start + RANGE };
            op(S_GE, 8, next - start);
            op(0, 0, low.into());
            op(S_LE, 8, next - (start + 8));
            op(0, 0, high.into());
            op(JMP, 4, len - (start + 16));
        }
        code
    }

    /// Returns the classic BPF program that drops destroy events of other ports. Each of `shares` sockets
    /// (a power of two) gets an equal share of the remaining ones.
    pub(super) fn filter(&self, share: u8, shares: u8) -> Vec<Instruction> {
        use libc::{BPF_ABS, BPF_AND, BPF_B, BPF_H, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K};
        use libc::{BPF_ALU, BPF_LD, BPF_RET};
        let jump = |code: u32, k: u32, jt: u8, jf: u8| Instruction {
            code: (BPF_JMP | code | BPF_K) as u16,
            jt,
            jf,
            k,
        };
        let other = |code: u32, k: u32| Instruction { code: code as u16, jt: 0, jf: 0, k };
        let pass = other(BPF_RET | BPF_K, u32::MAX);
        let drop = other(BPF_RET | BPF_K, 0);

        let mut program = Vec::new();
        if shares > 1 {
            program.push(other(BPF_LD | BPF_B | BPF_ABS, COOKIE));
            program.push(other(BPF_ALU | BPF_AND | BPF_K, u32::from(shares) - 1));
            program.push(jump(BPF_JEQ, share.into(), 1, 0));
            program.push(drop);
        }
        program.push(other(BPF_LD | BPF_H | BPF_ABS, SPORT));
        for (low, high) in self.coarse() {
            program.push(jump(BPF_JGE, low.into(), 0, 2));
            program.push(jump(BPF_JGT, high.into(), 1, 0));
            program.push(pass);
        }
        program.push(drop);
        program
    }
}

/// `80`, `80,443`, `8000-8010`.
impl std::fmt::Display for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (low, high)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            match low == high {
                true => write!(f, "{comma}{low}")?,
                false => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(ranges: &[(u16, u16)]) -> PortSet {
        ranges.iter().map(|&(a, b)| a..=b).collect()
    }

    /// The kernel's interpreter, inet_diag_bc_run.
    fn run_bytecode(code: &[u8], port: u16) -> bool {
        let no = |at: usize| usize::from(u16::from_ne_bytes([code[at + 2], code[at + 3]]));
        let mut at = 0;
        while at < code.len() {
            let yes = match code[at] {
                1 => false,
                2 => usize::from(port) >= no(at + 4),
                3 => usize::from(port) <= no(at + 4),
                other => panic!("operation {other}"),
            };
            at += if yes { code[at + 1].into() } else { no(at) };
        }
        at == code.len()
    }

    fn run_filter(program: &[Instruction], sport: u16, cookie: u8) -> bool {
        let (mut a, mut pc) = (0u32, 0);
        loop {
            let i = program[pc];
            pc += 1;
            let jump = |yes| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                0x28 if i.k == SPORT => a = sport.into(),
                0x30 if i.k == COOKIE => a = cookie.into(),
                0x54 => a &= i.k,
                0x15 => pc += jump(a == i.k),
                0x25 => pc += jump(a > i.k),
                0x35 => pc += jump(a >= i.k),
                0x06 => return i.k > 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(ports(&[(90, 95), (80, 85), (86, 88), (84, 84)]).ranges(), [(80, 88), (90, 95)]);
        assert_eq!(ports(&[(0, u16::MAX), (5, 5)]).ranges(), [(0, u16::MAX)]);
    }

    #[test]
    fn both_programs_pick_exactly_the_ports() {
        for set in [
            ports(&[(443, 443)]),
            ports(&[(80, 80), (443, 443), (8000, 8010)]),
            ports(&[(1, 1), (65535, 65535)]),
            ports(&[(1, 65535)]),
            (1..=200u16).map(|i| i * 10..=i * 10 + 3).collect(),
        ] {
            let (code, filter) = (set.bytecode(), set.filter(0, 1));
            for port in 0..=u16::MAX {
                let requested =
                    set.ranges().iter().any(|(low, high)| (*low..=*high).contains(&port));
                assert_eq!(set.contains(port), requested, "{port}");
                assert_eq!(run_bytecode(&code, port), requested, "bytecode, {port}");
                assert_eq!(run_filter(&filter, port, 7), requested, "filter, {port}");
            }
        }
    }

    #[test]
    fn every_destroy_event_passes_exactly_one_share() {
        let set = ports(&[(443, 443)]);
        for cookie in 0..=255 {
            let passing = (0..8).filter(|share| run_filter(&set.filter(*share, 8), 443, cookie));
            assert_eq!(passing.count(), 1);
        }
    }

    #[test]
    fn very_many_ranges_are_given_to_the_kernel_as_one() {
        let set: PortSet = (1..=2000u16).map(|i| i * 3..=i * 3).collect();
        assert!(run_bytecode(&set.bytecode(), 4) && !set.contains(4));
        assert!(!run_bytecode(&set.bytecode(), 6001) && set.bytecode().len() == 20);
    }
}
