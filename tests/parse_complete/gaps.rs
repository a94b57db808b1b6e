//! Lines of syslog daemons, journald and the kernel about messages that are not in a log, and holes.

use crate::records::*;
use crate::row::*;

const LOST: &[&str] = &["messages were lost or suppressed on the way into it"];
const REPEATED: &[&str] = &["'message repeated' in place of 5 lines"];
const HOLE: &[&str] = &["1 block of zeros, 300 bytes, is in the log"];
const CRI: &str = "2026-11-22T10:58:42.123456789Z stdout ";
const STRACE: &str = "Nov 28 20:00:01 h strace[12]: ";

/// Logs of one connection, each in another format.
fn logs() -> Vec<(&'static str, String)> {
    vec![
        ("strace", format!("{STRACE}{ACCEPT}")),
        ("asa", ASA.into()),
        ("server", SERVER.into()),
        ("haproxy", HAPROXY.into()),
        ("netfilter", LOG.into()),
        ("filterlog", FILTERLOG.into()),
        ("tcpdump", DUMP.into()),
        ("conntrack", TRACKED.into()),
        ("tcpaccept", ACCEPTED.into()),
        ("sockets", SOCKETS.into()),
        ("systemtap", SYSTEMTAP.into()),
        ("gcp", GCP.into()),
        ("netflow", FLOW.into()),
    ]
}

fn notice(name: &'static str, message: &str) -> Row {
    let text = format!("{STRACE}{ACCEPT}Nov 28 20:00:02 h {message}\n");
    row(name, text, 1, LOST)
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        notice("gaps.journald", "systemd-journald[1]: Suppressed 400 messages from x.service"),
        notice("gaps.kernel", "systemd-journald[1]: Missed 42 kernel messages"),
        notice("gaps.imjournal", "rsyslogd: imjournal: 1234 messages lost due to rate-limiting"),
        notice(
            "gaps.imuxsock",
            "rsyslogd-2177: imuxsock lost 71 messages from pid 12 due to rate-limiting",
        ),
        notice(
            "gaps.begin",
            "rsyslogd-2177: imuxsock[pid 12]: begin to drop messages due to rate-limiting",
        ),
        notice(
            "gaps.statistics",
            "syslog-ng[1]: Log statistics; dropped='tcp(AF_INET(192.0.2.1:514))=5', processed='center(received)=9'",
        ),
        row(
            "gaps.repeated",
            format!(
                "{STRACE}{ACCEPT}{STRACE}message repeated 5 times: [ {}]\n{STRACE}{ACCEPT}",
                ACCEPT.trim_end()
            ),
            2,
            REPEATED,
        ),
        row(
            "gaps.syslog-ng",
            format!(
                "{STRACE}{ACCEPT}{STRACE}Last message 'accept4(3, {{sa_famil' repeated 5 times, suppressed by \
                 syslog-ng on h\n"
            ),
            1,
            REPEATED,
        ),
        row(
            "gaps.macos",
            format!("{STRACE}{ACCEPT}--- last message repeated 5 times ---\n"),
            1,
            REPEATED,
        ),
        row(
            "gaps.haproxy",
            format!("{HAPROXY}Nov 22 10:58:42 lb haproxy[7]: message repeated 5 times: [ {}]\n", {
                HAPROXY.trim_end().split_once("]: ").unwrap().1
            }),
            1,
            REPEATED,
        ),
        row(
            "gaps.parts",
            format!("{CRI}F {SERVER}{CRI}P {}\n{CRI}F {}", &SERVER[..38], &SERVER[38..]),
            1,
            &["wrote 1 line in parts (flag P)"],
        ),
        row(
            "gaps.ftd",
            format!(
                "{ASA}{}",
                "2026-11-28T20:00:00Z fw %FTD-1-430002: EventPriority: Low, AccessControlRuleAction: Allow, \
                 SrcIP: 198.51.100.8, DstIP: 192.0.2.77, SrcPort: 1025, DstPort: 443, Protocol: tcp\n"
            ),
            1,
            &["1 connection event of FTD is not read"],
        ),
    ];
    for (name, log) in logs() {
        let has_no_packets = ["strace", "asa", "server", "haproxy"].contains(&name);
        let name = |kind: &str| -> &'static str { format!("gaps.{name}.{kind}").leak() };
        let hole = [log.as_bytes(), &[0; 300], log.as_bytes()].concat();
        rows.push(row(name("hole"), hole, ANY, HOLE));
        let lost =
            "Nov 22 10:58:43 gw systemd-journald[1]: Suppressed 400 messages from x.service\n";
        rows.push(row(name("lost"), format!("{log}{lost}{log}"), ANY, &["400 messages were lost"]));
        // Packets and sockets that are the same are of one connection.
        if has_no_packets {
            let repeated = "Nov 28 20:00:02 h last message repeated 5 times\n";
            rows.push(row(name("repeated"), format!("{log}{repeated}"), 1, REPEATED));
        }
    }
    rows
}

/// Logs like them that lack nothing.
pub fn complete() -> Vec<Row> {
    let other = "Nov 28 20:00:02 h cron[7]: session opened\n";
    let mut rows = vec![
        row(
            "other.repeated",
            format!("{STRACE}{ACCEPT}{other}Nov 28 20:00:02 h last message repeated 5 times\n"),
            1,
            &[],
        ),
        row(
            "other.rsyslog",
            format!(
                "{STRACE}{ACCEPT}Nov 28 20:00:02 h cron[7]: message repeated 5 times: [ session opened]\n"
            ),
            1,
            &[],
        ),
        row(
            "other.statistics",
            format!(
                "{STRACE}{ACCEPT}Nov 28 20:00:02 h syslog-ng[1]: Log statistics; dropped='pipe(/dev/x)=0'\n"
            ),
            1,
            &[],
        ),
        row(
            "other.string",
            format!("{ACCEPT}write(2, \"Suppressed 400 messages from x\\n\", 31) = 31\n"),
            1,
            &[],
        ),
        row("other.runtime", format!("{CRI}F {SERVER}"), 1, &[]),
        row(
            "other.server",
            format!("{SERVER}{other}Nov 28 20:00:02 h last message repeated 5 times\n"),
            1,
            &[],
        ),
    ];
    for (name, log) in logs() {
        let name: &'static str = format!("other.{name}.hole").leak();
        rows.push(row(name, [&[0; 300], log.as_bytes()].concat(), ANY, &[]));
    }
    rows
}
