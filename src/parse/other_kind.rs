//! What is no record of connections, although users take it for one.

use super::{bcc, pcap, tshark, vpc_csv, vpc_json, zeek};

/// Says what else a text is that users take for a record of connections.
pub(super) fn hint(head: &[u8]) -> &'static str {
    let has = |text: &str| memchr::memmem::find(head, text.as_bytes()).is_some();
    // A version of the protocol, or a request without one, as of clients that speak something else.
    const REQUESTS: [&str; 6] =
        [" HTTP/1.", " HTTP/2", " HTTP/3", " \"GET /", " \"POST /", "] \"-\" 400 "];
    if REQUESTS.iter().any(|request| has(request)) {
        " (an access log has requests, not connections: one connection may carry many, or none; 'tcptally \
         watch' counts the connections to the server's port, and a log of HAProxy with 'option tcplog' \
         has them)"
    } else if has("srcaddr dstaddr")
        || vpc_csv::is_csv(head)
        || vpc_json::has_flows(head)
        || has(" ACCEPT OK") && has(" eni-")
    {
        " (a VPC flow log without the field tcp-flags and the header line does not show which flows begin a \
         connection; add the field to the format of the flow log)"
    } else if zeek::is_cut(head) {
        " (columns of Zeek that zeek-cut chose do not show what they are; let it print their names, \
         and choose all that count: zeek-cut -C ts id.orig_h id.orig_p id.resp_h id.resp_p proto conn_state)"
    } else if tshark::fields::is_not_enough(head) {
        " (columns of addresses alone do not show connections; let tshark print these fields with their names: \
         -T fields -E header=y -e frame.time_epoch -e ip.src -e ip.dst -e ipv6.src -e ipv6.dst -e tcp.srcport \
         -e tcp.dstport -e tcp.flags -e tcp.seq_raw -e tcp.ack_raw)"
    } else if pcap::is_sysdig(head) {
        " (a capture of sysdig or Falco has system calls, no packets; print them: sysdig -r FILE 'evt.type in \
         (accept,accept4)' | tcptally parse -)"
    } else if bcc::tcpaccept::may_be_rows(head) {
        " (lines of tcpaccept or tcpconnect without the heading, which alone tells who connected; if they are those of \
         tcpaccept, '--type tcpaccept' reads them)"
    } else if has("sshd[") || has("sshd-session[") {
        " (a log of sshd has logins, not all connections; with 'LogLevel VERBOSE' in sshd_config it has all)"
    } else {
        let is_kind = |kind: &&Kind| kind.marks.iter().all(|mark| has(mark));
        KINDS.iter().find(is_kind).map_or("", |kind| kind.hint)
    }
}

/// The output of a program that is not read.
struct Kind {
    /// Texts that all occur in its beginning.
    marks: &'static [&'static str],
    hint: &'static str,
}

const LOG_SYNS: &str = " (a trace of netfilter has a line for each rule; log the SYNs: iptables -I INPUT -p tcp --syn -j LOG, \
     or nft 'tcp flags & (syn | ack) == syn log')";
const CAPTURE_SYNS: &str = " (this text is not read; capture the SYNs: tcpdump -w FILE \
     'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn')";
const TRACEPOINT: &str = " (events of accept without addresses are not read; record -a -e sock:inet_sock_set_state with \
     perf, then perf script)";
const NOT_ACCEPTS: &str =
    " (this tool does not show accepted connections; tcpaccept and tcplife of bcc do)";
const SECURITY_EVENTS: &str = " (events of this program are not read; use the log of auditd with rules for accept and \
     accept4, or tcpaccept of bcc)";
const AUDIT_RAW: &str =
    " (audit records are read as auditd writes them: ausearch --raw | tcptally parse -)";
const ULOGD: &str =
    " (this output of ulogd is not read; use its plugin LOGEMU, or conntrack -E -o timestamp)";
const SOCKET_LIST: &str =
    " (this list of sockets is not read; print it with netstat -an, ss -tan or lsof -nP -iTCP)";
const TSHARK: &str = " (this output of tshark is not read; give the capture itself, or its packet list: tshark -n -t ad -r FILE)";
const FLOWS: &str = " (flows of this program are not read; give the packets in a capture, or NetFlow in the text of nfdump -6 -o long)";
const WINDOWS: &str = " (events of Windows are not read; use the log of its firewall with LogAllowed, or netstat -ano)";
const SERVER: &str = " (logs of this program are not read; 'tcptally watch' counts the connections to the server's port)";

