//! Captures as tshark decodes them, where it is installed.

mod encapsulations;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tcptally::RecordTime;
use tcptally::parse::{Options, parse};

/// A SYN may carry data (RFC 7413), which the SYN+ACK acknowledges.
const FAST_OPEN: u32 = 9000;

/// Client, its port, server, its port.
type Ends = (IpAddr, u16, IpAddr, u16);

/// How many connections there are between two ends, and when the first began, in microseconds.
type Found = BTreeMap<Ends, (usize, Option<i64>)>;

fn installed() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: tshark is not installed");
    }
    found
}

fn ours(file: &Path) -> Found {
    let mut connections = Vec::new();
    let outcome = parse(&[file.to_owned()], &Options::default(), &mut connections);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let mut found = Found::new();
    for c in connections {
        let time = match c.time {
            Some(RecordTime::Clock(ns)) => Some(ns.div_euclid(1000)),
            _ => None,
        };
        let ends = (c.ip.unwrap(), c.port.unwrap(), c.local_ip.unwrap(), c.local_port.unwrap());
        let (n, _) = found.entry(ends).or_insert((0, time));
        *n += 1;
    }
    found
}

/// Of every packet with SYN: its time, both ends, whether it has ACK, both numbers, and whether
/// the link layer says that it went out.
#[expect(clippy::too_many_lines, reason = "a table of fields")]
fn theirs(file: &Path) -> Found {
    let fields = [
        "frame.time_epoch",
        "ip.src",
        "ipv6.src",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "tcp.flags.ack",
        "tcp.seq",
        "tcp.ack",
        "sll.pkttype",
        "frame.protocols",
    ];
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        .args(["-o", "tcp.relative_sequence_numbers:FALSE"])
        .args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"])
        .args(["-o", "capwap.swap_fc:FALSE", "-d", "udp.port==8472,vxlan"])
        // It guesses what a pseudowire has by the names of manufacturers.
        .args(["-d", "mpls.label==17,pwethcw", "-d", "mpls.label==18,pwethnocw"])
        .args(["-T", "fields", "-E", "occurrence=l", "-E", "separator=,"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .args([
            "-Y",
            "tcp.flags.syn == 1 && tcp.flags.fin == 0 && tcp.flags.reset == 0 && !icmp && !icmpv6",
        ])
        .output()
        .unwrap();
    let mut known: BTreeMap<Ends, Vec<u32>> = BTreeMap::new();
    let mut found = Found::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let value: Vec<&str> = line.split(',').collect();
        let address = |v4: usize, v6: usize| -> IpAddr {
            // Of several layers the innermost.
            let innermost = value[11].rsplit(':').find(|name| matches!(*name, "ip" | "ipv6"));
            if innermost == Some("ip") { value[v4] } else { value[v6] }.parse().unwrap()
        };
        let number = |n: usize| value[n].parse::<u32>().unwrap();
        let source = (address(1, 2), number(3) as u16);
        let destination = (address(4, 5), number(6) as u16);
        let answer = matches!(value[7], "1" | "True");
        let ((client, port), (server, server_port)) =
            if answer { (destination, source) } else { (source, destination) };
        let one_machine = client == server || server.is_loopback();
        let wrong_way = match value[10] {
            "0" | "1" | "2" => answer,
            "4" => !answer,
            _ => false,
        };
        if wrong_way && !one_machine {
            continue;
        }
        let ends = (client, port, server, server_port);
        let isns = known.entry(ends).or_default();
        let isn = if answer { number(9).wrapping_sub(1) } else { number(8) };
        let is = |known: &u32| isn.wrapping_sub(*known) <= if answer { FAST_OPEN } else { 0 };
        if !isns.iter().any(is) {
            isns.push(isn);
            let (whole, fraction) = value[0].split_once('.').unwrap();
            let us: i64 = format!("{whole}{fraction:0<6}")[..whole.len() + 6].parse().unwrap();
            let (n, _) = found.entry(ends).or_insert((0, Some(us)));
            *n += 1;
        }
    }
    found
}

#[test]
fn real_captures() {
    if !installed() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records/pcap");
    let mut some = 0;
    for case in std::fs::read_dir(root).unwrap().map(|case| case.unwrap().path()) {
        let files: Vec<PathBuf> =
            std::fs::read_dir(&case).unwrap().map(|file| file.unwrap().path()).collect();
        for file in files.iter().filter(|f| !f.ends_with("truth.json") && !f.ends_with("cmd")) {
            let ours = ours(file);
            assert_eq!(ours, theirs(file), "{}", file.display());
            some += ours.len();
        }
    }
    assert!(some > 200, "{some}");
}

/// A SYN of client `n` over IPv4, or IPv6 with a header in between.
fn syn(n: u8, v6: bool) -> Vec<u8> {
    let tcp = [0x80, n, 0, 80, 0, 0, 0, n, 0, 0, 0, 0, 0x50, 0x02, 1, 1, 0, 0, 0, 0];
    let mut ip = if v6 {
        let mut ip = vec![0x60, 0, 0, 0, 0, 28, 60, 64];
        ip.extend("2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        ip.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        // Destination options: padding.
        ip.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        ip[23] = n;
        ip
    } else {
        vec![0x45, 0, 0, 40, 0, n, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, n, 192, 0, 2, 77]
    };
    ip.extend(tcp);
    ip
}

/// Link types, and what stands before an IP packet there.
fn links() -> Vec<(u32, bool, Vec<u8>)> {
    let ethernet = |rest: &[u8]| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], rest].concat();
    let sll = |kind: u8| vec![0, kind, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0, 8, 0];
    let sll2 = |kind: u8| {
        let mut front = vec![8, 0, 0, 0, 0, 0, 0, 2, 0, 1, kind, 6];
        front.extend([2, 0, 0, 0, 0, 2, 0, 0]);
        front
    };
    vec![
        (1, false, ethernet(&[8, 0])),
        (1, true, ethernet(&[0x86, 0xdd])),
        (1, false, ethernet(&[0x81, 0, 0, 10, 8, 0])),
        (1, true, ethernet(&[0x88, 0xa8, 0, 10, 0x81, 0, 0, 11, 0x86, 0xdd])),
        (1, false, ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21])),
        (113, false, sll(0)),
        (113, false, sll(4)),
        (276, false, sll2(0)),
        (276, false, sll2(4)),
        (101, false, vec![]),
        (101, true, vec![]),
        (228, false, vec![]),
        (229, true, vec![]),
        (0, false, vec![2, 0, 0, 0]),
        (0, true, vec![30, 0, 0, 0]),
        (108, false, vec![0, 0, 0, 2]),
        (9, false, vec![0xff, 3, 0, 0x21]),
    ]
}

