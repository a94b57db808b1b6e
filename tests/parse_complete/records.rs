//! Records of each format with one connection, and builders of files.

use std::io::Write;

pub const ACCEPT: &str = "accept4(3, {sa_family=AF_INET, sin_port=htons(45678), \
    sin_addr=inet_addr(\"192.0.2.9\")}, [128 => 16], SOCK_NONBLOCK) = 7\n";
pub const ACCESS: &str = "192.0.2.9 - - [22/Nov/2026:10:58:42 +0000] \"GET / HTTP/1.1\" 200 612\n";
pub const LOG: &str = "Nov 22 10:58:42 gw kernel: IN=eth0 OUT= SRC=198.51.100.10 DST=192.0.2.77 LEN=60 \
    TOS=0x00 PREC=0x00 TTL=64 ID=27356 DF PROTO=TCP SPT=40755 DPT=4711 WINDOW=64240 RES=0x00 SYN \
    URGP=0\n";
pub const DUMP: &str = "10:58:42.200113 IP 198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7, \
    win 64240, length 0\n";
pub const ACCEPTED: &str = "PID    COMM         IP RADDR            RPORT LADDR            LPORT\n\
     907    nginx        4  198.51.100.7     40755 192.0.2.77       443\n";
pub const LIFE: &str = "PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS\n\
    22597 nginx      192.0.2.77      443   198.51.100.7    40755     0     0 0.23\n";
pub const TRACER: &str = "T  PID    COMM             IP SADDR            DADDR            SPORT  DPORT\n\
     A  907    sshd             4  192.0.2.77       198.51.100.7     22     40001\n";
pub const FLOW: &str = "Date first seen          Duration Proto      Src IP Addr:Port          \
    Dst IP Addr:Port   Flags Tos  Packets    Bytes Flows\n\
    2026-11-22 10:59:26.461     1.601 TCP  198.51.100.1:36239 ->  192.0.2.77:80 ...A..S. 0 4 216 1\n";
pub const STATES: &str = "SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS\n\
    ffff9c0552bda700 0       swapper/0  192.0.2.77      443   198.51.100.7    40755 SYN_RECV    -> ESTABLISHED 0.018\n";
pub const STATE: &str = "  <idle>-0       [003] ..s2. 3794784.785158: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP \
    sport=443 dport=40755 saddr=192.0.2.77 daddr=198.51.100.7 saddrv6=::ffff:192.0.2.77 daddrv6=::ffff:198.51.100.7 \
    oldstate=TCP_SYN_RECV newstate=TCP_ESTABLISHED\n";
pub const KDUMP: &str = "   912 nginx    CALL  accept(0x6,0x7fffffffe5a0,0x7fffffffe59c)\n   \
    912 nginx    STRU  struct sockaddr { AF_INET, 198.51.100.7:40755 }\n   912 nginx    RET   accept 4\n";
pub const JUNIPER: &str = "Nov 22 10:58:42 fw1 RT_FLOW: RT_FLOW_SESSION_CREATE: session created \
    198.51.100.7/40755->192.0.2.77/443 junos-https 198.51.100.7/40755->192.0.2.77/443 None None 6 permit untrust trust 5 \
    N/A(N/A) ge-0/0/1.0\n";
/// A session of which the log has only the end.
pub fn juniper_close() -> String {
    JUNIPER
        .replace("CREATE: session created", "CLOSE: session closed TCP FIN:")
        .replace(" trust 5 ", " trust 5 8(1234) 9(5678) 3 ")
}
pub const PALOALTO: &str = "1,2026/11/22 10:58:44,01606001116,TRAFFIC,start,2049,2026/11/22 10:58:43,198.51.100.7,192.0.2.77,\
    0.0.0.0,0.0.0.0,rule1,,,ssl,vsys1,untrust,trust,ethernet1/2,ethernet1/1,all,2026/11/22 10:58:44,11449,1,40755,443,0,0,\
    0x200000,tcp,allow,78,78,0,1,2026/11/22 10:58:42,0,any\n";
