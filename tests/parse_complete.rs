//! What makes a report of `tcptally parse` incomplete: one row for each source of incompleteness.
//!
//! Each input hides a connection, or may. The report must say so: `complete` is false, a warning
//! says what and how many, and `--strict` exits with status 3. A total of 0 has a reason.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A source of incompleteness.
struct Row {
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    options: &'static [&'static str],
    /// Parts of the warning.
    warning: &'static [&'static str],
    total: u64,
}

fn row(
    name: &'static str,
    file: impl AsRef<[u8]>,
    total: u64,
    warning: &'static [&'static str],
) -> Row {
    Row { name, files: vec![(name, file.as_ref().to_vec())], options: &[], warning, total }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn json(text: &str) -> String {
    format!("{}\n", serde_json::json!({"log": text, "time": "2026-11-22T10:58:42.5Z"}))
}

const ACCEPT: &str = "accept4(3, {sa_family=AF_INET, sin_port=htons(45678), \
    sin_addr=inet_addr(\"192.0.2.9\")}, [128 => 16], SOCK_NONBLOCK) = 7\n";
const ACCESS: &str = "192.0.2.9 - - [22/Nov/2026:10:58:42 +0000] \"GET / HTTP/1.1\" 200 612\n";
const LOG: &str = "Nov 22 10:58:42 gw kernel: IN=eth0 OUT= SRC=198.51.100.10 DST=192.0.2.77 LEN=60 \
    TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN \
    URGP=0\n";
const DUMP: &str = "10:58:42.200113 IP 198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7, \
    win 64240, length 0\n";
const ACCEPTED: &str = "PID    COMM         IP RADDR            RPORT LADDR            LPORT\n\
     907    nginx        4  198.51.100.7     40755 192.0.2.77       443\n";
const LIFE: &str = "PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS\n\
    22597 nginx      192.0.2.77      443   198.51.100.7    40755     0     0 0.23\n";
const TRACER: &str = "T  PID    COMM             IP SADDR            DADDR            SPORT  DPORT\n\
     A  907    sshd             4  192.0.2.77       198.51.100.7     22     40001\n";
const FLOW: &str = "Date first seen          Duration Proto      Src IP Addr:Port          \
    Dst IP Addr:Port   Flags Tos  Packets    Bytes Flows\n\
    2026-11-22 10:59:26.461     1.601 TCP  198.51.100.1:36239 ->  192.0.2.77:80 ...A..S. 0 4 216 1\n";
const STATES: &str = "SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS\n\
    ffff9c0552bda700 0       swapper/0  192.0.2.77      443   198.51.100.7    40755 SYN_RECV    -> ESTABLISHED 0.018\n";
const STATE: &str = "  <idle>-0       [003] ..s2. 3794784.785158: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP \
    sport=443 dport=40755 saddr=192.0.2.77 daddr=198.51.100.7 saddrv6=::ffff:192.0.2.77 daddrv6=::ffff:198.51.100.7 \
    oldstate=TCP_SYN_RECV newstate=TCP_ESTABLISHED\n";
const KDUMP: &str = "   912 nginx    CALL  accept(0x6,0x7fffffffe5a0,0x7fffffffe59c)\n   \
    912 nginx    STRU  struct sockaddr { AF_INET, 198.51.100.7:40755 }\n   912 nginx    RET   accept 4\n";
const JUNIPER: &str = "Nov 22 10:58:42 fw1 RT_FLOW: RT_FLOW_SESSION_CREATE: session created \
    198.51.100.7/40755->192.0.2.77/443 junos-https 198.51.100.7/40755->192.0.2.77/443 None None 6 permit untrust trust 5 \
    N/A(N/A) ge-0/0/1.0\n";
/// A session of which the log has only the end.
fn juniper_close() -> String {
    JUNIPER
        .replace("CREATE: session created", "CLOSE: session closed TCP FIN:")
        .replace(" trust 5 ", " trust 5 8(1234) 9(5678) 3 ")
}
const PALOALTO: &str = "1,2026/11/22 10:58:44,01606001116,TRAFFIC,start,2049,2026/11/22 10:58:43,198.51.100.7,192.0.2.77,\
    0.0.0.0,0.0.0.0,rule1,,,ssl,vsys1,untrust,trust,ethernet1/2,ethernet1/1,all,2026/11/22 10:58:44,11449,1,40755,443,0,0,\
    0x200000,tcp,allow,78,78,0,1,2026/11/22 10:58:42,0,any\n";
const FALCO: &str = r#"{"hostname":"web1","output":"10:58:42.2: Notice Inbound","output_fields":{"evt.time":1795345122200000000,"evt.type":"accept","fd.name":"198.51.100.7:40755->192.0.2.77:443"},"priority":"Notice","rule":"Inbound","source":"syscall","time":"2026-11-22T10:58:42.2Z"}
"#;
const SYSTEMTAP: &str = "Sun Nov 22 10:58:47 2026 New connection from 198.51.100.7\n";
const REPORT: &str = r#"{"schema":1,"source":"parse","host":"a","engine":"strace","started":null,"ended":null,"complete":true,"total":1,"lost":0,"unreadable_lines":0,"keys":["ip"],"rows":[{"ip":"192.0.2.9","count":1,"first":"2026-11-22T10:00:00Z","last":"2026-11-22T10:00:00Z"}],"warnings":[]}"#;

const FILTERLOG: &str = "Nov 22 10:58:42 fw filterlog[7]: 5,,,1000000103,em0,match,pass,in,4,0x0,,64,\
    27356,0,DF,6,tcp,60,198.51.100.10,192.0.2.77,40755,443,0,S,2711463241,,64240,,mss;sackOK\n";
const ZEEK: &str = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\t\
    duration\torig_bytes\tresp_bytes\tconn_state\n\
    1795345122.200113\tCx1\t198.51.100.7\t40755\t192.0.2.77\t443\ttcp\tssl\t1.5\t9\t8\tSF\n";
const EVE: &str = r#"{"timestamp":"2026-11-22T10:59:42.202182+0000","event_type":"flow","src_ip":"198.51.100.7","src_port":40755,"dest_ip":"192.0.2.77","dest_port":443,"proto":"TCP","flow":{"start":"2026-11-22T10:58:42.200113+0000","age":1},"tcp":{"tcp_flags_ts":"1b","tcp_flags_tc":"1b"}}
"#;
const ASA: &str = "Nov 22 2026 10:58:42: %ASA-6-302013: Built inbound TCP connection 76118 for \
    outside:198.51.100.7/40755 (198.51.100.7/40755) to inside:192.0.2.77/443 (203.0.113.5/443)\n";
const FORTI: &str = "date=2026-11-22 time=10:58:42 tz=\"+0100\" logid=\"0000000013\" type=\"traffic\" \
    action=\"close\" proto=6 duration=2 srcip=198.51.100.7 srcport=40755 dstip=192.0.2.77 dstport=443\n";
const HAPROXY: &str = "Nov 22 10:58:42 lb haproxy[7]: 198.51.100.7:40755 [22/Nov/2026:10:58:42.200] fnt \
    bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0\n";
const HANDSHAKE: &str = "Nov 22 10:58:42 lb haproxy[7]: 198.51.100.7:40755 [22/Nov/2026:10:58:42.200] fnt/1: \
    SSL handshake failure\n";
const MIKROTIK: &str = "Nov 22 10:58:42 gw1 firewall,info web input: in:ether1 out:(unknown 0), proto \
    TCP (SYN), 198.51.100.7:40755->192.0.2.77:443, len 60\n";
const AUDIT: &str = "type=SYSCALL msg=audit(1795345122.200:4711): arch=c000003e syscall=288 success=yes exit=5 a0=4 \
    pid=912 comm=\"nginx\"\n\
    type=SOCKADDR msg=audit(1795345122.200:4711): saddr=02009F33C63364070000000000000000\n";
const SERVER: &str = "912:M 22 Nov 2026 10:58:42.123 - Accepted 198.51.100.7:40755\n";
const VPC: &str = "srcaddr dstaddr srcport dstport protocol start end action tcp-flags log-status\n\
    198.51.100.7 192.0.2.77 40755 443 6 1795345122 1795345180 ACCEPT 2 OK\n";
const SYSDIG: &str = "1234 10:58:42.200113456 0 nginx (907) < accept \
    fd=7(<4t>198.51.100.7:40755->192.0.2.77:443) tuple=x queuepct=0\n";
const PFIREWALL: &str = "#Fields: date time action protocol src-ip dst-ip src-port dst-port size \
    tcpflags tcpsyn tcpack tcpwin icmptype icmpcode info path\n\
    2026-11-22 10:58:42 ALLOW TCP 198.51.100.7 192.0.2.77 40755 3389 0 - 0 0 0 - - - RECEIVE\n";
const SOCKETS: &str = "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
    ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755\n";
const GVISOR: &str = "I1122 10:58:42.200113       1 strace.go:614] [   1:   1] nginx X accept4(0x6 socket:[2], \
    0x7ed5d0 {Family: AF_INET, Addr: 198.51.100.7, Port: 40755}, 0x7ed5cc {length=16}, SOCK_NONBLOCK) = 11 (0xb) \
    (28.684µs)\n";
const PERF: &str = "  4583.125 ( 0.002 ms): nginx/14597 accept4(fd: 3<socket:[631034]>, upeer_sockaddr: \
    0x7ffc3059b420, upeer_addrlen: 0x7ffc3059b3c4, flags: NONBLOCK) = 6\n";
const TRUSS: &str = "6428:\taccept(3, 0x08047B3C, 0x08047C3C, SOV_DEFAULT, 0) = 4\n\
    6428:\tAF_INET  name = 198.51.100.7  port = 40755\n";
const FIELDS: &str = "frame.time_epoch\tip.src\tip.dst\ttcp.srcport\ttcp.dstport\ttcp.flags\n\
    1795345122.200113000\t198.51.100.7\t192.0.2.77\t40755\t443\t0x0002\n";
const TSHARK: &str = r#"{"timestamp":"1795345122200","layers":{"ip_src":["198.51.100.7"],"ip_dst":["192.0.2.77"],"tcp_srcport":["40755"],"tcp_dstport":["443"],"tcp_flags":["0x0002"]}}
"#;
const GCP: &str = r#"{"jsonPayload":{"connection":{"dest_ip":"192.0.2.77","dest_port":443,"protocol":6,"src_ip":"198.51.100.7","src_port":40755},"reporter":"DEST","start_time":"2026-11-22T10:58:42.2Z"}}
"#;
const TRACKED: &str = "tcp 6 431923 ESTABLISHED src=198.51.100.30 dst=192.0.2.77 sport=33557 \
    dport=80 src=192.0.2.77 dst=198.51.100.30 sport=80 dport=33557 [ASSURED]\n";
const MACSEC: [u8; 34] = {
    let mut frame = [2; 34];
    (frame[12], frame[13], frame[14]) = (0x88, 0xe5, 0x0c);
    frame
};
const ENCRYPTED_WIFI: [u8; 40] = {
    let mut frame = [2; 40];
    (frame[0], frame[1]) = (0x08, 0x41);
    frame
};

/// A capture of one packet, of which perhaps only the beginning was captured.
fn capture(link: u32, length: u32, packet: &[u8]) -> Vec<u8> {
    let mut file =
        [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0].to_vec();
    for n in [link, 1_795_345_122, 0, packet.len() as u32, length] {
        file.extend(n.to_le_bytes());
    }
    file.extend(packet);
    file
}

/// The headers of Ethernet and IPv4, and nothing behind them.
fn ethernet_ipv4(protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 46, 0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend([198, 51, 100, 7, 192, 0, 2, 77]);
    frame
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn table() -> Vec<Row> {
    let cut = |text: &str, n: usize| text[..text.len() - n].to_owned();
    let long = ACCEPT.repeat(5000);
    let zipped = gzip(long.as_bytes());
    let whole = u64::MAX;
    vec![
        row("unknown", "not a record\n", 0, &["unknown is not in a known record format", "strace"]),
        row("access", ACCESS, 0, &["an access log has requests, not connections"]),
        row("zip", b"PK\x03\x04", 0, &["unzip -p"]),
        row("cut.gz", &zipped[..zipped.len() - 20], whole, &["cut.gz", "truncated"]),
        row(
            "archive.tar",
            archive(&[("log", ACCEPT), ("dump", DUMP), ("notes", "not a record\n")]),
            2,
            &["1 of 3 files in archive.tar", "for example archive.tar: notes"],
        ),
        row(
            "cut.tar",
            &archive(&[("log", ACCEPT), ("dump", &DUMP.repeat(99))])[..3000],
            2,
            &["cut.tar: dump: the archive is cut off here"],
        ),
        row(
            "endless.tar",
            &archive(&[("log", ACCEPT)])[..1024],
            1,
            &["endless.tar: the archive has no end"],
        ),
        row(
            "archives.tar.gz",
            {
                let packed = gzip(&archive(&[("log", ACCEPT), ("dump", &DUMP.repeat(99))]));
                packed[..packed.len() - 8].to_vec()
            },
            whole,
            &["archives.tar.gz: ", "members before count"],
        ),
        row(
            "wrapped.json",
            format!("{}{}\n", json(LOG), &json(LOG)[..90]),
            1,
            &["wrapped.json: 1 objects or lines around the log"],
        ),
        row(
            "loggers.json",
            json(LOG) + &json(LOG).replace("\"log\"", "\"message\""),
            1,
            &["different loggers (members log, message)"],
        ),
        row(
            "strace.cut",
            cut(ACCEPT, 60),
            0,
            &["strace.cut: 1 line could not be read and may describe connections"],
        ),
        row(
            "strace.name",
            format!("{ACCEPT}24512 16:15:42.177824 accep"),
            1,
            &["1 line could not"],
        ),
        row("strace.prefix", format!("{ACCEPT}24512 16:15:4"), 1, &["1 line could not"]),
        row("strace.resumed", format!("{ACCEPT}24512 <... accept4 resu"), 1, &["1 line could not"]),
        // Two writers tore a first half, and the second half follows.
        row(
            "strace.torn",
            format!(
                "{ACCEPT}24513 16:15:42.2 accept4(3,  t4(3, {{sa_family=AF_INET, sin6_addr), sin6_scope_id=0}}, [28], 0) = \
                 7<unfinished ...>\n24513 16:15:42.3 <... accept4 resumed>{{sa_family=AF_INET, sin_port=htons(40755), \
                 sin_addr=inet_addr(\"198.51.100.7\")}}, [16], 0) = 7\n"
            ),
            2,
            &["strace.torn: 1 line could not be read"],
        ),
        row("strace.read", "read(3, \"x\", 1) = 1\n", 0, &["no call of accept", "trace=network"]),
        Row {
            options: &["--type", "strace"],
            ..row("access.log", ACCESS, 0, &["access.log: no line looks like strace"])
        },
        Row {
            options: &["--type", "tcpdump"],
            ..row("access.txt", ACCESS, 0, &["access.txt: no line looks like tcpdump"])
        },
        row("strace.uring", format!("{ACCEPT}io_uring_setup(8, {{}}) = 5\n"), 1, &["io_uring"]),
        Row {
            options: &["--port", "4711"],
            ..row("strace.port", ACCEPT, 0, &["1 connection was left out because --port needs"])
        },
        Row {
            options: &["--since", "2026-11-22 10:00"],
            ..row("strace.time", ACCEPT, 0, &["left out because --since and --until need the time"])
        },
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
            "audit.cut",
            format!(
                "{AUDIT}type=SYSCALL msg=audit(1795345123.2:4712): arch=c000003e syscall=288 succ"
            ),
            1,
            &["audit.cut: 1 line could not be read"],
        ),
        row(
            "audit.lost",
            format!(
                "{AUDIT}Nov 22 10:58:43 web1 kernel: audit: audit_lost=120 audit_rate_limit=0\n"
            ),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row("audit.read", AUDIT.replace("=288", "=0"), 0, &["no call of accept", "auditctl"]),
        row(
            "server.broken",
            format!("{SERVER}{}", SERVER.replace("198.51.100.7:40755", "198.51.100.7")),
            1,
            &["server.broken: 1 line could not be read"],
        ),
        row(
            "server.wrapped",
            format!(
                "{SERVER}2026-11-22 10:58:42.2 UTC [9] LOG:  connection received:\nhost=198.51.100.7 port=40755\n"
            ),
            1,
            &["server.wrapped: 1 line could not be read"],
        ),
        row(
            "server.cut",
            format!("{SERVER}{}", cut(SERVER, 2)),
            1,
            &["server.cut: 1 line could not be read"],
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
            "haproxy.events",
            "Nov 22 10:58:42 lb haproxy[7]: client_ip=198.51.100.7 client_port=40755\n",
            0,
            &["haproxy.events: it has no line of a connection", "option tcplog"],
        ),
        row(
            "filterlog.blocked",
            FILTERLOG.replace(",pass,", ",block,"),
            0,
            &["filterlog.blocked: only what was blocked is in it", "log those, too"],
        ),
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
        row("forti.cut", format!("{FORTI}{}", cut(FORTI, 60)), 1, &["forti.cut: 1 line could not"]),
        row(
            "haproxy.http",
            format!("{HAPROXY}{}", HAPROXY.replace("--", "\"GET / HTTP/1.1\"")),
            1,
            &["haproxy.http: 1 line could not be read"],
        ),
        row(
            "haproxy.custom",
            format!("{HAPROXY}{}", HAPROXY.replace("198.51", "Failed 198.51")),
            1,
            &["haproxy.custom: 1 line could not be read"],
        ),
        // In mode http, two requests of one connection.
        row(
            "haproxy.requests",
            format!("{HAPROXY}{}", HAPROXY.replace(".200]", ".201]")),
            1,
            &["haproxy.requests: HAProxy writes a line for each request in mode http; 1 line is"],
        ),
        // Nothing shows that connections were recorded.
        row(
            "sysdig.none",
            SYSDIG.replace("accept", "read"),
            0,
            &["sysdig.none: no call of accept that returned is in it"],
        ),
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
        row("vpc.udp", VPC.replace(" 6 ", " 17 "), 0, &["no accepted flow of TCP is in it"]),
        row("tracked.udp", TRACKED.replace("tcp 6 ", "udp 17 "), 0, &["no flow in it is of TCP"]),
        row("flows.udp", FLOW.replace("TCP ", "UDP "), 0, &["no flow in it is of TCP"]),
        row(
            "tcpdump.udp",
            "10:58:42.200113 IP 198.51.100.10.40755 > 192.0.2.77.4711: UDP, length 9\n",
            0,
            &["no packet in it is of TCP"],
        ),
        row(
            "sockets.listening",
            SOCKETS.replace(
                "ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
                "LISTEN 0 511 0.0.0.0:443 0.0.0.0:*",
            ),
            0,
            &["no TCP connection in any state is in it"],
        ),
        // Lines that hold connections in a form that no reader knows.
        row(
            "sockets.quoted",
            SOCKETS.replace("ESTAB 0", "['ESTAB 0"),
            0,
            &["sockets.quoted: 1 line could not be read"],
        ),
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
            "lsof.names",
            "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n\
             nginx 9 www 3u IPv4 70 0t0 TCP 192.0.2.77:443->198.51.100.7:40755 (ESTABLISHED)\n\
             nginx 9 www 4u IPv4 71 0t0 TCP web:https->client:40756 (ESTABLISHED)\n",
            1,
            &["lsof.names: 1 line could not be read"],
        ),
        row("sysdig.cut", format!("{SYSDIG}{}", cut(SYSDIG, 40)), 1, &["sysdig.cut: 1 line could"]),
        row(
            "mikrotik.cut",
            format!("{MIKROTIK}{}", cut(MIKROTIK, 30)),
            1,
            &["mikrotik.cut: 1 line"],
        ),
        row(
            "vpc.cut",
            format!("{VPC}{}", &VPC[VPC.len() - 60..VPC.len() - 20]),
            1,
            &["vpc.cut: 1 line"],
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
        row(
            "gvisor.cut",
            format!("{GVISOR}{}", cut(GVISOR, 12)),
            1,
            &["gvisor.cut: 1 line could not"],
        ),
        row(
            "gvisor.untraced",
            GVISOR.replace("accept4", "read"),
            0,
            &["gvisor.untraced: no call of accept is in it", "--strace-syscalls"],
        ),
        row(
            "perf.cut",
            format!("{PERF}{}", cut(PERF, 5)),
            1,
            &["perf.cut: 1 line could not be read"],
        ),
        row(
            "perf.lost",
            format!("{PERF}LOST 12 events!\n"),
            1,
            &["perf.lost: the record itself says that it lost events"],
        ),
        row(
            "perf.untraced",
            PERF.replace("accept4", "epoll_wait"),
            0,
            &["no call of accept is in it", "perf trace -e"],
        ),
        row("truss.cut", format!("{TRUSS}{}", &TRUSS[..40]), 1, &["truss.cut: 1 line could not"]),
        row(
            "truss.quoted",
            format!("{TRUSS}app: {TRUSS}"),
            1,
            &["truss.quoted: 1 such line is behind the prefix of another program"],
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
            "windows.lost",
            format!(
                "{PFIREWALL}2026-11-22 10:58:42 INFO-EVENTS-LOST - - - - - 7 - - - - - - - -\n"
            ),
            1,
            &["windows.lost: the record itself says that it lost events, 1 time"],
        ),
        row(
            "sockets.names",
            format!("{SOCKETS}ESTAB 0 0 192.0.2.77:https client.example:40755\n"),
            1,
            &["sockets.names: 1 line could not be read"],
        ),
        row(
            "sockets.direction",
            "ESTAB 0 0 192.0.2.77:40001 198.51.100.7:40002\n",
            0,
            &[
                "sockets.direction: 1 socket is left out because it is not known which end is the server",
                "--port",
            ],
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
            "wrapped.logfmt",
            format!("level=info msg=\"{}\"\nlevel=info msg=\"{}", LOG.trim_end(), &LOG[..99]),
            1,
            &["wrapped.logfmt: 1 objects or lines around the log"],
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
            "conntrack.cut",
            format!("{TRACKED}{}", &TRACKED[..50]),
            1,
            &["the addresses or ports of 1 TCP flow cannot be read"],
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
        row("tcpaccept.cut", cut(ACCEPTED, 2), 0, &["tcpaccept.cut: 1 line could not be read"]),
        row(
            "tcpaccept.lost",
            format!("{ACCEPTED}Possibly lost 12 samples\n"),
            1,
            &["12 of its events were lost"],
        ),
        row(
            "tcpaccept.sorted",
            ACCEPTED
                .lines()
                .rev()
                .fold(String::from("Possibly lost 12 samples\n"), |text, line| text + line + "\n"),
            1,
            &["12 of its events were lost"],
        ),
        row(
            "netflow.shortened",
            FLOW.replace("198.51.100.1:36239", "2001:db..8:c::1a.5"),
            0,
            &["1 flow", "nfdump -6"],
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
        row(
            "tcplife.undecided",
            LIFE.replace("443", "40000"),
            0,
            &["1 session is left out because it is not known which end is the server"],
        ),
        row(
            "tcplife.unreadable",
            LIFE.replace("40755", "?"),
            0,
            &["tcplife.unreadable: 1 line could not be read"],
        ),
        row(
            "tcptracer.lost",
            format!("{TRACER}Possibly lost 3 samples\n"),
            1,
            &["3 of its events were lost"],
        ),
        row(
            "falco.cut",
            format!("{FALCO}{}", cut(FALCO, 30)),
            1,
            &["falco.cut: 1 line could not be read"],
        ),
        row(
            "falco.dropped",
            format!(
                "{FALCO}{}",
                FALCO.replace(r#""Inbound""#, r#""Falco internal: syscall event drop""#)
            ),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row("falco.connects", FALCO.replace("accept", "connect"), 0, &["no alert of accept"]),
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
        row(
            "kdump.cut",
            format!("{KDUMP}   912 nginx    STRU  struct sockaddr {{ AF_INET, 198.51"),
            1,
            &["kdump.cut: 1 line could not be read"],
        ),
        row(
            "kdump.lost",
            format!("{KDUMP}   912 nginx    Events dropped.\n"),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row(
            "kdump.read",
            KDUMP.replace("accept", "read"),
            0,
            &["no call of accept is in it", "ktrace"],
        ),
        row(
            "tcpstates.unreadable",
            format!("{STATES}{}", STATES.replace("198.51.100.7 ", "198.51.100 ")),
            1,
            &["tcpstates.unreadable: 1 line could not be read"],
        ),
        row(
            "tcpstates.connects",
            STATES.replace("SYN_RECV", "SYN_SENT"),
            0,
            &["nothing shows that passive opens are recorded"],
        ),
        row(
            "sock-state.cut",
            format!("{STATE}{}", cut(STATE, 12)),
            1,
            &["sock-state.cut: 1 line could not be read"],
        ),
        row(
            "sock-state.lost",
            format!("{STATE}CPU:2 [LOST 12 EVENTS]\n"),
            1,
            &["the record itself says that it lost events, 1 time"],
        ),
        row(
            "sock-state.connects",
            STATE.replace("SYN_RECV", "SYN_SENT"),
            0,
            &["nothing shows that passive opens are recorded"],
        ),
        row(
            "systemtap.cut",
            cut(&SYSTEMTAP.repeat(2), 3),
            1,
            &["systemtap.cut: 1 line could not be read"],
        ),
        row(
            "report.incomplete",
            REPORT.replace("\"complete\":true", "\"complete\":false"),
            1,
            &["a: its report is not complete"],
        ),
        row(
            "report.unreadable",
            REPORT.replace("\"unreadable_lines\":0", "\"unreadable_lines\":4"),
            1,
            &["a: its report could not read 4 lines"],
        ),
        row(
            "report.lost",
            REPORT.replace("\"lost\":0", "\"lost\":4"),
            1,
            &["a: its report lost 4 connections"],
        ),
        Row {
            options: &["--since", "2026-11-22 10:30"],
            ..row(
                "report.divided",
                REPORT.replace(r#""last":"2026-11-22T10"#, r#""last":"2026-11-22T11"#),
                0,
                &["only their sum over a time that --since or --until divides"],
            )
        },
        row("report.cut", cut(REPORT, 30), 0, &["report.cut is not a complete report"]),
        row(
            "report.more",
            REPORT.replace("\"count\":1", "\"count\":3"),
            3,
            &["report.more: its rows have 2 connections more than its total says"],
        ),
        row(
            "tally.jsonl",
            "{\"kind\":\"row\",\"ip\":\"192.0.2.9\",\"count\":1,\"first\":null,\"last\":null}\n",
            1,
            &["tally.jsonl ends without a line of kind report"],
        ),
        row(
            "tally.csv",
            "kind,ip,count,first,last\nrow,192.0.2.9,1,,\nrow,192.0.2.9,1x,,\n",
            1,
            &["tally.csv: 1 line could not be read"],
        ),
        row(
            "events.csv",
            "time,local_port,peer_ip\n,80,192.0.2.9\n,x,192.0.2.9\n",
            1,
            &["events.csv: 1 line could not be read"],
        ),
        row(
            "report.schema",
            REPORT.replace("\"schema\":1", "\"schema\":99"),
            0,
            &["report.schema is a report of schema 99"],
        ),
    ]
}

fn parse(folder: &Path, row: &Row, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .current_dir(folder)
        .args(["parse", "--tz", "UTC"])
        .args(row.options)
        .args(options)
        .args(row.files.iter().map(|(name, _)| name))
        .output()
        .unwrap()
}

#[test]
fn everything_that_may_hide_a_connection_makes_the_report_incomplete() {
    for row in table() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &row.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let name = row.name;
        let output = parse(folder.path(), &row, &["-F", "json", "--strict"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{name}: {stderr}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["complete"], false, "{name}: {report}");
        let warnings = report["warnings"].to_string();
        for part in row.warning {
            assert!(warnings.contains(part), "{name}: {part:?} is not in {warnings}");
            assert!(stderr.contains(part), "{name}: {part:?} is not in {stderr}");
        }
        let total = report["total"].as_u64().unwrap();
        assert!(row.total == u64::MAX || total == row.total, "{name}: {total}");
        let status = parse(folder.path(), &row, &["-F", "plain", "--quiet"]).status.code();
        let refused = [
            "unknown",
            "access",
            "zip",
            "cut.tar",
            "endless.tar",
            "archives.tar.gz",
            "report.cut",
            "report.schema",
            "netflow.statistics",
            "vpc.flagless",
            "fields.flagless",
            "fields.addresses",
        ]
        .contains(&name);
        assert_eq!(status, Some(i32::from(refused)), "{name}");
    }
}

/// Text of every format, with the line ends of Windows and the colours of grep and journalctl.
/// Search engines for logs export the newest line first.
#[test]
fn records_whose_newest_line_is_first_are_incomplete_where_the_order_matters() {
    const NOTE: &str = "its newest line is the first";
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    let folder = tempfile::tempdir().unwrap();
    let reversed = folder.path().join("reversed");
    for (record, matters) in [
        ("conntrack/events-all-extended-id/events.txt", true),
        ("conntrack/events-new-timestamp/new.txt", false),
        ("kdump/freebsd-T/kdump.txt", true),
        ("perf-trace/socket-and-bind-6.1/trace.txt", true),
        ("truss/illumos-f-d-v/truss.out", true),
        ("tshark-fields/nameless-4.0/packets.txt", true),
        ("tshark/default-4.0/packets.txt", true),
        ("vpc-flow/v3-tcp-flags/flow.log", false),
        ("netfilter/plain-rfc3164/kern.log", false),
    ] {
        let record = records.join(record);
        let text = std::fs::read_to_string(&record).unwrap();
        let lines: Vec<&str> = text.lines().rev().collect();
        std::fs::write(&reversed, lines.join("\n") + "\n").unwrap();
        for (file, is_noted) in [(&record, false), (&reversed, matters)] {
            let output = Command::new(env!("CARGO_BIN_EXE_tcptally"))
                .args(["parse", "--format", "json"])
                .arg(file)
                .output()
                .unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(errors.contains(NOTE), is_noted, "{}: {errors}", record.display());
            assert_eq!(report["complete"], !is_noted, "{}: {errors}", record.display());
        }
    }
}

#[test]
fn line_ends_and_colours_do_not_change_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let export = "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795345122000000\nSYSLOG_IDENTIFIER=kernel\n\
        MESSAGE=IN=eth0 OUT= SRC=198.51.100.10 DST=192.0.2.77 LEN=60 TOS=0x00 PREC=0x00 TTL=64 \
        ID=27356 DF PROTO=TCP SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN URGP=0\n\n";
    for text in [ACCEPT, LOG, DUMP, FLOW, TRACKED, ACCEPTED, LIFE, TRACER, SYSTEMTAP, export] {
        let crlf = text.replace('\n', "\r\n");
        let address = ["198.51.100", "192.0.2.9"].iter().find(|a| text.contains(**a)).unwrap();
        let red = |word: &str| format!("\x1b[01;31m\x1b[K{word}\x1b[m\x1b[K");
        let found =
            text.replace(address, &red(address)).replace(" SYN ", &format!(" {} ", red("SYN")));
        let journal = text.replace("kernel: ", "\x1b[0;1;39mkernel: ").replace('\n', "\x1b[0m\n");
        for text in [text, &crlf, &found, &journal] {
            let row = row("log", text, 0, &[]);
            std::fs::write(folder.path().join("log"), text).unwrap();
            let output = parse(folder.path(), &row, &["--format", "json"]);
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(
                (&report["total"], &report["complete"]),
                (&1.into(), &true.into()),
                "{text:?}"
            );
        }
    }
}

const EVENT: &str = "    [NEW] tcp      6 120 SYN_SENT src=198.51.100.30 dst=192.0.2.77 sport=33557 \
        dport=80 [UNREPLIED] src=192.0.2.77 dst=198.51.100.30 sport=80 dport=33557\n";

/// Records with one connection each.
const ONE_OF_EACH: [(&str, &str); 21] = [
    ("strace", ACCEPT),
    ("netfilter", LOG),
    ("tcpdump", DUMP),
    ("netflow", FLOW),
    ("conntrack", EVENT),
    ("tcpaccept", ACCEPTED),
    ("tcplife", LIFE),
    ("tcptracer", TRACER),
    ("tcpstates", STATES),
    ("sock-state", STATE),
    ("kdump", KDUMP),
    ("juniper", JUNIPER),
    ("paloalto", PALOALTO),
    ("systemtap", SYSTEMTAP),
    ("filterlog", FILTERLOG),
    ("asa", ASA),
    ("fortigate", FORTI),
    ("haproxy", HANDSHAKE),
    ("sysdig", SYSDIG),
    ("mikrotik", MIKROTIK),
    ("sockets", SOCKETS),
];

/// Records of two formats in one file: whichever is read, the other is reported.
#[test]
fn lines_of_another_format_make_the_report_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let all = ONE_OF_EACH;
    let complete = |name: &str, text: &[u8]| {
        let row = row("mixed", text, 0, &[]);
        std::fs::write(folder.path().join("mixed"), text).unwrap();
        let output = parse(folder.path(), &row, &["--format", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let warnings = report["warnings"].to_string();
        assert!(report["total"].as_u64().unwrap() > 0, "{name}: {report}");
        (report["complete"].as_bool().unwrap(), warnings)
    };
    // Compared with some of the others, because each pair takes its time.
    let further = [
        ("gvisor", GVISOR),
        ("perf-trace", PERF),
        ("truss", TRUSS),
        ("tshark-fields", FIELDS),
        ("tshark-json", TSHARK),
        ("gcp-flow", GCP),
    ];
    for (at, (first, one)) in all.into_iter().chain(further).enumerate() {
        let (is_complete, warnings) = complete(first, one.repeat(3).as_bytes());
        assert!(is_complete, "{first}: {warnings}");
        let others = if at < all.len() { &all } else { &all[..3] };
        let more = if at < 3 { &further[..] } else { &[] };
        let pairs = [others, more].concat();
        for (second, other) in pairs.iter().filter(|(second, _)| *second != first) {
            let name = format!("{first} and {second}");
            let text = one.repeat(3) + &other.repeat(3);
            let (is_complete, warnings) = complete(&name, text.as_bytes());
            assert!(!is_complete, "{name}: {warnings}");
            let (is_complete, warnings) = complete(&name, &gzip(text.as_bytes()));
            assert!(!is_complete, "{name} in a stream: {warnings}");
        }
    }
    // At the end of a file of which only samples are looked at.
    let (is_complete, warnings) = complete("large", (ACCEPT.repeat(30_000) + LOG).as_bytes());
    assert!(!is_complete && warnings.contains("lines of netfilter"), "{warnings}");
    // A message of the traced server.
    let message = format!("{ACCEPT}New connection from 192.0.2.9\n{ACCEPT}");
    let (is_complete, warnings) = complete("message", message.as_bytes());
    assert!(is_complete, "{warnings}");
}

/// The report of `text`, as json.
fn report_of(text: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("record"), text).unwrap();
    let output = parse(folder.path(), &row("record", "", 1, &[]), &["-F", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn sessions_of_rules_that_log_only_ends_count_beside_those_with_starts() {
    let later = |line: &str| line.replace("10:58", "10:59").replace("40755", "40757");
    for (start, end) in [
        (JUNIPER.to_owned(), juniper_close()),
        (PALOALTO.to_owned(), PALOALTO.replace(",start,", ",end,")),
    ] {
        let before = end.replace("10:58", "10:57").replace("40755", "40759");
        for log in [
            format!("{start}{before}{end}{}", later(&end)),
            // As exported, the newest line first.
            format!("{}{end}{start}{before}", later(&end)),
        ] {
            let report = report_of(&log);
            assert_eq!(
                (&report["total"], &report["complete"]),
                (&2.into(), &true.into()),
                "{report}"
            );
            let warnings = report["warnings"].to_string();
            assert!(
                warnings.contains("1 connection that had begun before the record"),
                "{warnings}"
            );
        }
    }
}

#[test]
fn a_call_that_several_rules_report_counts_once() {
    let other = FALCO.replace("Inbound", "Database");
    let next = FALCO.replace("40755", "40756");
    let report = report_of(&[FALCO, &other, &next].concat());
    assert_eq!((&report["total"], &report["complete"]), (&2.into(), &true.into()), "{report}");
}

/// How many of the events were connections is not known.
#[test]
fn lost_events_are_no_number_of_lost_connections() {
    for (one, loss) in
        [(STATE, "CPU:2 [LOST 1200 EVENTS]\n"), (ACCEPTED, "Possibly lost 1200 samples\n")]
    {
        let report = report_of(&format!("{one}{loss}"));
        assert_eq!((&report["lost"], &report["complete"]), (&0.into(), &false.into()), "{report}");
    }
}

#[test]
fn a_file_of_zeros_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let row = row("zeros", [0; 5000], 0, &[]);
    std::fs::write(folder.path().join("zeros"), [0; 5000]).unwrap();
    let output = parse(folder.path(), &row, &["-F", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false, "{report}");
    assert!(
        report["warnings"].to_string().contains("zeros has nothing but zero bytes"),
        "{report}"
    );
}

#[test]
fn a_total_of_0_has_a_reason() {
    let other = "accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)\n";
    let rows = [
        row("strace.log", other, 0, &["strace.log: read as strace", "accept call"]),
        row("tcpdump.txt", DUMP.replace("[S]", "[.]"), 0, &["read as tcpdump", "opens"]),
        row("empty", "", 0, &["empty is empty"]),
        Row {
            options: &["--from", "10.0.0.0/8"],
            ..row("filtered", ACCEPT, 0, &["none of the 1 connection in", "matches the options"])
        },
        Row {
            options: &["--local-ip", "192.0.2.1"],
            ..row("local", DUMP, 0, &["read as tcpdump", "--local-ip"])
        },
    ];
    for row in rows {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &row.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let output = parse(folder.path(), &row, &["-F", "json", "--strict"]);
        assert_eq!(output.status.code(), Some(0), "{}", row.name);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["total"], &report["complete"]), (&0.into(), &true.into()), "{report}");
        let warnings = report["warnings"].to_string();
        for part in row.warning {
            assert!(warnings.contains(part), "{}: {part:?} is not in {warnings}", row.name);
        }
    }
}
