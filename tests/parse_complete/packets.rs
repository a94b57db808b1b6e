//! Packets, in text and in captures.

use crate::records::*;
use crate::row::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    vec![
        row(
            "tcpdump.gtp",
            format!("{DUMP}10:58:43.1 IP 203.0.113.1.2152 > 203.0.113.2.2152: UDP, length 48\n"),
            1,
            &[
                "tcpdump.gtp: tcpdump does not show what 1 packet of a tunnel contains",
                "tcpdump -w",
            ],
        ),
        row(
            "tcpdump.short",
            format!("{DUMP}10:58:43.1 IP 203.0.113.1 > 203.0.113.2: IP  [|ip]\n"),
            1,
            &["tcpdump.short: 1 line could not be read"],
        ),
        row(
            "tcpdump.udp",
            "10:58:42.200113 IP 198.51.100.10.40755 > 192.0.2.77.4711: UDP, length 9\n",
            0,
            &["no packet in it is of TCP"],
        ),
        // A filter for data alone leaves out how connections begin.
        row(
            "tcpdump.data",
            DUMP.replace("[S], seq 7", "[P.], seq 1:9, ack 1"),
            0,
            &["tcpdump.data: no packet in it has SYN"],
        ),
        row("data.pcap", tcp_capture(0x18), 0, &["data.pcap: no packet in it has SYN"]),
        row(
            "udp.pcap",
            capture(1, 34, &ethernet_ipv4(17)),
            0,
            &["udp.pcap: no packet in it has SYN"],
        ),
        row(
            "tshark.data",
            TSHARK.replace("0x0002", "0x0018"),
            0,
            &["tshark.data: no packet in it has SYN"],
        ),
        row(
            "fields.data",
            FIELDS.replace("0x0002", "0x0018"),
            0,
            &["fields.data: no packet in it has SYN"],
        ),
        row(
            "tcpdump.wrapped",
            format!("{DUMP}{}", DUMP.replace("seq 7, ", "seq 351099\n6926, ")),
            1,
            &["tcpdump.wrapped: 1 line could not be read"],
        ),
        row(
            "tcpdump.wrapped-before-4",
            format!("{DUMP}{}", DUMP.replace("Flags [S], seq 7, win", "S 7:7(0\n) ack 9 win")),
            1,
            &["tcpdump.wrapped-before-4: 1 line could not be read"],
        ),
        row(
            "fields.cut",
            format!("{FIELDS}{}", &FIELDS[FIELDS.len() - 40..FIELDS.len() - 4]),
            1,
            &["fields.cut: 1 line"],
        ),
        row(
            "fields.tunnel",
            format!("{FIELDS}1\t198.51.100.7,198.51.100.8\t192.0.2.77\t40755\t443\t0x0002\n"),
            1,
            &["fields.tunnel: 1 line could not be read"],
        ),
        row(
            "fields.flagless",
            FIELDS.replace("tcp.flags", "tcp.len").replace("0x0002", "0"),
            0,
            &["fields.flagless is not in a known record format", "-e tcp.flags"],
        ),
        row(
            "fields.addresses",
            "198.51.100.7\n198.51.100.8\n",
            0,
            &["columns of addresses alone do not show connections", "-E header=y"],
        ),
        row(
            "tshark.cut",
            format!("{TSHARK}{}", cut(TSHARK, 9)),
            1,
            &["tshark.cut: 1 line could not"],
        ),
        row(
            "tshark.flagless",
            r#"{"timestamp":"1795345122200","layers":{"ip_src":["198.51.100.7"]}}"#,
            0,
            &["tshark.flagless: no packet in it has the flags of TCP", "tcp.flags"],
        ),
        row(
            "tcpdump.quick",
            DUMP.replace("Flags [S], seq 7", "tcp 0"),
            0,
            &["1 line", "tcpdump -q"],
        ),
        row(
            "tcpdump.cut",
            format!("{DUMP}{}", DUMP.replace("Flags [S], seq 7", "[|tcp]")),
            1,
            &["tcpdump.cut: 1 line could not be read"],
        ),
        row(
            "tcpdump.killed",
            format!("{DUMP}{}", &DUMP[..DUMP.len() / 2]),
            1,
            &["tcpdump.killed: 1 line could not be read"],
        ),
        // The file was cut within the first address.
        row(
            "tcpdump.headless",
            format!("{}{DUMP}", &DUMP[DUMP.find("8.51").unwrap()..]),
            1,
            &["tcpdump.headless: 1 line could not be read"],
        ),
        row(
            "tcpdump.stampless",
            format!("{DUMP}{}", &DUMP[DUMP.find("IP").unwrap()..]),
            1,
            &["tcpdump.stampless: 1 line could not be read"],
        ),
        row(
            "tcpdump.old",
            DUMP.replace("Flags [S], seq 7", "S [|tcp]"),
            0,
            &["tcpdump.old: 1 line could not be read"],
        ),
        row(
            "tcpdump.dropped",
            format!("{DUMP}12 packets dropped by kernel\n"),
            1,
            &["the kernel dropped 12 packets"],
        ),
        row(
            "esp.pcap",
            capture(1, 99, &ethernet_ipv4(50)),
            0,
            &["1 of 1 packet is not decoded", "ESP (IP protocol 50): 1"],
        ),
        row("macsec.pcap", capture(1, 34, &MACSEC), 0, &["encrypted MACsec (ethertype 0x88e5): 1"]),
        row("bluetooth.pcap", capture(187, 4, &[1, 2, 3, 4]), 0, &["link type 187: 1"]),
        row("wifi.pcap", capture(105, 40, &ENCRYPTED_WIFI), 0, &["encrypted 802.11: 1"]),
        row(
            "short.pcap",
            capture(1, 60, &ethernet_ipv4(6)),
            0,
            &["1 of 1 packet was captured too short"],
        ),
    ]
}
