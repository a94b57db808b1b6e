//! Flows.

use crate::records::*;
use crate::row::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    vec![
        row(
            "zeek.cut",
            format!("{ZEEK}{}", &ZEEK[ZEEK.len() - 90..ZEEK.len() - 60]),
            1,
            &["zeek.cut: 1 line could not be read"],
        ),
        row(
            "suricata.cut",
            format!("{EVE}{}", cut(EVE, 60)),
            1,
            &["suricata.cut: 1 line could not"],
        ),
        row(
            "suricata.udp",
            EVE.replace("TCP", "UDP"),
            0,
            &["no TCP event of type flow", "eve-log"],
        ),
        row("vpc.udp", VPC.replace(" 6 ", " 17 "), 0, &["no accepted flow of TCP is in it"]),
        row("tracked.udp", TRACKED.replace("tcp 6 ", "udp 17 "), 0, &["no flow in it is of TCP"]),
        row("flows.udp", FLOW.replace("TCP ", "UDP "), 0, &["no flow in it is of TCP"]),
        row("gcp.behind", format!("{GCP}web: {GCP}"), 1, &["gcp.behind: 1 line could not be read"]),
        row(
            "flows.behind",
            format!("{FLOW}web: {}", FLOW.lines().nth(1).unwrap()),
            1,
            &["1 line with addresses is not understood as netflow"],
        ),
        row(
            "conntrack.wrapped",
            format!("{TRACKED}{}", &TRACKED[..TRACKED.find("dport=").unwrap() + 7]),
            1,
            &["of 1 TCP flow cannot be read"],
        ),
        row(
            "vpc.cut",
            format!("{VPC}{}", &VPC[VPC.len() - 60..VPC.len() - 20]),
            1,
            &["vpc.cut: 1 line"],
        ),
        row(
            "vpc.objects",
            VPC_OBJECT.replace(", \"tcp_flags\": 2", ""),
            0,
            &["vpc.objects is not in a known record format", "without the field tcp-flags"],
        ),
        row(
            "vpc.object",
            format!("{VPC_OBJECT}{}", &VPC_OBJECT[..VPC_OBJECT.len() - 9]),
            1,
            &["vpc.object: 1 line could not be read"],
        ),
        row(
            "vpc.skipped",
            format!("{VPC}- - - - - 1795345122 1795345180 - - SKIPDATA\n"),
            1,
            &["vpc.skipped: the record itself says that it lost events"],
        ),
        row(
            "vpc.flagless",
            "2 123456789012 eni-0a1 198.51.100.7 192.0.2.77 40755 443 6 9 900 1795345122 1795345180 \
             ACCEPT OK\n",
            0,
            &["vpc.flagless is not in a known record format", "tcp-flags"],
        ),
        row("gcp.cut", format!("{GCP}{}", cut(GCP, 30)), 1, &["gcp.cut: 1 line could not be read"]),
        row(
            "gcp.direction",
            GCP.replace("443", "40001"),
            0,
            &[
                "gcp.direction: 1 connection is left out because it is not known which end",
                "--port",
            ],
        ),
        row(
            "conntrack.cut",
            format!("{TRACKED}{}", &TRACKED[..50]),
            1,
            &["the addresses or ports of 1 TCP flow cannot be read"],
        ),
        row(
            "conntrack.xml",
            format!("<conntrack>\n{XML_FLOW}\n{}", &XML_FLOW[..XML_FLOW.len() - 9]),
            1,
            &["the addresses or ports of 1 TCP flow cannot be read"],
        ),
        row(
            "netflow.shortened",
            FLOW.replace("198.51.100.1:36239", "2001:db..8:c::1a.5"),
            0,
            &["1 flow", "nfdump -6"],
        ),
        row(
            "netflow.wrapped",
            format!("{FLOW}{}", FLOW.lines().nth(1).unwrap().replace("...A..S.", "...\nA..S.")),
            1,
            &["netflow.wrapped: 1 line could not be read"],
        ),
        // A row that ends before the protocol.
        row(
            "netflow.row",
            "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows\n\
             2026-11-22 10:59:26.461,1.601,6,198.51.100.1,36239,192.0.2.77,80,4,216,1\n\
             2026-11-22 10:59:27.461,1.6\n",
            1,
            &["netflow.row: 1 line could not be read"],
        ),
        row(
            "netflow.statistics",
            "Top 10 Src IP Addr ordered by flows:\n\
             Date first seen             Duration     Proto       Src IP Addr    Flows(%)\n\
             2026-03-17 21:51:34.144     00:01:00.416 any         198.51.100.7       12(50.0)\n",
            0,
            &["1 rows are statistics of nfdump", "nfdump -r FILE -o long"],
        ),
        row(
            "netflow.both",
            format!(
                "{FLOW}Top 10 Src IP Addr ordered by flows:\n\
                 2026-03-17 21:51:34.144     00:01:00.416 any         198.51.100.7  12(50.0)\n"
            ),
            1,
            &["1 rows are statistics of nfdump"],
        ),
        row(
            "netflow.largest",
            format!("Top 10 flows ordered by flows:\n{FLOW}"),
            1,
            &["the largest flows only"],
        ),
        row(
            "netflow.aggregated",
            format!("Aggregated flows 24\n{FLOW}"),
            1,
            &["summed up flows with the same ends"],
        ),
        row(
            "netflow.unknown",
            format!("{FLOW}{}\n", FLOW.lines().nth(1).unwrap().replace("->", "")),
            1,
            &["netflow.unknown: 1 line could not be read"],
        ),
        row(
            "netflow.json",
            "[{\"first\":\"2026-11-22T10:59:26.461\",\"proto\":6,\"src4_addr\":\"198.51.100.1\",\n",
            0,
            &["netflow.json: 1 line could not be read"],
        ),
    ]
}