pub const FALCO: &str = r#"{"hostname":"web1","output":"10:58:42.2: Notice Inbound","output_fields":{"evt.time":1795345122200000000,"evt.type":"accept","fd.name":"198.51.100.7:40755->192.0.2.77:443"},"priority":"Notice","rule":"Inbound","source":"syscall","time":"2026-11-22T10:58:42.2Z"}
"#;
pub const SYSTEMTAP: &str = "Sun Nov 22 10:58:47 2026 New connection from 198.51.100.7\n";
pub const REPORT: &str = r#"{"schema":1,"source":"parse","host":"a","engine":"strace","started":null,"ended":null,"complete":true,"total":1,"lost":0,"unreadable_lines":0,"keys":["ip"],"rows":[{"ip":"192.0.2.9","count":1,"first":"2026-11-22T10:00:00Z","last":"2026-11-22T10:00:00Z"}],"warnings":[]}"#;

pub const FILTERLOG: &str = "Nov 22 10:58:42 fw filterlog[7]: 5,,,1000000103,em0,match,pass,in,4,0x0,,64,\
    27356,0,DF,6,tcp,60,198.51.100.10,192.0.2.77,40755,443,0,S,2711463241,,64240,,mss;sackOK\n";
pub const ZEEK: &str = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\t\
    duration\torig_bytes\tresp_bytes\tconn_state\n\
    1795345122.200113\tCx1\t198.51.100.7\t40755\t192.0.2.77\t443\ttcp\tssl\t1.5\t9\t8\tSF\n";
pub const EVE: &str = r#"{"timestamp":"2026-11-22T10:59:42.202182+0000","event_type":"flow","src_ip":"198.51.100.7","src_port":40755,"dest_ip":"192.0.2.77","dest_port":443,"proto":"TCP","flow":{"start":"2026-11-22T10:58:42.200113+0000","age":1},"tcp":{"tcp_flags_ts":"1b","tcp_flags_tc":"1b"}}
"#;
pub const ASA: &str = "Nov 22 2026 10:58:42: %ASA-6-302013: Built inbound TCP connection 76118 for \
    outside:198.51.100.7/40755 (198.51.100.7/40755) to inside:192.0.2.77/443 (203.0.113.5/443)\n";
pub const FORTI: &str = "date=2026-11-22 time=10:58:42 tz=\"+0100\" logid=\"0000000013\" type=\"traffic\" \
    action=\"close\" proto=6 duration=2 srcip=198.51.100.7 srcport=40755 dstip=192.0.2.77 dstport=443\n";
pub const HAPROXY: &str = "Nov 22 10:58:42 lb haproxy[7]: 198.51.100.7:40755 [22/Nov/2026:10:58:42.200] fnt \
    bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0\n";
pub const HANDSHAKE: &str = "Nov 22 10:58:42 lb haproxy[7]: 198.51.100.7:40755 [22/Nov/2026:10:58:42.200] fnt/1: \
    SSL handshake failure\n";
pub const MIKROTIK: &str = "Nov 22 10:58:42 gw1 firewall,info web input: in:ether1 out:(unknown 0), proto \
    TCP (SYN), 198.51.100.7:40755->192.0.2.77:443, len 60\n";
pub const AUDIT: &str = "type=SYSCALL msg=audit(1795345122.200:4711): arch=c000003e syscall=288 success=yes exit=5 a0=4 \
    pid=912 comm=\"nginx\"\n\
    type=SOCKADDR msg=audit(1795345122.200:4711): saddr=02009F33C63364070000000000000000\n";
pub const SERVER: &str = "912:M 22 Nov 2026 10:58:42.123 - Accepted 198.51.100.7:40755\n";
pub const VPC: &str = "srcaddr dstaddr srcport dstport protocol start end action tcp-flags log-status\n\
    198.51.100.7 192.0.2.77 40755 443 6 1795345122 1795345180 ACCEPT 2 OK\n";
/// As databases export the same log.
pub const VPC_OBJECT: &str = r#"{"srcaddr": "198.51.100.7", "dstaddr": "192.0.2.77", "srcport": 40755, "dstport": 443, "protocol": 6, "start": 1795345122, "end": 1795345180, "action": "ACCEPT", "tcp_flags": 2, "log_status": "OK"}
"#;
pub const SYSDIG: &str = "1234 10:58:42.200113456 0 nginx (907) < accept \
    fd=7(<4t>198.51.100.7:40755->192.0.2.77:443) tuple=x queuepct=0\n";
