//! Logs of firewalls and of the kernel.

use crate::records::*;
use crate::row::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    vec![
        row(
            "netfilter.broken",
            format!("{LOG}{}", LOG.replace("SRC=198.51.100.10", "SRC=198.51")),
            1,
            &["netfilter.broken: 1 line could not be read"],
        ),
        // A relay cut off the beginnings.
        row(
            "netfilter.headless",
            format!("{LOG}Nov 22 10:58:42 gw kernel: {}", &LOG[LOG.find("TL=64").unwrap()..]),
            1,
            &["netfilter.headless: 1 line could not be read"],
        ),
        row(
            "netfilter.wrapped",
            format!("{LOG}{}", LOG.replace("SPT=", "S\nPT=")),
            1,
            &["netfilter.wrapped: 1 line could not be read"],
        ),
        row(
            "netfilter.ipchains",
            format!(
                "{LOG}Nov 22 10:58:42 gw kernel: Packet log: input ACCEPT eth0 PROTO=6 \
                 198.51.100.11:40756 192.0.2.77:4711 L=60 S=0x00 I=18 F=0x4000 T=64 SYN (#1)\n"
            ),
            1,
            &["netfilter.ipchains: 1 line could not be read"],
        ),
        row(
            "filterlog.cut",
            format!("{FILTERLOG}{}", cut(FILTERLOG, 90)),
            1,
            &["filterlog.cut: 1 line could not be read"],
        ),
        row(
            "filterlog.relay",
            format!("{FILTERLOG}Nov 26 12:00:00 gw1 relay[7]: {FILTERLOG}"),
            1,
            &["filterlog.relay: 1 such line is behind the prefix of another program"],
        ),
        row(
            "asa.other",
            ASA.replace("302013", "302014"),
            0,
            &["asa.other: it has no message 302013 at all", "logging trap informational"],
        ),
        row(
            "asa.bypass",
            format!(
                "{ASA}{}",
                ASA.replace("302013: Built inbound TCP", "302303: Built TCP state-bypass")
            ),
            1,
            &["asa.bypass: 1 line could not be read"],
        ),
        row("asa.cut", format!("{ASA}{}", cut(ASA, 60)), 1, &["asa.cut: 1 line could not be read"]),
        row(
            "asa.port",
            format!("{ASA}{}", &ASA[..ASA.find("43 (203").unwrap()]),
            1,
            &["asa.port: 1 line could not be read"],
        ),
        row(
            "mikrotik.port",
            format!("{MIKROTIK}{}", &MIKROTIK[..MIKROTIK.find("43, len").unwrap()]),
            1,
            &["mikrotik.port: 1 line could not be read"],
        ),
        row(
            "forti.denied",
            FORTI.replace("\"close\"", "\"deny\""),
            0,
            &["forti.denied: only what was blocked is in it", "1 TCP packet or session that the"],
        ),
        row(
            "forti.events",
            FORTI.replace("\"traffic\"", "\"event\""),
            0,
            &["forti.events: it has no TCP session in a traffic log at all", "logtraffic"],
        ),
        row(
            "filterlog.blocked",
            FILTERLOG.replace(",pass,", ",block,"),
            0,
            &["filterlog.blocked: only what was blocked is in it", "log those, too"],
        ),
        row("forti.cut", format!("{FORTI}{}", cut(FORTI, 60)), 1, &["forti.cut: 1 line could not"]),
        row(
            "kernel.log",
            LOG.replace("SYN", "ACK"),
            0,
            &["no LOG line in it is of a SYN that came in"],
        ),
        row(
            "filterlog.udp",
            FILTERLOG.replace(",6,tcp,", ",17,udp,"),
            0,
            &["no SYN that a rule passed in"],
        ),
        row(
            "mikrotik.udp",
            MIKROTIK.replace("TCP (SYN)", "UDP"),
            0,
            &["no SYN that came in is in it"],
        ),
        row(
            "pfirewall.udp",
            PFIREWALL.replace("TCP", "UDP"),
            0,
            &["no allowed connection is in it"],
        ),
        row(
            "mikrotik.cut",
            format!("{MIKROTIK}{}", cut(MIKROTIK, 30)),
            1,
            &["mikrotik.cut: 1 line"],
        ),
        row(
            "netfilter.program",
            format!("{LOG}{}", LOG.replace("kernel:", "app[7]:")),
            1,
            &["netfilter.program: 1 line of the program app", "logger"],
        ),
        row(
            "netfilter.export",
            format!("{LOG}\n__CURSOR=x\nSYSLOG_IDENTIFIER=app\nMESSAGE={}", &LOG[27..]),
            1,
            &["netfilter.export: 1 line of the program app"],
        ),
        row(
            "netfilter.cut",
            format!("{LOG}{}", &LOG[..LOG.find(" LEN=").unwrap() - 3]),
            1,
            &["netfilter.cut: 1 line could not be read"],
        ),
        row(
            "netfilter.missed",
            format!("{LOG}Nov 22 10:58:43 gw systemd-journald[1]: Missed 7 kernel messages\n"),
            1,
            &["messages were lost"],
        ),
        row(
            "juniper.cut",
            format!("{JUNIPER}{}", cut(JUNIPER, 60)),
            1,
            &["juniper.cut: 1 line could not be read"],
        ),
        row(
            "juniper.ends",
            format!("{}{JUNIPER}", juniper_close().repeat(1001)),
            1001,
            &["juniper.ends: 1 line could not be read"],
        ),
        row(
            "juniper.denied",
            JUNIPER.replace("CREATE: session created", "DENY: session denied"),
            0,
            &["only what was blocked is in it"],
        ),
        row(
            "juniper.udp",
            JUNIPER.replace(" 6 permit", " 17 permit"),
            0,
            &["it has no TCP session at all"],
        ),
        row(
            "paloalto.several",
            format!("{PALOALTO}{}", PALOALTO.replace(",11449,1,", ",11449,3,")),
            1,
            &["paloalto.several: 1 line could not be read"],
        ),
        row(
            "paloalto.cut",
            format!("{PALOALTO}{}", cut(PALOALTO, 40)),
            1,
            &["paloalto.cut: 1 line could not be read"],
        ),
        row("paloalto.udp", PALOALTO.replace(",tcp,", ",udp,"), 0, &["it has no TCP session"]),
    ]
}
