//! Lists of sockets, and events of tools that trace sockets.

use crate::records::*;
use crate::row::*;

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn rows() -> Vec<Row> {
    vec![
        row(
            "sockets.listening",
            SOCKETS.replace(
                "ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
                "LISTEN 0 511 0.0.0.0:443 0.0.0.0:*",
            ),
            0,
            &["no TCP connection in any state is in it"],
        ),
        row(
            "kernel.wrapped",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 4D0200C0:01BB 076433C6:9F33 01 00000000:00000000 00:00000000 00000000 33 0 7 1 0 20 4 30 10 -1\n   \
             1: 4D0200C0:01BB 076433C6:9F34 0\n1 00000000:00000000 00:00000000 00000000 33 0 7 1 0 20 4 30 10 -1\n",
            1,
            &["kernel.wrapped: 1 line could not be read"],
        ),
        // Lines that hold connections in a form that no reader knows.
        row(
            "sockets.quoted",
            SOCKETS.replace("ESTAB 0", "['ESTAB 0"),
            0,
            &["sockets.quoted: 1 line could not be read"],
        ),
        row(
            "lsof.names",
            "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n\
             nginx 9 www 3u IPv4 70 0t0 TCP 192.0.2.77:443->198.51.100.7:40755 (ESTABLISHED)\n\
             nginx 9 www 4u IPv4 71 0t0 TCP web:https->client:40756 (ESTABLISHED)\n",
            1,
            &["lsof.names: 1 line could not be read"],
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
    ]
}