pub const PFIREWALL: &str = "#Fields: date time action protocol src-ip dst-ip src-port dst-port size \
    tcpflags tcpsyn tcpack tcpwin icmptype icmpcode info path\n\
    2026-11-22 10:58:42 ALLOW TCP 198.51.100.7 192.0.2.77 40755 3389 0 - 0 0 0 - - - RECEIVE\n";
pub const SOCKETS: &str = "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
    ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755\n";
pub const GVISOR: &str = "I1122 10:58:42.200113       1 strace.go:614] [   1:   1] nginx X accept4(0x6 socket:[2], \
    0x7ed5d0 {Family: AF_INET, Addr: 198.51.100.7, Port: 40755}, 0x7ed5cc {length=16}, SOCK_NONBLOCK) = 11 (0xb) \
    (28.684µs)\n";
pub const PERF: &str = "  4583.125 ( 0.002 ms): nginx/14597 accept4(fd: 3<socket:[631034]>, upeer_sockaddr: \
    0x7ffc3059b420, upeer_addrlen: 0x7ffc3059b3c4, flags: NONBLOCK) = 6\n";
pub const TRUSS: &str = "6428:\taccept(3, 0x08047B3C, 0x08047C3C, SOV_DEFAULT, 0) = 4\n\
    6428:\tAF_INET  name = 198.51.100.7  port = 40755\n";
pub const FIELDS: &str = "frame.time_epoch\tip.src\tip.dst\ttcp.srcport\ttcp.dstport\ttcp.flags\n\
    1795345122.200113000\t198.51.100.7\t192.0.2.77\t40755\t443\t0x0002\n";
pub const TSHARK: &str = r#"{"timestamp":"1795345122200","layers":{"ip_src":["198.51.100.7"],"ip_dst":["192.0.2.77"],"tcp_srcport":["40755"],"tcp_dstport":["443"],"tcp_flags":["0x0002"]}}
"#;
pub const GCP: &str = r#"{"jsonPayload":{"connection":{"dest_ip":"192.0.2.77","dest_port":443,"protocol":6,"src_ip":"198.51.100.7","src_port":40755},"reporter":"DEST","start_time":"2026-11-22T10:58:42.2Z"}}
"#;
pub const TRACKED: &str = "tcp 6 431923 ESTABLISHED src=198.51.100.30 dst=192.0.2.77 sport=33557 \
    dport=80 src=192.0.2.77 dst=198.51.100.30 sport=80 dport=33557 [ASSURED]\n";
pub const XML_FLOW: &str = "<flow><meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
    <src>198.51.100.30</src><dst>192.0.2.77</dst></layer3><layer4 protonum=\"6\" protoname=\"tcp\">\
    <sport>33557</sport><dport>80</dport></layer4></meta></flow>";
pub const MACSEC: [u8; 34] = {
    let mut frame = [2; 34];
    (frame[12], frame[13], frame[14]) = (0x88, 0xe5, 0x0c);
    frame
};
pub const ENCRYPTED_WIFI: [u8; 40] = {
    let mut frame = [2; 40];
    (frame[0], frame[1]) = (0x08, 0x41);
    frame
};

/// Without the last `bytes`.
pub fn cut(text: &str, bytes: usize) -> String {
    text[..text.len() - bytes].to_owned()
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn json(text: &str) -> String {
    format!("{}\n", serde_json::json!({"log": text, "time": "2026-11-22T10:58:42.5Z"}))
}

/// A capture of one packet, of which perhaps only the beginning was captured.
pub fn capture(link: u32, length: u32, packet: &[u8]) -> Vec<u8> {
    let mut file =
        [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0].to_vec();
    for n in [link, 1_795_345_122, 0, packet.len() as u32, length] {
        file.extend(n.to_le_bytes());
    }
    file.extend(packet);
    file
}

/// The headers of Ethernet and IPv4, and nothing behind them.
pub fn ethernet_ipv4(protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 46, 0, 1, 0, 0, 64, protocol, 0, 0]);
    frame.extend([198, 51, 100, 7, 192, 0, 2, 77]);
    frame
}

/// A capture of one segment of TCP with these flags.
pub fn tcp_capture(flags: u8) -> Vec<u8> {
    let mut frame = ethernet_ipv4(6);
    frame.extend([0x9f, 0x33, 1, 0xbb, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    let length = frame.len() as u32;
    capture(1, length, &frame)
}
