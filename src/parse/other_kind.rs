//! What is no record of connections, although users take it for one.

use super::{pcap, tshark, vpc_csv};

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
    } else if has("srcaddr dstaddr") || vpc_csv::is_csv(head) || has(" ACCEPT OK") && has(" eni-") {
        " (a VPC flow log without the field tcp-flags and the header line does not show which flows begin a \
         connection; add the field to the format of the flow log)"
    } else if tshark::fields::is_not_enough(head) {
        " (columns of addresses alone do not show connections; let tshark print these fields with their names: \
         -T fields -E header=y -e frame.time_epoch -e ip.src -e ip.dst -e ipv6.src -e ipv6.dst -e tcp.srcport \
         -e tcp.dstport -e tcp.flags -e tcp.seq_raw -e tcp.ack_raw)"
    } else if pcap::is_sysdig(head) {
        " (a capture of sysdig or Falco has system calls, no packets; print them: sysdig -r FILE 'evt.type in \
         (accept,accept4)' | tcptally parse -)"
    } else if has("sshd[") || has("sshd-session[") {
        " (a log of sshd has logins, not all connections; with 'LogLevel VERBOSE' in sshd_config it has all)"
    } else {
        ""
    }
}