fn word(n: u32, big_endian: bool) -> [u8; 4] {
    if big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
}

fn pcap(link: u32, nanoseconds: bool, big_endian: bool, frames: &[Vec<u8>]) -> Vec<u8> {
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut file = word(magic, big_endian).to_vec();
    file.extend(version);
    for n in [0, 0, 65535, link] {
        file.extend(word(n, big_endian));
    }
    for (n, frame) in (0..).zip(frames) {
        let length = frame.len() as u32;
        for n in [1_795_345_122, 999_000 + n, length, length] {
            file.extend(word(n, big_endian));
        }
        file.extend(frame);
    }
    file
}

fn block(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let length = (body.len().next_multiple_of(4) + 12) as u32;
    let mut block = word(kind, big_endian).to_vec();
    block.extend(word(length, big_endian));
    block.extend(body);
    block.resize(length as usize - 4, 0);
    block.extend(word(length, big_endian));
    block
}

/// Two interfaces: the one counts in 2^-20 s from another year on, the other in nanoseconds.
fn pcapng(big_endian: bool, frames: &[Vec<u8>]) -> Vec<u8> {
    let half = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let option = |code: u16, value: &[u8]| {
        let mut option = [half(code), half(value.len() as u16)].concat();
        option.extend(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    };
    let offset = 1_700_000_000_i64;
    let offset = if big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
    let interface = |options: &[Vec<u8>]| {
        let mut body = [half(1), half(0)].concat();
        body.extend(word(0, big_endian));
        body.extend(options.concat());
        body.extend(option(0, &[]));
        block(1, &body, big_endian)
    };
    let mut section = word(0x1a2b_3c4d, big_endian).to_vec();
    section.extend([half(1), half(0)].concat());
    section.extend([0xff; 8]);
    let mut file = block(0x0a0d_0d0a, &section, big_endian);
    file.extend(interface(&[option(9, &[0x94]), option(14, &offset)]));
    file.extend(interface(&[option(9, &[9])]));
    for (n, frame) in (0..).zip(frames) {
        let ticks = [(95_345_122_u64 << 20) + 1000 + n, 1_795_345_122_000_000_000 + 1000 * n];
        let ticks = ticks[n as usize % 2];
        let mut body = Vec::new();
        let length = frame.len() as u32;
        for n in [n as u32 % 2, (ticks >> 32) as u32, ticks as u32, length, length] {
            body.extend(word(n, big_endian));
        }
        body.extend(frame);
        file.extend(block(6, &body, big_endian));
    }
    file
}

#[track_caller]
fn same(capture: &[u8], connections: usize, what: &str) {
    let mut file = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
    file.write_all(capture).unwrap();
    let ours = ours(file.path());
    assert_eq!(ours, theirs(file.path()), "{what}");
    assert_eq!(ours.len(), connections, "{what}");
}

#[test]
fn link_types() {
    if !installed() {
        return;
    }
    for (n, (link, v6, front)) in links().into_iter().enumerate() {
        let frames: Vec<Vec<u8>> = (1..4).map(|n| [&front[..], &syn(n, v6)].concat()).collect();
        let outgoing =
            matches!((link, front.get(1), front.get(10)), (113, Some(4), _) | (276, _, Some(4)));
        let (nanoseconds, big_endian) = (n % 2 == 0, n % 3 == 0);
        let connections = if outgoing { 0 } else { 3 };
        same(&pcap(link, nanoseconds, big_endian, &frames), connections, &format!("{n}: {link}"));
    }
}

/// One interface for each encapsulation, with one client over IPv4 and IPv6.
fn encapsulated() -> Vec<u8> {
    let mut section = word(0x1a2b_3c4d, false).to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    let mut file = block(0x0a0d_0d0a, &section, false);
    for encapsulation in encapsulations::ALL {
        file.extend(block(1, &[word(encapsulation.link, false), [0; 4]].concat(), false));
    }
    for (n, encapsulation) in (0..).zip(encapsulations::ALL) {
        for v6 in [false, true] {
            let frame = (encapsulation.frame)(&syn(n as u8 + 1, v6));
            let length = frame.len() as u32;
            let mut body: Vec<u8> =
                [n, 0, 1000 + n, length, length].iter().flat_map(|n| word(*n, false)).collect();
            body.extend(frame);
            file.extend(block(6, &body, false));
        }
    }
    file
}

#[test]
fn encapsulations_are_decoded_as_by_tshark() {
    if !installed() {
        return;
    }
    let mut file = tempfile::Builder::new().suffix(".pcapng").tempfile().unwrap();
    file.write_all(&encapsulated()).unwrap();
    let (ours, theirs) = (ours(file.path()), theirs(file.path()));
    let mut wrong = Vec::new();
    for (n, encapsulation) in (1..).zip(encapsulations::ALL) {
        for v6 in [false, true] {
            let of = |found: &Found| -> Vec<(Ends, usize)> {
                let is =
                    |(_, port, server, _): &Ends| *port == 0x8000 + n && server.is_ipv6() == v6;
                found.iter().filter(|(e, _)| is(e)).map(|(e, (n, _))| (*e, *n)).collect()
            };
            let (ours, theirs) = (of(&ours), of(&theirs));
            if ours.len() != 1 || ours != theirs {
                wrong.push(format!("{}: {ours:?}, tshark {theirs:?}", encapsulation.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Wherever the capture cut a frame off, its SYN is counted, or the packet as captured too short.
#[test]
fn no_snap_length_hides_a_syn() {
    let mut wrong = Vec::new();
    for encapsulation in encapsulations::ALL {
        for v6 in [false, true] {
            let length = (encapsulation.frame)(&syn(1, v6)).len();
            let mut file = pcap(encapsulation.link, false, false, &[]);
            for n in 1..length {
                let frame = (encapsulation.frame)(&syn(n as u8, v6));
                for n in [1_795_345_122, n as u32, n as u32, length as u32] {
                    file.extend(word(n, false));
                }
                file.extend(&frame[..n]);
            }
            let mut capture = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
            capture.write_all(&file).unwrap();
            let mut connections = Vec::new();
            let options = Options::default();
            let outcome = parse(&[capture.path().to_owned()], &options, &mut connections);
            let unread: u64 = outcome.status.shortfalls().iter().map(|s| s.count).sum();
            let found = connections.len() + unread as usize;
            if found != length - 1 || connections.len() < 6 {
                wrong.push(format!("{} of {}: {}", found, length - 1, encapsulation.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sections_and_units_of_time() {
    if !installed() {
        return;
    }
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let frames = |range: std::ops::Range<u8>| -> Vec<Vec<u8>> {
        range.map(|n| [&ethernet[..], &syn(n, false)].concat()).collect()
    };
    for big_endian in [false, true] {
        same(&pcapng(big_endian, &frames(1..9)), 8, "one section");
        let both = [pcapng(big_endian, &frames(1..9)), pcapng(!big_endian, &frames(9..12))];
        same(&both.concat(), 11, "two sections");
    }
}

/// The text that tcpdump prints of `capture`; `None` if it is not installed.
fn tcpdump(capture: &Path, options: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("tcpdump");
    command.args(["-nn", "-r"]).arg(capture).args(options.split_whitespace());
    Some(command.output().ok()?.stdout)
}

/// Packets of every tunnel behind one without, as tcpdump prints them. It does not decode all tunnels; then the
/// report says so.
#[test]
fn text_of_tcpdump_counts_what_is_in_tunnels_or_is_incomplete() {
    let mut wrong = Vec::new();
    for encapsulation in encapsulations::ALL.iter().filter(|encapsulation| encapsulation.link == 1)
    {
        // The port of TZSP is one that clients may have, and pseudowires are printed as MPLS alone.
        if encapsulation.name == "TZSP" || encapsulation.name.starts_with("MPLS pseudowire") {
            continue;
        }
        for v6 in [false, true] {
            let kind: [u8; 2] = if v6 { [0x86, 0xdd] } else { [8, 0] };
            let plain = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &kind[..], &syn(1, v6)].concat();
            let inner = (2..5).map(|n| (encapsulation.frame)(&syn(n, v6)));
            let frames: Vec<Vec<u8>> = std::iter::once(plain).chain(inner).collect();
            let mut capture = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
            capture.write_all(&pcap(1, false, false, &frames)).unwrap();
            for options in ["", "-v", "-vv -e", "-e", "-t -v", "-# -vvv", "-v -X", "-A", "-q"] {
                let Some(text) = tcpdump(capture.path(), options) else {
                    eprintln!("skipped: tcpdump is not installed");
                    return;
                };
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&text).unwrap();
                let mut found: Vec<tcptally::Connection> = Vec::new();
                let outcome = parse(&[file.path().to_owned()], &Options::default(), &mut found);
                if found.len() != 4 && outcome.status.is_complete() && outcome.failures.is_empty() {
                    let (name, n) = (encapsulation.name, found.len());
                    let text = String::from_utf8_lossy(&text);
                    wrong.push(format!("{name}, v6 {v6}, tcpdump {options}: {n}\n{text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