const KINDS: &[Kind] = &[
    Kind { marks: &["PACKET: ", " MACPROTO="], hint: LOG_SYNS },
    Kind { marks: &["trace id ", " packet: iif "], hint: LOG_SYNS },
    Kind { marks: &[" ipfw: ", " TCP "], hint: CAPTURE_SYNS },
    Kind { marks: &[" PR tcp len "], hint: CAPTURE_SYNS },
    Kind { marks: &[" TCP D=", " S="], hint: CAPTURE_SYNS },
    Kind { marks: &["Transmission Control Protocol, Src Port"], hint: TSHARK },
    Kind { marks: &["<pdml"], hint: TSHARK },
    Kind { marks: &["<psml"], hint: TSHARK },
    Kind { marks: &["TCP Conversations"], hint: TSHARK },
    Kind { marks: &[" TCP ", " \u{2192} ", "[SYN]"], hint: TSHARK },
    Kind { marks: &["sIP|", "dIP|"], hint: FLOWS },
    Kind { marks: &["SrcAddr", "DstAddr", "Dir"], hint: FLOWS },
    Kind { marks: &["SRC_IP,DST_IP"], hint: FLOWS },
    Kind { marks: &["startSample"], hint: FLOWS },
    Kind {
        marks: &["[**]", "{TCP}"],
        hint: " (alerts do not show all connections; add flow to the eve-log section of suricata.yaml)",
    },
    Kind { marks: &["sub=\"packetfilter\""], hint: CAPTURE_SYNS },
    Kind { marks: &["sys_exit_accept"], hint: TRACEPOINT },
    Kind { marks: &["sys_accept", " -> 0x"], hint: TRACEPOINT },
    Kind { marks: &["COMM", "SADDR", "DADDR", "DPORT"], hint: NOT_ACCEPTS },
    Kind { marks: &["LADDR:LPORT", "RADDR:RPORT"], hint: NOT_ACCEPTS },
    Kind { marks: &["SADDR:SPORT", "DADDR:DPORT"], hint: NOT_ACCEPTS },
    Kind { marks: &["loadavg", "LADDR", "RX_KB"], hint: NOT_ACCEPTS },
    Kind { marks: &["COMM", "BACKLOG", "PORT"], hint: NOT_ACCEPTS },
    Kind { marks: &["ACTION", "COMM", "SOCKET", "FD"], hint: NOT_ACCEPTS },
    Kind { marks: &["(TCP Flags: "], hint: SECURITY_EVENTS },
    Kind { marks: &["\"verdict\"", "\"l4\""], hint: SECURITY_EVENTS },
    Kind { marks: &["\"process_kprobe\""], hint: SECURITY_EVENTS },
    Kind { marks: &["\"eventName\"", "\"returnValue\""], hint: SECURITY_EVENTS },
    Kind { marks: &["\"socket_events\""], hint: SECURITY_EVENTS },
    Kind { marks: &["K8S.", "COMM", "SRC", "DST"], hint: SECURITY_EVENTS },
    Kind { marks: &["\"auditd\"", "\"syscall\""], hint: AUDIT_RAW },
    Kind { marks: &["\"SYSCALL\":{"], hint: AUDIT_RAW },
    Kind { marks: &["NODE,EVENT,DATE,TIME,"], hint: AUDIT_RAW },
    Kind { marks: &["accepted-connection-from"], hint: AUDIT_RAW },
    Kind { marks: &["]: SYSCALL arch="], hint: AUDIT_RAW },
    Kind {
        marks: &[": Notice ", "connection="],
        hint: " (alerts of Falco as text are not read; set json_output: true)",
    },
    Kind { marks: &["\"oob.prefix\""], hint: ULOGD },
    Kind { marks: &["ORIG: SRC=", "REPLY: SRC="], hint: ULOGD },
    Kind {
        marks: &["--reply-port-src"],
        hint: " (rules of conntrack -o save are not read; print the table without that option)",
    },
    Kind { marks: &["LocalAddress", "RemotePort", "State"], hint: SOCKET_LIST },
    Kind { marks: &["LOCAL ADDRESS", "FOREIGN ADDRESS"], hint: SOCKET_LIST },
    Kind { marks: &["rtt_avg", "bytes_in"], hint: SOCKET_LIST },
    Kind { marks: &["\nPTCP\n", "\nTST="], hint: SOCKET_LIST },
    Kind {
        marks: &["# DURATION", "TID", "FUNCTION"],
        hint: " (a trace of functions is not read; trace system calls: strace -f -e trace=network)",
    },
    Kind { marks: &["Initiated", "DestinationIp"], hint: WINDOWS },
    Kind { marks: &["SourceAddress", "DestPort"], hint: WINDOWS },
    Kind { marks: &[" ACCEPT from IP="], hint: SERVER },
    Kind { marks: &[" slot=", " connection from "], hint: SERVER },
    Kind { marks: &["accepting connection from AF="], hint: SERVER },
    Kind { marks: &["accepting AMQP connection"], hint: SERVER },
    Kind { marks: &["TCP connection established with [AF_INET"], hint: SERVER },
    Kind { marks: &["SMTP connection from "], hint: SERVER },
    Kind { marks: &["/smtpd[", ": connect from "], hint: SERVER },
    Kind { marks: &["postscreen[", ": CONNECT from "], hint: SERVER },
    Kind { marks: &["CONNECT: Client "], hint: SERVER },
    Kind { marks: &["Ncat: Connection from "], hint: SERVER },
    Kind { marks: &["Connection received on "], hint: SERVER },
    Kind { marks: &["Accepted connection from /"], hint: SERVER },
    Kind { marks: &["SessOpen "], hint: SERVER },
    Kind { marks: &[" new connection from "], hint: SERVER },
    Kind { marks: &["START: ", " from="], hint: SERVER },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_whose_marks_all_occur_gives_the_hint() {
        for (text, want) in [
            (
                "Nov 26 10:00:00 h kernel: ipfw: 100 Accept TCP 198.51.100.7:4 192.0.2.1:22 in",
                CAPTURE_SYNS,
            ),
            ("PID COMM IP SADDR DADDR DPORT\n", NOT_ACCEPTS),
            ("nginx 7 [001] 1.0: syscalls:sys_exit_accept4: 0x4\n", TRACEPOINT),
            ("slapd[7]: conn=1 fd=12 ACCEPT from IP=198.51.100.7:4 (IP=0.0.0.0:389)\n", SERVER),
            ("COMM\n", ""),
        ] {
            assert_eq!(hint(text.as_bytes()), want, "{text}");
        }
    }
}
